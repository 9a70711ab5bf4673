"""What becomes of a run's rows, however the run ends: they are in its journal, they are shown, and the journal says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from clusterbench.bench import exit_codes
from clusterbench.bench.worlds import recording
from clusterbench.bench.worlds.recording import Finished, Keeping, Step, recorded
from clusterbench.bench.worlds.watchdog import Watchdog, silent
from clusterbench.bench.worlds.world import AgreedError, RankPlace, World
from clusterbench.results.journal import Journal, JournalWriteError, read_journal
from clusterbench.results.record import Measurement, Run
from clusterbench.results.store import Store

ROW = Measurement(run_id="r", suite="pairs", name="latency", median_s=1e-6)
SAMPLES = np.array([1e-6])


class Comm:
    """Stands for the communicator of one of two ranks; `heard` is what the other, rank 0, has sent."""

    size = 2

    def __init__(self, rank: int, *heard: Any) -> None:
        self.rank, self.heard = rank, list(heard)

    def bcast(self, value: Any) -> Any:
        return self.heard.pop(0) if self.rank else value


@dataclass
class Made:
    """A call of `recorded`, of which a test says what is measured."""

    folder: Path
    store: str | None = None
    part: str | None = None
    skipped: list[str] = field(default_factory=list)
    comm: Comm = field(default_factory=lambda: Comm(0))
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(0))
    shown: list[tuple[Run, list[Measurement]]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __call__(self, measure: Callable[[Finished, Step], Iterator[Measurement]]) -> int:
        world = World(cast("Any", self.comm), (RankPlace(0, "h0", 1, 0, (0,), ""),), 1, False, "", ())
        keeping = Keeping(self.folder / "journals", "r", self.part, self.store, strict=False)

        def show(run: Run, device: str, rows: list[Measurement]) -> None:
            assert device
            self.told.append("shown")
            self.shown.append((run, list(rows)))

        def measured(run_id: str, device: str, finished: Finished, step: Step) -> Iterator[Measurement]:
            assert run_id == "r"
            return measure(finished, step)

        return recorded(world, self.watchdog, keeping, "pairs", 7, 2, measured, show, self.skipped)

    @property
    def journal(self) -> Path:
        (path,) = (self.folder / "journals").iterdir()
        return path


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def two_rows(finished: Finished, step: Step) -> Iterator[Measurement]:
    for number in range(2):
        step(f"row {number}", number)
        finished(ROW, SAMPLES)
        yield ROW


def test_rows_and_what_was_left_out_are_kept_and_shown(made: Made) -> None:
    made.skipped, made.part = ["pairs: too large"], "night-pairs"
    assert made(two_rows) == exit_codes.GOOD
    assert made.journal.name == "r.night-pairs.jsonl"
    contents = read_journal(made.journal)
    assert contents.measurements == (ROW, ROW)
    assert (contents.run.exit_code, contents.run.failures, contents.run.seed) == (0, ("pairs: too large",), 7)
    assert contents.run.environment["time"].keys() == {"night-pairs"}
    assert [(run.exit_code, rows) for run, rows in made.shown] == [(0, [ROW, ROW])]
    assert made.watchdog.last_words is silent


def test_the_exit_code_is_that_of_the_rows(made: Made) -> None:
    def wrong(finished: Finished, step: Step) -> Iterator[Measurement]:
        finished(Measurement(run_id="r", suite="pairs", name="latency", verdict="FAIL", wrong=1), SAMPLES)
        yield ROW

    assert made(wrong) == exit_codes.WRONG_DATA
    assert read_journal(made.journal).run.exit_code == exit_codes.WRONG_DATA


@pytest.mark.parametrize(("error", "said"), [(ValueError("torn"), "pairs: torn"), (KeyboardInterrupt(), "KeyboardInt")])
def test_what_was_measured_before_an_error_is_kept_and_shown_with_it(
    made: Made, error: BaseException, said: str
) -> None:
    def torn(finished: Finished, step: Step) -> Iterator[Measurement]:
        yield from two_rows(finished, step)
        raise error

    with pytest.raises(type(error)):
        made(torn)
    contents = read_journal(made.journal)
    assert (contents.measurements, contents.run.exit_code) == ((ROW, ROW), exit_codes.FAILED)
    assert said in contents.run.failures[0]
    assert [rows for _, rows in made.shown] == [[ROW, ROW]]
    assert made.watchdog.last_words is silent


def test_a_row_that_cannot_be_written_is_shown_and_its_error_told(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise JournalWriteError("no space left")

    monkeypatch.setattr(Journal, "append", full)
    monkeypatch.setattr(Journal, "finish", full)
    with pytest.raises(JournalWriteError, match="no space left"):
        made(two_rows)
    assert [rows for _, rows in made.shown] == [[ROW]]


def test_an_error_while_rows_are_shown_does_not_hide_why_they_end(made: Made) -> None:
    def torn(finished: Finished, step: Step) -> Iterator[Measurement]:
        made.shown = cast("Any", None)  # on which nothing can be shown
        raise ValueError("torn")
        yield ROW

    with pytest.raises(ValueError, match="torn"):
        made(torn)
    assert read_journal(made.journal).run.failures == ("pairs: torn",)


def test_last_words_close_the_journal_and_show_what_there_is(made: Made) -> None:
    def silenced(finished: Finished, step: Step) -> Iterator[Measurement]:
        finished(ROW, SAMPLES)
        made.watchdog.last_words("nothing went on for 3 s", exit_codes.TIMED_OUT)
        contents = read_journal(made.journal)
        assert (contents.measurements, contents.run.exit_code) == ((ROW,), exit_codes.TIMED_OUT)
        assert contents.run.failures == ("pairs: nothing went on for 3 s",)
        assert [rows for _, rows in made.shown] == [[ROW]]
        raise SystemExit  # as the watchdog's thread ends the process
        yield ROW

    with pytest.raises(SystemExit):
        made(silenced)


def test_the_store_is_opened_before_anything_is_measured_and_filled_in_the_end(made: Made) -> None:
    made.store = f"sqlite:///{made.folder / 'results.db'}"
    assert made(two_rows) == exit_codes.GOOD
    with Store.open(made.store) as store:
        assert store.count("r") == 2
    made.store = f"sqlite:///{made.folder / 'no' / 'such' / 'folder.db'}/x"
    (made.folder / "no").write_text("a file")
    with pytest.raises(AgreedError):
        made(lambda finished, step: pytest.fail("measured"))


def test_no_last_words_are_said_while_a_row_or_the_end_is_written(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def seen(write: Callable[..., None]) -> Callable[..., None]:
        def seeing(*values: Any) -> None:
            held.append(made.watchdog.whole.locked())
            write(*values)

        return seeing

    monkeypatch.setattr(Journal, "append", seen(Journal.append))
    monkeypatch.setattr(Journal, "finish", seen(Journal.finish))
    made(two_rows)
    assert held == [True, True, True]


def test_progress_is_gone_before_rows_are_shown(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    @contextmanager
    def progress(title: str, total: int) -> Iterator[Step]:
        yield lambda text, done: order.append(text)
        order.append("gone")

    monkeypatch.setattr(recording, "progress", progress)
    made.told = order
    made(two_rows)
    assert order == ["row 0", "row 1", "gone", "shown"]


def test_another_rank_than_the_first_measures_and_keeps_nothing(made: Made) -> None:
    good = (exit_codes.GOOD, "", exit_codes.GOOD)
    made.comm = Comm(1, ("cpu", *good[1:]), ("r", *good[1:]), exit_codes.BELOW)
    assert made(two_rows) == exit_codes.BELOW
    assert (made.shown, list(made.folder.iterdir())) == ([], [])
    assert made.watchdog.last_words is silent
