"""Launches are what is tested: how many it takes, how they lie in time, and what many rows at once change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from launch_trials import changes, each, side
from launch_trials import noisy as drawn
from numpy.typing import NDArray

from clusterbench.results.compare import ComparedRow, Comparison, Side, compare
from clusterbench.results.significance import DESIGNS, FALSE_DISCOVERIES, POWER, least_launches

NOISE = 0.02


def noisy(seed: int, rows: int, launches: int, noise: float = NOISE) -> NDArray[np.float64]:
    return drawn(seed, rows, launches, noise)


def one(found: Comparison) -> ComparedRow:
    (row,) = found.rows
    return row


def test_equal_rows_are_seldom_called_different() -> None:
    for design in DESIGNS:
        found = changes(300, 8, 0.05, design=design)
        assert sum(change in ("better", "worse") for change in found) / len(found) <= 0.065


def test_a_slowdown_of_5_per_cent_is_found_through_2_per_cent_of_noise_by_ten_launches() -> None:
    for design in DESIGNS:
        assert changes(200, 10, 0.02, 1.05, design).count("worse") >= 190


@pytest.mark.parametrize("launches", [(1, 1), (3, 3), (1, 9), (9, 3)])
def test_too_few_launches_cannot_tell_and_say_how_many_are_needed(launches: tuple[int, int]) -> None:
    a, b = noisy(5, 1, launches[0]), 2 * noisy(6, 1, launches[1])
    row = one(compare(side(a), side(b, name="b")))
    assert (row.change, row.needed, row.p) == ("cannot tell", 4, None)
    assert f"{launches[0]} launches against {launches[1]}, and Mann-Whitney needs 4 a side" in row.reason


def test_as_many_launches_as_are_needed_decide() -> None:
    row = one(compare(side(noisy(5, 1, 4)), side(2 * noisy(6, 1, 4), name="b")))
    assert (row.change, row.test, row.needed) == ("worse", "Mann-Whitney", None)
    assert row.p == pytest.approx(2 / 70)


def test_among_many_rows_one_needs_more_launches() -> None:
    a, b = noisy(7, 40, 4), noisy(8, 40, 4)
    b[0] *= 2
    few = compare(side(a[:, :3]), side(b[:, :3], name="b")).rows[0]
    alone = least_launches(FALSE_DISCOVERIES / 40, "independent")
    assert few.needed == alone > 4
    assert f"or {alone} to tell of one of 40 rows" in few.reason
    row = compare(side(a), side(b, name="b")).rows[0]
    assert row.change == "cannot tell"
    assert row.p is not None
    assert row.p > FALSE_DISCOVERIES
    assert row.needed is not None
    assert row.needed >= alone
    a, b = noisy(7, 40, alone), noisy(8, 40, alone)
    b[0] *= 2
    assert [row.change for row in compare(side(a), side(b, name="b")).rows].count("worse") == 1


def test_the_launches_that_are_said_to_be_needed_are_enough() -> None:
    noise, tolerance = 0.05, 0.04
    a, b = noisy(9, 60, 6, noise), noisy(10, 60, 6, noise)
    needed = [row.needed for row in each(a, b, tolerance=tolerance) if row.needed]
    assert len(needed) > 40
    enough = int(np.median(needed))
    a, b = noisy(11, 100, enough, noise), 1.06 * noisy(12, 100, enough, noise)
    assert sum(row.change == "worse" for row in each(a, b, tolerance=tolerance)) >= 100 * (POWER - 0.05)


def test_many_rows_of_equal_launches_make_no_false_alarm_by_their_number() -> None:
    found = compare(side(noisy(13, 1000, 8, 0.05)), side(noisy(14, 1000, 8, 0.05), name="b"))
    counts = found.counts()
    assert counts["better"] + counts["worse"] <= 2
    p = np.array([row.p for row in found.rows])
    assert np.all(p > FALSE_DISCOVERIES)


def test_of_the_rows_called_worse_few_are_none() -> None:
    a, b = noisy(15, 400, 10), noisy(16, 400, 10)
    b[:100] *= 1.06
    worse = [i for i, row in enumerate(compare(side(a), side(b, name="b")).rows) if row.change == "worse"]
    assert len([i for i in worse if i < 100]) >= 90
    assert len([i for i in worse if i >= 100]) <= 0.1 * len(worse)


def test_launches_in_turns_are_told_by_their_starts_and_cancel_what_both_met() -> None:
    drift = np.exp(np.linspace(0, 0.5, 10))
    a, b = drift * noisy(17, 1, 10, 0.002), 1.05 * drift * noisy(18, 1, 10, 0.002)
    turns = side(a, starts=range(0, 20, 2)), side(b, "b", starts=range(1, 21, 2))
    row = one(compare(*turns))
    assert (row.change, row.test) == ("worse", "signed-rank")
    assert one(compare(*turns, design="independent")).change == "cannot tell"
    apart = one(compare(side(a, starts=range(10)), side(b, "b", starts=range(10, 20))))
    assert (apart.change, apart.test) == ("cannot tell", "Mann-Whitney")


@pytest.mark.parametrize(
    ("launches", "rows", "test"), [(6, 6, "Mann-Whitney"), (9, 6, "signed-rank"), (6, 1, "signed-rank")]
)
def test_too_few_pairs_to_tell_of_one_row_among_all_are_not_tested_as_pairs(
    launches: int, rows: int, test: str
) -> None:
    a, b = noisy(20, rows, launches), noisy(21, rows, launches)
    b[0] *= 2
    turns = side(a, starts=range(0, 2 * launches, 2)), side(b, "b", starts=range(1, 2 * launches, 2))
    found = compare(*turns).rows
    assert [row.change == "worse" for row in found] == [True] + [False] * (rows - 1)
    assert {row.test for row in found} == {test}
    if rows > 1 and test == "Mann-Whitney":
        assert compare(*turns, design="interleaved").rows[0].change == "cannot tell"


def test_pairs_are_made_by_the_starts_and_not_by_the_order_of_the_rows() -> None:
    drift = np.exp(np.linspace(0, 0.5, 10))
    order = np.random.default_rng(19).permutation(10)
    a, b = drift * noisy(17, 1, 10, 0.002), 1.05 * drift * noisy(18, 1, 10, 0.002)
    shuffled = side(a[:, order], starts=[2 * int(place) for place in order])
    assert one(compare(shuffled, side(b, "b", starts=range(1, 21, 2)))).change == "worse"


@pytest.mark.parametrize("launches", [(5, 5), (6, 7)])
def test_launches_that_are_no_pairs_cannot_be_compared_as_pairs(launches: tuple[int, int]) -> None:
    row = one(compare(side(noisy(1, 1, launches[0])), side(noisy(2, 1, launches[1]), name="b"), design="interleaved"))
    assert (row.change, row.needed) == ("cannot tell", 6)
    assert "signed-rank needs 6 a side in pairs" in row.reason


def test_a_difference_within_the_tolerance_is_never_worse_however_sure_it_is() -> None:
    row = one(compare(side(noisy(1, 1, 20, 0.0005)), side(1.01 * noisy(2, 1, 20, 0.0005), name="b")))
    assert row.p is not None
    assert row.p < 1e-6
    assert row.change == "same"


def test_options_of_an_algorithm_are_no_launches_of_it() -> None:
    def launches(name: str) -> Side:
        made = side(noisy(1, 1, 8), name=name)
        notes = ["ran as chain:segments=2", "ran as chain:segments=4"] * 4
        return replace(made, frame=made.frame.assign(algorithm="chain", note=notes))

    found = compare(launches("a"), launches("b"))
    assert {(row.point["algorithm"], row.launches) for row in found.rows} == {
        ("chain:segments=2", (4, 4)),
        ("chain:segments=4", (4, 4)),
    }


def test_a_pair_of_ranks_that_was_measured_again_in_a_run_is_one_launch() -> None:
    made = side(np.array([[1.0, 3.0, 2.0]]))
    again = replace(made, frame=made.frame.assign(suite="pairs", run_id="a0"))
    row = one(compare(again, again))
    assert (row.launches, row.a_s) == ((1, 1), 2.0)


def test_environments_of_several_runs_are_compared_by_their_values() -> None:
    def of(*versions: str) -> Side:
        made = side(noisy(1, 1, len(versions)))
        runs = zip(made.runs, versions, strict=True)
        return replace(made, runs=tuple(replace(run, environment={"mpi": {"version": v}}) for run, v in runs))

    assert compare(of("5", "5"), of("5", "5")).environment == ()
    assert compare(of("5", "5"), of("5", "6")).environment == (("mpi.version", "5", ["5", "6"]),)
