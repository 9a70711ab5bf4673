"""Whether data lie in memory or in a cache: what a cache line takes when it is met, by loads that wait for each other.

Each load's address needs the value of the load before it, so that nothing is fetched ahead of time, and the lines are
visited in a random order. What a line takes in memory is known from the same lines after each was flushed from all
caches by the instruction that there is for it (x86: CLFLUSH, Intel 64 and IA-32 Architectures Software Developer's
Manual, volume 2A). Data met at that time came from memory, whatever a cache's size or its rule of replacement is.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from clusterbench.kernels.kernel import Array
from clusterbench.kernels.loops.vectors import LINE_BYTES

MOST_LINES = 2048
"""Lines of a visit, which takes a quarter of a millisecond from memory."""
FEWEST_LINES = 32
"""Of fewer the start of the loop would be seen."""
LIKE_MEMORY = 0.7
"""Share of the time of a flushed line from which a line is taken to have been in memory, too."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Nanoseconds a line of some data."""

    met_ns: float
    """As they were found."""
    again_ns: float
    """Once more at once."""
    flushed_ns: float | None
    """After they were flushed from all caches; None where this CPU has no such instruction here."""

    @property
    def from_memory(self) -> bool | None:
        """Whether they were found in memory; None where that cannot be told."""
        return None if self.flushed_ns is None else self.met_ns >= LIKE_MEMORY * self.flushed_ns

    def __str__(self) -> str:
        flushed = "not known for flushed ones" if self.flushed_ns is None else f"{self.flushed_ns:.3g} ns when flushed"
        return f"{self.met_ns:.3g} ns a line when met, {self.again_ns:.3g} ns when read again, {flushed}"


def can_flush() -> bool:
    """Whether there is an instruction here that flushes a line."""
    return platform.machine() in ("x86_64", "AMD64")


@intrinsic
def _flush(typingctx: Any, address: Any) -> Any:
    """Flush the line of an address from all caches, and wait until it is done."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, nothing = ir.IntType(8).as_pointer(), ir.VoidType()
        for name, given in (("clflush", [builder.inttoptr(args[0], pointer)]), ("mfence", [])):
            declared = ir.FunctionType(nothing, [value.type for value in given])
            function = cgutils.get_or_insert_function(builder.module, declared, f"llvm.x86.sse2.{name}")
            builder.call(function, given)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@njit(cache=True)
def flush(data: Array, places: Array) -> None:
    """Flush the lines of these bytes."""
    address = np.int64(data.ctypes.data)
    for i in range(places.size):
        _flush(address + places[i])


@njit(cache=True)
def meet(data: Array, places: Array, mask: Any) -> Any:
    """Load these bytes one after the other. `mask` is 0, which the compiler does not know, so each load must wait."""
    last = np.int64(0)
    for i in range(places.size):
        last = np.int64(data[places[i] + (last & mask)])
    return last


def visit(array: Array, rng: np.random.Generator) -> Visit | None:
    """What a line of a contiguous array takes now; None for one of too few lines. Afterwards it is in no cache."""
    data = array.reshape(-1).view(np.uint8)
    lines = data.size // LINE_BYTES
    if lines < FEWEST_LINES:
        return None
    places = LINE_BYTES * rng.permutation(lines)[:MOST_LINES]
    elsewhere, first = np.zeros(1, np.uint8), np.zeros(1, places.dtype)
    _time_ns(elsewhere, first)
    started_ns = _time_ns(elsewhere, first)
    met_ns = _time_ns(data, places) - started_ns
    again_ns = _time_ns(data, places) - started_ns
    flushed_ns = None
    if can_flush():
        flush(data, places)
        flushed_ns = (_time_ns(data, places) - started_ns) / places.size
        flush(data, places)
    return Visit(max(met_ns, 1) / places.size, max(again_ns, 1) / places.size, flushed_ns)


def _time_ns(data: Array, places: Array) -> int:
    before = perf_counter_ns()
    meet(data, places, 0)
    return perf_counter_ns() - before
