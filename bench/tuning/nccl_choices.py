"""What NCCL should take, from rows that are there already: of each call the fastest of the algorithms it was told.

Rows are those of nccl-tests, imported, where NCCL_ALGO and NCCL_PROTO told the library what to take
(`library:ring/ll128`), and those where it was told nothing (`library`), which the fastest is held against; where there
are none of these, it is held against the next fastest. Or they are simulated: `ring`, and `double-binary-tree`, the
form of NCCL's trees; both by the protocol `simple`, the only one by which all that crosses a link is payload.

A rule is written where the fastest is significantly faster, as in any comparison. As it is the best of several on the
same figures, p-values are adjusted over all that it was the best of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from clusterbench.bench.tuning.library_choices import TuningError
from clusterbench.collectives.plans.rules import RulesError
from clusterbench.collectives.plans.tuner_csv import (
    ALGORITHMS,
    COLLECTIVES,
    PROTOCOLS,
    TunerRule,
    read_tuner_rules,
    write_tuner_rules,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from clusterbench.results.compare import ComparedRow, Side
    from clusterbench.results.estimates import Unit

_LIBRARY = "library"
_TOLD = re.compile(rf"{_LIBRARY}:({'|'.join(ALGORITHMS)})/({'|'.join(PROTOCOLS)})")
_SIMULATED = {"ring": ("ring", "simple"), "double-binary-tree": ("tree", "simple")}
_PLUGINS_NAMES = {name: plugins for plugins, name in COLLECTIVES.items()}
_CALL = ["name", "ranks", "nodes", "size_bytes"]
_ONE_OF = ("evidence", "transport", "op", "root", "device", "sample_unit")
"""What the plugin is not told, or what times cannot be compared without; all rows of a collective must agree in it."""


@dataclass(frozen=True, slots=True)
class NcclChoice:
    """The fastest of what was measured for calls of one size."""

    collective: str
    """By this suite's name."""
    ranks: int
    nodes: int
    size_bytes: int
    algorithm: str
    protocol: str
    against: str
    """What it is held against: `library` for what NCCL takes by itself."""
    row: ComparedRow
    """Of which A is what it is held against."""

    @property
    def kept(self) -> bool:
        """Whether there is a rule for it."""
        return self.row.change == "better"


def nccl_choices(
    side: Side, collectives: Sequence[str], dtype: str, tolerance: float, unit: Unit = "launch"
) -> list[NcclChoice]:
    """The fastest of each call of `collectives`, all where there are none, for elements of `dtype`.

    `side` has the rows with the fields of a comparison. Calls for which there are not two to choose from are left out.
    Raises `TuningError` where no call is left, and where rows are of different kinds.
    """
    from clusterbench.results.compare import compare

    frame = _suitable(side.frame, collectives, dtype)
    best, others, tried = [], [], 0
    about: dict[object, tuple[str, str]] = {}
    for call, rows in frame.groupby(_CALL, sort=True):
        found = _fastest(rows)
        if found is None:
            continue
        told, against, candidates = found
        tried += candidates
        best.append(rows[rows["told"] == told])
        others.append(rows[rows["told"] == against])
        about[call] = told, against
    if not best:
        raise TuningError(
            f"no call of {dtype} has two choices of NCCL's to compare; expected rows of nccl-tests that say NCCL_ALGO "
            "and NCCL_PROTO in their log or JSON, and others, or simulated ones of ring and double-binary-tree"
        )
    base, candidate = (_side(side, parts) for parts in (others, best))
    compared = compare(base, candidate, tolerance, unit=unit, among=tried)
    choices = []
    for row in compared.rows:
        name, ranks, nodes = (row.point[field] for field in _CALL[:3])
        size_bytes = int(row.point["size"])
        told, against = about[name, ranks, nodes, size_bytes]
        algorithm, protocol = told.split("/")
        choices.append(NcclChoice(name, ranks, nodes, size_bytes, algorithm, protocol, against, row))
    return sorted(choices, key=lambda choice: (choice.collective, choice.ranks, choice.nodes, choice.size_bytes))


def _side(side: Side, parts: list[DataFrame]) -> Side:
    """Rows of one side, which meet those of the other whatever the library was told."""
    import pandas as pd

    from clusterbench.results.compare import Side

    return Side(side.runs, pd.concat(parts).assign(algorithm=_LIBRARY, note=""), side.samples)


def _suitable(frame: DataFrame, collectives: Sequence[str], dtype: str) -> DataFrame:
    """The rows that count, with what the library was told in the column `told`: `ring/ll128`, or `library`."""
    wanted = list(collectives) or list(_PLUGINS_NAMES)
    for name in wanted:
        if name not in _PLUGINS_NAMES:
            raise TuningError(f"{name}: NCCL's tuner has no rules for it; expected one of {', '.join(_PLUGINS_NAMES)}")
    told = frame["algorithm"].map(_told).where(frame["evidence"] != "simulated", frame["algorithm"].map(_simulated))
    counts = (
        (frame["suite"] == "collectives")
        & frame["name"].isin(wanted)
        & (frame["dtype"] == dtype)
        & (frame["transport"].isin(("nccl", "rccl", "simulated")))
        & (frame["median_s"] > 0)
        & ~frame["verdict"].isin(("FAIL", "INVALID"))
        & (told != "")
    )
    found = frame.assign(told=told)[counts]
    # Where a call was measured out of place and in place, it is judged out of place.
    best_place = found["placement"].map({"out_of_place": 0}).fillna(1)
    found = found[best_place == best_place.groupby([found[name] for name in _CALL]).transform("min")]
    for (what, rows), name in product(found.groupby("name"), _ONE_OF):
        values = rows[name].unique().tolist()
        if len(values) > 1:
            shown = ", ".join(map(str, values[:4]))
            raise TuningError(f"rows of {what} differ in {name}: {shown}; expected one, as the tuner tells none apart")
    return found


def _told(algorithm: str) -> str:
    if algorithm == _LIBRARY:
        return _LIBRARY
    match = _TOLD.fullmatch(algorithm)
    return "/".join(match.groups()) if match else ""


def _simulated(algorithm: str) -> str:
    return "/".join(_SIMULATED.get(algorithm.partition(":")[0], ()))


def _fastest(rows: DataFrame) -> tuple[str, str, int] | None:
    """Of one call what is fastest by the median over launches, what it is held against, and the best of how many it is.

    None where there are not two.
    """
    times = rows.groupby("told")["median_s"].median().sort_values(kind="stable")
    told = [name for name in times.index if name != _LIBRARY]
    if not told or len(times) < 2:
        return None
    return told[0], _LIBRARY if _LIBRARY in times.index else told[1], len(times) - 1


def tuner_rules(choices: Iterable[NcclChoice]) -> tuple[TunerRule, ...]:
    """Rules for the choices that are kept: from their size up to the next one measured, and the largest one for itself.

    Sizes next to each other with the same choice are one rule.
    """
    rules: list[TunerRule] = []
    choices = list(choices)
    for place, choice in enumerate(choices):
        if not choice.kept:
            continue
        after = choices[place + 1] if place + 1 < len(choices) else None
        largest = choice.size_bytes
        if after is not None and _communicator(after) == _communicator(choice):
            largest = after.size_bytes - 1
        rule = TunerRule(
            _PLUGINS_NAMES[choice.collective], choice.size_bytes, largest, choice.algorithm, choice.protocol,
            nodes=choice.nodes, ranks=choice.ranks,
        )  # fmt: skip
        if rules and rules[-1] == replace(rule, min_bytes=rules[-1].min_bytes, max_bytes=rule.min_bytes - 1):
            rule = replace(rule, min_bytes=rules.pop().min_bytes)
        rules.append(rule)
    return tuple(rules)


def write_choices(path: Path, choices: Sequence[NcclChoice], comment: str) -> tuple[TunerRule, ...]:
    """Write the rules for choices, read the file, and look that the plugin will do as they say: the rules.

    Raises `RulesError`.
    """
    rules = tuner_rules(choices)
    write_tuner_rules(path, rules, comment)
    read = read_tuner_rules(path)
    for choice in choices:
        call = _PLUGINS_NAMES[choice.collective], choice.size_bytes, choice.nodes, choice.ranks
        says = next(((rule.algorithm, rule.protocol) for rule in read if rule.fits(*call)), None)
        if says != ((choice.algorithm, choice.protocol) if choice.kept else None):
            raise RulesError(f"{path}: says {says} for {call}; expected {choice.algorithm}/{choice.protocol}")
    return rules


def _communicator(choice: NcclChoice) -> tuple[str, int, int]:
    return choice.collective, choice.ranks, choice.nodes
