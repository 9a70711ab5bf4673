"""Rules of NCCL's tuner plugin: read back as they were written, and refused where the plugin would misread them."""

from __future__ import annotations

import ctypes
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.collectives.collective import COLLECTIVES as OURS
from clusterbench.collectives.plans.rules import RulesError
from clusterbench.collectives.plans.tuner_csv import (
    ALGORITHMS,
    COLLECTIVES,
    PROTOCOLS,
    TunerRule,
    parse_tuner_rules,
    read_tuner_rules,
    tuner_rules_text,
    write_tuner_rules,
)

SOME = st.just(-1) | st.integers(1, 2**31 - 1)


@st.composite
def some_rule(draw: st.DrawFn) -> TunerRule:
    low, high = sorted(draw(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))))
    names = (draw(st.sampled_from(sorted(each))) for each in (COLLECTIVES, ALGORITHMS, PROTOCOLS))
    collective, algorithm, protocol = names
    numbers = (draw(SOME), draw(SOME), draw(SOME), draw(SOME | st.just(0)), draw(st.integers(-1, 1)))
    return TunerRule(collective, low, high, algorithm, protocol, *numbers)


@given(rules=st.lists(some_rule(), max_size=5).map(tuple))
def test_rules_are_read_back_as_they_were_written(rules: tuple[TunerRule, ...]) -> None:
    text = tuner_rules_text(rules)
    assert parse_tuner_rules(text, "rules") == rules
    assert max(map(len, text.split("\n"))) <= 254


HAND = """# small ones

allreduce,0,65536,tree,ll,2,1,-1,-1,1
allreduce , 65537,\t4294967295,ring,simple,-1,-1,16
broadcast,0,10,ring,ll128,4,-1,-1,2
"""


def test_a_file_by_hand_means_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text(HAND)
    rules = read_tuner_rules(tmp_path / "rules")
    assert rules == (
        TunerRule("allreduce", 0, 65536, "tree", "ll", 2, 1, -1, -1, 1),
        TunerRule("allreduce", 65537, 4294967295, "ring", "simple", -1, -1, 16),
        TunerRule("broadcast", 0, 10, "ring", "ll128", 4, -1, -1, 2),
    )
    write_tuner_rules(tmp_path / "again", rules)
    assert read_tuner_rules(tmp_path / "again") == rules


def test_a_rule_holds_for_both_ends_of_its_sizes_and_its_nodes_and_ranks() -> None:
    rule = TunerRule("allreduce", 8, 64, "ring", "simple", nodes=2)
    fits = [rule.fits("allreduce", size, 2, 16) for size in (7, 8, 64, 65)]
    assert fits == [False, True, True, False]
    assert not rule.fits("allreduce", 8, 3, 16)
    assert not rule.fits("reduce", 8, 2, 16)


WRONG = {
    "a collective": ("allreduce,0", "all_reduce,0", "line 3: collective 'all_reduce'; expected one of broadcast"),
    "an algorithm": ("tree", "Tree", "line 3: algorithm 'Tree'; expected one of tree, ring"),
    "a protocol": ("ll128", "LL128", "line 5: protocol 'LL128'; expected one of ll, ll128, simple"),
    "too few fields": (",4,-1,-1,2", ",4", "line 5: 6 fields; expected 8 to 10: collective,min_bytes"),
    "too many fields": ("-1,1\n", "-1,1,1\n", "line 3: 11 fields; expected 8 to 10"),
    "an empty field": (",2,1,-1", ",2,,-1", "line 3: nNodes is empty; expected a value"),
    "no number": ("65537", "64K", "line 4: min_bytes '64K'; expected a whole number"),
    "sizes that cross": ("0,10,", "11,10,", "line 5: min_bytes 11 and max_bytes 10"),
    "a negative size": ("0,10,", "-1,10,", "line 5: min_bytes -1; expected 0 to"),
    "no channels": (",2,1,", ",0,1,", "line 3: channels 0; expected -1 or 1 to"),
    "registered twice": ("-1,1\n", "-1,2\n", "line 3: regBuff 2; expected -1 or 0 to 1"),
    "space alone": ("\n\n", "\n \n", "line 2: 1 fields"),
    "a comment that is none": ("# small", " # small", "line 1: 1 fields"),
    "a long line": ("tree", "tree" + " " * 250, "line 3: 287 bytes; expected at most 254"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_the_plugin_would_misread_is_refused_by_its_line(kind: str) -> None:
    old, new, complaint = WRONG[kind]
    assert HAND.count(old) == 1
    with pytest.raises(RulesError, match=complaint) as error:
        parse_tuner_rules(HAND.replace(old, new), "rules")
    assert error.value.exit_code == 2


def test_the_collectives_are_ours_by_other_names() -> None:
    assert set(COLLECTIVES.values()) <= set(OURS)


class Plugin(ctypes.Structure):
    """`ncclTuner_v5_t` (plugins/tuner/example/nccl/tuner.h)."""

    _fields_ = (("name", ctypes.c_char_p), ("init", ctypes.c_void_p), ("of_call", ctypes.c_void_p))


PLUGIN = os.environ.get("NCCL_TUNER_PLUGIN", "")


@pytest.mark.skipif(not Path(PLUGIN).is_file(), reason="NCCL_TUNER_PLUGIN names no libnccl-tuner-example.so")
@pytest.mark.parametrize("nodes", [1, 2])
def test_the_plugin_does_as_the_rules_say(nodes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `gcc -shared -fPIC -I nccl -I . -o libnccl-tuner-example.so plugin.c` in plugins/tuner/example; it needs no GPU.
    rules = (
        TunerRule("allreduce", 0, 4095, "tree", "ll", nodes=2, ranks=16),
        TunerRule("allreduce", 4096, 1 << 20, "nvls_tree", "simple", 8, nodes=2, ranks=16),
        TunerRule("reducescatter", 4096, 1 << 40, "pat", "ll128"),
        TunerRule("broadcast", 0, 1, "collnet_chain", "simple"),
    )
    path = tmp_path / "tuner.csv"
    write_tuner_rules(path, rules, "measured rows of a run")
    monkeypatch.setenv("NCCL_TUNER_CONFIG_FILE", str(path))
    plugin = Plugin.in_dll(ctypes.CDLL(PLUGIN), "ncclTunerPlugin_v5")
    of_all = ctypes.c_void_p
    init = ctypes.CFUNCTYPE(ctypes.c_int, of_all, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_size_t, *[of_all] * 3)(
        plugin.init
    )
    of_call = ctypes.CFUNCTYPE(
        ctypes.c_int, of_all, ctypes.c_int, ctypes.c_size_t, ctypes.c_int, of_all, *[ctypes.c_int] * 3, of_all
    )(plugin.of_call)
    context = ctypes.c_void_p()
    assert init(ctypes.byref(context), 0, 16, nodes, None, None, None) == 0
    for (number, name), size_bytes in product(enumerate(COLLECTIVES), (0, 1, 2, 4095, 4096, 1 << 20, (1 << 20) + 1)):
        costs = np.ones((len(ALGORITHMS), len(PROTOCOLS)), np.float32)
        channels = ctypes.c_int(-7)
        shape = costs.shape
        assert of_call(context, number, size_bytes, 1, costs.ctypes.data, *shape, 0, ctypes.byref(channels)) == 0
        taken = [(ALGORITHMS[i], PROTOCOLS[j]) for i, j in np.argwhere(costs == 0)]
        said = next((rule for rule in rules if rule.fits(name, size_bytes, nodes, 16)), None)
        assert taken == ([(said.algorithm, said.protocol)] if said else [])
        assert (channels.value == 8) == (said is not None and said.channels == 8)
