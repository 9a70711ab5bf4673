"""Where the time of measuring goes: start-up, the loops that are measured, checks of data, and the rest.

The rest is what the harness costs. A process that measures keeps an account of its own, in the environment of its
journal's run; a job of several processes adds them up.

Time is that since a process was started, as the system has it; so the interpreter's own start is in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from clusterbench.results.record import Run

KEY = "time"
"""In the environment of a run: by part what `Spent.as_row` gives."""
JOB = "job"
"""The part that stands for a job as a whole."""


def process_age_s() -> float:
    """Seconds since this process was started, to a hundredth."""
    import psutil

    return max(0.0, time.time() - psutil.Process().create_time())


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent on what, in seconds; the four parts add up to `wall_s`."""

    wall_s: float
    startup_s: float
    """Until the first row: interpreter, imports, MPI, compiled code, proofs, buffers, what to expect; of a job also
    what launchers take to start processes, and to end them."""
    loops_s: float
    """Warm-up and samples."""
    checks_s: float
    """Making data, calls whose results were looked at, and looking at them; implementations that are only verified."""
    harness_s: float
    """All else: statistics, journals, agreement of ranks, store, report."""

    @property
    def harness_share(self) -> float:
        """What the harness takes of all the time."""
        return self.harness_s / self.wall_s if self.wall_s > 0 else 0.0

    @classmethod
    def of(cls, wall_s: float, startup_s: float, loops_s: float, checks_s: float) -> Self:
        """What was spent, the harness being what is left."""
        return cls(wall_s, startup_s, loops_s, checks_s, wall_s - startup_s - loops_s - checks_s)

    def as_row(self) -> dict[str, float]:
        """The fields, to the millisecond."""
        return {field.name: round(getattr(self, field.name), 3) for field in fields(self)}

    def line(self) -> str:
        """All of it in a line, for a person."""
        return (
            f"{self.wall_s:.1f} s: start-up {self.startup_s:.1f} s, measured loops {self.loops_s:.1f} s, checks "
            f"{self.checks_s:.1f} s, harness {self.harness_s:.1f} s ({self.harness_share:.1%})"
        )


@dataclass(slots=True)
class TimeAccount:
    """The account of one process, from its start on."""

    startup_s: float = 0.0
    loops_s: float = 0.0
    checks_s: float = 0.0

    def ready(self) -> None:
        """Start-up is over: the first row begins."""
        self.startup_s = process_age_s()

    @contextmanager
    def checking(self) -> Iterator[None]:
        """The block looks at data."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self.checks_s += time.perf_counter() - began_s

    def spent(self) -> Spent:
        """What was spent so far."""
        return Spent.of(process_age_s(), self.startup_s, self.loops_s, self.checks_s)


def with_time(run: Run, part: str, spent: Spent) -> Run:
    """`run` with what one of its parts was spent on."""
    known = run.environment.get(KEY)
    parts = {**known} if isinstance(known, Mapping) else {}
    return replace(run, environment={**run.environment, KEY: {**parts, part: spent.as_row()}})


def together(runs: Iterable[Run], wall_s: float, startup_s: float, processes_s: float) -> Spent:
    """What a job was spent on, of its parts' runs; `startup_s` is its own, and `wall_s` the time of all of it.

    `processes_s` is the time of its parts' processes as whoever started them saw it. What is more than their own, which
    goes from when a process was there to its last row, went into starting and ending them, which is start-up.
    """
    rows: list[Mapping[str, Any]] = [
        row
        for run in runs
        for part, row in run.environment.get(KEY, {}).items()
        if part != JOB
    ]  # fmt: skip
    own_s, *sums = (sum(row[name] for row in rows) for name in ("wall_s", "startup_s", "loops_s", "checks_s"))
    launching_s = max(0.0, processes_s - own_s)
    return Spent.of(wall_s, startup_s + launching_s + sums[0], sums[1], sums[2])
