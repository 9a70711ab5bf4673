"""Two runs side by side: what changed, what cannot be told, and what must not be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from clusterbench.results.columns import to_frame
from clusterbench.results.compare import ALIKE, CompareError, Comparison, Side
from clusterbench.results.compare import compare as compare_sides
from clusterbench.results.record import Measurement
from clusterbench.results.significance import LEAST

compare = partial(compare_sides, unit="sample")
"""Most sides here are of one launch, so that the samples within decide; test_compare_launches.py has the others."""


def side(maker: Any, rows: list[Any] | None = None) -> Side:
    rows = maker.collectives() + maker.kernels() if rows is None else rows
    samples = {i: seconds for i, (_, seconds) in enumerate(rows) if seconds is not None}
    return Side((maker.run(),), to_frame(row for row, _ in rows), samples)


def changed(rows: list[Any], **fields: Any) -> list[Any]:
    return [(replace(row, **fields), seconds) for row, seconds in rows]


def test_a_run_compared_with_itself_is_the_same_everywhere(synthetic: Callable[..., Any]) -> None:
    found = compare(side(synthetic()), side(synthetic()))
    timed = [row for row in found.rows if row.a_s is not None]
    assert len(timed) == 64 + 12
    assert {row.change for row in timed} == {"same"}
    assert {row.ratio.value for row in timed if row.ratio} == {1.0}
    assert found.only_a == found.only_b == ()
    assert found.environment == ()


@pytest.mark.parametrize(("slowdown", "change"), [(1.1, "worse"), (0.9, "better")])
def test_a_change_beyond_the_tolerance_is_found_in_every_row(
    synthetic: Callable[..., Any], slowdown: float, change: str
) -> None:
    found = compare(side(synthetic("a", 1)), side(synthetic("b", 2, slowdown)))
    timed = [row for row in found.rows if row.a_s is not None]
    assert {row.change for row in timed} == {change}
    for row in timed:
        assert row.ratio is not None
        assert row.ratio.value == pytest.approx(slowdown, rel=0.02)


def test_the_same_two_runs_always_give_the_same_answer(synthetic: Callable[..., Any]) -> None:
    def rows() -> list[dict[str, Any]]:
        return [row.as_row() for row in compare(side(synthetic("a", 1)), side(synthetic("b", 2))).rows]

    assert rows() == rows()


def test_a_tolerance_wider_than_the_change_makes_it_the_same(synthetic: Callable[..., Any]) -> None:
    found = compare(side(synthetic("a", 1)), side(synthetic("b", 2, 1.1)), tolerance=0.2)
    assert found.counts()["worse"] == 0
    assert found.counts()["same"] >= 76


def test_rows_of_one_run_only_are_listed(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    rows = maker.collectives()
    found = compare(side(maker, rows), side(maker, rows[3:] + maker.kernels()[:1]))
    assert len(found.only_a) == 3
    assert {point["algorithm"] for point in found.only_a} == {"library"}
    assert [point["suite"] for point in found.only_b] == ["roof"]


@pytest.mark.parametrize("field", ALIKE)
def test_rows_that_are_not_alike_are_refused_unless_told(synthetic: Callable[..., Any], field: str) -> None:
    value: Any = {"ranks": 8, "nodes": 2, "evidence": "simulated", "origin": "imported"}.get(field, "other")
    maker = synthetic()
    rows = maker.collectives()
    other = side(maker, changed(rows, **{field: value}))
    with pytest.raises(CompareError, match=rf"{field}: .* against {value!r} \(64 rows\).*--force") as caught:
        compare(side(maker, rows), other)
    assert caught.value.exit_code == 2
    found = compare(side(maker, rows), other, force=True)
    assert len(found.rows) == 64
    assert all(field in row.reason for row in found.rows)


def test_a_type_that_only_one_run_measured_is_no_reason_to_refuse(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    rows = maker.collectives()
    found = compare(side(maker, rows + changed(rows, dtype="float64")), side(maker, rows))
    assert len(found.rows) == 64
    assert {point["dtype"] for point in found.only_a} == {"float64"}


def test_runs_without_a_common_row_are_refused(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    with pytest.raises(CompareError, match="no row in common"):
        compare(side(maker, maker.collectives()), side(maker, maker.kernels()))


def test_a_verdict_that_fell_is_worse_even_where_the_time_is_the_same(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    rows = maker.collectives()[:1] + [row for row in maker.kernels() if row[0].evidence == "simulated"][:1]
    found = compare(side(maker, rows), side(maker, changed(rows, verdict="FAIL")))
    assert [row.change for row in found.rows] == ["worse", "worse"]
    assert all("verdict PASS, then FAIL" in row.reason for row in found.rows)
    assert [row.change for row in compare(side(maker, changed(rows, verdict="FAIL")), side(maker, rows)).rows] == [
        "same",
        "better",
    ]


def test_without_an_interval_nothing_can_be_told(synthetic: Callable[..., Any]) -> None:
    row = Measurement(run_id="r", suite="kernels", name="copy", median_s=1.0, n=3)
    a, b = side(synthetic(), [(row, np.ones(3))]), side(synthetic(), [(replace(row, median_s=2.0), np.full(3, 2.0))])
    (found,) = compare(a, b).rows
    assert (found.change, found.reason) == ("cannot tell", "fewer than 6 samples")
    assert found.ratio is not None
    assert found.ratio.value == 2.0


def test_rows_without_raw_samples_are_compared_by_their_intervals(synthetic: Callable[..., Any]) -> None:
    row = Measurement(run_id="r", suite="kernels", name="copy", median_s=1.0, ci95_low_s=0.99, ci95_high_s=1.01, n=50)
    slow = replace(row, median_s=1.2, ci95_low_s=1.19, ci95_high_s=1.21)
    (found,) = compare(side(synthetic(), [(row, None)]), side(synthetic(), [(slow, None)])).rows
    assert found.change == "worse"
    assert found.ratio is not None
    assert found.ratio.low == pytest.approx(1.186, abs=0.004)


def test_simulated_times_are_exact(synthetic: Callable[..., Any]) -> None:
    row = Measurement(run_id="r", suite="collectives", name="x", median_s=1.0, n=1, evidence="simulated")
    (found,) = compare(side(synthetic(), [(row, None)]), side(synthetic(), [(replace(row, median_s=1.03), None)])).rows
    assert found.change == "worse"
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.high) == (1.03, 1.03)


def test_launches_that_disagree_widen_the_interval(synthetic: Callable[..., Any]) -> None:
    def launches(run_id: str, factors: list[float]) -> Side:
        rows = [synthetic(run_id, i + 1, factor).collectives()[0] for i, factor in enumerate(factors)]
        return side(synthetic(run_id), rows)

    def width(comparison: Comparison) -> float:
        (row,) = comparison.rows
        assert row.ratio is not None
        assert row.ratio.low is not None
        assert row.ratio.high is not None
        return row.ratio.high - row.ratio.low

    steady = compare(launches("a", [1.0] * 6), launches("b", [1.05] * 6))
    factors = np.linspace(0.8, 1.3, 6)
    restless = compare(launches("a", list(factors)), launches("b", list(factors + 0.05)))
    assert steady.rows[0].launches == (6, 6)
    assert steady.rows[0].change == "worse"
    assert restless.rows[0].change == "cannot tell"
    assert width(restless) > 5 * width(steady)


def launches_of(maker: Any, medians: list[float], n: int = 20) -> Side:
    rows = [
        maker.row(m * (1 + 0.001 * np.cos(np.arange(n))), suite="kernels", name="copy", dtype="float32")
        for m in medians
    ]
    return side(maker, rows)


@pytest.mark.parametrize(("a", "b"), [([10.0, 10.4], [10.6, 11.0]), ([10.0], [11.0] * 6), ([10.0] * 3, [11.0] * 6)])
def test_too_few_launches_to_know_their_spread_give_no_interval(
    synthetic: Callable[..., Any], a: list[float], b: list[float]
) -> None:
    (row,) = compare(launches_of(synthetic("a"), a), launches_of(synthetic("b"), b)).rows
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(float(np.median(b) / np.median(a)), rel=1e-3)
    assert (row.ratio.low, row.change, row.launches) == (None, "cannot tell", (len(a), len(b)))
    assert f"too few launches: {len(a)} launches against {len(b)}" in row.reason


def test_equal_runs_whose_launches_spread_are_seldom_called_different(synthetic: Callable[..., Any]) -> None:
    rng = np.random.default_rng(23)
    points = 200

    def run() -> Side:
        maker = synthetic()
        factors = np.exp(0.05 * rng.standard_normal((points, LEAST["independent"])))
        what = {"suite": "kernels", "name": "copy"}
        rows = [
            maker.row(factor * (1 + 0.001 * np.cos(np.arange(20))), **what, size_bytes=size)
            for size in range(points)
            for factor in factors[size]
        ]
        return side(maker, rows)

    found = compare(run(), run())
    assert {row.launches for row in found.rows} == {(4, 4)}
    counts = found.counts()
    assert (counts["better"] + counts["worse"]) / points <= 0.1


def test_a_launch_of_few_samples_counts_in_the_interval_as_in_the_value(synthetic: Callable[..., Any]) -> None:
    steady, short = launches_of(synthetic("a"), [10.0] * 4), launches_of(synthetic("b"), [10.0, 11.0, 12.0, 13.0], n=3)
    (row,) = compare(steady, short).rows
    assert row.ratio is not None
    assert row.ratio.low == pytest.approx(1.0, rel=0.01)
    assert row.ratio.high == pytest.approx(1.3, rel=0.01)


def test_a_ceiling_that_was_measured_again_is_one_row_the_highest(synthetic: Callable[..., Any]) -> None:
    def run(rates: list[float]) -> Side:
        maker = synthetic()
        what = {"suite": "roof", "name": "copy", "dtype": "float64"}
        rows = [maker.row(np.full(10, 1e9 / rate), **what, bytes_per_s=rate) for rate in rates]
        return side(maker, rows)

    (row,) = compare(run([9e9, 10e9, 7e9, 6e9, 6e9]), run([10e9])).rows
    assert (row.change, row.launches) == ("same", (1, 1))
    assert row.a_s == pytest.approx(0.1)


def test_rows_of_several_types_on_another_device_are_refused_or_compared_by_type(
    synthetic: Callable[..., Any],
) -> None:
    maker = synthetic()
    rows = maker.collectives()[:2]
    both = rows + changed(rows, dtype="float64")
    other = changed(list(reversed(both)), device="another CPU")
    with pytest.raises(CompareError, match=r"device: .* against 'another CPU' \(4 rows\)"):
        compare(side(maker, both), side(maker, other))
    found = compare(side(maker, both), side(maker, other), force=True)
    assert len(found.rows) == 4
    assert found.only_a == found.only_b == ()
    assert all("device" in row.reason and "dtype" not in row.reason for row in found.rows)


def test_one_row_in_common_hides_no_others_that_are_not_alike(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    kernels = [row for row in maker.kernels() if row[0].suite == "kernels" and row[1] is not None]
    kernels += changed(kernels, dtype="float64")
    shared = maker.collectives()[:1]
    with pytest.raises(CompareError, match="device"):
        compare(side(maker, shared + kernels), side(maker, shared + changed(kernels, device="another CPU")))


def test_differences_of_the_environments_are_named(synthetic: Callable[..., Any]) -> None:
    a, b = side(synthetic()), side(synthetic())
    (run,) = b.runs
    other = {**run.environment, "mpi": {**run.environment["mpi"], "version": "5.0.3"}}
    found = compare(a, replace(b, runs=(replace(run, environment=other),)))
    assert found.environment == (("mpi.version", "5.0.2", "5.0.3"),)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 1.0])
def test_a_tolerance_that_is_none_is_refused(synthetic: Callable[..., Any], tolerance: float) -> None:
    with pytest.raises(CompareError, match="tolerance"):
        compare(side(synthetic()), side(synthetic()), tolerance)


def test_rows_of_other_traffic_are_not_compared(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    rows = changed(maker.collectives()[:1], name="all_to_all_v")
    uniform, skewed, again = (
        side(maker, changed(rows, shape=f"bytes=8,traffic={name}"))
        for name in ("uniform", "skewed:1,seed=7", "skewed:1,seed=8")
    )
    assert len(compare(skewed, skewed).rows) == 1
    for other in (uniform, again, side(maker, rows)):
        with pytest.raises(CompareError, match="no row in common"):
            compare(skewed, other, force=True)


def test_one_launch_a_side_tells_nothing_unless_its_samples_are_to_decide(synthetic: Callable[..., Any]) -> None:
    a, b = side(synthetic("a", 1)), side(synthetic("b", 2, 1.1))
    found = compare_sides(a, b)
    timed = [row for row in found.rows if row.a_s is not None]
    assert {(row.change, row.launches) for row in timed} == {("cannot tell", (1, 1))}
    for row in timed:
        assert row.ratio is not None
        assert row.ratio.low is not None
        assert row.needed is not None
        assert row.needed > LEAST["independent"]
        assert "the interval is that of samples within a launch" in row.reason


def test_samples_that_decide_are_adjusted_over_all_rows(synthetic: Callable[..., Any]) -> None:
    rng = np.random.default_rng(31)

    def run() -> Side:
        maker = synthetic()
        what = {"suite": "kernels", "name": "copy"}
        return side(maker, [maker.row(np.exp(0.1 * rng.standard_normal(20)), **what, size_bytes=i) for i in range(300)])

    counts = compare(run(), run()).counts()
    assert counts["better"] + counts["worse"] <= 3
