"""The figures of the report, as specifications of plotly without colours of their own, and those of collectives.

A specification is a dictionary with `data` and `layout`, as plotly.js takes it: checked by tests and not at run time,
as plotly's own objects take milliseconds a line, and a page has hundreds. The `meta` of a trace holds the rows behind
its points, by which the page filters them; a trace without it stays. The same specifications are drawn into files by
`figure_files.py`.

A colour is written as `var(--series-1)`: the page replaces it by the value that its style sheet has for the theme that
is on, so that light and dark are one figure. Text that comes from outside goes through `plain`, as plotly reads markup.
What is not measured is drawn dashed with open markers and named so, everywhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from clusterbench.results.notes import remarks, shares_cores
from clusterbench.results.report import units
from clusterbench.results.report.rows import COLLECTIVE_FIELDS, LIBRARY, grouped, lines, timed_collectives

if TYPE_CHECKING:
    from pandas import DataFrame

SMALL_BYTES = 64 * 1024
"""Up to here the latency of a collective is what matters; its figure ends here."""

SERIES = tuple(f"var(--series-{i})" for i in range(1, 9))
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "hourglass")
_DASHES = ("solid", "dot", "dashdot")
"""Of the first, second and third series of a colour; `dash` is what was not measured."""
INK, MUTED, _GRID = "var(--ink)", "var(--muted)", "var(--line)"


Trace = dict[str, Any]
"""A trace of plotly."""
Figure = dict[str, Any]
"""A figure of plotly: `data`, a list of traces, and `layout`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with what the page writes around it."""

    anchor: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Crossing:
    """A size at which the fastest algorithm changes, and what is shown of it."""

    size_bytes: float
    text: str


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


def numbers(values: Iterable[float | None]) -> list[float | None]:
    """Seven digits of each value; None where it is missing, as JSON has it."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.7g}") for value in values]


def figure(traces: Sequence[Trace], x: dict[str, Any], y: dict[str, Any]) -> Figure:
    """A figure of traces, its colours left to the page."""
    return {
        "data": list(traces),
        "layout": {
            "template": {},
            "autosize": True,
            "height": 440,
            "margin": {"l": 10, "r": 16, "t": 16, "b": 10},
            "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 14, "color": INK},
            "paper_bgcolor": "var(--clear)",
            "plot_bgcolor": "var(--clear)",
            "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": _GRID, "font": {"color": INK}, "align": "left"},
            "legend": {"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top", "font": {"size": 14}},
            "showlegend": True,
            "xaxis": x,
            "yaxis": y,
        },
    }


def collectives(
    rows: DataFrame, anchor: str, crossings: Mapping[tuple[Any, ...], Sequence[Crossing]] | None = None
) -> list[Picture]:
    """For every collective, placement, type and rank count: busbw over size, time over small sizes, share of the bound.

    `crossings` are drawn into the first, by the values of `COLLECTIVE_FIELDS`.
    """
    timed = list(lines(timed_collectives(rows)))
    looks = _looks(timed)
    pictures = []
    for number, (key, group) in enumerate(grouped(timed, COLLECTIVE_FIELDS).items()):
        title = collective_title(dict(zip(COLLECTIVE_FIELDS, key, strict=True)))
        changes = (crossings or {}).get(key, ())
        pictures.append(
            _over_size(group, "busbw", f"{title}: bus bandwidth", f"{anchor}-busbw-{number}", looks, changes)
        )
        small = [row for row in group if row.size_bytes <= SMALL_BYTES]
        if len({row.size_bytes for row in small}) > 1:
            pictures.append(
                _over_size(small, "time", f"{title}: time of small messages", f"{anchor}-latency-{number}", looks)
            )
        bounded = [row for row in group if _is_known(row.bound_share)]
        if bounded:
            pictures.append(
                _over_size(bounded, "share", f"{title}: share of the bound", f"{anchor}-share-{number}", looks)
            )
    return pictures


def _is_known(value: float | None) -> bool:
    return value is not None and value > 0


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


def _looks(rows: Sequence[Any]) -> Looks:
    """The look of each algorithm over each transport, the same in every figure; the library is ink, the line to compare
    with."""
    pairs = sorted({(row.algorithm, row.transport) for row in rows})
    ink = {pair: Look(INK, "x", "solid") for pair in pairs if pair[0] == LIBRARY}
    return {**ink, **{pair: look(i) for i, pair in enumerate(pair for pair in pairs if pair not in ink)}}


def look(number: int) -> Look:
    """The look of a series by its number: 24 differ in colour or line, and those of one colour in symbol, too."""
    turn, place = divmod(number, len(SERIES))
    return Look(SERIES[place], SYMBOLS[(place + 3 * turn) % len(SYMBOLS)], _DASHES[turn % len(_DASHES)])


_CAPTIONS = {
    "busbw": "Higher is better. Lines join the sizes of one algorithm.",
    "time": "Lower is better. Times are those of the slowest rank of each call.",
    "share": "The bound’s time divided by the measured one: at 100 % nothing can be faster.",
}


def _over_size(
    rows: Sequence[Any], what: str, title: str, anchor: str, looks: Looks, crossings: Sequence[Crossing] = ()
) -> Picture:
    return over_size(rows, what, title, anchor, _CAPTIONS[what], looks, crossings)


def over_size(
    rows: Sequence[Any],
    what: str,
    title: str,
    anchor: str,
    caption: str,
    looks: Looks,
    crossings: Sequence[Crossing] = (),
) -> Picture:
    """Every series of rows (see `lines`) over size; `what` is `busbw`, `time`, or `share` (of the bound)."""
    traces = []
    for key, group in grouped(rows, _SERIES_FIELDS).items():
        by_size = sorted(group, key=attrgetter("size_bytes"))
        traces.append(_line(by_size, what, series_name(*key), looks[key[:2]], key[3] != "measured"))
    if any(_is_known(row.ci95_low_s) for row in rows):
        caption += " Bars are 95 % intervals of the median."
    if crossings:
        traces.append(_changes(crossings, max(y for trace in traces for y in trace["y"] if y is not None)))
        caption += " Thin vertical lines: where the fastest algorithm changes."
    if what == "share":
        caption += f" The bound is by {plain(_sources(rows))}."
    else:
        for column, label, dash in (("bound_s", "bound", "dot"), ("expected_s", "expected of the fastest", "dashdot")):
            known = [row for row in rows if row.evidence == "measured" and _is_known(getattr(row, column))]
            if known:
                traces.append(_held_against(known, what, column, label, dash))
                looks_like = (
                    ("Dotted", "Dash-dotted") if len({row.size_bytes for row in known}) > 1 else ("Thin", "Thick")
                )
                caption += f" {looks_like[dash != 'dot']}: the {label}, by {plain(_sources(known))}."
    sizes = [row.size_bytes for row in rows]
    x = axis("size, bytes (K = 1024)", type="log", **size_ticks(min(sizes), max(sizes)))
    if what == "time":
        times_us = [y for trace in traces for y in trace["y"] if y]
        y = axis("time, µs", type="log", **decade_ticks(min(times_us), max(times_us)))
    else:
        y = axis("bus bandwidth, GB/s" if what == "busbw" else "share of the bound, %", rangemode="tozero")
    if any(shares_cores(row.note) for row in rows):
        caption += " There are more ranks than cores: times are those of the scheduler, too."
    return Picture(anchor, title, caption, figure(traces, x, y))


def _sources(rows: Sequence[Any]) -> str:
    """What the figures of a column are of: the topology that was given, or messages that were timed."""
    topologies = sorted({row.topology for row in rows if row.topology})
    timed = [] if all(row.topology for row in rows) else ["messages timed when the run began, an estimate"]
    return " and ".join([*topologies, *timed])


def _changes(crossings: Sequence[Crossing], top: float) -> Trace:
    """Where the fastest algorithm changes, as vertical lines."""
    return {
        "type": "scatter",
        "x": [x for crossing in crossings for x in (crossing.size_bytes, crossing.size_bytes, None)],
        "y": [y for _ in crossings for y in (0.0, top, None)],
        "mode": "lines",
        "name": "fastest changes",
        "line": {"color": MUTED, "width": 1},
        "text": [text for crossing in crossings for text in (*[plain(crossing.text)] * 2, "")],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _held_against(rows: Sequence[Any], what: str, column: str, label: str, dash: str) -> Trace:
    """What rows are held against, the least of each size: a line without markers, or a dash where there is one size."""
    held = attrgetter(column)

    def value(row: Any) -> float | None:
        return _divided(row.busbw, held(row) / row.median_s * 1e9) if what == "busbw" else held(row) * 1e6

    least = {row.size_bytes: row for row in sorted(rows, key=held, reverse=True)}
    shown = [least[size] for size in sorted(least)]
    text = [
        f"<b>{label}</b>, {units.size(row.size_bytes)}<br>{units.time(held(row))}"
        + (f"<br>{plain(row.bound_by)}" if column == "bound_s" and row.bound_by else "")
        for row in shown
    ]
    return {
        "type": "scatter",
        "x": [row.size_bytes for row in shown],
        "y": numbers(
            _divided(row.busbw, held(row) / row.median_s * 1e9) if what == "busbw" else held(row) * 1e6 for row in shown
        ),
        "mode": "lines" if len(shown) > 1 else "markers",
        "name": label,
        "line": {"color": MUTED, "width": 1.5, "dash": dash},
        "marker": {"symbol": "line-ew", "size": 24, "line": {"color": MUTED, "width": 1.5 if dash == "dot" else 3}},
        "text": text,
        "hovertemplate": "%{text}<extra></extra>",
        "meta": [row.row for row in shown],
    }


def _line(rows: Sequence[Any], what: str, name: str, look: Look, not_measured: bool) -> Trace:
    values: list[Any] = []
    reach: list[tuple[float, float]] = []
    for row in rows:
        ends = (row.ci95_low_s, row.ci95_high_s)
        if what == "time":
            value, low, high = (_divided(time_s, 1e-6) for time_s in (row.median_s, *ends))
        else:  # the inverse of a time
            value = _divided(row.busbw, 1e9) if what == "busbw" else row.bound_share * 100
            high, low = (None if value is None else _divided(value * row.median_s, end) for end in ends)
        values.append(value)
        if value is None or low is None or high is None:
            reach.append((0.0, 0.0))
        else:
            reach.append((value - low, high - value))
    text = [
        f"<b>{plain(name)}</b>, {units.size(row.size_bytes)}<br>{units.giga(row.busbw)} GB/s bus, "
        f"{units.time(row.median_s)} {units.spread(row.median_s, row.ci95_low_s, row.ci95_high_s)}<br>"
        f"{row.n} samples, {plain(row.evidence)}"
        + (f"<br>{units.share(row.bound_share)} of the bound: {plain(row.bound_by)}" if what == "share" else "")
        + "".join(f"<br>{plain(remark)}" for remark in remarks(row.note))
        for row in rows
    ]
    return {
        "type": "scatter",
        "x": [row.size_bytes for row in rows],
        "y": numbers(values),
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": numbers(up for _, up in reach),
            "arrayminus": numbers(down for down, _ in reach),
            "thickness": 1.2,
            "width": 3,
            "color": look.colour,
        },
        "mode": "lines+markers",
        "name": plain(name),
        "line": {"color": look.colour, "width": 2, "dash": "dash" if not_measured else look.dash},
        "marker": {"symbol": look.symbol + ("-open" if not_measured else ""), "size": 8, "color": look.colour},
        "text": text,
        "hovertemplate": "%{text}<extra></extra>",
        "meta": [row.row for row in rows],
    }


def _divided(value: float | None, by: float | None) -> float | None:
    return None if value is None or not by else value / by
