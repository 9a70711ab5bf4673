"""Times one kernel on a GPU and checks the timed buffers afterwards: the protocol of `kernel_timing.py`, by events.

A sample is one replay of a graph that holds its calls, or, where the calls cannot be captured or somebody asks for it,
the calls one by one, each of which the host starts. Cold, a call has another set of buffers, of so many that twice the
last-level cache passes before one comes again; that nothing is left of it follows from the sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clusterbench.bench.measuring.buffer_sets import TIMES_CACHE, cold_sets
from clusterbench.bench.measuring.gpu_timing import EVENT_S, NO_GRAPH, Gpu, GpuTimer, NoGraphError, gpu_at_hand
from clusterbench.bench.measuring.kernel_timing import Cache, starting_values
from clusterbench.bench.measuring.problem_sizes import beyond_cache_bytes, refuse_too_large, shape_to_time
from clusterbench.bench.measuring.sampling import Rules, Samples, sample
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.judging.data import make_inputs
from clusterbench.kernels.judging.verify import Check, poison, recheck
from clusterbench.kernels.kernel import Kernel, Shape, shape_text
from clusterbench.kernels.running.backends import Backend, Memory, memory
from clusterbench.kernels.running.gpu_stream import launched_on

MOST_GRAPH_SETS = 1024
"""Sets of buffers in turns: a graph has a node for each, at least."""


@dataclass(frozen=True, slots=True)
class GpuTimed:
    """What timing one kernel found."""

    shape: Shape
    samples: Samples
    check: Check
    sets: int
    graph: bool
    """Whether samples are replays of a graph."""
    note: str
    """How the GPU ran meanwhile, and why there is no graph."""


def time_on_gpu(
    kernel: Kernel,
    backend: Backend,
    dtype: str,
    size_bytes: int | None,
    rules: Rules,
    seed: int,
    cupy: Any,
    cache: Cache = "hot",
    graph: bool = True,
    place: Memory | None = None,
) -> GpuTimed:
    """Time an implementation on zero-mean data, then check it on the same buffers with new, exact data.

    `cupy` is CuPy, and `place` the memory of the back end, its own where it is None. Raises `KernelError`, before
    anything is allocated, where the buffers do not fit into half of the GPU's free memory.
    """
    gpu = gpu_at_hand(cupy)
    cupy.get_default_memory_pool().free_all_blocks()  # what CuPy keeps of problems before this one is free, too
    free_bytes = int(cupy.cuda.runtime.memGetInfo()[0])
    shape = shape_to_time(kernel, dtype, size_bytes, beyond_cache_bytes(gpu.cache_bytes, free_bytes))
    refuse_too_large(kernel, dtype, shape, cache == "cold", gpu.cache_bytes, free_bytes, f"memory of {gpu.name}")
    where = place or memory(backend)
    sets = 1
    if cache == "cold":
        sets = min(MOST_GRAPH_SETS, cold_sets(kernel.footprint_bytes(shape, dtype), gpu.cache_bytes))
    buffers = [_filled(kernel, dtype, shape, seed, where) for _ in range(sets)]
    launch = kernel.implementations[backend.name].launch
    last = (*map(where.scalar, kernel.scalar_values(dtype)), *where.last)
    arguments = [
        (*(where.view(buffer, 0, kernel.extent(name, shape)) for name, buffer in one.items()), *last) for one in buffers
    ]

    def turn() -> None:
        """A call on each set."""
        for one in arguments:
            launch(*one)

    timer = GpuTimer(cupy)
    with _on_stream(backend, timer):
        timer.settle()  # what filled the memory ran on another stream
        turn()  # compiles, and loads, which no capture may hold
        timer.settle()
        samples, why = _sampled(timer, turn, rules, graph)
        check = _checked(kernel, backend, dtype, shape, seed, where, buffers[0], lambda: launch(*arguments[0]), timer)
    seconds = samples.seconds / sets
    samples = replace(samples, seconds=seconds, batch=samples.batch * sets, warmup=samples.warmup * sets)
    note = timer.remark(len(seconds)) + (f"; {NO_GRAPH}: {why}" if why else "")
    return GpuTimed(shape, samples, check, sets, graph and not why, note)


def is_cold(kernel: Kernel, dtype: str, shape: Shape, sets: int, gpu: Gpu) -> bool:
    """Whether enough other sets pass between two calls on one: as much as twice the last-level cache."""
    footprint = kernel.footprint_bytes(shape, dtype)
    return cold_sets(footprint, gpu.cache_bytes) == 1 or (sets - 1) * footprint >= TIMES_CACHE * gpu.cache_bytes


def _filled(kernel: Kernel, dtype: str, shape: Shape, seed: int, where: Memory) -> dict[str, Any]:
    """A set of buffers, by argument: inputs at their starting values, outputs poisoned."""
    updated = {start: out for out, start in kernel.updates.items()}
    values = starting_values(kernel, dtype, shape, np.random.default_rng(seed))
    start = {updated.get(name, name): value for name, value in values}
    return {
        name: where.put(
            np.resize(
                start.get(name, poison(kernel.type_of(name, dtype))), int(np.prod(kernel.extent(name, shape)))
            ).astype(element_type(kernel.type_of(name, dtype)))
        )
        for name in kernel.arguments
    }


@contextmanager
def _on_stream(backend: Backend, timer: GpuTimer) -> Iterator[None]:
    """All launches within the block go to the stream of the timer, whoever makes them."""
    with timer.stream:
        if backend.name == "numba-cuda" and backend.mode == "native":
            from clusterbench.kernels.running.lazy import cuda

            with launched_on(cuda.external_stream(timer.stream.ptr)):
                yield
        else:
            yield


def _sampled(timer: GpuTimer, turn: Callable[[], None], rules: Rules, graph: bool) -> tuple[Samples, str]:
    """The samples, and why there is no graph though one is asked for."""
    why = ""
    if graph:
        try:
            return sample(timer.block(turn, graph=True), rules, EVENT_S), ""
        except NoGraphError as error:
            why = str(error)
    return sample(timer.block(turn), rules, EVENT_S), why


def _checked(
    kernel: Kernel,
    backend: Backend,
    dtype: str,
    shape: Shape,
    seed: int,
    where: Memory,
    buffers: dict[str, Any],
    launch: Callable[[], None],
    timer: GpuTimer,
) -> Check:
    """The check of one more launch on buffers that were timed, with other data in them."""
    inputs = make_inputs(kernel, shape, dtype, "exact", np.random.default_rng([seed, 1]))
    for name in kernel.arguments:
        kind = kernel.type_of(name, dtype)
        fresh = inputs.get(kernel.updates.get(name, name))
        if fresh is None:
            fresh = np.full(kernel.extent(name, shape), poison(kind), element_type(kind))
        where.write(buffers[name], np.ascontiguousarray(fresh.astype(element_type(kind), copy=False).ravel()))
    timer.settle()
    launch()
    timer.settle()
    outputs = [where.get(buffers[name]).reshape(kernel.extent(name, shape)) for name in kernel.outputs]
    base = Check(kernel.name, backend.name, dtype, shape_text(shape), "exact")
    return recheck(kernel, base, shape, inputs, outputs)
