"""Results held against stored runs, by the rules of `results compare`, and against thresholds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clusterbench.bench.output import time_text
from clusterbench.bench.pytest_plugin.options import Settings
from clusterbench.bench.pytest_plugin.results import BenchmarkError, Result
from clusterbench.bench.stored import thresholds
from clusterbench.bench.stored.stored_runs import named_runs
from clusterbench.results.columns import to_frame
from clusterbench.results.compare import COLUMNS, CompareError, Side, compare

if TYPE_CHECKING:
    from clusterbench.results.compare import ComparedRow
    from clusterbench.results.record import Run

_SAME = ("suite", "name", "backend", "shape", "size_bytes", "placement", "dtype", "ranks")
"""What a row of a test must share with one that it is compared with; other rows are those of other tests."""


class Baseline:
    """The runs and the thresholds that results are held against."""

    def __init__(self) -> None:
        self._side: Side | None = None
        self._thresholds: tuple[thresholds.Threshold, ...] = ()
        self._used: set[str] = set()
        self._counts: Counter[str] = Counter()

    def read_runs(self, text: str, url: str) -> None:
        """Take the runs that `text` names. Raises what `stored_runs.named_runs` does."""
        self._side = named_runs(text, url, COLUMNS)

    def read_thresholds(self, path: Path) -> None:
        """Take the thresholds of a file. Raises `ThresholdError`."""
        self._thresholds = thresholds.read_thresholds(path)

    def check(self, run: Run, results: Sequence[Result], settings: Settings, tests: int) -> list[str]:
        """What cannot be told of the results of a test, in words.

        Raises `BenchmarkError` where they are significantly slower, below a threshold, or unlike what they are to be
        compared with. `tests` is how many are compared: the p-value is adjusted over so many.
        """
        return [*self._held(results), *self._compared(run, results, settings, tests)]

    def _held(self, results: Sequence[Result]) -> list[str]:
        rows = [result.row for result in results]
        concerned = [one for one in self._thresholds if any(one.applies(row.as_row()) for row in rows)]
        if not concerned:
            return []
        self._used.update(one.where for one in concerned)
        try:
            found = thresholds.check(concerned, to_frame(rows))
        except thresholds.ThresholdError as error:
            raise BenchmarkError(str(error)) from None
        said = []
        for one in sorted(found.checked, key=lambda one: one.outcome != "below"):
            has, asked = (
                one.threshold.shown(one.row, time_s)
                for time_s in (one.row["median_s"], one.threshold.longest_s(one.row))
            )
            words = "; ".join(filter(None, (f"{has}, and {one.threshold.where} asks for {asked}", one.reason)))
            if one.outcome == "below":
                raise BenchmarkError(f"below a threshold: {words}")
            if one.outcome == "cannot tell":
                said.append(words)
        return said

    def _compared(self, run: Run, results: Sequence[Result], settings: Settings, tests: int) -> list[str]:
        if self._side is None:
            return []
        row = results[0].row
        frame = self._side.frame
        for name in _SAME:
            frame = frame[frame[name] == getattr(row, name)]
        if frame.empty:
            self._counts["new"] += 1
            return []
        a = Side(self._side.runs, frame, self._side.samples)
        samples = {i: result.samples for i, result in enumerate(results) if result.samples is not None}
        b = Side((run,), to_frame([result.row for result in results]), samples)
        try:
            found = compare(a, b, settings.tolerance, unit=settings.unit, among=max(1, tests)).rows
        except CompareError as error:
            if "no row in common" not in str(error):
                raise BenchmarkError(str(error).partition(". Pass --force")[0]) from None
            self._counts["new"] += 1
            return []
        self._counts.update(one.change for one in found)
        for one in found:
            if one.change == "worse":
                raise BenchmarkError(f"slower than {a.name}: {_words(one)}; tolerance {settings.tolerance:.2%}")
        return [_words(one) for one in found if one.change == "cannot tell"]

    def lines(self, settings: Settings) -> list[str]:
        """What came of all results, in lines."""
        said = []
        if self._side is not None:
            order = ("worse", "better", "same", "cannot tell", "new")
            counts = ", ".join(f"{self._counts[change]} {change}" for change in order if self._counts[change])
            said.append(f"against {settings.against}: {counts or 'nothing was compared'}")
        unused = [one.where for one in self._thresholds if one.where not in self._used]
        said += [f"{where}: no result is of this collective, size, device and ranks" for where in unused]
        return said


def _words(row: ComparedRow) -> str:
    """One comparison in words: the ratio with its interval, the times, and why."""
    said = []
    if row.ratio is not None:
        interval = "" if row.ratio.low is None else f" [{row.ratio.low:.3f}, {row.ratio.high:.3f}]"
        said.append(f"{row.ratio.value:.3f}{interval} times as long")
        said.append(f"{time_text(row.a_s)} us, then {time_text(row.b_s)} us")
    if row.p is not None:
        said.append(f"{row.launches[0]} launches, then {row.launches[1]}; p = {row.p:.2g}")
    if row.reason:
        said.append(row.reason)
    return "; ".join(said)
