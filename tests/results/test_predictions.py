"""The error of predictions, and the figure of bound, prediction and measurement."""

from __future__ import annotations

from typing import Any

import pytest

from clusterbench.results.columns import to_frame
from clusterbench.results.predictions import prediction_error
from clusterbench.results.record import Measurement
from clusterbench.results.report.figure_files import draw
from clusterbench.results.report.predictions import predictions


def row(algorithm: str, size_bytes: int, median_s: float, expected_s: float | None, **more: Any) -> Measurement:
    fields = {
        "suite": "collectives", "name": "all_reduce", "op": "sum", "dtype": "float32", "ranks": 8,
        "topology": "single-switch:nodes=8", "evidence": "emulated", "bound_s": 0.5 * median_s,
        "algorithm": algorithm, "size_bytes": size_bytes, "median_s": median_s, "expected_s": expected_s, **more,
    }  # fmt: skip
    return Measurement(run_id="r", **fields)


ROWS = [
    row("ring", 1 << 20, 0.100, 0.098, note="expected by pairs of ranks, α = 300 µs"),
    row("ring", 1 << 22, 0.400, 0.300, note="expected by pairs of ranks, α = 310 µs"),
    row("chain", 1 << 20, 0.200, 0.210, note="expected by pairs of ranks, α = 300 µs"),
    row("library", 1 << 20, 0.300, 0.098),
]


def test_the_error_is_of_what_was_predicted_and_names_the_worst() -> None:
    found = prediction_error(ROWS)
    assert found is not None
    assert (found.rows, found.algorithm, found.size_bytes) == (3, "ring", 1 << 22)
    assert (found.median, found.worst) == pytest.approx((0.05, 0.25))


@pytest.mark.parametrize(
    "other", [{"topology": ""}, {"evidence": "simulated"}, {"expected_s": None}, {"algorithm": "library:3"}]
)
def test_what_is_no_prediction_has_no_error_and_no_figure(other: dict[str, Any]) -> None:
    fields = {"algorithm": "ring", "size_bytes": 8, "median_s": 1.0, "expected_s": 1.0, **other}
    rows = [row(**fields)]
    assert prediction_error(rows) is None
    assert predictions(to_frame(rows), "x") == []


def test_one_figure_has_bound_prediction_and_measurement_of_each_algorithm() -> None:
    (picture,) = predictions(to_frame(ROWS), "x")
    named = {trace["name"]: trace for trace in picture.figure["data"]}
    assert list(named) == ["ring (emulated)", "ring, predicted", "chain (emulated)", "chain, predicted", "bound"]
    assert named["ring (emulated)"]["y"] == pytest.approx([100, 400])
    assert named["ring, predicted"]["y"] == pytest.approx([98, 300])
    assert named["bound"]["y"] == pytest.approx([50, 200])
    assert named["ring, predicted"]["line"]["color"] == named["ring (emulated)"]["line"]["color"]
    assert "off by 5.0% in the median of 3 rows, at most by 25.0% (ring, 4 MiB)" in picture.caption
    assert "from pairs of ranks" in picture.caption
    assert len(draw(picture).axes[0].get_lines()) >= 5


def test_each_topology_has_a_figure_of_its_own() -> None:
    rows = [*ROWS, row("ring", 1 << 20, 1.0, 1.1, topology="single-switch:nodes=8,ranks=random:1")]
    assert len(predictions(to_frame(rows), "x")) == 2
