"""Messages between pairs of ranks: latency and bandwidth over size, and the matrix of all pairs as a heat map."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.notes import PAIR_CLASSES, pair_class
from clusterbench.results.report import units
from clusterbench.results.report.cells import (
    Cell,
    Table,
    evidence_cell,
    heads,
    mark_cell,
    number_cell,
    size_cell,
    table_of,
    text_cell,
    timing_cells,
)
from clusterbench.results.report.figures import Picture, axis, evidence_suffix, figure, look, over_size, plain
from clusterbench.results.report.rows import groups, lines, shape_fields

if TYPE_CHECKING:
    from pandas import DataFrame

AT_ONCE = "at-once"
"""The `algorithm` of pairs that were measured with all others of their round."""
MOST_CELLS = 256
"""Ranks a side of a heat map, beyond which neighbours share a cell."""
_LATENCY = "latency"
_SCALE = [[0.0, "var(--heat-1)"], [0.5, "var(--heat-2)"], [1.0, "var(--heat-3)"]]
"""From the best to the worst."""
_LEAST_RANGE = 2.0
"""Of a colour scale, worst / best: less would paint noise in all its colours."""

Matrix = NDArray[np.float64]


def messages(rows: DataFrame, anchor: str) -> list[Picture]:
    """Latency and bandwidth over size, for every pair, type and number of ranks of the suite `point-to-point`."""
    timed = rows[(rows["suite"] == "point-to-point") & rows["median_s"].notna()]
    pairs = sorted(set(zip(timed["algorithm"], timed["transport"], strict=True)))
    looks = {pair: look(i) for i, pair in enumerate(pairs)}
    timed = timed.assign(pair=[_pair(shape) for shape in timed["shape"]])
    pictures = []
    for number, (key, group) in enumerate(groups(timed, ("name", "dtype", "pair", "ranks", "nodes"))):
        name, dtype, pair, ranks, nodes = key
        where = f"{ranks} ranks" + (f", {nodes} hosts" if nodes > 1 else "")
        title = ", ".join(part for part in (f"{name} {dtype}", pair, where) if part)
        is_latency = group["algorithm"] == _LATENCY
        for part, what, said, caption in (
            (group[is_latency], "time", "latency", "Lower is better. Half of a round trip; bars are 95 % intervals."),
            (group[~is_latency], "busbw", "bandwidth",
             "Higher is better. Two-way counts both directions; bars are 95 % intervals."),
        ):  # fmt: skip
            if not part.empty:
                place = f"{anchor}-{said}-{number}"
                pictures.append(over_size(list(lines(part)), what, f"{title}: {said}", place, caption, looks))
    return pictures


def _pair(shape: str) -> str:
    fields = shape_fields(shape)
    window = f", window {fields['window']}" if "window" in fields else ""
    return f"rank {fields['src']} to {fields['dst']}{window}" if {"src", "dst"} <= set(fields) else ""


def heat_maps(rows: DataFrame, anchor: str) -> list[Picture]:
    """The matrix of all pairs that were measured at once: one figure for latency, one for bandwidth."""
    chosen = rows[(rows["suite"] == "pairs") & (rows["algorithm"] == AT_ONCE) & rows["median_s"].notna()]
    pictures = []
    by = ("name", "size_bytes", "ranks", "evidence", "origin")
    for number, (key, group) in enumerate(groups(chosen.sort_values("name", ascending=False, kind="stable"), by)):
        name, size_bytes, ranks, evidence, origin = key
        matrix = pair_matrix(group, int(ranks), both_ways=name == _LATENCY)
        if matrix is None:
            continue
        cells, width = _cells(matrix)
        what = "latency" if name == _LATENCY else "bandwidth"
        title = f"All pairs: {what} at {units.size(size_bytes)}, {ranks} ranks{evidence_suffix(evidence, origin)}"
        pictures.append(_heat_map(group, cells, width, size_bytes, title, f"{anchor}-pairs-{number}"))
    return pictures


def pair_matrix(rows: DataFrame, ranks: int, both_ways: bool) -> Matrix | None:
    """Seconds a message by sender and receiver, NaN where a pair was not measured; None where no row names a pair.

    With `both_ways` a row stands for both directions. Of several rows of a pair the last counts.
    """
    matrix = np.full((ranks, ranks), np.nan)
    for shape, median_s in zip(rows["shape"], rows["median_s"], strict=True):
        fields = shape_fields(shape)
        ends = [fields.get(name, "") for name in ("src", "dst")]
        if not all(end.isdecimal() and int(end) < ranks for end in ends):
            continue
        src, dst = map(int, ends)
        matrix[src, dst] = median_s
        if both_ways:
            matrix[dst, src] = median_s
    return None if np.isnan(matrix).all() else matrix


def _cells(matrix: Matrix) -> tuple[Matrix, int]:
    """The matrix with no more than `MOST_CELLS` a side, each the median of what was measured in it; ranks a cell."""
    ranks = len(matrix)
    width = -(-ranks // MOST_CELLS)
    if width == 1:
        return matrix, 1
    side = -(-ranks // width)
    padded = np.full((side * width, side * width), np.nan)
    padded[:ranks, :ranks] = matrix
    blocks = padded.reshape(side, width, side, width).transpose(0, 2, 1, 3).reshape(side, side, -1)
    cells = np.full((side, side), np.nan)
    known = ~np.isnan(blocks).all(axis=2)
    cells[known] = np.nanmedian(blocks[known], axis=1)
    return cells, width


def _heat_map(rows: DataFrame, times_s: Matrix, width: int, size_bytes: int, title: str, anchor: str) -> Picture:
    """The figure of `times_s`, which are those of `rows`; a cell stands for `width` ranks a side."""
    latency = rows["name"].iloc[0] == _LATENCY
    side = len(times_s)
    values = times_s * 1e6 if latency else size_bytes / times_s / 1e9
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if latency:
        high = max(high, low * _LEAST_RANGE)
    else:
        low = min(low, high / _LEAST_RANGE)
    unit = "µs" if latency else "GB/s"
    ticks = [low, math.sqrt(low * high), high]
    names = [str(i) if width == 1 else f"{i * width}–{min((i + 1) * width, side * width) - 1}" for i in range(side)]
    trace = {
        "type": "heatmap",
        "x": list(range(side)),
        "y": list(range(side)),
        "z": _rows(np.log10(values)),
        "customdata": _rows(values),
        "zmin": math.log10(low),
        "zmax": math.log10(high),
        "colorscale": _SCALE,
        "reversescale": not latency,
        "hoverongaps": False,
        "xgap": 1 if side <= 64 else 0,
        "ygap": 1 if side <= 64 else 0,
        "hovertemplate": f"rank %{{y}} to %{{x}}<br><b>%{{customdata:.3g}} {unit}</b><extra></extra>",
        "colorbar": {
            "title": {"text": unit},
            "thickness": 14,
            "outlinewidth": 0,
            "tickvals": [math.log10(tick) for tick in ticks],
            "ticktext": [units.digits(tick) for tick in ticks],
        },
        "meta": rows.index.tolist(),
    }
    step = max(1, -(-side // 12))
    shown = {"tickvals": list(range(0, side, step)), "ticktext": names[::step], "showgrid": False}
    x = axis("to rank", constrain="domain", side="bottom", **shown)
    y = axis("from rank", autorange="reversed", scaleanchor="x", constrain="domain", **shown)
    drawn = figure([trace], x, y)
    drawn["layout"]["showlegend"] = False
    better = "lower is better, and both directions are one measurement" if latency else "higher is better"
    more = "" if width == 1 else f" A cell is the median of the measured pairs of {width} ranks on each side."
    gaps = int(np.isnan(times_s).sum()) - (side if width == 1 else 0)
    more += " Pairs without colour were not measured." if gaps > 0 else ""
    caption = (
        f"All pairs of a round at once; {better}. The stronger the colour, the worse the pair, on a logarithmic "
        f"scale.{more}"
    )
    return Picture(anchor, plain(title), caption, drawn)


def _rows(values: Matrix) -> list[list[float | None]]:
    """Four digits of every value; None for NaN, as JSON has it."""
    return [[None if value != value else float(f"{value:.4g}") for value in line] for line in values.tolist()]


def message_table(rows: DataFrame, anchor: str) -> Table | None:
    """The rows of the suite `point-to-point`."""
    chosen = rows[rows["suite"] == "point-to-point"]
    if chosen.empty:
        return None
    listed = tuple(
        (
            text_cell(row.name),
            text_cell(row.algorithm),
            text_cell(_pair(row.shape)),
            text_cell(row.dtype),
            size_cell(row.size_bytes),
            *timing_cells(row),
            number_cell(row.busbw, units.giga(row.busbw)),
            number_cell(row.wrong, f"{row.wrong}"),
            mark_cell(row.verdict, "not judged"),
            evidence_cell(row),
        )
        for row in lines(chosen)
    )
    columns = heads(
        "Test", "What", "Ranks", "Type", "#Size", "#Time a message", "#95 %", "#GB/s", "#Wrong", "Verdict", "Evidence"
    )
    return table_of(anchor, "Messages: time of one, and bandwidth", columns, listed, zip(chosen.index, strict=True))


def named_pairs(rows: DataFrame, anchor: str) -> Table | None:
    """The pairs that were slow with the others and alone, with who is to blame."""
    chosen = rows[(rows["suite"] == "pairs") & (rows["algorithm"] != AT_ONCE) & (rows["culprit"] != "")]
    if chosen.empty:
        return None
    listed = tuple(
        (
            Cell(row.culprit, row.culprit),
            text_cell(row.name),
            text_cell(_pair(row.shape)),
            size_cell(row.size_bytes),
            *timing_cells(row),
            number_cell(row.algbw, units.giga(row.algbw)),
            text_cell(row.reason),
            evidence_cell(row),
        )
        for row in lines(chosen)
    )
    columns = heads("Culprit", "What", "Pair", "#Size", "#Time alone", "#95 %", "#GB/s alone", "Figures", "Evidence")
    return table_of(
        anchor, "Pairs that are slow with the others and alone", columns, listed, zip(chosen.index, strict=True)
    )


def pair_summary(rows: DataFrame, anchor: str) -> Table | None:
    """The figures of all pairs together, by what the two ranks share (`notes.PAIR_CLASSES`)."""
    chosen = rows[(rows["suite"] == "pairs") & (rows["algorithm"] == AT_ONCE) & rows["median_s"].notna()]
    listed, behind = [], []
    by_nodes = {1: "same host"}  # of rows that name no class
    shared = [
        pair_class(note) or by_nodes.get(nodes, "other host")
        for note, nodes in zip(chosen["note"], chosen["nodes"], strict=True)
    ]
    chosen = chosen.assign(shared=shared, place=[PAIR_CLASSES.index(name) for name in shared])
    chosen = chosen.sort_values(["name", "place"], ascending=[False, True], kind="stable")
    for (name, size_bytes, which, ranks), group in groups(chosen, ("name", "size_bytes", "shared", "ranks")):
        times_s = group["median_s"].to_numpy()
        median_s = float(np.median(times_s))
        cells = [_value(name, size_bytes, time_s) for time_s in (median_s, times_s.min(), times_s.max())]
        behind.append(group.index.tolist())
        deviation = float(np.median(np.abs(times_s - median_s))) / median_s
        listed.append(
            (
                text_cell(name),
                text_cell(which),
                number_cell(ranks, str(ranks)),
                size_cell(size_bytes),
                number_cell(len(group), str(len(group))),
                cells[0],
                number_cell(deviation, f"{units.digits(deviation * 100, 2)} %"),
                *cells[1:],
            )
        )
    columns = heads("What", "Pairs on the", "#Ranks", "#Size", "#Measurements", "#Median", "#MAD", "#Best", "#Worst")
    caption = "All pairs, by what their ranks share; MAD is the median absolute deviation of the times"
    return table_of(anchor, caption, columns, tuple(listed), behind) if listed else None


def _value(name: str, size_bytes: int, time_s: float) -> Cell:
    if name == _LATENCY:
        return number_cell(time_s, units.time(time_s))
    rate: Any = size_bytes / time_s
    return number_cell(rate, f"{units.giga(rate)} GB/s")
