"""A measurement on all ranks from its start to its end: signals, the journal, the store, and what is shown."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, NoReturn

from numpy import float64
from numpy.typing import NDArray

from clusterbench.bench import exit_codes
from clusterbench.bench.environment import capture_environment, command_line, new_run_id
from clusterbench.bench.judge import exit_code
from clusterbench.bench.output import progress
from clusterbench.bench.watchdog import Watchdog
from clusterbench.bench.world import AgreedError, InterruptedRunError, World, agreed
from clusterbench.kernels.device import cpu
from clusterbench.results.journal import Journal, now_iso
from clusterbench.results.record import Measurement, Run

FORWARDING_S = 0.5
"""Between a failing rank's last words and its abort: launchers drop what they have not forwarded by then."""

Finished = Callable[[Measurement, NDArray[float64]], None]
Step = Callable[[str, int], None]
Measure = Callable[[str, str, Finished, Step], Iterator[Measurement]]
"""From a run id, the device, what takes each row and what is told of each step, to the rows; see `CollectiveRuns.run`.
"""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where rows go, and how they are judged together."""

    folder: Path
    """Of the journal."""
    run_id: str | None
    store: str | None
    strict: bool
    timeout_s: float
    """Of the watchdog; 0 for none."""


def keeping_of(options: dict[str, Any]) -> Keeping:
    """What the options of `bench.options.keeping_options` say."""
    return Keeping(options["journal"], options["run_id"], options["store"], options["strict"], options["timeout"])


def guarded(world: World, action: Callable[[], int]) -> int:
    """The exit code of `action`, called on all ranks; where it fails on one of them, that one ends all.

    Raises `AgreedError`, which every rank raises by itself.
    """
    if world.rank != 0:
        # Ctrl-C reaches every rank, and one that stops by itself leaves the others waiting inside MPI: rank 0 ends all.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return action()
    except AgreedError:
        raise
    except KeyboardInterrupt:
        _abort(world, InterruptedRunError("interrupted"))
    except Exception as error:
        _abort(world, error)


def recorded(
    world: World,
    keeping: Keeping,
    part: str,
    seed: int,
    steps: int,
    measure: Measure,
    show: Callable[[Run, str, list[Measurement]], None],
    skipped: list[str],
) -> int:
    """Measure on all ranks; rank 0 writes every row to the journal at once, shows all of them at the end, and stores.

    `part` names the journal beside others of the run; `steps` is how many `measure` will tell of; `skipped` is what it
    adds to when it leaves something out, in words. Returns the exit code, the same on every rank, which takes part in
    `measure` to its end.
    """
    device = agreed(world, lambda: cpu().name)
    journal: Journal | None = None

    def start() -> str:
        nonlocal journal
        if keeping.store:
            _load(keeping.store, None)
        journal = Journal.create(keeping.folder, _new_run(world, keeping.run_id, seed), part)
        return journal.run.run_id

    run_id = agreed(world, start)
    rows: list[Measurement] = []
    one_at_a_time = threading.Lock()
    given_up = False

    def finished(row: Measurement, seconds: NDArray[float64]) -> None:
        with one_at_a_time:
            if journal and not given_up:
                journal.append(row, seconds)

    def give_up(message: str) -> None:  # called by the watchdog's thread
        nonlocal given_up
        if journal:
            with one_at_a_time:
                given_up = True
            journal.finish(exit_codes.TIMED_OUT, [f"{part}: {message}"])
            show(journal.run, device, rows)

    try:
        with Watchdog(world, keeping.timeout_s, give_up) as watchdog, progress(part, steps) as shown:

            def step(text: str, done: int) -> None:
                watchdog.feed(text)
                shown(text, done)

            for row in measure(run_id, device, finished, step):
                rows.append(row)
    except BaseException as error:
        if journal:
            journal.finish(exit_codes.FAILED, [f"{part}: {str(error) or type(error).__name__}"])
            with suppress(Exception):  # the first error is the one to tell
                show(journal.run, device, rows)
        raise
    code: int = world.comm.bcast(exit_code(rows, strict=keeping.strict))
    if journal:
        journal.finish(code, skipped)
        show(journal.run, device, rows)
        if keeping.store:
            _load(keeping.store, journal.path)
    return code


def _load(url: str, journal: Path | None) -> None:
    """Load a journal into a store; None only opens it, so that a wrong URL costs nothing."""
    from clusterbench.results.store import Store

    with Store.open(url, writable=True) as store:
        if journal is not None:
            store.load(journal)


def _new_run(world: World, run_id: str | None, seed: int) -> Run:
    return Run(
        run_id=run_id or new_run_id(),
        started_at=now_iso(),
        command=command_line(),
        status="running",
        seed=seed,
        environment=capture_environment(pinning=world.as_row()),
    )


def _abort(world: World, error: Exception) -> NoReturn:
    """End all ranks with this one's exit code; the others may be waiting for a message that will not come."""
    code = getattr(error, "exit_code", None)
    message = f"clusterbench: rank {world.rank}: {error or type(error).__name__}\n"
    if code is None:
        code, message = exit_codes.FAILED, message + "".join(traceback.format_exception(error))
    sys.stdout.flush()
    sys.stderr.write(message)
    sys.stderr.flush()
    sleep(FORWARDING_S)
    world.comm.Abort(code)
    sys.exit(code)  # in case the library's abort returns
