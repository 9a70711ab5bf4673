"""A collective call made ready: steps, buffers and addresses, to be run once or timed in one compiled loop."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.transports.executor import CALL, SCALE, execute, time_samples
from clusterbench.collectives.transports.native import NativeMpi
from clusterbench.kernels.loops.local_reduce import reduction_address, scale_address

Buffer = NDArray[Any]

FIRST_ARGUMENT = 5
"""Where the arguments of a library's call start in `functions`."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """What a rank sends and receives in one call; in place the smaller of the two is a view of the larger.

    `result` is where the result lies afterwards: `receive`, unless the library puts it elsewhere.
    """

    send: Buffer
    receive: Buffer
    result: Buffer


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """One collective call on one rank. All ranks must use theirs in the same order."""

    mpi: NativeMpi
    steps: Ints
    bases: Ints
    functions: Ints
    requests: NDArray[np.uint8]
    scratch: NDArray[np.uint8]
    buffers: Buffers
    """Held here because the steps name their addresses."""

    def load(self) -> None:
        """The buffers are where the call reads them: there is nothing to bring anywhere."""

    def fetch(self) -> None:
        """The result is where it is checked."""

    def run(self) -> None:
        """Run it once. Raises `MpiError`."""
        code = execute(1, self.steps, self.bases, self.requests.ctypes.data, self.functions, self.mpi.table)
        self.mpi.check(code)

    def time(self, samples: int, batch: int) -> tuple[NDArray[np.float64], float]:
        """Time `samples` samples of `batch` runs each.

        Returns the seconds a run of every sample, the maximum over ranks, and the seconds that all of it took on the
        slowest rank; both are the same on all ranks. Raises `MpiError`.
        """
        from mpi4py import MPI

        started = perf_counter()
        figures = np.empty(samples + 1)
        code = time_samples(
            figures[:-1], batch, self.steps, self.bases, self.requests.ctypes.data, self.functions, self.mpi.table
        )
        self.mpi.check(code)
        figures[-1] = perf_counter() - started
        self.mpi.comm.Allreduce(MPI.IN_PLACE, figures, MPI.MAX)
        return figures[:-1], float(figures[-1])


def functions_for(dtype: np.dtype[Any], op: str, divisor: int) -> Ints:
    """The addresses and numbers that `executor.execute` takes as `functions`; `op` empty where nothing is reduced."""
    reduction = reduction_address(dtype, "sum" if op == "avg" else op) if op else 0
    division = scale_address(dtype) if op == "avg" else 0
    return np.array([reduction, division, 0, dtype.itemsize, divisor], np.int64)


def functions_for_call(dtype: np.dtype[Any], op: str, divisor: int, function: int, arguments: list[int]) -> Ints:
    """The same for a call of the library's `function`, whose arguments come behind; it does the reduction itself."""
    division = scale_address(dtype) if op == "avg" else 0
    return np.array([0, division, function, dtype.itemsize, divisor, *arguments], np.int64)


def call_step(arguments: int) -> Ints:
    """The step that calls the library with so many arguments, of shape (1, 9)."""
    return np.array([[CALL, arguments, FIRST_ARGUMENT, 0, 0, 0, 0, 0, 0]], np.int64)


def division_step(region: int, byte: int, elements: int) -> Ints:
    """The step that turns a sum into an average, of shape (1, 9)."""
    return np.array([[SCALE, -1, region, byte, 0, 0, 0, elements, 0]], np.int64)


def address(buffer: Buffer) -> int:
    """Where a buffer starts."""
    return int(buffer.ctypes.data)
