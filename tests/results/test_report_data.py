"""What the report holds for the page to compute with: each row once, in columns, with the number of its point."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from clusterbench.results.columns import to_frame
from clusterbench.results.compare import ALIKE, POINT
from clusterbench.results.record import Measurement, Run
from clusterbench.results.report.data import FILTERS, embedded
from clusterbench.results.report.page import numbered


def of(runs: list[Run], rows: list[Measurement]) -> tuple[dict[str, Any], Any]:
    frame = numbered(runs, to_frame(rows))
    return embedded(runs, frame), frame


def texts(found: dict[str, Any], name: str) -> list[str]:
    column = found["rows"][name]
    return [column["values"][code] for code in column["codes"]]


def test_every_row_is_held_once_with_its_texts_and_figures(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    found, frame = of([maker.run()], [row for row, _ in maker.kernels() + maker.collectives() + maker.messages()])
    assert found["count"] == len(frame) == len(found["rows"]["run"])
    for name in ("suite", "algorithm", "host", "evidence", "reason", "note"):
        assert texts(found, name) == frame[name].tolist()
        assert len(set(found["rows"][name]["values"])) == len(found["rows"][name]["values"])
    assert texts(found, "verdict") == frame["verdict"].fillna("not judged").tolist()
    times = [time_s for time_s in found["rows"]["median_s"] if time_s is not None]
    assert times == pytest.approx(frame["median_s"].dropna().tolist(), rel=1e-6)
    assert set(FILTERS) <= set(found["rows"])
    json.dumps(found, allow_nan=False)


def test_rows_share_a_point_where_a_comparison_lets_them_meet(synthetic: Callable[..., Any]) -> None:
    makers = [synthetic("a", 1), synthetic("b", 2)]
    rows = [row for maker in makers for row, _ in maker.kernels() + maker.collectives()]
    found, frame = of([maker.run() for maker in makers], rows)
    keys: dict[int, set[tuple[Any, ...]]] = {}
    size = frame["shape"].where(frame["shape"] != "", frame["size_bytes"].astype("str"))
    columns = [frame.assign(size=size)[name] for name in (*POINT, *ALIKE)]
    for point, key in zip(found["rows"]["point"], zip(*columns, strict=True), strict=True):
        keys.setdefault(point, set()).add(key)
    assert all(len(of_point) == 1 for of_point in keys.values())
    assert len(set.union(*keys.values())) == len(keys) == len(frame) / 2


def test_a_ceiling_and_a_pair_measured_again_are_no_launches() -> None:
    roof = Measurement(run_id="r", suite="roof", name="copy", bytes_per_s=1e9)
    pair = Measurement(run_id="r", suite="pairs", name="latency", algorithm="alone", shape="src=0,dst=1", median_s=1e-6)
    rows = [roof, replace(roof, bytes_per_s=3e9), replace(roof, bytes_per_s=2e9)]
    rows += [pair, replace(pair, median_s=5e-6), replace(pair, median_s=2e-6)]
    found, frame = of([Run(run_id="r", started_at="")], rows)
    kept = [i for i, point in enumerate(found["rows"]["point"]) if point >= 0]
    assert [frame["bytes_per_s"][i] for i in kept if frame["suite"][i] == "roof"] == [3e9]
    assert [frame["median_s"][i] for i in kept if frame["suite"][i] == "pairs"] == [2e-6]


def test_options_of_an_algorithm_are_another_point() -> None:
    row = Measurement(run_id="r", suite="collectives", name="broadcast", algorithm="chain", median_s=1.0)
    rows = [replace(row, note=f"ran as chain:segments={count}") for count in (1, 4, 4)]
    found, _ = of([Run(run_id="r", started_at="")], rows)
    a, b, c = found["rows"]["point"]
    assert a != b == c


def test_only_settings_that_differ_are_held_of_an_environment() -> None:
    runs = [
        Run(run_id=str(i), started_at="", environment={"cpu": {"governor": governor, "model": "same"}, **more})
        for i, (governor, more) in enumerate([("performance", {}), ("powersave", {"mpi": {"family": "mpich"}})])
    ]
    found = embedded(runs, numbered(runs, to_frame([])))["environment"]
    shown = [
        {name: found["texts"][code] if code >= 0 else None for name, code in zip(found["names"], codes, strict=True)}
        for codes in found["codes"]
    ]
    assert shown == [
        {"Processor: governor": "performance", "MPI: family": None},
        {"Processor: governor": "powersave", "MPI: family": "mpich"},
    ]


def test_figures_that_are_no_numbers_are_missing() -> None:
    odd = Measurement(run_id="r", suite="kernels", name="copy", median_s=float("inf"), bytes_per_s=float("nan"))
    found, _ = of([Run(run_id="r", started_at="")], [odd])
    assert found["rows"]["median_s"] == found["rows"]["rate"] == [None]
    json.dumps(found, allow_nan=False)
