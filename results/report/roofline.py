"""The rooflines of the report: a device's measured ceilings, and every kernel that computes and moves data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clusterbench.results.report import units
from clusterbench.results.report.figures import (
    INK,
    MUTED,
    SERIES,
    SYMBOLS,
    Picture,
    Trace,
    axis,
    evidence_suffix,
    figure,
    numbers,
    plain,
)
from clusterbench.results.report.rows import groups, lines

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class VendorRoof:
    """A device by its vendor's figures, and the upper bounds of kernels under them: nothing of it was measured."""

    name: str
    bytes_per_s: float
    peaks: Mapping[str, float]
    """flop/s by type."""
    points: tuple[tuple[float, float], ...]
    """flop/byte and flop/s of each kernel's bound."""


def roofline(rows: DataFrame, anchor: str) -> list[Picture]:
    """One roofline a device.

    Ceilings are the rows of suite `roof`: bytes/s of `copy` and `read`, of memory and by level (`read L2`), flop/s of
    `fma` by dtype (Williams, Waterman and
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


def roofline_beside(rows: DataFrame, roofs: Sequence[VendorRoof]) -> Picture:
    """The measured roofline of the first device of the rows, if there is one, and vendors' figures beside it."""
    kernels = rows[(rows["suite"] == "kernels") & (rows["flop_per_s"] > 0) & (rows["bytes_per_s"] > 0)]
    measured = rows[rows["suite"] == "roof"]
    device = next(iter([*measured["device"], *kernels["device"]]), "")
    return _roofline(
        measured[measured["device"] == device], kernels[kernels["device"] == device], device, "roofline", roofs
    )


def _roofline(
    roof: DataFrame, points: DataFrame, device: str, anchor: str, vendors: Sequence[VendorRoof] = ()
) -> Picture:
    intensity = points["flop_per_s"] / points["bytes_per_s"]
    bandwidths = roof[roof["bytes_per_s"] > 0].groupby("name", sort=True)["bytes_per_s"].max().to_dict()
    peaks = roof[roof["flop_per_s"] > 0].groupby("dtype", sort=True)["flop_per_s"].max().to_dict()
    ridges = [peak / bandwidth for peak in peaks.values() for bandwidth in bandwidths.values()]
    low = min([1 / 16, *(intensity / 2), *(point[0] / 2 for vendor in vendors for point in vendor.points)])
    high = max([64.0, *(intensity * 2), *(8 * ridge for ridge in ridges)])
    high = max([high, *(2 * peak / vendor.bytes_per_s for vendor in vendors for peak in vendor.peaks.values())])
    top = max([*peaks.values(), *points["flop_per_s"], 1.0])
    traces = _ceilings(bandwidths, peaks, low, high)
    points = points.assign(cold=["cache=cold" in shape for shape in points["shape"]])
    for i, name in enumerate(dict.fromkeys(points["name"])):
        for (evidence, origin, cold), group in groups(points[points["name"] == name], ("evidence", "origin", "cold")):
            label = name + (", cold" if cold else "") + evidence_suffix(evidence, origin)
            traces.append(_kernel_points(group, label, i, evidence != "measured"))
    bottom = min([top, *(low * bandwidth for bandwidth in bandwidths.values()), *points["flop_per_s"]])
    for i, vendor in enumerate(vendors):
        traces += _vendor(vendor, SERIES[i % len(SERIES)], low, high)
    top = max([top, *(peak for vendor in vendors for peak in vendor.peaks.values())])
    x = axis("arithmetic intensity, flop/byte", type="log", dtick=1, range=[math.log10(low), math.log10(high)])
    # Room below the lowest point, and above the highest ceiling for its name.
    y = axis("GFLOP/s", type="log", dtick=1, range=[math.log10(bottom / 1.5e9), math.log10(top * 2.2e-9)])
    missing = "" if bandwidths and peaks else " Part of the roof was not measured."
    if vendors:
        missing += " Dashed lines are figures of vendors, and open markers on them upper bounds: nothing of it ran."
    caption = (
        "Lines are this machine's measured ceilings: memory bandwidth (sloped) and multiply-add peak (flat). A marker "
        "is one kernel at one size, larger for the largest; a kernel without arithmetic has no place here, see the "
        f"table.{missing}"
    )
    return Picture(anchor, f"Roofline: {device or 'device not named'}", caption, figure(traces, x, y))


def _ceilings(bandwidths: dict[Any, float], peaks: dict[Any, float], low: float, high: float) -> list[Trace]:
    traces: list[Trace] = []
    highest = max(peaks.values(), default=math.inf)
    for number, (name, bandwidth) in enumerate(sorted(bandwidths.items(), key=lambda pair: pair[0] != "copy")):
        end = min(high, highest / bandwidth)
        label = f"{plain(name)} bandwidth {units.giga(bandwidth)} GB/s"
        look = {"color": MUTED if number else INK, "width": 1.5 if number else 2}
        if " " in str(name):  # of a cache
            look |= {"width": 1, "dash": "dot"}
        ends = [low, end] if end > low else [low, high]
        ys = [x * bandwidth / 1e9 for x in ends]
        traces.append({"type": "scatter", "x": ends, "y": ys, "mode": "lines", "line": look, **_named(label)})
    for dtype, peak in peaks.items():
        start = max(low, peak / max(bandwidths.values(), default=math.inf))
        traces.append(
            {
                "type": "scatter",
                "x": [start, high],
                "y": [peak / 1e9] * 2,
                "mode": "lines+text",
                "text": ["", f"{plain(dtype)} {units.giga(peak)}"],
                "textposition": "top left",
                "textfont": {"color": MUTED},
                "line": {"color": MUTED, "width": 2},
                **_named(f"multiply-add peak {plain(dtype)} {units.giga(peak)} GFLOP/s"),
            }
        )
    return traces


def _vendor(vendor: VendorRoof, colour: str, low: float, high: float) -> list[Trace]:
    """The memory of a GPU up to its highest peak, each of its peaks from there on, and the bounds of kernels."""
    look = {"color": colour, "width": 1.5, "dash": "dash"}
    x: list[float | None] = [low, max(vendor.peaks.values()) / vendor.bytes_per_s]
    y: list[float | None] = [place * vendor.bytes_per_s / 1e9 for place in x if place]
    for peak in dict.fromkeys(vendor.peaks.values()):
        x += [None, peak / vendor.bytes_per_s, high]
        y += [None, peak / 1e9, peak / 1e9]
    name = f"{plain(vendor.name)}, vendor's figures"
    traces: list[Trace] = [{"type": "scatter", "x": x, "y": y, "mode": "lines", "line": look, **_named(name)}]
    if vendor.points:
        marker = {"symbol": "circle-open", "color": colour, "size": 7, "line": {"width": 1, "color": colour}}
        traces.append(
            {
                "type": "scatter",
                "x": [point[0] for point in vendor.points],
                "y": [point[1] / 1e9 for point in vendor.points],
                "mode": "markers",
                "marker": marker,
                **_named(f"{plain(vendor.name)}, upper bounds of kernels"),
            }
        )
    return traces


def _named(text: str) -> Trace:
    """A name, and the same as hover text without the name of the line beside it."""
    return {"name": text, "hovertemplate": f"{text}<extra></extra>"}


def _kernel_points(group: DataFrame, name: str, number: int, open_marker: bool) -> Trace:
    largest = group["size_bytes"].max()
    symbol = SYMBOLS[number % len(SYMBOLS)] + ("-open" if open_marker else "")
    text = [
        f"{plain(row.name)} {plain(row.dtype)} {plain(row.shape)}, {plain(row.backend)}<br>"
        f"{units.giga(row.flop_per_s)} GFLOP/s, {units.giga(row.bytes_per_s)} GB/s<br>"
        f"{units.share(row.bound_share)} of the roof, {plain(row.evidence)}"
        for row in lines(group)
    ]
    colour = SERIES[number % len(SERIES)]
    return {
        "type": "scatter",
        "x": numbers(group["flop_per_s"] / group["bytes_per_s"]),
        "y": numbers(group["flop_per_s"] / 1e9),
        "mode": "markers",
        "name": plain(name),
        "marker": {
            "symbol": symbol,
            "color": colour,
            "size": [13 if size == largest else 8 for size in group["size_bytes"]],
            "line": {"width": 1.5, "color": colour if open_marker else "var(--card)"},
        },
        "text": text,
        "hovertemplate": "%{text}<extra></extra>",
        "meta": group.index.tolist(),
    }
