"""Rules of Open MPI's `tuned` component: read back as written, and refused where the library would not load them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.collectives.plans.rules import RulesError
from clusterbench.collectives.plans.tuned_rules import (
    ALGORITHMS,
    COLLECTIVE_IDS,
    TunedRule,
    TunedRules,
    parse_tuned_rules,
    read_tuned_rules,
    tuned_rules_text,
    write_tuned_rules,
)

SMALL = st.integers(0, 2**31 - 1)


@st.composite
def some_rules(draw: st.DrawFn) -> TunedRules:
    def of_size() -> tuple[TunedRule, ...]:
        starts = sorted(draw(st.sets(st.integers(1, 2**63 - 1), max_size=4)))
        return tuple(
            TunedRule(start, draw(st.integers(0, 9)), draw(SMALL), draw(SMALL), draw(st.none() | SMALL))
            for start in ([0, *starts] if draw(st.booleans()) else [])
        )

    ids = draw(st.lists(st.integers(0, 21), unique=True, max_size=4))
    return TunedRules(
        {number: {size: of_size() for size in sorted(draw(st.sets(SMALL, max_size=3)))} for number in ids}
    )


@given(rules=some_rules())
def test_rules_are_read_back_as_they_were_written(rules: TunedRules) -> None:
    text = tuned_rules_text(rules)
    assert parse_tuned_rules(text, "rules") == rules
    assert text.startswith("rule-file-version-2\n") == (rules.version == 2)


HAND = """rule-file-version-2
2 # collectives
2 1 # allreduce, one size
   0 3
0 3 0 0  # small
4096 4 0 8192 16
1000000\t5 0 65536
3 0
"""


def test_a_file_by_hand_means_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text(HAND)
    rules = read_tuned_rules(tmp_path / "rules")
    expected = (TunedRule(0, 3), TunedRule(4096, 4, 0, 8192, 16), TunedRule(1000000, 5, 0, 65536))
    assert rules == TunedRules({2: {0: expected}, 3: {}})
    write_tuned_rules(tmp_path / "again", rules)
    assert read_tuned_rules(tmp_path / "again") == rules


WRONG = {
    "a newer version": ("version-2", "version-3", "line 1: rule-file-version-3; expected 1 or 2"),
    "JSON": ("rule-file-version-2", "{", "line 1: JSON, the format of Open MPI 6.0"),
    "a version that is not first": ("rule-file", "\nrule-file", "line 2: 'rule-file-version-2'; expected the number"),
    "a word": ("4096", "4K", "line 6: '4K'; expected the bytes of a rule, a whole number"),
    "a negative number": ("4096", "-4", "line 6: '-4'; expected the bytes of a rule"),
    "too many collectives": ("2 # coll", "23 # coll", "line 2: '23'; expected .* from 0 to 22"),
    "no such collective": ("2 1 #", "22 1 #", "line 3: '22'; expected the id of a collective"),
    "a collective twice": ("3 0\n", "2 0\n", "line 8: collective 2 a second time"),
    "no rule for 0 bytes": ("0 3 0 0", "8 3 0 0", "line 5: rule 1 of the 3 that line 4 announces is for 8 bytes "
                            "and more; expected 0, without which Open MPI ignores the whole file"),
    "rules that descend": ("1000000", "4000", "line 7: rule 3 of the 3 that line 4 announces is for 4000"),
    "sizes that descend": ("3 0\n", "3 2 4 0 4 0\n", "line 8: communicator size 4 behind 4; expected them ascending"),
    "an end too early": ("3 0\n", "3 1\n", "rules: ends where a communicator size is expected"),
    "numbers left": ("3 0\n", "3 0\n7\n", "line 9: '7' behind the last rule; expected the end"),
    "more than fits": ("4096", "9" * 19, "line 6: '9999999999999999999'; expected"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_open_mpi_would_not_load_as_meant_is_refused_by_its_line(kind: str) -> None:
    old, new, complaint = WRONG[kind]
    assert HAND.count(old) == 1
    with pytest.raises(RulesError, match=complaint) as error:
        parse_tuned_rules(HAND.replace(old, new), "rules")
    assert error.value.exit_code == 2


def test_a_fifth_number_is_no_part_of_a_rule_in_version_1() -> None:
    with pytest.raises(RulesError, match="line 6: rule 3 of the 3"):
        parse_tuned_rules(HAND.replace("rule-file-version-2\n", ""), "rules")


@pytest.mark.parametrize(
    "collectives",
    [
        {2: {4: (TunedRule(8, 1),)}},
        {2: {4: (TunedRule(0, 1), TunedRule(0, 2))}},
        {2: {8: (), 4: ()}},
        {22: {}},
        {2: {4: (TunedRule(0, -1),)}},
        {2: {4: (TunedRule(0, 1, requests=-1),)}},
    ],
)
def test_rules_that_no_file_may_have_cannot_be_made(collectives: dict[int, dict[int, tuple[TunedRule, ...]]]) -> None:
    with pytest.raises(RulesError, match="collective 2"):
        TunedRules(collectives)


def test_every_collective_has_algorithms() -> None:
    assert set(ALGORITHMS) == set(COLLECTIVE_IDS)
    assert len(set(COLLECTIVE_IDS.values())) == len(COLLECTIVE_IDS)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="nowhere: No such file or directory"):
        read_tuned_rules(tmp_path / "nowhere")
    with pytest.raises(RulesError, match="/dev/zero: longer than"):
        read_tuned_rules("/dev/zero")
    (tmp_path / "bytes").write_bytes(b"1\xff")
    with pytest.raises(RulesError, match="byte 1: invalid start byte"):
        read_tuned_rules(tmp_path / "bytes")
    with pytest.raises(RulesError, match="Is a directory"):
        write_tuned_rules(tmp_path, TunedRules({}))
