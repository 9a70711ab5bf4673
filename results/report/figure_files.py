"""The figures of the report as files, PNG and SVG, drawn by matplotlib from the same specifications.

Colours, symbols, lines, axes and labels are those of the page in its light theme. Plotly itself makes files only with a
browser of its own (kaleido), which is more than a login node has.
"""

from __future__ import annotations

import html
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterbench.results.export import write_whole
from clusterbench.results.record import Run
from clusterbench.results.report.figures import Picture, Trace
from clusterbench.results.report.page import numbered
from clusterbench.results.report.sections import section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from pandas import DataFrame

_INCHES = (8.0, 5.0)
_LEGEND_LINE_INCHES = 0.24
_DPI = 150
_LONGEST_NAME = 120
_POINTS_A_PIXEL = 0.75
_MARKERS: dict[str, Any] = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "cross": "P",
    "star": "*",
    "hourglass": [(-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)],
    "x": "x",
    "line-ew": "_",
}
_DASHES = {"solid": "-", "dot": ":", "dashdot": "-.", "dash": "--"}


def write_figures(folder: Path, runs: Sequence[Run], frame: DataFrame) -> list[Path]:
    """Write each figure of the runs as PNG and as SVG, named by its title, and return the files.

    Several runs have a folder each, named by the run. `frame` holds their measurements (see `Store.frame`).
    Raises `ExportError` where a file cannot be written.
    """
    rows = numbered(runs, frame)
    written: list[Path] = []
    for run in runs:
        place = folder / _slug(run.run_id) if len(runs) > 1 else folder
        taken: dict[str, int] = {}
        for picture in section(run, rows[rows["run_id"] == run.run_id], "run").pictures:
            name = _slug(picture.title)
            taken[name] = taken.get(name, 0) + 1
            numbered_name = name if taken[name] == 1 else f"{name}-{taken[name]}"
            written += _write(place / numbered_name, picture)
    return written


def _slug(text: str) -> str:
    """Text as a name of a file: letters, digits, `_`, and `-` for the rest."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", html.unescape(text)).strip("-")[:_LONGEST_NAME] or "figure"


def _write(stem: Path, picture: Picture) -> Iterator[Path]:
    for kind in ("png", "svg"):
        path = stem.with_name(f"{stem.name}.{kind}")
        write_picture(path, picture)
        yield path


def write_picture(path: Path, picture: Picture) -> None:
    """Write one figure into a file, whose name ends in .png or .svg. Raises `ExportError` where it cannot be."""
    import matplotlib as mpl

    # Text stays text in SVG, and its ids are the same each time.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "clusterbench"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawn = draw(picture)
        kind = path.suffix.removeprefix(".")
        about: dict[str, Any] = {"Description": picture.caption, **({"Date": None} if kind == "svg" else {})}
        write_whole(path, lambda temporary: drawn.savefig(temporary, format=kind, dpi=_DPI, metadata=about))


def draw(picture: Picture) -> Figure:
    """A figure of the report as a figure of matplotlib."""
    from matplotlib.figure import Figure

    colours = _light_colours()
    layout, traces = _coloured(picture.figure["layout"], colours), _coloured(picture.figure["data"], colours)
    named = [trace for trace in traces if trace["type"] == "scatter"]
    legend_inches = _LEGEND_LINE_INCHES * math.ceil(len(named) / 2)
    side = _INCHES[0] if named else 6.4
    figure = Figure(figsize=(side, _INCHES[1] + legend_inches), layout="constrained", facecolor=colours["card"])
    axes = figure.add_subplot(facecolor=colours["card"])
    figure.suptitle(_words(picture.title), fontsize=11, fontweight="bold", color=colours["ink"], wrap=True)
    for trace in traces:
        if trace["type"] == "heatmap":
            _heat_map(figure, axes, trace)
        else:
            _line(axes, trace)
    _axis(axes, "x", layout["xaxis"])
    _axis(axes, "y", layout["yaxis"])
    for spine in axes.spines.values():
        spine.set_color(layout["xaxis"]["linecolor"])
    axes.tick_params(color=layout["xaxis"]["linecolor"], labelcolor=colours["ink"])
    if named:
        axes.grid(color=layout["xaxis"]["gridcolor"], linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9, labelcolor=colours["ink"])
    return figure


def _light_colours() -> dict[str, str]:
    """The colours of the style sheet by their names, those of the light theme."""
    style = resources.files("clusterbench.results.report").joinpath("style.css").read_text(encoding="utf-8")
    block = style.split(":root {", 1)[1].split("}", 1)[0]
    return dict(re.findall(r"--([a-z0-9-]+):\s*(#[0-9a-f]{6})", block))


def _coloured(value: Any, colours: dict[str, str]) -> Any:
    """A specification with colours for their names."""
    if isinstance(value, str):
        found = re.fullmatch(r"var\(--([a-z0-9-]+)\)", value)
        return colours.get(found[1], "none") if found else value
    if isinstance(value, dict):
        return {key: _coloured(part, colours) for key, part in value.items()}
    return [_coloured(part, colours) for part in value] if isinstance(value, list) else value


def _words(text: str) -> str:
    """Text as it is read: a figure's names are escaped for plotly, and matplotlib reads a $ as mathematics."""
    plain = html.unescape(text).replace("$", r"\$")
    return f"\u200b{plain}" if plain.startswith("_") else plain  # a name with _ in front is left out of legends


def _line(axes: Axes, trace: Trace) -> None:
    x, y = (_with_gaps(trace[name]) for name in ("x", "y"))
    line, marker, mode = trace.get("line", {}), trace.get("marker", {}), trace["mode"]
    look: dict[str, Any] = {"label": _words(trace["name"]), "color": line.get("color") or marker.get("color")}
    look["linestyle"] = _DASHES[line.get("dash", "solid")] if "lines" in mode else "none"
    look["linewidth"] = line.get("width", 2) * _POINTS_A_PIXEL
    sizes = marker.get("size", 0)
    if "markers" in mode and not isinstance(sizes, list):
        look |= _marker(marker, sizes)
    bars = trace.get("error_y")
    if bars:
        reach = [_with_gaps(bars["arrayminus"]), _with_gaps(bars["array"])]
        axes.errorbar(x, y, yerr=reach, elinewidth=bars["thickness"] * _POINTS_A_PIXEL, capsize=2, **look)
    elif isinstance(sizes, list):
        for size in sorted(set(sizes)):
            of_size = [i for i, own in enumerate(sizes) if own == size]
            if size != max(sizes):  # one entry in the legend
                look["label"] = "_"
            else:
                look["label"] = _words(trace["name"])
            axes.plot([x[i] for i in of_size], [y[i] for i in of_size], **look, **_marker(marker, size))
    else:
        axes.plot(x, y, **look)
    if "text" in mode:
        for place_x, place_y, text in zip(x, y, trace["text"], strict=True):
            place: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right", "fontsize": 9}
            axes.annotate(_words(text), (place_x, place_y), color=trace["textfont"]["color"], **place)


def _with_gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _marker(marker: dict[str, Any], size: float) -> dict[str, Any]:
    symbol = marker["symbol"]
    look = {"marker": _MARKERS[symbol.removesuffix("-open")], "markersize": size * _POINTS_A_PIXEL}
    if symbol == "line-ew":  # without an area it is all line
        return {**look, "markeredgewidth": marker["line"]["width"] * _POINTS_A_PIXEL}
    return {**look, "markerfacecolor": "none"} if symbol.endswith("-open") else look


def _heat_map(figure: Figure, axes: Axes, trace: Trace) -> None:
    values = [_with_gaps(row) for row in trace["z"]]
    shown = axes.imshow(values, cmap=_colour_map(trace), vmin=trace["zmin"], vmax=trace["zmax"])
    bar, described = figure.colorbar(shown, ax=axes), trace["colorbar"]
    bar.set_ticks(described["tickvals"], labels=described["ticktext"])
    bar.set_label(described["title"]["text"])


def _colour_map(trace: Trace) -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    made = LinearSegmentedColormap.from_list("report", [tuple(stop) for stop in trace["colorscale"]])
    return made.reversed() if trace["reversescale"] else made


def _axis(axes: Axes, name: str, described: dict[str, Any]) -> None:
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    axis = axes.xaxis if name == "x" else axes.yaxis
    if described.get("type") == "log":
        axes.set(**{f"{name}scale": "log"})
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if "tickvals" in described:
        limits = axes.get_xlim() if name == "x" else axes.get_ylim()
        axis.set_ticks(described["tickvals"], labels=[_words(text) for text in described["ticktext"]])
        axes.set(**{f"{name}lim": limits})  # ticks beyond the data do not widen the axis
    if "range" in described:
        axes.set(**{f"{name}lim": [10**end for end in described["range"]]})
    if described.get("rangemode") == "tozero":
        axes.set(**{f"{name}lim": (0, None)})
    axis.set_label_text(_words(described["title"]["text"]))
