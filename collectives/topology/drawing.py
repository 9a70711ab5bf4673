"""Pictures of topologies, as SVG: one file or a part of a page, light or dark as the page or the system is.

Hosts are frames at the bottom with what is in them, switches lie above by their level, and a line stands for all links
between its two ends, the wider the more they carry. What a box is says its colour, its shape and its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite, log

from clusterbench.collectives.drawing.svg import px, xml_text
from clusterbench.collectives.topology.graph import Topology
from clusterbench.collectives.topology.layout import BOX_HEIGHT, Box, Edge, Frame, Layout, arc_height, layout, rate

MOST_WIDTHS = 5
"""Of lines that the legend explains."""

_MARGIN, _HEADER = 16.0, 96.0
_COLOURS = {
    "gpu": "#1d7a43", "cpu": "#0065a8", "nic": "#c4500a", "switch": "#6d4aa6", "host": "#57616b",
    "ink": "#1c2329", "muted": "#57616b", "line": "#8d969f", "paper": "#ffffff",
}  # fmt: skip
_NAMES = {"gpu": "GPU", "cpu": "CPU", "nic": "network card", "switch": "switch", "host": "host"}
_CORNERS = {"gpu": 2, "cpu": 2, "nic": 10, "switch": 18, "host": 4}
# Inside a report the page's colours are taken, so that its switch between light and dark holds for the picture too.
# The presentation attributes serve renderers that know no variables.
_STYLE = """
svg.topology { --t-gpu: #1d7a43; --t-cpu: #0065a8; --t-nic: #c4500a; --t-switch: #6d4aa6; --t-line: #8d969f;
  --t-ink: var(--ink, #1c2329); --t-muted: var(--muted, #57616b); --t-paper: var(--card, #ffffff);
  max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) {
  svg.topology { --t-gpu: #5cc48a; --t-cpu: #5ab0f0; --t-nic: #f0884a; --t-switch: #b497ec; --t-line: #7a848e;
    --t-ink: var(--ink, #e7eaed); --t-muted: var(--muted, #a4aeb8); --t-paper: var(--card, #1a1f25); } }
svg.topology text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--t-ink); }
svg.topology .title { font-size: 17px; font-weight: 650; }
svg.topology .muted { fill: var(--t-muted); }
svg.topology .paper { fill: var(--t-paper); }
svg.topology .box { fill: var(--t-paper); stroke-width: 1.8; }
svg.topology .gpu { stroke: var(--t-gpu); }
svg.topology .cpu { stroke: var(--t-cpu); }
svg.topology .nic { stroke: var(--t-nic); }
svg.topology .switch { stroke: var(--t-switch); }
svg.topology .host, svg.topology .frame { stroke: var(--t-muted); }
svg.topology .link { stroke: var(--t-line); fill: none; }
svg.topology .said { fill: var(--t-ink); stroke: var(--t-paper); stroke-width: 4; paint-order: stroke; }
"""


def topology_svg(topology: Topology) -> str:
    """A topology as an SVG document.

    Up to 64 vertices it is drawn whole; beyond that one host and, in summary, the network of hosts, which the picture
    says. Every box and line has a tooltip with its figures: bytes/s one way, and seconds.
    """
    found = layout(topology)
    kinds = [kind for kind in _NAMES if any(box.kind == kind for box in found.boxes)]
    shown = _widths(found.edges)
    estimated = "; the links are measured, not what the hardware permits" if topology.estimated else ""
    note = f"{found.note}{estimated}".removeprefix("; ")
    legend = 96 * len(kinds) + 112 * len(shown) + 190
    width = max(found.width + 2 * _MARGIN, legend + 2 * _MARGIN, 9.6 * len(topology.name) + 32, 6.6 * len(note) + 32)
    height = found.height + _HEADER + _MARGIN
    shift = (width - found.width) / 2
    ends = _ends(found.edges)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="topology" role="img" width="{px(width)}" '
            f'height="{px(height)}" viewBox="0 0 {px(width)} {px(height)}">',
            f"<title>{xml_text(topology.name)}</title>",
            f"<desc>{xml_text(_description(topology, found))}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="100%" height="100%" fill="{_COLOURS["paper"]}"/>',
            f'<text class="title" x="{px(_MARGIN)}" y="28" fill="{_COLOURS["ink"]}">{xml_text(topology.name)}</text>',
            *([f'<text class="muted" x="{px(_MARGIN)}" y="48" fill="{_COLOURS["muted"]}">{xml_text(note)}</text>']
              if note else []),
            *_legend(kinds, shown, ends),
            f'<g transform="translate({px(shift)} {px(_HEADER)})">',
            *map(_frame, found.frames),
            *(_edge(edge, found.boxes, ends) for edge in found.edges),
            *map(_box, found.boxes),
            *(_said(edge, found.boxes) for edge in found.edges if edge.label),
            "</g>",
            "</svg>\n",
        ]
    )  # fmt: skip


def _description(topology: Topology, found: Layout) -> str:
    whole = f"{topology.vertices:,} vertices, {len(topology.links):,} links, {len(topology.ranks):,} ranks"
    return f"{whole}: {found.note}." if found.note else f"{whole}; all are drawn."


def _ends(edges: Sequence[Edge]) -> tuple[float, float]:
    """The least and the most that a line carries, of those that have a limit."""
    finite = [carried for edge in edges if isfinite(carried := max(edge.out, edge.back))]
    return (min(finite), max(finite)) if finite else (1.0, 1.0)


def _width(carried: float, ends: tuple[float, float]) -> float:
    """Width of a line: by the logarithm of what it carries, as links of one machine differ by a hundred times."""
    low, high = ends
    if not isfinite(carried) or carried <= 0:
        return 1.2
    return 2.0 if low == high else 1.2 + 3.6 * log(carried / low) / log(high / low)


def _widths(edges: Sequence[Edge]) -> list[float]:
    """The figures that the legend explains, at most `MOST_WIDTHS` from the least to the most."""
    figures = sorted({max(edge.out, edge.back) for edge in edges})
    if len(figures) <= MOST_WIDTHS:
        return figures
    step = (len(figures) - 1) / (MOST_WIDTHS - 1)
    return [figures[round(i * step)] for i in range(MOST_WIDTHS)]


def _legend(kinds: Sequence[str], shown: Sequence[float], ends: tuple[float, float]) -> Iterator[str]:
    x, y = _MARGIN, 70.0
    for kind in kinds:
        yield (
            f'<rect class="box {kind}" x="{px(x)}" y="{px(y - 11)}" width="20" height="14" rx="{_CORNERS[kind] / 2:g}" '
            f'stroke="{_COLOURS[kind]}" stroke-width="1.8" fill="{_COLOURS["paper"]}"/>'
            f'<text x="{px(x + 26)}" y="{px(y)}">{_NAMES[kind]}</text>'
        )
        x += 128 if kind == "nic" else 80
    for carried in shown:
        yield (
            f'<line class="link" x1="{px(x)}" y1="{px(y - 4)}" x2="{px(x + 24)}" y2="{px(y - 4)}" '
            f'stroke="{_COLOURS["line"]}" stroke-width="{px(_width(carried, ends))}"{_dash(carried)}/>'
            f'<text x="{px(x + 30)}" y="{px(y)}">{rate(carried)}</text>'
        )
        x += 112
    if shown:
        said = "one way, all links of a line"
        yield f'<text class="muted" x="{px(x)}" y="{px(y)}" fill="{_COLOURS["muted"]}">{said}</text>'


def _dash(carried: float) -> str:
    return "" if isfinite(carried) else ' stroke-dasharray="4 3"'


def _frame(frame: Frame) -> str:
    return (
        f'<rect class="frame" x="{px(frame.left)}" y="{px(frame.top)}" width="{px(frame.right - frame.left)}" '
        f'height="{px(frame.bottom - frame.top)}" rx="8" fill="none" stroke="{_COLOURS["muted"]}"/>'
        f'<text class="muted" x="{px(frame.left + 10)}" y="{px(frame.top + 17)}" fill="{_COLOURS["muted"]}">'
        f"{xml_text(frame.title)}</text>"
    )


def _box(box: Box) -> str:
    left, middle = box.x - box.width / 2, box.y + BOX_HEIGHT / 2
    lines = "".join(
        f'<text x="{px(box.x)}" y="{px(middle + 4.5 + 15 * (i - (len(box.lines) - 1) / 2))}" text-anchor="middle"'
        f' fill="{_COLOURS["ink"]}">{xml_text(line)}</text>'
        for i, line in enumerate(box.lines)
    )
    return (
        f"<g><title>{_NAMES[box.kind]} {xml_text(', '.join(box.lines))}</title>"
        f'<rect class="box {box.kind}" x="{px(left)}" y="{px(box.y)}" width="{px(box.width)}" '
        f'height="{px(BOX_HEIGHT)}" rx="{_CORNERS[box.kind]}" stroke="{_COLOURS[box.kind]}" stroke-width="1.8" '
        f'fill="{_COLOURS["paper"]}"/>{lines}</g>'
    )


def _edge(edge: Edge, boxes: Sequence[Box], ends: tuple[float, float]) -> str:
    a, b = boxes[edge.a], boxes[edge.b]
    if edge.a == edge.b:  # links between the switches of one level, drawn as one box
        x, y = a.x + a.width / 2, a.y + BOX_HEIGHT / 2
        path = f"M{px(x)} {px(y - 8)}c34 -12 34 28 0 16"
    elif a.y == b.y:
        between = any(box.y == a.y and min(a.x, b.x) < box.x < max(a.x, b.x) for box in boxes)
        y = a.y if between else a.y + BOX_HEIGHT / 2
        top = a.y - arc_height(a, b) if between else y
        path = f"M{px(a.x)} {px(y)}Q{px((a.x + b.x) / 2)} {px(top)} {px(b.x)} {px(y)}"
    else:
        low, high = (a, b) if a.y > b.y else (b, a)
        path = f"M{px(low.x)} {px(low.y)}L{px(high.x)} {px(high.y + BOX_HEIGHT)}"
    carried = max(edge.out, edge.back)
    return (
        f'<path class="link" d="{path}" fill="none" stroke="{_COLOURS["line"]}" '
        f'stroke-width="{px(_width(carried, ends))}"{_dash(carried)}><title>{xml_text(_sentence(edge, a, b))}</title>'
        "</path>"
    )


def _sentence(edge: Edge, a: Box, b: Box) -> str:
    figures = f"{rate(edge.out)} each way" if edge.out == edge.back else f"{rate(edge.out)} →, {rate(edge.back)} ←"
    several = f", {edge.count:,} links one way" if edge.count > 1 else ""
    return f"{a.lines[0]} – {b.lines[0]}: {figures}, {edge.latency_s * 1e6:.4g} µs{several}"


def _said(edge: Edge, boxes: Sequence[Box]) -> str:
    """The label of a line, on its middle; of one from a box to itself, beside it."""
    a, b = boxes[edge.a], boxes[edge.b]
    x, y, anchor = (a.x + b.x) / 2, (a.y + b.y + BOX_HEIGHT) / 2 + 4, "middle"
    if edge.a == edge.b:
        x, anchor = a.x + a.width / 2 + 34, "start"
    return f'<text class="said" x="{px(x)}" y="{px(y)}" text-anchor="{anchor}">{xml_text(edge.label)}</text>'
