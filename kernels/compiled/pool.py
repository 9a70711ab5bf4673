"""Compiles many implementations, side by side in processes of their own, and takes from the cache what it has.

Triton and Numba decide at their import whether code is interpreted, so each process begins without the variables that
ask for it, and with a cache of Triton's own that nobody else sees. A compiler that ends its process costs its own row
and no other.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # What is imported here is imported in every process before `_begin` has cleared its variables.
    from clusterbench.kernels.compiled.compiling import Compiled
    from clusterbench.kernels.compiled.targets import Target
    from clusterbench.kernels.kernel import Kernel

    Job = tuple[Kernel, str, str, Target]

INTERPRETED = ("TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM")
"""The variables that ask for an interpreter or simulator."""
TIMEOUT_S = 300
"""For one row, after which its process is ended."""
DIED = f"the compiler ended its process, or did not end within {TIMEOUT_S} s"


def compile_all(
    jobs: Sequence[Job],
    workers: int,
    folder: Path | None = None,
    done: Callable[[Compiled], None] | None = None,
) -> list[Compiled]:
    """The rows of all jobs, in their order; `done` hears each when it is ready. `folder` is the cache's, if any."""
    from clusterbench.kernels.compiled import cache

    rows: dict[int, Compiled] = {}

    def finish(place: int, row: Compiled) -> None:
        rows[place] = row
        if done is not None:
            done(row)

    keys = [cache.key(*job) if folder is not None else "" for job in jobs]
    for place, name in enumerate(keys):
        known = cache.load(folder, name) if folder is not None else None
        if known is not None:
            finish(place, known)
    left = [place for place in range(len(jobs)) if place not in rows]
    for place, row in _compiled(jobs, left, workers):
        if folder is not None:
            cache.keep(folder, keys[place], row)
        finish(place, row)
    return [rows[place] for place in range(len(jobs))]


def _compiled(jobs: Sequence[Job], places: Sequence[int], workers: int) -> Iterator[tuple[int, Compiled]]:
    from clusterbench.kernels.compiled.compiling import Compiled

    waiting = list(places)
    while waiting:
        for place, fields in _round(jobs, tuple(waiting), workers):
            waiting.remove(place)
            yield place, Compiled.from_row(fields)
        # A process died. Whose fault it was is known of those that were being compiled only, so they go one by one.
        for place in waiting[: 2 * workers]:
            finished = dict(_round(jobs, [place], 1))
            waiting.remove(place)
            kernel, backend, dtype, target = jobs[place]
            died = Compiled(kernel.name, backend, dtype, target.name, "failed", DIED)
            yield place, Compiled.from_row(finished[place]) if place in finished else died


def _round(jobs: Sequence[Job], places: Sequence[int], workers: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Compile in processes until all is done or one of them has died."""
    with TemporaryDirectory(prefix="clusterbench-triton-") as folder:
        pool = ProcessPoolExecutor(
            min(workers, len(places)), get_context("spawn"), initializer=_begin, initargs=(folder,)
        )
        try:
            pending: dict[Future[dict[str, Any]], int] = {}
            for place in places:
                kernel, backend, dtype, target = jobs[place]
                pending[pool.submit(_work, kernel.file, backend, dtype, target.name)] = place
            for future in as_completed(pending):
                yield pending[future], future.result()
        except BrokenProcessPool:
            return
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(folder: str) -> None:
    for name in INTERPRETED:
        os.environ.pop(name, None)
    os.environ["TRITON_CACHE_DIR"] = folder
    # Compilers print what they cannot compile; rows say it, and standard output belongs to the command.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _work(file: str, backend: str, dtype: str, target: str) -> dict[str, Any]:
    from clusterbench.kernels.compiled.compiling import compile_kernel
    from clusterbench.kernels.compiled.targets import targets
    from clusterbench.kernels.discovery import load

    signal.alarm(TIMEOUT_S)  # nobody handles it: a compiler that does not end cannot be asked to
    try:
        return compile_kernel(load(Path(file)), backend, dtype, targets()[target]).as_row()
    finally:
        signal.alarm(0)
