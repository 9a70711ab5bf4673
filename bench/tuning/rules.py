"""Choices as dynamic rules of Open MPI's `tuned` component (`collectives/plans/tuned_rules.py`).

Sizes are those of the whole vector, as in all rows here. Each number of ranks that was measured is followed by the next
one with rule 0, so that what was not measured is left to the library; a choice holds up to the next size measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from clusterbench.bench.measuring.forced_library import openmpi_name
from clusterbench.bench.tuning.choosing import Choice
from clusterbench.collectives.plans.tuned_rules import COLLECTIVE_IDS, TunedRule, TunedRules

FANOUT = 4
"""Of chains: what the library takes where it is told an algorithm only (coll_tuned_init_chain_fanout, 5.0.11)."""
_OWN = TunedRule(0, 0)


def tuned_rules(choices: Iterable[Choice]) -> TunedRules:
    """The rules for these choices, which may come in any order."""
    collectives = {}
    for name, of in groupby(sorted(choices), key=lambda choice: choice.collective):
        by_ranks = {ranks: _of_sizes(sizes) for ranks, sizes in groupby(of, key=lambda choice: choice.ranks)}
        beyond = {ranks + 1: (_OWN,) for ranks in by_ranks}
        collectives[COLLECTIVE_IDS[openmpi_name(name)]] = dict(sorted({**beyond, **by_ranks}.items()))
    return TunedRules(dict(sorted(collectives.items())))


def _of_sizes(choices: Iterable[Choice]) -> tuple[TunedRule, ...]:
    """From 0 bytes on, and where the algorithm changes."""
    rules = [_OWN]
    for choice in choices:
        fan = FANOUT if choice.algorithm else 0
        rule = TunedRule(choice.size_bytes, choice.algorithm, fan, choice.segment_bytes)
        if replace(rule, from_bytes=rules[-1].from_bytes) != rules[-1]:
            rules.append(rule)
    return tuple(rules)
