"""Whether an implementation is right: exact data bit for bit, other data against the derived bound, and an RMS alarm.

Three instruments, as each is blind where another sees. Exact data find any wrong index, lost tile or double count,
which the loose bound of a long sum hides. The bound, error over which must be at most 1, holds on any data. The RMS
error in units of a typical one finds sums that are kept in a narrower type, which stay below the bound of a long sum.

Outputs are poisoned with a NaN of known bits before the launch, so that an element that nobody wrote shows; every array
lies between guard zones of NaN, which must come back unchanged, and which spoil the result of whoever reads them. The
reference is computed in a wider type, and its own bound is allowed for. `data.py` has the classes of data.

An interpreter that gets a type wrong is not asked for it: the same source runs on float32 arrays whose values are
numbers of the type, and what it leaves is rounded to the type by `conversion.py`. Such a check is marked `modelled`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.kernels.bounds import smallest_subnormal, unit_roundoff
from clusterbench.kernels.element_types import accumulator, element_type, is_float
from clusterbench.kernels.judging.conversion import rounded
from clusterbench.kernels.judging.data import cases, make_inputs
from clusterbench.kernels.kernel import Array, DataClass, Kernel, Shape, shape_text
from clusterbench.kernels.running.backends import Backend, Memory, memory, models

GUARD = 64
"""Elements of a guard zone."""
ALARM = 2.0
"""RMS errors of a right kernel stay below (ALARM + √terms) typical ones: the partial sums of n zero-mean terms are off
by up to about √n·u of the whole where they are added one after the other, and by less in any other order."""
_POISON = {1: 0x7F, 2: 0x7FCD, 4: 0x7FC0DEAD, 8: 0x7FF800000000DEAD}
_LEAST = {1: -0x5B, 2: -0x5EAD, 4: -0x5EADDEAD, 8: -0x5EADDEAD5EADDEAD}
"""What an integer output holds before the launch: no count and no index."""


@dataclass(frozen=True, slots=True)
class Check:
    """One implementation on one problem."""

    kernel: str
    backend: str
    dtype: str
    shape: str
    data: DataClass
    elements: int = 0
    wrong: int = 0
    """Elements that differ (exact) or are over their bound (all others)."""
    error_over_bound: float = 0.0
    """The largest; infinite where a bound of 0 is exceeded or the result is no number."""
    unwritten: int = 0
    """Elements of the outputs that still hold the poison."""
    damaged: int = 0
    """Elements of guard zones and inputs that have changed."""
    rms: float | None = None
    """RMS error in units of a typical one, u times `Kernel.spread`, of the rounding data; None where not looked at."""
    rms_limit: float = math.inf
    """From which it is an alarm."""
    modelled: bool = False
    """Whether the type was modelled, as the interpreter lacks it."""
    error: str = ""
    """What was raised."""
    first: str = ""
    """The first wrong element, with what was found and expected, in words."""

    @property
    def alarm(self) -> bool:
        """Whether the RMS error is larger than that of sums kept in the right type."""
        return self.rms is not None and not self.rms <= self.rms_limit

    @property
    def passed(self) -> bool:
        """Whether nothing at all is wrong."""
        right = not (self.wrong or self.unwritten or self.damaged or self.error or self.alarm)
        return right and self.error_over_bound <= 1

    @property
    def reason(self) -> str:
        """What is wrong, in words; empty for a pass."""
        where = f"{self.shape}, {self.data} data"
        if self.error:
            return f"{where}: {self.error}"
        found = []
        if self.unwritten:
            found.append(f"{self.unwritten} of {self.elements} elements never written")
        if self.damaged:
            found.append(f"{self.damaged} elements of inputs or guard zones overwritten")
        if self.wrong:
            first = f", the first: {self.first}" if self.first else ""
            found.append(f"{self.wrong} of {self.elements} elements wrong{first}")
        if self.error_over_bound > 1:
            found.append(f"error is {self.error_over_bound:.3g} of its bound")
        if self.alarm:
            found.append(
                f"the RMS error is {self.rms:.3g} typical ones, at most {self.rms_limit:.3g} for sums in the right type"
            )
        return f"{where}: {', '.join(found)}" if found else ""

    def as_row(self) -> dict[str, Any]:
        """The fields as JSON values (infinity is Python's JSON `Infinity`; for the worker's protocol only)."""
        return asdict(self)


def wide_type(dtype: str) -> Any:
    """The type in which references are computed: float64, and the next wider that NumPy has here for float64."""
    return np.float64 if element_type(dtype).itemsize < 8 else np.longdouble


def poison(dtype: str, number: int = 0) -> Any:
    """What nobody computes: a quiet NaN with known bits, different ones for each number; a large negative integer."""
    kind = element_type(dtype)
    if not is_float(kind):
        return kind.type(_LEAST[kind.itemsize] if kind.kind == "i" else np.iinfo(kind).max)
    bits = _POISON[kind.itemsize] + (number if kind.itemsize > 1 else 0)
    return np.array([bits], f"u{kind.itemsize}").view(kind)[0]


def verify(kernel: Kernel, backend: Backend, dtypes: Sequence[str], seed: int) -> Iterator[Check]:
    """Check one implementation on all its cases, in those of the types that it has."""
    for dtype in dtypes:
        if kernel.has(backend.name, dtype):
            for shape, data in cases(kernel, backend.name):
                yield check(kernel, backend, dtype, shape, data, seed)


def checks_expected(kernel: Kernel, backend: str) -> int:
    """How many checks `verify` makes of one implementation in each dtype."""
    return len(cases(kernel, backend))


def check(kernel: Kernel, backend: Backend, dtype: str, shape: Shape, data: DataClass, seed: int) -> Check:
    """Check one implementation on one problem. What it raises becomes the check's error."""
    modelled = models(backend, dtype)
    base = Check(kernel.name, backend.name, dtype, shape_text(shape), data, modelled=modelled)
    inputs = make_inputs(kernel, shape, dtype, data, np.random.default_rng(seed))
    try:
        with np.errstate(all="ignore"):  # of what NumPy runs
            outputs, unwritten, damaged = _launch(kernel, backend, dtype, shape, inputs, modelled)
    except Exception as error:  # whatever a kernel raises is its own failure and must not end the others
        return _failed(base, error)
    return compare(kernel, replace(base, unwritten=unwritten, damaged=damaged), shape, inputs, outputs)


def _failed(base: Check, error: Exception) -> Check:
    lines = str(error).strip().splitlines()
    return replace(base, error=f"{type(error).__name__}: {lines[0] if lines else ''}")


def recheck(kernel: Kernel, base: Check, shape: Shape, inputs: Mapping[str, Array], outputs: Sequence[Array]) -> Check:
    """Judge outputs that held `poison` before an implementation wrote to them."""
    unwritten = sum(
        _poisoned(out, kernel.type_of(n, base.dtype)) for n, out in zip(kernel.outputs, outputs, strict=True)
    )
    return compare(kernel, replace(base, unwritten=unwritten), shape, inputs, outputs)


def compare(kernel: Kernel, base: Check, shape: Shape, inputs: Mapping[str, Array], outputs: Sequence[Array]) -> Check:
    """Judge the outputs that an implementation left for these inputs, by the class of the data."""
    judged = _compare_exactly if base.data == "exact" else _compare_by_bound
    with np.errstate(all="ignore"):  # infinities and NaN are among the data
        return replace(judged(kernel, base, shape, inputs, outputs), elements=sum(int(np.size(out)) for out in outputs))


def _compare_exactly(
    kernel: Kernel, base: Check, shape: Shape, inputs: Mapping[str, Array], outputs: Sequence[Array]
) -> Check:
    wide = element_type(accumulator(base.dtype)).type  # in which any sum of exact data is exact
    expected = _each(kernel.reference(*_widened(kernel, base.dtype, inputs, wide)))
    # A zero may have either sign: which one depends on the order of a sum.
    wrong, first = 0, ""
    for name, out, right in zip(kernel.outputs, outputs, expected, strict=True):
        differs = _wide(out, wide) != right
        wrong += int(np.count_nonzero(differs))
        first = first or _first(name, differs, out, right)
    return replace(base, wrong=wrong, error_over_bound=math.inf if wrong else 0.0, first=first)


def _compare_by_bound(
    kernel: Kernel, base: Check, shape: Shape, inputs: Mapping[str, Array], outputs: Sequence[Array]
) -> Check:
    wide = wide_type(base.dtype)
    arguments = _widened(kernel, base.dtype, inputs, wide)
    expected = _each(kernel.reference(*arguments))
    own = _each(kernel.bound(shape, unit_roundoff(base.dtype), *arguments))
    reference = _each(kernel.bound(shape, unit_roundoff(wide), *arguments))
    terms = kernel.terms({**shape, "s": 1})
    computes = kernel.operations(shape) > 0
    wrong, worst, said = 0, 0.0, ""
    for name, out, right, bound, slack in zip(kernel.outputs, outputs, expected, own, reference, strict=True):
        # Where nothing is computed, nothing can underflow: what is only moved must come out bit for bit.
        underflow = terms * smallest_subnormal(kernel.type_of(name, base.dtype)) if computes else 0.0
        ratio = _ratio(_wide(out, wide), right, bound + slack + underflow)
        beyond = ~(ratio <= 1)
        wrong += int(np.count_nonzero(beyond))
        worst = max(worst, float(np.max(ratio)))
        said = said or _first(name, beyond, out, right)
    found = replace(base, wrong=wrong, error_over_bound=worst, first=said)
    if kernel.spread is None or base.data != "rounding":
        return found
    first = next(iter(kernel.outputs))
    unit = unit_roundoff(kernel.type_of(first, base.dtype)) * np.asarray(kernel.spread(shape, *arguments))
    errors = np.where(unit > 0, (_wide(outputs[0], wide) - expected[0]) / unit, 0)
    return replace(found, rms=float(np.sqrt(np.mean(np.square(errors)))), rms_limit=ALARM + math.sqrt(terms))


def _first(name: str, wrong: Array, out: Array, right: Array) -> str:
    """The first wrong element of an output in words; empty where there is none."""
    if not np.any(wrong):
        return ""
    place = np.unravel_index(int(np.argmax(wrong)), np.shape(wrong))
    where = ",".join(str(int(i)) for i in place)
    return f"{name}[{where}] is {np.asarray(out)[place]}, expected {np.broadcast_to(right, np.shape(out))[place]}"


def _ratio(out: Array, right: Array, bound: Array) -> Array:
    """Error over bound of each element; 0 where both are the same infinity or both no number."""
    same = (out == right) | (np.isnan(out) & np.isnan(right))
    ratio = np.where(same, 0, np.abs(out - right) / bound)
    return np.where(np.isnan(ratio) | ~(np.isfinite(right) | same), np.inf, ratio)


def _widened(kernel: Kernel, dtype: str, inputs: Mapping[str, Array], wide: Any) -> list[Any]:
    """The inputs and scalars in a wider type; integers as they are."""
    arrays = [_wide(array, wide) if is_float(array.dtype) else array for array in inputs.values()]
    return [*arrays, *(wide(scalar) for scalar in kernel.scalar_values(dtype))]


def _wide(array: Array, wide: Any) -> Array:
    """An array in a wider type; an integer keeps its own, in which it is compared."""
    return np.asarray(array).astype(wide) if is_float(np.asarray(array).dtype) else np.asarray(array)


def _each(result: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return result if isinstance(result, tuple) else (result,)


def _bits(array: Any) -> NDArray[Any]:
    values = np.atleast_1d(np.asarray(array))
    return values.view(f"u{values.itemsize}")


def _poisoned(out: Array, dtype: str) -> int:
    """Elements that still hold the poison; of a type of 8 bits, any of whose values may be right, none is counted."""
    return int(np.count_nonzero(_bits(out) == _bits(poison(dtype)))) if out.dtype.itemsize > 1 else 0


def _guarded(content: Array, dtype: str, number: int) -> Array:
    """The array as one dimension between two guard zones.

    Each array has a NaN of its own: what a kernel copies from behind one array to behind another must show. Integers
    that are read are mostly indices, so zeros guard them, which lead nowhere outside.
    """
    mark = poison(dtype, number) if is_float(content.dtype) else content.dtype.type(0)
    guard = np.full(GUARD, mark, content.dtype)
    return np.concatenate([guard, content.ravel(), guard])


def _launch(
    kernel: Kernel, backend: Backend, dtype: str, shape: Shape, inputs: Mapping[str, Array], modelled: bool
) -> tuple[list[Array], int, int]:
    """Run one implementation once: its outputs, how many of their elements nobody wrote, and how many others changed.

    `modelled`: floating-point arrays of the type itself are float32 for the launch.
    """
    where: Memory = memory(backend)
    types = {name: kernel.type_of(name, dtype) for name in kernel.arguments}
    stands = {name: "float32" if modelled and kind == dtype else kind for name, kind in types.items()}
    before = {}
    for number, (name, kind) in enumerate(stands.items(), start=1):
        start = inputs.get(kernel.updates.get(name, name))
        if start is None:
            start = np.full(kernel.extent(name, shape), poison(kind), element_type(kind))
        before[name] = _guarded(start.astype(element_type(kind)), kind, number)
    buffers = {name: where.put(array) for name, array in before.items()}
    views = [where.view(buffers[name], GUARD, kernel.extent(name, shape)) for name in buffers]
    kernel.implementations[backend.name].launch(*views, *map(where.scalar, kernel.scalar_values(dtype)), *where.last)
    after = {name: where.get(buffer) for name, buffer in buffers.items()}
    only_read = [name for name in kernel.arguments if name not in kernel.outputs]
    damaged = sum(int(np.count_nonzero(_bits(after[name]) != _bits(before[name]))) for name in only_read)
    results, unwritten = [], 0
    for name in kernel.outputs:
        for zone in (slice(None, GUARD), slice(-GUARD, None)):
            damaged += int(np.count_nonzero(_bits(after[name][zone]) != _bits(before[name][zone])))
        out = after[name][GUARD:-GUARD].reshape(kernel.extent(name, shape))
        unwritten += _poisoned(out, stands[name])
        results.append(rounded(out, types[name]) if stands[name] != types[name] else out)
    return results, unwritten, damaged
