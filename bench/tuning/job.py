"""What `clusterbench tune` does: measure the library's algorithms, write rules, and measure the library with them.

First every algorithm of the library's `tuned` component is launched a few times, and with them that component by its
own, fixed rules and the library as it comes, all in an order drawn by the seed. The fastest of each size is a rule.
Then the component is launched by these rules and by its own, in turns; rules that do not make it significantly faster
are taken out again. A launch is a fresh world.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clusterbench.bench import exit_codes
from clusterbench.bench.jobs.job_record import Done, JobRecord, Outcome, Step
from clusterbench.bench.jobs.world_runs import Part, measure_world
from clusterbench.bench.measuring.forced_library import FIXED, RULES, by_segments
from clusterbench.bench.output import note, progress
from clusterbench.bench.tuning.choosing import Choice, Place, Turn, by_point, fastest, gains, kept, mean_ratio, medians
from clusterbench.bench.tuning.rules import tuned_rules
from clusterbench.bench.worlds.launchers import Launcher
from clusterbench.collectives.algorithm import LIBRARY
from clusterbench.collectives.plans.tuned_rules import write_tuned_rules
from clusterbench.results.compare import ComparedRow, CompareError
from clusterbench.results.journal import read_journal
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import Ratio

SEGMENTED = {"all_reduce": (5,), "broadcast": (2, 3, 4, 5, 6, 7), "reduce": (2, 3, 4, 5, 6)}
"""The algorithms of Open MPI that work by segments (`ompi_coll_tuned_*_intra_do_this` in coll_tuned_*_decision.c hands
them their size, and some that do not use it)."""
_FOR_TWO = "two_proc"
"""What Open MPI calls it."""
NEVER_S = 1e9
"""A world may take as long as something goes on in it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be tuned."""

    collectives: tuple[str, ...]
    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    choices: Mapping[str, Mapping[int, str]]
    """Of each collective the library's algorithms by number."""
    segments: tuple[int, ...]
    """Bytes of segments that are tried, beside the library's own, with algorithms that work by segments."""
    dtype: str
    screening: int
    """Launches of each algorithm by which the fastest is found."""
    launches: int
    """By the rules, and by the component's own."""
    precision: float
    budget_s: float
    iterations: int | None
    """Samples a point in each launch, instead of the two rules above."""
    silence_s: float


@dataclass(slots=True)
class TuneJob:
    """One call of `clusterbench tune`; `run` does it."""

    asked: Asked
    launcher: Launcher
    record: JobRecord
    rules: Path
    chosen: list[Choice] = field(default_factory=list)
    """What the file says in the end."""
    found: dict[Place, ComparedRow] = field(default_factory=dict)
    """What it changed."""
    means: dict[tuple[str, int], Ratio | None] = field(default_factory=dict)
    """Of each collective and number of ranks time after / before, as the geometric mean over its sizes."""
    unasked_s: dict[Place, float] = field(default_factory=dict)
    """Seconds of the library that is told nothing, which may take another component."""

    def run(self) -> Done:
        """Measure, write the rules, measure again; raises what `JobRecord.keep` does."""
        return self.record.keep(self._measure)

    def _measure(self) -> None:
        asked, rng = self.asked, np.random.default_rng(self.record.seed)
        worlds = [(name, ranks) for name in asked.collectives for ranks in asked.ranks]
        first = [
            (name, ranks, told, launch)
            for launch in range(1, asked.screening + 1)
            for name, ranks in worlds
            for told in ("", FIXED, *self._numbers(name, ranks))
        ]
        # One launch of everything before the second of anything: what changes meanwhile meets all of them.
        first.sort(key=lambda each: (each[3], rng.random()))
        total = len(first) + 2 * asked.launches * len(worlds)
        with progress("clusterbench tune", total=total) as step:
            screened = [row for each in first for row in self._screened(*each, step)]
            proposed = fastest(screened)
            self.unasked_s = {place: time_s for (place, told), time_s in medians(screened).items() if not told}
            write_tuned_rules(self._proposed, tuned_rules(proposed))
            turns: dict[tuple[str, int], list[Turn]] = {world: [] for world in worlds}
            for launch in range(1, asked.launches + 1):
                for name, ranks in worlds:
                    sides: list[list[Measurement]] = [[], []]
                    for with_rules in map(int, rng.permutation(2)):
                        sides[with_rules] = self._turn(name, ranks, bool(with_rules), launch, step)
                    turns[name, ranks].append((sides[0], sides[1]))
        before, after = ([row for of in turns.values() for turn in of for row in turn[side]] for side in (0, 1))
        try:
            self.found = by_point(gains(before, after, self.record.seed))
        except CompareError as error:
            self.record.add(Outcome(exit_codes.FAILED, f"the rules are not checked, and no rule is kept: {error}"))
        self.chosen = kept(proposed, self.found)
        write_tuned_rules(self.rules, tuned_rules(self.chosen))
        for world in worlds:
            of_world = [choice for choice in self.chosen if (choice.collective, choice.ranks) == world]
            self.means[world] = mean_ratio(turns[world], of_world, self.record.seed) if of_world else None

    @property
    def _proposed(self) -> Path:
        """The rules that are still to be checked, apart from those that a library is to load."""
        return self.record.out / "proposed-rules.conf"

    def _numbers(self, name: str, ranks: int) -> list[str]:
        """The algorithms that so many ranks can take, and their segments: one of some collectives is for two alone."""
        choices = self.asked.choices[name]
        numbers = [number for number, text in choices.items() if ranks == 2 or text != _FOR_TWO]
        segmented = [number for number in SEGMENTED.get(name, ()) if number in numbers]
        # A segment as long as the largest vector is none.
        lengths = [length for length in self.asked.segments if length < max(self.asked.sizes)]
        return [*map(str, numbers), *(by_segments(str(number), length) for number in segmented for length in lengths)]

    def _screened(self, name: str, ranks: int, told: str, launch: int, step: Step) -> list[Measurement]:
        what = f"{LIBRARY}:{told}" if told else LIBRARY
        title = f"{name}, {ranks} ranks, {what}, launch {launch}"
        args = self._args(name, launch, "--algorithm", what)
        short = told.replace(":", "-").replace("=", "-") or LIBRARY
        return self._launched(Part(f"find-{name}-{ranks}-{short}-{launch}", title, args), ranks, step)

    def _turn(self, name: str, ranks: int, with_rules: bool, launch: int, step: Step) -> list[Measurement]:
        short = RULES if with_rules else FIXED
        options = ("--library-rules", str(self._proposed)) if with_rules else ("--algorithm", f"{LIBRARY}:{FIXED}")
        title = f"{name}, {ranks} ranks, {LIBRARY}:{short}, turn {launch}"
        args = self._args(name, launch, *options)
        return self._launched(Part(f"check-{name}-{ranks}-{short}-{launch}", title, args), ranks, step)

    def _args(self, name: str, launch: int, *options: str) -> tuple[str, ...]:
        asked = self.asked
        sizes = ",".join(map(str, asked.sizes))
        seed = (self.record.seed + launch) % 2**32
        fixed = ("-n", str(asked.iterations), "-w", "1") if asked.iterations else ()
        return (
            "collectives", "run", name, "-d", asked.dtype, "--sizes", sizes, "--placement", "out-of-place",
            "--precision", f"{asked.precision:g}", "--budget", f"{asked.budget_s:g}", "--seed", str(seed), *fixed,
            *options,
        )  # fmt: skip

    def _launched(self, part: Part, ranks: int, step: Step) -> list[Measurement]:
        """The rows of a world; one that fails costs its rows only."""

        def line(args: Sequence[str]) -> list[str]:
            return self.launcher.line(ranks, "block", args)

        def measure() -> Outcome:
            return measure_world(self.record, part, line, timeout_s=NEVER_S, silence_s=self.asked.silence_s, step=step)

        step(part.title, 0)
        self.record.attempt(part.title, measure)
        step("", 1)
        if not self.record.write(running=True):
            note(f"{part.title}: what follows may not be kept")
        return [row for path in self.record.journals_of(part.name) for row in read_journal(path).measurements]
