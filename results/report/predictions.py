"""Bound, prediction and measurement in one figure for each collective that was held against a topology."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from clusterbench.results.notes import expecting_model
from clusterbench.results.predictions import error_of, is_predicted, prediction_error
from clusterbench.results.report import units
from clusterbench.results.report.figures import (
    MUTED,
    Look,
    Picture,
    Trace,
    axis,
    collective_title,
    decade_ticks,
    figure,
    look,
    numbers,
    plain,
    series_name,
    size_ticks,
)
from clusterbench.results.report.rows import COLLECTIVE_FIELDS, grouped, lines, timed_collectives

if TYPE_CHECKING:
    from pandas import DataFrame

_SERIES = ("algorithm", "transport", "backend", "evidence", "origin")


def predictions(rows: DataFrame, anchor: str) -> list[Picture]:
    """For every collective with rows that have a bound, a predicted and a measured time: the three over size."""
    listed = [row for row in lines(timed_collectives(rows)) if is_predicted(row) and row.bound_s]
    return [
        _picture(group, dict(zip((*COLLECTIVE_FIELDS, "topology"), key, strict=True)), f"{anchor}-predicted-{number}")
        for number, (key, group) in enumerate(grouped(listed, (*COLLECTIVE_FIELDS, "topology")).items())
    ]


def _picture(rows: list[Any], key: dict[str, Any], anchor: str) -> Picture:
    series = grouped(rows, _SERIES)
    traces = []
    for number, (of, group) in enumerate(series.items()):
        by_size = sorted(group, key=attrgetter("size_bytes"))
        traces += [_measured(by_size, series_name(*of), look(number)), _predicted(by_size, of[0], look(number))]
    least = {row.size_bytes: row for row in sorted(rows, key=attrgetter("bound_s"), reverse=True)}
    traces.append(_bound([least[size] for size in sorted(least)]))
    sizes = [row.size_bytes for row in rows]
    times = [y for trace in traces for y in trace["y"] if y]
    x = axis("size, bytes (K = 1024)", type="log", **size_ticks(min(sizes), max(sizes)))
    y = axis("time, ms", type="log", **decade_ticks(min(times), max(times)))
    title = f"{collective_title(key)}: bound, prediction and measurement"
    return Picture(anchor, title, _caption(rows, key["topology"]), figure(traces, x, y))


def _caption(rows: list[Any], topology: str) -> str:
    found = prediction_error(rows)
    assert found is not None  # every row is predicted
    models = {expecting_model(row.note).partition(",")[0] for row in rows}
    by = " and ".join(sorted(model or "the rates of links" for model in models))
    return (
        f"Filled markers are measured, open ones predicted by the simulator from {plain(by)}; dotted is the bound of "
        f"{plain(topology)}. Predictions are off by {found.median:.1%} in the median of {found.rows} rows, at most by "
        f"{found.worst:.1%} ({plain(found.algorithm)}, {units.size(found.size_bytes)})."
    )


def _measured(rows: list[Any], name: str, drawn: Look) -> Trace:
    ends = [(row.ci95_low_s or row.median_s, row.ci95_high_s or row.median_s) for row in rows]
    trace = _line(rows, "median_s", name, drawn.colour)
    reach = {
        "array": numbers((high - row.median_s) * 1e3 for row, (_, high) in zip(rows, ends, strict=True)),
        "arrayminus": numbers((row.median_s - low) * 1e3 for row, (low, _) in zip(rows, ends, strict=True)),
    }
    bars = {"type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": drawn.colour}
    marker = {"symbol": drawn.symbol, "size": 8, "color": drawn.colour}
    return {**trace, "mode": "lines+markers", "marker": marker, "error_y": {**bars, **reach}}


def _predicted(rows: list[Any], algorithm: str, drawn: Look) -> Trace:
    trace = _line(rows, "expected_s", f"{algorithm}, predicted", drawn.colour, "dash")
    marker = {"symbol": f"{drawn.symbol}-open", "size": 11, "color": drawn.colour}
    return {**trace, "mode": "lines+markers", "marker": marker}


def _bound(rows: list[Any]) -> Trace:
    lone = {"symbol": "line-ew", "size": 24, "line": {"color": MUTED, "width": 1.5}}
    trace = _line(rows, "bound_s", "bound", MUTED, "dot")
    return {**trace, "mode": "lines" if len(rows) > 1 else "markers", "marker": lone}


def _line(rows: list[Any], column: str, name: str, colour: str, dash: str = "solid") -> Trace:
    return {
        "type": "scatter",
        "x": [row.size_bytes for row in rows],
        "y": numbers(getattr(row, column) * 1e3 for row in rows),
        "name": plain(name),
        "line": {"color": colour, "width": 2 if dash == "solid" else 1.5, "dash": dash},
        "text": [
            f"<b>{plain(name)}</b>, {units.size(row.size_bytes)}<br>measured {units.time(row.median_s)}, predicted "
            f"{units.time(row.expected_s)}, off by {error_of(row):.1%}<br>bound {units.time(row.bound_s)}"
            for row in rows
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "meta": [row.row for row in rows],
    }
