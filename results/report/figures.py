"""The figures of the report, as plotly figures without colours of their own.

A colour is written as `var(--series-1)`: the page replaces it by the value that its style sheet has for the theme that
is on, so that light and dark are one figure. Text that comes from outside goes through `plain`, as plotly reads markup.
What is not measured is drawn dashed with open markers and named so, everywhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clusterbench.results.notes import remarks
from clusterbench.results.report import units
from clusterbench.results.report.rows import COLLECTIVE_FIELDS, LIBRARY, groups, lines, sharing_cores, timed_collectives

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure

SMALL_BYTES = 64 * 1024
"""Up to here the latency of a collective is what matters; its figure ends here."""

_SERIES = tuple(f"var(--series-{i})" for i in range(1, 9))
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "hourglass")
_DASHES = ("solid", "dot", "dashdot")
"""Of the first, second and third series of a colour; `dash` is what was not measured."""
_INK, _MUTED, _GRID = "var(--ink)", "var(--muted)", "var(--line)"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with what the page writes around it."""

    anchor: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Look:
    """How a series is drawn."""

    colour: str
    symbol: str
    dash: str


Looks = dict[tuple[str, str], Look]
"""By algorithm and transport."""


def plain(text: object) -> str:
    """Text from outside, so that plotly shows it instead of reading markup in it."""
    return html.escape(str(text), quote=False)


def evidence_suffix(evidence: str, origin: str) -> str:
    """What a name carries so that a number that was not measured here never looks like one that was."""
    marks = [mark for mark, said in ((evidence, evidence != "measured"), (origin, origin != "own")) if said]
    return f" ({', '.join(marks)})" if marks else ""


def size_ticks(smallest: float, largest: float, at_most: int = 6) -> dict[str, Any]:
    """Powers of two, evenly spaced, as ticks of a logarithmic axis."""
    low = max(0, int(smallest).bit_length() - 1)
    high = max(low + 1, int(largest).bit_length())
    step = max(1, -(-(high - low) // at_most))
    values = [1 << power for power in range(low, high + 1, step)]
    return {"tickvals": values, "ticktext": [units.size(value) for value in values]}


def decade_ticks(smallest: float, largest: float) -> dict[str, Any]:
    """1, 2 and 5 times powers of ten as ticks of a logarithmic axis, in full; over a wide range the powers alone."""
    powers = range(math.floor(math.log10(smallest)) - 1, math.ceil(math.log10(largest)) + 2)
    steps = (1, 2, 5) if len(powers) <= 6 else (1,)
    values = [step * 10.0**power for power in powers for step in steps]
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis; `more` is what plotly takes beside the title."""
    return {
        "title": {"text": title, "standoff": 10},
        "gridcolor": _GRID,
        "linecolor": _GRID,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": _GRID,
        "automargin": True,
        **more,
    }


def figure(traces: Sequence[Any], x: dict[str, Any], y: dict[str, Any]) -> Figure:
    """A figure of traces, its colours left to the page."""
    from plotly import graph_objects as go

    return go.Figure(
        data=list(traces),
        layout={
            "template": {},
            "autosize": True,
            "height": 440,
            "margin": {"l": 10, "r": 16, "t": 16, "b": 10},
            "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 14, "color": _INK},
            "paper_bgcolor": "var(--clear)",
            "plot_bgcolor": "var(--clear)",
            "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": _GRID, "font": {"color": _INK}, "align": "left"},
            "legend": {"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top", "font": {"size": 14}},
            "showlegend": True,
            "xaxis": x,
            "yaxis": y,
        },
    )


def roofline(rows: DataFrame, anchor: str) -> list[Picture]:
    """One roofline a device: its measured ceilings, and every kernel that computes and moves data.

    Ceilings are the rows of suite `roof`: bytes/s of `copy`, flop/s of `fma` by dtype (Williams, Waterman and
    Patterson, "Roofline", CACM 52(4), 2009).
    """
    pictures = []
    roofs = rows[rows["suite"] == "roof"]
    kernels = rows[(rows["suite"] == "kernels") & (rows["flop_per_s"] > 0) & (rows["bytes_per_s"] > 0)]
    for number, device in enumerate(dict.fromkeys([*roofs["device"], *kernels["device"]])):
        roof, points = roofs[roofs["device"] == device], kernels[kernels["device"] == device]
        if roof.empty and points.empty:
            continue
        pictures.append(_roofline(roof, points, device, f"{anchor}-roofline-{number}"))
    return pictures


def _roofline(roof: DataFrame, points: DataFrame, device: str, anchor: str) -> Picture:
    intensity = points["flop_per_s"] / points["bytes_per_s"]
    bandwidths = roof[roof["bytes_per_s"] > 0].groupby("name", sort=True)["bytes_per_s"].max().to_dict()
    peaks = roof[roof["flop_per_s"] > 0].groupby("dtype", sort=True)["flop_per_s"].max().to_dict()
    ridges = [peak / bandwidth for peak in peaks.values() for bandwidth in bandwidths.values()]
    low = min([1 / 16, *(intensity / 2)])
    high = max([64.0, *(intensity * 2), *(8 * ridge for ridge in ridges)])
    top = max([*peaks.values(), *points["flop_per_s"], 1.0])
    traces = _ceilings(bandwidths, peaks, low, high)
    for i, name in enumerate(dict.fromkeys(points["name"])):
        for (evidence, origin), group in groups(points[points["name"] == name], ("evidence", "origin")):
            traces.append(_kernel_points(group, name + evidence_suffix(evidence, origin), i, evidence != "measured"))
    bottom = min([top, *(low * bandwidth for bandwidth in bandwidths.values()), *points["flop_per_s"]])
    x = axis("arithmetic intensity, flop/byte", type="log", dtick=1, range=[math.log10(low), math.log10(high)])
    # Room below the lowest point, and above the highest ceiling for its name.
    y = axis("GFLOP/s", type="log", dtick=1, range=[math.log10(bottom / 1.5e9), math.log10(top * 2.2e-9)])
    missing = "" if bandwidths and peaks else " Part of the roof was not measured."
    caption = (
        "Lines are this machine's measured ceilings: memory bandwidth (sloped) and multiply-add peak (flat). A marker "
        "is one kernel at one size, larger for the largest; a kernel without arithmetic has no place here, see the "
        f"table.{missing}"
    )
    return Picture(anchor, f"Roofline: {device or 'device not named'}", caption, figure(traces, x, y))


def _ceilings(bandwidths: dict[Any, float], peaks: dict[Any, float], low: float, high: float) -> list[Any]:
    from plotly import graph_objects as go

    traces: list[Any] = []
    highest = max(peaks.values(), default=math.inf)
    for number, (name, bandwidth) in enumerate(sorted(bandwidths.items(), key=lambda pair: pair[0] != "copy")):
        end = min(high, highest / bandwidth)
        label = f"{plain(name)} bandwidth {units.giga(bandwidth)} GB/s"
        look = {"color": _MUTED if number else _INK, "width": 1.5 if number else 2}
        ends = [low, end] if end > low else [low, high]
        ys = [x * bandwidth / 1e9 for x in ends]
        traces.append(go.Scatter(x=ends, y=ys, mode="lines", name=label, line=look, hovertemplate=_just(label)))
    for dtype, peak in peaks.items():
        start = max(low, peak / max(bandwidths.values(), default=math.inf))
        label = f"multiply-add peak {plain(dtype)} {units.giga(peak)} GFLOP/s"
        traces.append(
            go.Scatter(
                x=[start, high],
                y=[peak / 1e9] * 2,
                mode="lines+text",
                text=["", f"{plain(dtype)} {units.giga(peak)}"],
                textposition="top left",
                textfont={"color": _MUTED},
                name=label,
                line={"color": _MUTED, "width": 2},
                hovertemplate=_just(label),
            )
        )
    return traces


def _just(text: str) -> str:
    """A hover text of its own, without the name of the line beside it."""
    return f"{text}<extra></extra>"


def _kernel_points(group: DataFrame, name: str, number: int, open_marker: bool) -> Any:
    from plotly import graph_objects as go

    largest = group["size_bytes"].max()
    symbol = _SYMBOLS[number % len(_SYMBOLS)] + ("-open" if open_marker else "")
    text = [
        f"{plain(row.name)} {plain(row.dtype)} {plain(row.shape)}, {plain(row.backend)}<br>"
        f"{units.giga(row.flop_per_s)} GFLOP/s, {units.giga(row.bytes_per_s)} GB/s<br>"
        f"{units.share(row.bound_share)} of the roof, {plain(row.evidence)}"
        for row in lines(group)
    ]
    sizes = [13 if size == largest else 8 for size in group["size_bytes"]]
    return go.Scatter(
        x=(group["flop_per_s"] / group["bytes_per_s"]).tolist(),
        y=(group["flop_per_s"] / 1e9).tolist(),
        mode="markers",
        name=plain(name),
        marker={
            "symbol": symbol,
            "color": _SERIES[number % len(_SERIES)],
            "size": sizes,
            "line": {"width": 1.5, "color": _SERIES[number % len(_SERIES)] if open_marker else "var(--card)"},
        },
        text=text,
        hovertemplate="%{text}<extra></extra>",
    )


def collectives(rows: DataFrame, anchor: str) -> list[Picture]:
    """busbw over size, and time over small sizes: a figure for every collective, placement, type and rank count."""
    timed = timed_collectives(rows)
    looks = _looks(timed)
    pictures = []
    for number, (key, group) in enumerate(groups(timed, COLLECTIVE_FIELDS)):
        title = collective_title(dict(zip(COLLECTIVE_FIELDS, key, strict=True)))
        pictures.append(_over_size(group, "busbw", f"{title}: bus bandwidth", f"{anchor}-busbw-{number}", looks))
        small = group[group["size_bytes"] <= SMALL_BYTES]
        if len(set(small["size_bytes"])) > 1:
            pictures.append(
                _over_size(small, "time", f"{title}: time of small messages", f"{anchor}-latency-{number}", looks)
            )
    return pictures


def collective_title(key: dict[str, Any]) -> str:
    """What a figure or table of a collective is about, in words: `all_reduce sum float32, out of place, 4 ranks`."""
    what = " ".join(part for part in (key["name"], key["op"], key["dtype"]) if part)
    where = f"{key['ranks']} ranks" + (f" on {key['nodes']} hosts" if key["nodes"] > 1 else "")
    root = f"root {key['root']}" if key["root"] >= 0 else ""
    traffic = f"traffic {key['traffic']}" if key["traffic"] else ""
    buffers = f"{key['buffers']} buffers" if key["buffers"] else ""
    placement = str(key["placement"]).replace("_", " ")
    return ", ".join(part for part in (what, placement, root, where, buffers, traffic) if part)


def series_name(algorithm: str, transport: str, backend: str, evidence: str, origin: str) -> str:
    """A line of a figure: the algorithm, with what else tells it from others."""
    where = f" over {transport}" if transport not in ("", "mpi", LIBRARY) else ""
    on = f" on {backend}" if backend not in ("", "cpu") else ""  # host memory needs no mention
    return (algorithm or "unnamed") + where + on + evidence_suffix(evidence, origin)


_SERIES_FIELDS = ("algorithm", "transport", "backend", "evidence", "origin")


def _looks(rows: DataFrame) -> Looks:
    """The look of each algorithm over each transport, the same in every figure; the library is ink, the line to compare
    with."""
    pairs = sorted(set(zip(rows["algorithm"], rows["transport"], strict=True)))
    ink = {pair: Look(_INK, "x", "solid") for pair in pairs if pair[0] == LIBRARY}
    return {**ink, **{pair: look(i) for i, pair in enumerate(pair for pair in pairs if pair not in ink)}}


def look(number: int) -> Look:
    """The look of a series by its number: 24 differ in colour or line, and those of one colour in symbol, too."""
    turn, place = divmod(number, len(_SERIES))
    return Look(_SERIES[place], _SYMBOLS[(place + 3 * turn) % len(_SYMBOLS)], _DASHES[turn % len(_DASHES)])


def _over_size(rows: DataFrame, what: str, title: str, anchor: str, looks: Looks) -> Picture:
    if what == "busbw":
        caption = "Higher is better. Bars are 95 % intervals of the median; lines join the sizes of one algorithm."
    else:
        caption = "Lower is better. Bars are 95 % intervals of the median, the slowest rank of each call."
    return over_size(rows, what, title, anchor, caption, looks)


def over_size(rows: DataFrame, what: str, title: str, anchor: str, caption: str, looks: Looks) -> Picture:
    """busbw (`what` is `busbw`) or time (`time`) of every series over size."""
    traces = []
    for key, group in groups(rows, _SERIES_FIELDS):
        name = series_name(*key)
        traces.append(_line(group.sort_values("size_bytes"), what, name, looks[key[:2]], key[3] != "measured"))
    for column, label, dash in (("bound_s", "bound", "dot"), ("expected_s", "expected of the fastest", "dashdot")):
        known = rows[(rows[column] > 0) & (rows["median_s"] > 0) & (rows["evidence"] == "measured")]
        if len(known):
            traces.append(_held_against(known, what, column, label, dash))
            looks_like = (
                ("Dotted", "Dash-dotted")
                if known["size_bytes"].min() < known["size_bytes"].max()
                else ("Thin", "Thick")
            )
            caption += f" {looks_like[dash != 'dot']}: the {label}, by {plain(_sources(known, column))}."
    x = axis("size, bytes (K = 1024)", type="log", **size_ticks(rows["size_bytes"].min(), rows["size_bytes"].max()))
    if what == "busbw":
        y = axis("bus bandwidth, GB/s", rangemode="tozero")
    else:
        y = axis("time, µs", type="log", **decade_ticks(rows["median_s"].min() * 1e6, rows["median_s"].max() * 1e6))
    if sharing_cores(rows).any():
        caption += " There are more ranks than cores: times are those of the scheduler, too."
    return Picture(anchor, title, caption, figure(traces, x, y))


def _sources(rows: DataFrame, column: str) -> str:
    """What the figures of a column are of: the topology that was given, or messages that were timed."""
    topologies = sorted({text for text in rows["topology"] if text})
    timed = ["messages timed when the run began, an estimate"] if (rows["topology"] == "").any() else []
    return " and ".join([*topologies, *timed])


def _held_against(rows: DataFrame, what: str, column: str, label: str, dash: str) -> Any:
    """What rows are held against, the least of each size: a line without markers, or a dash where there is one size."""
    from plotly import graph_objects as go

    least = rows.sort_values(column).drop_duplicates("size_bytes").sort_values("size_bytes")
    value = least["busbw"] * least["median_s"] / least[column] / 1e9 if what == "busbw" else least[column] * 1e6
    text = [
        f"<b>{label}</b>, {units.size(row.size_bytes)}<br>{units.time(getattr(row, column))}"
        + (f"<br>{plain(row.bound_by)}" if column == "bound_s" and row.bound_by else "")
        for row in lines(least)
    ]
    return go.Scatter(
        x=least["size_bytes"].tolist(),
        y=value.tolist(),
        mode="lines" if len(least) > 1 else "markers",
        name=label,
        line={"color": _MUTED, "width": 1.5, "dash": dash},
        marker={"symbol": "line-ew", "size": 24, "line": {"color": _MUTED, "width": 1.5 if dash == "dot" else 3}},
        text=text,
        hovertemplate="%{text}<extra></extra>",
    )


def _line(rows: DataFrame, what: str, name: str, look: Look, not_measured: bool) -> Any:
    from plotly import graph_objects as go

    if what == "busbw":
        value = rows["busbw"] / 1e9
        low, high = value * rows["median_s"] / rows["ci95_high_s"], value * rows["median_s"] / rows["ci95_low_s"]
    else:
        value, low, high = rows["median_s"] * 1e6, rows["ci95_low_s"] * 1e6, rows["ci95_high_s"] * 1e6
    text = [
        f"<b>{plain(name)}</b>, {units.size(row.size_bytes)}<br>{units.giga(row.busbw)} GB/s bus, "
        f"{units.time(row.median_s)} {units.spread(row.median_s, row.ci95_low_s, row.ci95_high_s)}<br>"
        f"{row.n} samples, {plain(row.evidence)}" + "".join(f"<br>{plain(remark)}" for remark in remarks(row.note))
        for row in lines(rows)
    ]
    return go.Scatter(
        x=rows["size_bytes"].tolist(),
        y=value.tolist(),
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (high - value).fillna(0).tolist(),
            "arrayminus": (value - low).fillna(0).tolist(),
            "thickness": 1.2,
            "width": 3,
            "color": look.colour,
        },
        mode="lines+markers",
        name=plain(name),
        line={"color": look.colour, "width": 2, "dash": "dash" if not_measured else look.dash},
        marker={"symbol": look.symbol + ("-open" if not_measured else ""), "size": 8, "color": look.colour},
        text=text,
        hovertemplate="%{text}<extra></extra>",
    )
