"""Pictures of schedules, as SVG: one file or a part of a page, light or dark as the page or the system is.

A picture of steps is a space-time diagram: a vertical line a rank, time running down, an arrow a message. What a
message does at its receiver is told by three things, of which any one is enough: colour, line (solid or dashed) and
head (a triangle for a copy, a circled plus for a reduction).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import hypot
from typing import ClassVar

from clusterbench.collectives.drawing.svg import px, xml_text
from clusterbench.collectives.schedule import Phase, Schedule

MOST_RANKS = 16
MOST_ROUNDS = 64
MOST_ARROWS = 5000
"""Beyond these a picture of steps shows nothing that an eye could follow."""

_CHARACTER = 6.3
"""Width of a character of a label, in pixels."""
_MARGIN, _HEADER, _HEADS = 64.0, 84.0, 34.0
_NAME = {False: "copy", True: "reduce"}
_COLOURS = {"copy": "#0065a8", "reduce": "#c4500a", "ink": "#1c2329", "muted": "#57616b", "line": "#dcdfe2"}
_PAPER = "#ffffff"
# Inside a report the page's colours are taken, so that its switch between light and dark holds for the picture too.
# The presentation attributes serve renderers that know no variables.
_STYLE = """
svg.steps { --steps-copy: var(--copy, #0065a8); --steps-reduce: var(--reduce, #c4500a);
  --steps-ink: var(--ink, #1c2329); --steps-muted: var(--muted, #57616b); --steps-line: var(--line, #dcdfe2);
  --steps-paper: var(--card, #ffffff); max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) {
  svg.steps { --steps-copy: var(--copy, #5ab0f0); --steps-reduce: var(--reduce, #f0884a);
    --steps-ink: var(--ink, #e7eaed); --steps-muted: var(--muted, #a4aeb8); --steps-line: var(--line, #343c45);
    --steps-paper: var(--card, #1a1f25); } }
svg.steps text { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--steps-ink); }
svg.steps .title { font-size: 17px; font-weight: 650; }
svg.steps .muted { fill: var(--steps-muted); font-size: 12px; }
svg.steps .paper { fill: var(--steps-paper); }
svg.steps .life { stroke: var(--steps-muted); }
svg.steps .rule { stroke: var(--steps-line); }
svg.steps .head { fill: var(--steps-paper); stroke: var(--steps-muted); }
svg.steps .copy { stroke: var(--steps-copy); }
svg.steps .reduce { stroke: var(--steps-reduce); }
svg.steps .copy .solid { fill: var(--steps-copy); }
svg.steps .reduce .solid { fill: var(--steps-reduce); }
svg.steps .plus { fill: var(--steps-paper); }
svg.steps .copy text, svg.steps .reduce text { font: 10.5px ui-monospace, "DejaVu Sans Mono", Menlo, monospace;
  stroke: none; }
svg.steps .copy text { fill: var(--steps-copy); }
svg.steps .reduce text { fill: var(--steps-reduce); }
"""


class DrawingError(ValueError):
    """A schedule that is too large for a picture; the message says which are not."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class _Message:
    """What goes from one rank to another in a round; `label` is empty where it would not fit."""

    src: int
    dst: int
    reduces: bool
    label: str
    sentence: str

    @property
    def side(self) -> int:
        """On which side of its sender it leaves; a copy inside a rank is drawn on the right."""
        return 1 if self.dst >= self.src else -1


@dataclass(frozen=True, slots=True)
class _Canvas:
    """Where things lie, in pixels."""

    spacing: float
    tops: list[float]
    """The top of every round, and the end of the last."""

    def x(self, rank: int) -> float:
        return _MARGIN + self.spacing * (rank + 0.5)


def steps_svg(schedule: Schedule, name: str = "") -> str:
    """The steps of a schedule as an SVG document; `name` is what its title calls it.

    Numbers beside the arrows are chunks, left out where there is no room; each arrow's tooltip has all. Raises
    `DrawingError` for more than `MOST_RANKS` ranks, `MOST_ROUNDS` rounds or `MOST_ARROWS` messages.
    """
    if schedule.ranks > MOST_RANKS:
        raise DrawingError(f"a picture of the steps of {schedule.ranks} ranks; expected at most {MOST_RANKS}")
    parts = list(islice(schedule.rounds(), MOST_ROUNDS + 1))
    if len(parts) > MOST_ROUNDS:
        raise DrawingError(f"a picture of a schedule of more than {MOST_ROUNDS} rounds; draw fewer ranks or segments")
    rounds = [_messages(schedule, number, part) for number, part in enumerate(parts)]
    arrows = sum(map(len, rounds))
    if arrows > MOST_ARROWS:
        raise DrawingError(f"a picture of {arrows} messages; expected at most {MOST_ARROWS}")
    longest = max((len(message.label) for part in rounds for message in part), default=0)
    tops = [_HEADER + _HEADS]
    for part in rounds:
        tops.append(tops[-1] + _height(part))
    canvas = _Canvas(max(88.0, 2 * _CHARACTER * longest + 44), tops)
    what = f"{schedule.collective.name} over {schedule.ranks} {'rank' if schedule.ranks == 1 else 'ranks'}"
    title = f"{name}: {what}" if name else what
    legend = _numbers(schedule, rounds)
    width = max(9.6 * len(title) + 32, 6.6 * len(legend) + 290, _MARGIN + canvas.spacing * schedule.ranks + 24)
    height = tops[-1] + _HEADS + 16
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="steps" role="img" width="{px(width)}" '
            f'height="{px(height)}" viewBox="0 0 {px(width)} {px(height)}">',
            f"<title>{xml_text(title)}</title>",
            f"<desc>{xml_text(_description(schedule, rounds))}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="100%" height="100%" fill="{_PAPER}"/>',
            f'<text class="title" x="16" y="28" fill="{_COLOURS["ink"]}">{xml_text(title)}</text>',
            *_legend(rounds, legend),
            *_frame(schedule, canvas, width),
            *(line for number, part in enumerate(rounds) for line in _round(part, number, canvas)),
            "</svg>\n",
        ]
    )


def _description(schedule: Schedule, rounds: list[list[_Message]]) -> str:
    counts = Counter(_NAME[message.reduces] for part in rounds for message in part)
    return (
        f"Space-time diagram: {schedule.ranks} ranks from left to right, {len(rounds)} rounds from top to bottom, "
        f"{schedule.chunks} chunks; {counts['copy']} messages are copied and {counts['reduce']} reduced at their "
        "receivers."
    )


def _messages(schedule: Schedule, number: int, part: Phase) -> list[_Message]:
    """The messages of a round: the transfers of one pair of ranks that do the same, together."""
    pieces: dict[tuple[int, int, bool], list[tuple[int, int, int]]] = {}
    columns = (part.src, part.dst, part.reduce, part.src_chunk, part.dst_chunk, part.count)
    for src, dst, reduces, chunk, dst_chunk, count in zip(*(column.tolist() for column in columns), strict=True):
        pieces.setdefault((src, dst, reduces), []).append((chunk, dst_chunk, count))
    # A label has its place at the sender if nothing else leaves it on that side, else so at the receiver.
    leaving = Counter((src, dst >= src) for src, dst, _ in pieces)
    arriving = Counter((dst, dst >= src) for src, dst, _ in pieces)
    room = 11 if schedule.ranks <= 8 else 7
    messages = []
    for (src, dst, reduces), found in pieces.items():
        chunks = _names(schedule, [(chunk, count) for chunk, _, count in found])
        targets = _names(schedule, [(chunk, count) for _, chunk, count in found])
        moved = chunks if chunks == targets else f"{chunks}→{targets}"
        amount = sum(count for _, _, count in found)
        label = moved if len(moved) <= room else f"{amount} chunks" if amount > 1 and room > 7 else f"{amount} ch."
        if len(pieces) > 3 * schedule.ranks or (leaving[src, dst >= src] > 1 and arriving[dst, dst >= src] > 1):
            label = ""
        noun = "chunk" if amount == 1 else "chunks"
        verb, preposition = ("reduced", "into") if reduces else ("copied", "as")
        into = "" if chunks == targets else f" {preposition} {noun} {targets}"
        messages.append(
            _Message(
                src, dst, reduces, label, f"round {number}: {noun} {chunks} of rank {src} {verb}{into} at rank {dst}"
            )
        )
    return messages


def _names(schedule: Schedule, runs: Iterable[tuple[int, int]]) -> str:
    """Chunks as text: neighbours as a range, scratch chunks with an s before their number among them."""
    merged: list[list[int]] = []
    for first, count in runs:
        if merged and merged[-1][1] == first != schedule.chunks:
            merged[-1][1] += count
        else:
            merged.append([first, first + count])
    texts = []
    for first, end in islice(merged, 40):
        shift, mark = (schedule.chunks, "s") if first >= schedule.chunks else (0, "")
        last = f"–{end - 1 - shift}" if end - first > 1 else ""
        texts.append(f"{mark}{first - shift}{last}")
    return ",".join(texts) + (",…" if len(merged) > 40 else "")


def _height(part: list[_Message]) -> float:
    """Height of a round: the farther its messages go, the more."""
    return 54.0 + 7.0 * max((abs(message.dst - message.src) for message in part), default=0)


def _frame(schedule: Schedule, canvas: _Canvas, width: float) -> Iterator[str]:
    """The lines of the ranks with their names, and the rules between rounds."""
    top, end = canvas.tops[0], canvas.tops[-1]
    for number, y in enumerate(canvas.tops):
        yield (
            f'<line class="rule" x1="16" y1="{px(y)}" x2="{px(width - 16)}" y2="{px(y)}" stroke="{_COLOURS["line"]}"/>'
        )
        if number < len(canvas.tops) - 1:
            yield f'<text class="muted" x="16" y="{px(y + 20)}" fill="{_COLOURS["muted"]}">{number}</text>'
    yield f'<text class="muted" x="16" y="{px(top - 12)}" fill="{_COLOURS["muted"]}">round</text>'
    if len(canvas.tops) == 1:
        yield f'<text class="muted" x="{px(_MARGIN + 8)}" y="{px(end + 24)}">no rounds: nothing has to move</text>'
    for rank in range(schedule.ranks):
        x = canvas.x(rank)
        yield (
            f'<line class="life" x1="{px(x)}" y1="{px(top - 6)}" x2="{px(x)}" y2="{px(end + 6)}" '
            f'stroke="{_COLOURS["muted"]}"/>'
        )
        for y in (top - 17, end + 17):
            is_root = rank == schedule.root
            yield (
                f'<rect class="head" x="{px(x - 15)}" y="{px(y - 11)}" width="30" height="22" rx="6" '
                f'stroke="{_COLOURS["muted"]}" stroke-width="{2.5 if is_root else 1}" fill="{_PAPER}">'
                f"<title>rank {rank}{', the root' if is_root else ''}</title></rect>"
                f'<text x="{px(x)}" y="{px(y + 4.5)}" text-anchor="middle">{rank}</text>'
            )


def _round(part: list[_Message], number: int, canvas: _Canvas) -> Iterator[str]:
    top, end = canvas.tops[number] + 14, canvas.tops[number + 1] - 8
    leaving = Counter((message.src, message.side) for message in part)
    for message in part:
        x, to = canvas.x(message.src), canvas.x(message.dst)
        half = _CHARACTER * len(message.label) / 2 + 3
        if message.src == message.dst:
            drawn = _loop(x, top + 2, end - 4, message.reduces)
            place = x + 30 + half, (top + end) / 2
        else:
            drawn = _arrow(x, top, to, end, message.reduces)
            share = min(0.5, (half + 6) / abs(to - x))
            if leaving[message.src, message.side] > 1:
                share = 1 - share
            place = x + share * (to - x), top + share * (end - top)
        yield _group(
            message.reduces, f"<title>{xml_text(message.sentence)}</title>{drawn}{_label(message.label, *place)}"
        )


def _group(reduces: bool, inside: str) -> str:
    colour = _COLOURS[_NAME[reduces]]
    return f'<g class="{_NAME[reduces]}" stroke="{colour}" stroke-width="1.6" fill="none">{inside}</g>'


def _label(text: str, x: float, y: float) -> str:
    if not text:
        return ""
    half = _CHARACTER * len(text) / 2 + 2
    return (
        f'<rect class="paper" x="{px(x - half)}" y="{px(y - 7)}" width="{px(2 * half)}" height="14" rx="3" '
        f'stroke="none" fill="{_PAPER}" fill-opacity="0.88"/>'
        f'<text x="{px(x)}" y="{px(y + 3.7)}" text-anchor="middle">{xml_text(text)}</text>'
    )


def _arrow(x: float, y: float, to_x: float, to_y: float, reduces: bool) -> str:
    """A straight arrow: a dot where it starts, a head by what it does where it ends."""
    length = hypot(to_x - x, to_y - y)
    along, down = (to_x - x) / length, (to_y - y) / length
    gap = 13.0 if reduces else 9.0
    end_x, end_y = px(to_x - gap * along), px(to_y - gap * down)
    start = f'<circle class="solid" cx="{px(x)}" cy="{px(y)}" r="2.2" stroke="none"/>'
    line = f'<line x1="{px(x)}" y1="{px(y)}" x2="{end_x}" y2="{end_y}"{_dash(reduces)}/>'
    return start + line + _head(to_x, to_y, along, down, reduces)


def _loop(x: float, y: float, to_y: float, reduces: bool) -> str:
    """An arrow from a rank to itself."""
    path = f"M{px(x)} {px(y)}C{px(x + 34)} {px(y)} {px(x + 34)} {px(to_y)} {px(x + 9)} {px(to_y)}"
    return f'<path d="{path}"{_dash(reduces)}/>' + _head(x, to_y, -1.0, 0.0, reduces)


def _dash(reduces: bool) -> str:
    return ' stroke-dasharray="6 3.5"' if reduces else ""


def _head(x: float, y: float, along: float, down: float, reduces: bool) -> str:
    """The head of an arrow that ends at (x, y), in the direction (along, down) of length 1."""
    if reduces:
        x, y = x - 7 * along, y - 7 * down
        plus = f"M{px(x - 3.5)} {px(y)}h7M{px(x)} {px(y - 3.5)}v7"
        return f'<circle class="plus" cx="{px(x)}" cy="{px(y)}" r="6" fill="{_PAPER}"/><path d="{plus}"/>'
    x, y = x - along, y - down
    base_x, base_y = x - 9 * along, y - 9 * down
    corners = [(x, y), (base_x - 4 * down, base_y + 4 * along), (base_x + 4 * down, base_y - 4 * along)]
    points = " ".join(f"{px(a)},{px(b)}" for a, b in corners)
    return f'<polygon class="solid" points="{points}" stroke="none" fill="{_COLOURS["copy"]}"/>'


def _numbers(schedule: Schedule, rounds: list[list[_Message]]) -> str:
    """What the numbers and frames mean, as far as they occur."""
    text = "numbers: chunks"
    if any("→" in message.label for part in rounds for message in part):
        text += ", at the sender → at the receiver"
    if schedule.scratch_chunks:
        text += ", s: scratch"
    return text + ("; thick frame: root" if schedule.root >= 0 else "")


def _legend(rounds: list[list[_Message]], numbers: str) -> Iterator[str]:
    """What the arrows mean, as far as they occur."""
    x = 16.0
    for reduces in (False, True):
        if any(message.reduces == reduces for part in rounds for message in part):
            yield _group(reduces, _arrow(x + 2, 50, x + 44, 50, reduces))
            yield f'<text x="{px(x + 54)}" y="54.5">{_NAME[reduces]}</text>'
            x += 126
    if x > 16:
        yield f'<text class="muted" x="{px(x + 4)}" y="54.5" fill="{_COLOURS["muted"]}">{numbers}</text>'
