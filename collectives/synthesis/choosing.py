"""How many segments, and trees or short ways: whatever is simulated to take the least time for a size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.schedule_file import MOST_MOVES, MOST_ROUNDS
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.simulator.phases import price_by
from clusterbench.collectives.simulator.prediction import Prediction
from clusterbench.collectives.synthesis.synthesis import Plan, Synthesis

NUMBERS = (2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Of segments, that are tried until `ENOUGH` in a row are slower."""
ENOUGH = 3
WORTH = 0.998
"""More segments must take less than this share of the time of fewer, as each costs a program some memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A schedule for a size and what it is simulated to take."""

    size_bytes: int
    kind: Literal["trees", "short"]
    segments: int
    schedule: Schedule
    prediction: Prediction

    @property
    def time_s(self) -> float:
        """Simulated."""
        return self.prediction.time_s


def chosen(synthesis: Synthesis, size_bytes: int, patterns: Patterns | None = None) -> Choice:
    """What is simulated, round by round, to be fastest for a size of nccl-tests.

    With `patterns` what other sizes had priced is not priced again.
    """
    patterns = patterns or Patterns(synthesis.topology)
    short = _priced(patterns, "short", synthesis.short, 1, size_bytes)
    trees = _priced(patterns, "trees", synthesis.fast, 1, size_bytes)
    worse = 0
    for segments in NUMBERS:
        if segments > most_segments(synthesis.fast) or segments * synthesis.fast.trees > max(1, size_bytes // 4):
            break
        more = _priced(patterns, "trees", synthesis.fast, segments, size_bytes)
        worse = 0 if more.time_s < trees.time_s else worse + 1
        if more.time_s < WORTH * trees.time_s:
            trees = more
        if worse == ENOUGH:
            break
    return min(short, trees, key=lambda one: one.time_s)


def most_segments(plan: Plan) -> int:
    """Segments up to which a schedule can be written to a file and read again."""
    return max(1, min(NUMBERS[-1], MOST_MOVES // plan.chunks_moved, MOST_ROUNDS - plan.depth))


def _priced(
    patterns: Patterns, kind: Literal["trees", "short"], plan: Plan, segments: int, size_bytes: int
) -> Choice:  # fmt: skip
    made = plan.schedule(segments)
    return Choice(size_bytes, kind, segments, made, price_by(patterns, made, size_bytes))
