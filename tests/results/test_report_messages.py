"""Messages in the report: latency and bandwidth over size, the heat map of all pairs, and who was named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clusterbench.results.columns import to_frame
from clusterbench.results.record import Measurement
from clusterbench.results.report import messages
from clusterbench.results.report.page import render_report


@pytest.fixture(scope="module")
def rows(synthetic: Callable[..., Any]) -> list[Measurement]:
    return [row for row, _ in synthetic().messages()]


def pair(name: str, src: Any, dst: Any, time_s: float, ranks: int, **more: Any) -> Measurement:
    fields = {"suite": "pairs", "algorithm": "at-once", "size_bytes": 1000, "ranks": ranks, **more}
    return Measurement(run_id="r", name=name, shape=f"src={src},dst={dst}", median_s=time_s, **fields)


def test_messages_have_a_figure_of_latency_and_of_bandwidth(rows: list[Measurement]) -> None:
    found = {picture.title: picture for picture in messages.messages(to_frame(rows), "x")}
    assert list(found) == [
        "pingpong float32, rank 0 to 3, window 64, 4 ranks: latency",
        "pingpong float32, rank 0 to 3, window 64, 4 ranks: bandwidth",
        "sendrecv float32, 4 ranks: bandwidth",
    ]
    bandwidth = found["pingpong float32, rank 0 to 3, window 64, 4 ranks: bandwidth"].figure["data"]
    assert [trace["name"] for trace in bandwidth] == ["one-way", "two-way"]
    assert bandwidth[1]["y"][-1] == pytest.approx(2 * bandwidth[0]["y"][-1], rel=0.05)


def test_a_heat_map_shows_each_pair_where_it_belongs_and_a_slow_rank_as_a_cross(rows: list[Measurement]) -> None:
    latency, bandwidth = messages.heat_maps(to_frame(rows), "x")
    assert latency.title == "All pairs: latency at 8 B, 4 ranks"
    assert bandwidth.title == "All pairs: bandwidth at 1 MiB, 4 ranks"
    for picture, worst in ((latency, max), (bandwidth, min)):
        values = picture.figure["data"][0]["customdata"]
        assert [values[i][i] for i in range(4)] == [None] * 4
        flat = [values[i][j] for i in range(4) for j in range(4) if i != j]
        slow = [values[i][j] for i in range(4) for j in range(4) if i != j and 2 in (i, j)]
        usual = [value for value in flat if value not in slow]
        assert len(slow) == len(usual) == 6
        assert worst([*slow, worst(usual)]) in slow
        ratio = np.median(slow) / np.median(usual)
        assert ratio == pytest.approx(10 if worst is max else 1 / 10, rel=0.1)
    values = latency.figure["data"][0]["customdata"]
    assert [list(line) for line in values] == [list(column) for column in zip(*values, strict=True)]


def test_the_colours_run_from_the_best_to_the_worst(rows: list[Measurement]) -> None:
    latency, bandwidth = (picture.figure["data"][0] for picture in messages.heat_maps(to_frame(rows), "x"))
    assert not latency["reversescale"]
    assert bandwidth["reversescale"]
    assert latency["zmin"] == pytest.approx(
        np.log10(min(v for line in latency["customdata"] for v in line if v)), abs=1e-3
    )


def test_noise_is_not_painted_in_all_colours() -> None:
    frame = to_frame([pair("latency", 0, 1, 1e-6, 3), pair("latency", 0, 2, 1.01e-6, 3)])
    (trace,) = (picture.figure["data"][0] for picture in messages.heat_maps(frame, "x"))
    assert 10 ** (trace["zmax"] - trace["zmin"]) == pytest.approx(2.0)


def test_what_was_measured_again_alone_does_not_replace_the_matrix(rows: list[Measurement]) -> None:
    again = [replace(row, median_s=77.0) if row.algorithm == "alone" else row for row in rows]
    for picture in messages.heat_maps(to_frame(again), "x"):
        assert not any(value == 77e6 for line in picture.figure["data"][0]["customdata"] for value in line)


def test_pairs_that_were_not_measured_are_gaps_and_said_to_be() -> None:
    (picture,) = messages.heat_maps(to_frame([pair("bandwidth", 0, 1, 1e-6, 3)]), "x")
    assert [list(line) for line in picture.figure["data"][0]["customdata"]] == [
        [None, 1.0, None],
        [None] * 3,
        [None] * 3,
    ]
    assert "not measured" in picture.caption


@pytest.mark.parametrize("ends", [(0, 3), ("-1", 1), ("x", 1), ("0", ""), ("²", 1)])
def test_a_row_that_names_no_pair_of_these_ranks_is_left_out(ends: tuple[Any, Any]) -> None:
    assert messages.heat_maps(to_frame([pair("bandwidth", *ends, 1e-6, 3)]), "x") == []


def test_beyond_256_ranks_neighbours_share_a_cell() -> None:
    ranks = 600
    frame = to_frame(
        [pair("bandwidth", src, dst, 1e-6 * (1 + src), ranks) for src, dst in ((0, 1), (2, 1), (1, 0), (599, 0))]
    )
    (picture,) = messages.heat_maps(frame, "x")
    values = picture.figure["data"][0]["customdata"]
    assert len(values) == 200
    assert values[0][0] == pytest.approx(1000 / 2e-6 / 1e9)
    assert values[199][0] == pytest.approx(1000 / 600e-6 / 1e9, rel=1e-3)
    assert "median of the measured pairs of 3 ranks" in picture.caption


def test_named_pairs_stand_in_a_table_with_their_culprit(rows: list[Measurement]) -> None:
    table = messages.named_pairs(to_frame(rows), "x")
    assert table is not None
    assert [row[0].text for row in table.rows] == ["rank 0 - rank 2"]
    assert messages.named_pairs(to_frame([row for row in rows if not row.culprit]), "x") is None


def test_the_summary_counts_pairs_apart_by_what_they_share() -> None:
    rows = [
        pair("latency", 1, 2, 7e-6, 4, nodes=2, note="other host; from a to b"),
        pair("latency", 0, 2, 5e-6, 4, nodes=2),
        pair("latency", 0, 1, 1e-6, 4, note="same host"),
        pair("latency", 0, 3, 9e-6, 4, note="same core; more ranks than cores"),
    ]
    table = messages.pair_summary(to_frame(rows), "x")
    assert table is not None
    shown = [{h.text: c.text for h, c in zip(table.heads, row, strict=True)} for row in table.rows]
    assert [(s["Pairs on the"], s["Measurements"], s["Median"], s["Worst"]) for s in shown] == [
        ("same core", "1", "9.00 µs", "9.00 µs"),
        ("same host", "1", "1.00 µs", "1.00 µs"),
        ("other host", "2", "6.00 µs", "7.00 µs"),
    ]


def test_the_page_has_a_part_for_messages_only_where_there_are_any(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    with_them = render_report([maker.run()], to_frame(row for row, _ in maker.messages()))
    assert "Messages between ranks" in with_them
    assert "rank 0 - rank 2" in with_them
    assert "Messages between ranks" not in render_report([maker.run()], to_frame(row for row, _ in maker.kernels()))
