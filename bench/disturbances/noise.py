"""How steady a core is: a loop of fixed work is timed again and again, and what it takes beyond its shortest is noise.

This is the fixed work quantum (M. Sottile, R. Minnich, "Analysis of microbenchmarks for performance tuning of
clusters", CLUSTER 2004; the FWQ benchmark of LLNL's Sequoia suite). The work touches no memory: what varies is the
core's clock and what else runs on it. Ranks that wait for one another multiply it, as the slowest decides (F. Petrini,
D. Kerbyson, S. Pakin, SC'03, doi 10.1145/1048935.1050204; T. Hoefler, T. Schneider, A. Lumsdaine, SC'10, doi
10.1109/SC.2010.12).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from threading import Thread

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.bench.disturbances.facts import CoreNoise
from clusterbench.kernels.clock import now_ns

QUANTUM_S = 100e-6
"""Of one loop: long against a reading of the clock (tens of ns), short against a slice of the scheduler (ms)."""
HICCUP = 0.2
"""A sample that is longer by this share was interrupted: by 20 µs or more, where a timer's tick takes a few."""
MOST_SAMPLES = 100_000
_SEED = 0x9E3779B97F4A7C15
_TRIAL_STEPS = 10_000


@njit(cache=True, nogil=True)
def _work(state, steps):  # type: ignore[no-untyped-def] # unsigned integers of Numba's
    """Marsaglia's xorshift (2003): each step needs the one before, and no compiler has a closed form for it."""
    for _ in range(steps):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
    return state


@njit(cache=True, nogil=True)
def _quanta(state, steps, until_ns, durations):  # type: ignore[no-untyped-def] # as above
    """Time quanta until the clock shows `until_ns` or all `durations` (ns) are filled: how many, and the state."""
    count = 0
    before = now_ns()
    while count < len(durations) and before < until_ns:
        state = _work(state, steps)
        after = now_ns()
        durations[count] = after - before
        before = now_ns()
        count += 1
    return count, state


def measure_noise(cores: Sequence[int], duration_s: float) -> tuple[CoreNoise, ...]:
    """The noise of these cores, all at once: a thread on each for `duration_s`."""
    _calibrated()  # compile before threads that time
    found: dict[int, NDArray[np.int64]] = {}

    def on(core: int) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})  # of this thread only
        found[core] = _samples_ns(duration_s)

    threads = [Thread(target=on, args=(core,)) for core in cores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tuple(figures(core, found[core]) for core in cores if core in found and len(found[core]))


def figures(core: int, durations_ns: NDArray[np.int64]) -> CoreNoise:
    """The figures of a core from the times of its quanta, of which there is at least one."""
    shortest = int(durations_ns.min())
    median, p99 = np.percentile(durations_ns, (50, 99))
    return CoreNoise(
        core=core,
        samples=len(durations_ns),
        shortest_s=shortest * 1e-9,
        median_s=float(median) * 1e-9,
        p99_s=float(p99) * 1e-9,
        longest_s=int(durations_ns.max()) * 1e-9,
        lost_share=float(1 - shortest * len(durations_ns) / durations_ns.sum()),
        hiccups=int((durations_ns > (1 + HICCUP) * shortest).sum()),
    )


def _samples_ns(duration_s: float) -> NDArray[np.int64]:
    steps, now = _calibrated()
    durations = np.zeros(min(MOST_SAMPLES, max(1, int(2 * duration_s / QUANTUM_S))), np.int64)
    count, _ = _quanta(np.uint64(_SEED), steps, now + int(duration_s * 1e9), durations)
    return durations[:count]


def _calibrated() -> tuple[int, int]:
    """Steps that take a quantum on this core, and the clock's reading."""
    trials = np.zeros(20, np.int64)
    _quanta(np.uint64(_SEED), _TRIAL_STEPS, np.int64(2**62), trials)
    steps = max(1, int(_TRIAL_STEPS * QUANTUM_S * 1e9 / max(1, int(trials.min()))))
    return steps, int(_now())


@njit(cache=True)
def _now():  # type: ignore[no-untyped-def] # as above
    return now_ns()
