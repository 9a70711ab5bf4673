"""A measurement on all ranks from its start to its end: signals, the journal, the store, and what is shown."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any, NoReturn

from numpy import float64
from numpy.typing import NDArray

from clusterbench.bench import exit_codes
from clusterbench.bench.emulation.machine import environment as emulation_environment
from clusterbench.bench.emulation.machine import marked
from clusterbench.bench.hosts.environment import capture_environment, command_line, new_run_id
from clusterbench.bench.judge import exit_code
from clusterbench.bench.launching.launch import SAID_BY
from clusterbench.bench.output import note, progress
from clusterbench.bench.worlds.host_differences import host_differences
from clusterbench.bench.worlds.host_watch import start_watcher
from clusterbench.bench.worlds.page_folders import page_folder_elsewhere
from clusterbench.bench.worlds.status_page import StatusPage
from clusterbench.bench.worlds.time_account import with_time
from clusterbench.bench.worlds.watchdog import FORWARDING_S, Watchdog, silent
from clusterbench.bench.worlds.world import AgreedError, World, WorldError, agreed, await_all, join_world
from clusterbench.kernels.device import cpu
from clusterbench.results.journal import Journal, JournalWriteError, now_iso
from clusterbench.results.record import Measurement, Run
from clusterbench.results.statistics import MIN_SAMPLES_CI95, median_ranks

Finished = Callable[[Measurement, NDArray[float64]], None]
Step = Callable[[str, int], None]
Measure = Callable[[str, str, Finished, Step], Iterator[Measurement]]
"""From a run id, the device, what takes each row and what is told of each step, to the rows; see `CollectiveRuns.run`.
"""
Show = Callable[[Run, str, list[Measurement]], None]
"""Shows the rows of a run on a device."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where rows go, and how they are judged together."""

    folder: Path
    """Of the journal."""
    run_id: str | None
    part: str | None
    """What the journal is named by beside others of the run; None for what is measured."""
    store: str | None
    strict: bool


def keeping_of(options: dict[str, Any]) -> Keeping:
    """What the options of `bench.options.keeping_options` say."""
    return Keeping(options["journal"], options["run_id"], options["part"], options["store"], options["strict"])


def guarded(
    options: dict[str, Any],
    action: Callable[[World, Watchdog], int],
    environment: Mapping[str, str] | None = None,
) -> int:
    """Join MPI and call `action` on all ranks under a watchdog: its exit code.

    `options` are those of `bench.options.keeping_options`, of which the time-out and what a supervisor asks for
    are read here; `environment` as in `join_world`. What `action` raises on one rank ends all, as the others may wait
    for it inside MPI, except `AgreedError` and `WorldError`, which every rank raises by itself. Nothing may have
    imported numba.
    """
    with Watchdog(options["timeout"], _page(options["status_pages"], options["silence"])) as watchdog:
        try:
            world = join_world(environment, watchdog)
            code = action(world, watchdog)
            world.begin("waiting for the others to end")
            # Only rank 0, which may still have had a store to fill, is the last one for certain.
            await_all(world, watchdog.feed if world.rank else lambda: None)
            return code
        except (AgreedError, WorldError):
            raise
        except Exception as error:
            if not watchdog.started:
                raise
            watchdog.page.fail(str(error) or type(error).__name__)
            _abort(error)


def _page(folder: Path | None, silence_s: float) -> StatusPage | None:
    """This rank's page for a supervisor; None where there is none. On another host than its own, a watcher reads it."""
    if folder is None:
        return None
    is_elsewhere = not folder.is_dir()
    try:
        own = page_folder_elsewhere(folder) if is_elsewhere else folder
        page = StatusPage.create(own)
        if is_elsewhere:
            start_watcher(own, silence_s)
    except OSError as error:
        note(f"no status page in {folder}: {error.strerror or error}; what a rank is at will not be known")
        return None
    return page


def recorded(
    world: World,
    watchdog: Watchdog,
    keeping: Keeping,
    part: str,
    seed: int,
    steps: int,
    measure: Measure,
    show: Show,
    skipped: list[str],
) -> int:
    """Measure on all ranks; rank 0 writes every row to the journal at once, shows all of them at the end, and stores.

    `part` is what is measured; `steps` is how many `measure` will tell of; `skipped` is what it adds to when it leaves
    something out, in words. Returns the exit code, the same on every rank, which takes part in `measure` to its end.
    Where the watchdog ends the run, the journal is closed and what there is shown all the same.
    """
    world.begin("opening the journal")
    rows = _Rows(world, watchdog, part, show, agreed(world, lambda: cpu().name))
    hosts = host_differences(world)
    run_id = agreed(world, lambda: rows.open(keeping, seed, hosts))
    watchdog.last_words = rows.last_words
    tell = rows.bar.enter_context(progress(part, steps))

    def step(text: str, done: int) -> None:
        watchdog.feed(text)
        tell(text, done)

    median_ranks(MIN_SAMPLES_CI95)  # imports what the first row would import
    world.account.ready()
    try:
        for _ in measure(run_id, rows.device, rows.add, step):
            pass
        code: int = world.comm.bcast(exit_code(rows.measured, strict=keeping.strict))
        rows.close(code, skipped)
    except BaseException as error:
        rows.fail(error)
        raise
    rows.show()
    if keeping.store and rows.journal:
        watchdog.feed("loading the store")
        _load(keeping.store, rows.journal.path)
    return code


@dataclass(slots=True)
class _Rows:
    """What is measured, on its way into the journal, which rank 0 alone has, and to whoever reads it."""

    world: World
    watchdog: Watchdog
    part: str
    printer: Show
    device: str
    journal: Journal | None = None
    measured: list[Measurement] = field(default_factory=list)
    bar: ExitStack = field(default_factory=ExitStack)
    """Of progress, to be gone before anything is shown."""

    def open(self, keeping: Keeping, seed: int, hosts: dict[str, Any]) -> str:
        """Open the store, so that a wrong URL costs nothing, and the journal: the id of the run."""
        if keeping.store:
            _load(keeping.store, None)
        run = _new_run(self.world, keeping.run_id, seed, hosts)
        self.journal = Journal.create(keeping.folder, run, keeping.part or self.part)
        return run.run_id

    def add(self, row: Measurement, seconds: NDArray[float64]) -> None:
        """One more row, and its samples."""
        self.world.page.end_row()
        if self.world.emulation:
            row = marked(self.world.emulation, row)
        with self.watchdog.whole:
            self.measured.append(row)  # shown even where it cannot be written
            if self.journal:
                self.journal.append(row, seconds)

    def close(self, code: int, said: list[str]) -> None:
        """The run has ended by itself."""
        self.bar.close()
        with self.watchdog.whole:
            self.watchdog.last_words = silent
            if self.journal:
                part = self.journal.path.stem.removeprefix(f"{self.journal.run.run_id}.")
                self.journal.run = with_time(self.journal.run, part, self.world.account.spent())
                self.journal.finish(code, said)

    def fail(self, error: BaseException) -> None:
        """The run has ended by an error, which is the one to tell, whatever else fails now."""
        with suppress(JournalWriteError):
            self.close(exit_codes.FAILED, [self._said(str(error) or type(error).__name__)])
        with suppress(Exception):
            self.show()

    def last_words(self, message: str, code: int) -> None:
        """The run is ended: on the watchdog's thread, while the main one stands still."""
        self.bar.close()
        if self.journal:
            self.journal.finish(code, [self._said(message)])
        self.show()

    def show(self) -> None:
        """Show what there is."""
        if self.journal:
            self.printer(self.journal.run, self.device, self.measured)

    def _said(self, why: str) -> str:
        return f"{self.part}: {why}"


def _load(url: str, journal: Path | None) -> None:
    """Load a journal into a store; None only opens it."""
    from clusterbench.results.store import Store

    with Store.open(url, writable=True) as store:
        if journal is not None:
            store.load(journal)


def _new_run(world: World, run_id: str | None, seed: int, hosts: dict[str, Any]) -> Run:
    environment = capture_environment(pinning=world.as_row())
    return Run(
        run_id=run_id or new_run_id(),
        started_at=now_iso(),
        command=command_line(),
        status="running",
        seed=seed,
        environment=environment
        | ({"other_hosts": hosts} if hosts else {})
        | ({"emulation": emulation_environment(world.emulation)} if world.emulation else {}),
    )


def _abort(error: Exception) -> NoReturn:
    """End all ranks with this one's exit code; the others may be waiting for a message that will not come."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    code = getattr(error, "exit_code", None)
    message = f"{SAID_BY} rank {world.rank}: {error or type(error).__name__}\n"
    if code is None:
        code, message = exit_codes.FAILED, message + "".join(traceback.format_exception(error))
    sys.stdout.flush()
    sys.stderr.write(message)
    sys.stderr.flush()
    sleep(FORWARDING_S)
    world.Abort(code)
    sys.exit(code)  # in case the library's abort returns
