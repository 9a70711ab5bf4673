"""Times one kernel on the CPU: hot, on the same buffers again and again, or cold, on sets of them in turns.

Cold, the buffers of a call were last touched so many sets ago that all caches have been filled twice since; how a line
of the next set is met after the last sample is the proof (`kernels/ceilings/coldness.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Literal

import numpy as np

from clusterbench.bench.measuring.buffer_sets import cold_sets, order_of_turns, placed
from clusterbench.bench.measuring.python_timing import python_block, reading_s
from clusterbench.bench.measuring.sampling import Rules, Samples, sample
from clusterbench.bench.worlds.time_account import TimeAccount
from clusterbench.kernels import device
from clusterbench.kernels.ceilings.coldness import Visit, visit
from clusterbench.kernels.element_types import element_type, is_float
from clusterbench.kernels.judging.conversion import rounded
from clusterbench.kernels.judging.data import make_inputs
from clusterbench.kernels.judging.verify import Check, poison, recheck
from clusterbench.kernels.kernel import Array, Kernel, Shape, shape_text

Cache = Literal["hot", "cold"]
"""Whether a call finds its data where the call before it left them, or all of them in memory."""
CACHES: tuple[Cache, ...] = ("hot", "cold")


@dataclass(frozen=True, slots=True)
class Timed:
    """The samples of one kernel, and the check of its buffers after the last of them."""

    samples: Samples
    recheck: Check
    sets: int = 1
    """Of buffers, in turns."""
    met: Visit | None = None
    """How the buffers of a next call were found, where they were to be cold."""


def time_kernel(
    kernel: Kernel,
    dtype: str,
    shape: Shape,
    rules: Rules,
    seed: int,
    account: TimeAccount | None = None,
    cache: Cache = "hot",
) -> Timed:
    """Time the CPU's implementation on zero-mean data, then check it on the same arrays with new, exact data.

    Cold, each call has another set of buffers, of so many that all caches are filled twice before one comes again.
    """
    account = account or TimeAccount()
    launch = kernel.implementations["numba"].launch
    sets = cold_sets(kernel.footprint_bytes(shape, dtype), device.cpu().cache_bytes) if cache == "cold" else 1
    types = {name: kernel.type_of(name, dtype) for name in (*kernel.inputs, *kernel.outputs)}
    rng = np.random.default_rng(seed)
    updated = {start: out for out, start in kernel.updates.items()}
    holder = {name: updated.get(name, name) for name in kernel.inputs}
    with account.checking():
        every = {
            name: placed(kernel.extent(name, shape), types[name], sets, number)
            for number, name in enumerate(kernel.arguments)
        }
        arrays = {name: copies[0] for name, copies in every.items()}
        outputs = [arrays[name] for name in kernel.outputs]
        for name, start in starting_values(kernel, dtype, shape, rng):
            _repeat(arrays[holder[name]], start)
            for copy in every[holder[name]][1:]:
                copy[...] = arrays[holder[name]]
    scalars = kernel.scalar_values(dtype)
    turns = cycle([(*(copies[i] for copies in every.values()), *scalars) for i in order_of_turns(sets, rng)])
    samples = sample(python_block(lambda: launch(*next(turns))), rules, reading_s())
    account.loops_s += samples.spent_s
    with account.checking():
        met = None
        if cache == "cold":
            met = visit(max(next(turns)[: len(every)], key=lambda array: array.nbytes), rng)
        for name, out in zip(kernel.outputs, outputs, strict=True):
            out[...] = poison(types[name])
        inputs = make_inputs(kernel, shape, dtype, "exact", rng)
        for name, fresh in inputs.items():
            arrays[holder[name]][...] = fresh
        launch(*arrays.values(), *scalars)
        base = Check(kernel.name, "numba", dtype, shape_text(shape), "exact")
        return Timed(samples, recheck(kernel, base, shape, inputs, outputs), sets, met)


def starting_values(kernel: Kernel, dtype: str, shape: Shape, rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """What each input holds while it is timed, with zero mean; an array shorter than the input is to be repeated."""
    given = kernel.fill(shape, dtype, "rounding", rng) if kernel.fill else {}
    for name in kernel.inputs:
        kind = kernel.type_of(name, dtype)
        if name in given:
            yield name, given[name]
        elif is_float(element_type(kind)):
            size = int(np.prod(kernel.extent(name, shape)))
            yield name, rounded(rng.uniform(-1, 1, min(size, 1 << 20)), kind)
        else:
            yield name, make_inputs(kernel, shape, dtype, "exact", rng)[name]


def _repeat(array: Array, pattern: Array) -> None:
    """Fill an array with one that may be shorter, again and again."""
    flat, pattern = array.reshape(-1), pattern.reshape(-1)
    for start in range(0, flat.size, pattern.size):
        part = flat[start : start + pattern.size]
        part[...] = pattern[: part.size]


def together(rounds: Sequence[Timed]) -> Timed:
    """What several rounds of one kernel took, as one: all samples in their order, and the check that is worst."""
    last = rounds[-1]
    each = [timed.samples for timed in rounds]
    samples = replace(
        last.samples,
        seconds=np.concatenate([samples.seconds for samples in each]),
        warmup=sum(samples.warmup for samples in each),
        stop="budget" if any(samples.stop == "budget" for samples in each) else last.samples.stop,
        spent_s=sum(samples.spent_s for samples in each),
    )
    checks = [timed.recheck for timed in rounds]
    met = next((timed.met for timed in rounds if not (timed.met and timed.met.from_memory)), last.met)
    return Timed(samples, next((check for check in checks if not check.passed), checks[-1]), last.sets, met)
