"""Whether an implementation is right: exact data compared bit for bit, rounding data against the derived bound.

exact
    Small random integers such that every partial sum, in any order, is a number of the type: the result does not depend
    on order or fusion and must equal the reference bit for bit. Finds any wrong index, lost tile or double count.
rounding
    Numbers with full significands, zero mean: error over bound must be at most 1, where the reference is computed in a
    wider type and its own bound is allowed for. Finds a wrong type of accumulation.

Outputs are poisoned with a NaN of known bits before the launch, so that an element that nobody wrote shows; every array
lies between guard zones of NaN, which must come back unchanged, and which spoil the result of whoever reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clusterbench.kernels.backends import Backend, Memory, memory
from clusterbench.kernels.bounds import significand_bits, unit_roundoff
from clusterbench.kernels.kernel import Array, Kernel, Shape, shape_text

DataClass = Literal["exact", "rounding"]
DATA: tuple[DataClass, ...] = ("exact", "rounding")
GUARD = 64
"""Elements of a guard zone."""
LARGEST_INTEGER = 1000
_POISON = {4: 0x7FC0DEAD, 8: 0x7FF800000000DEAD, 2: 0x7FCD}


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
    """Elements that differ (exact) or are over their bound (rounding)."""
    error_over_bound: float = 0.0
    """The largest; infinite where a bound of 0 is exceeded or the result is no number."""
    unwritten: int = 0
    """Elements of the outputs that still hold the poison."""
    damaged: int = 0
    """Elements of guard zones and inputs that have changed."""
    error: str = ""
    """What was raised."""

    @property
    def passed(self) -> bool:
        """Whether nothing at all is wrong."""
        return not (self.wrong or self.unwritten or self.damaged or self.error) and self.error_over_bound <= 1

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
            found.append(f"{self.wrong} of {self.elements} elements wrong")
        if self.error_over_bound > 1:
            found.append(f"error is {self.error_over_bound:.3g} of its bound")
        return f"{where}: {', '.join(found)}" if found else ""

    def as_row(self) -> dict[str, Any]:
        """The fields as JSON values (infinity is Python's JSON `Infinity`; for the worker's protocol only)."""
        return asdict(self)


def shapes_around(tile: Mapping[str, int]) -> list[dict[str, int]]:
    """Where off-by-one errors live: size 1, primes, just below and above a tile, and two tiles with a rest."""
    primes = (13, 7, 11, 5)
    prime = {name: primes[i % len(primes)] for i, name in enumerate(tile)}
    shapes = [
        dict.fromkeys(tile, 1),
        prime,
        {name: max(1, size - 1) for name, size in tile.items()},
        {name: size + 1 for name, size in tile.items()},
    ]
    for odd in range(min(len(tile), 2)):
        shapes.append(
            {n: 2 * size + prime[n] if i % 2 == odd else prime[n] for i, (n, size) in enumerate(tile.items())}
        )
    return list({shape_text(shape): shape for shape in shapes}.values())


def make_inputs(
    kernel: Kernel, shape: Shape, dtype: DTypeLike, data: DataClass, rng: np.random.Generator
) -> dict[str, Array]:
    """Inputs of a class, by name."""
    terms = kernel.terms({**shape, "s": 1})
    made = {}
    for name in kernel.inputs:
        extent = kernel.extent(name, shape)
        made[name] = _exact(extent, dtype, terms, rng) if data == "exact" else _rounding(extent, dtype, rng)
    return made


def _exact(extent: tuple[int, ...], dtype: DTypeLike, terms: int, rng: np.random.Generator) -> Array:
    room = 1 << significand_bits(dtype)
    largest = min(isqrt(room // terms), LARGEST_INTEGER)
    if largest >= 1:
        return rng.integers(-largest, largest, extent, endpoint=True, dtype=np.int16).astype(dtype)
    # More terms than the type can count: ones with random signs, so few that their number stays below the limit.
    values = rng.choice(np.array([-1, 1], np.int8), extent)
    values[rng.random(extent, dtype=np.float32) >= room / 2 / terms] = 0
    return values.astype(dtype)


def _rounding(extent: tuple[int, ...], dtype: DTypeLike, rng: np.random.Generator) -> Array:
    # The generator's own numbers are multiples of 2^-52, whose sums are exact in float64; thirds use all bits.
    return (rng.uniform(-1, 1, extent) / 3).astype(dtype)


def wide_type(dtype: DTypeLike) -> Any:
    """The type in which the reference of the rounding class is computed: the next wider that NumPy has here."""
    return np.float64 if np.dtype(dtype).itemsize < 8 else np.longdouble


def poison(dtype: DTypeLike, number: int = 0) -> Any:
    """A quiet NaN with known bits, different ones for each number."""
    kind = np.dtype(dtype)
    return np.array([_POISON[kind.itemsize] + number], f"u{kind.itemsize}").view(kind)[0]


def verify(kernel: Kernel, backend: Backend, dtypes: list[str], seed: int) -> Iterator[Check]:
    """Check one implementation on all shapes around its tile, in every dtype and class."""
    tile = kernel.implementations[backend.name].tile
    for dtype in dtypes:
        for shape in shapes_around(tile):
            for data in DATA:
                yield check(kernel, backend, dtype, shape, data, seed)


def checks_expected(kernel: Kernel, backend: str) -> int:
    """How many checks `verify` makes of one implementation in each dtype."""
    return len(DATA) * len(shapes_around(kernel.implementations[backend].tile))


def check(kernel: Kernel, backend: Backend, dtype: str, shape: Shape, data: DataClass, seed: int) -> Check:
    """Check one implementation on one problem. What it raises becomes the check's error."""
    base = Check(kernel.name, backend.name, dtype, shape_text(shape), data)
    inputs = make_inputs(kernel, shape, dtype, data, np.random.default_rng(seed))
    try:
        outputs, damaged = _launch(kernel, backend, dtype, shape, inputs)
    except Exception as error:  # whatever a kernel raises is its own failure and must not end the others
        return _failed(base, error)
    return compare(kernel, base, shape, inputs, outputs, damaged)


def _failed(base: Check, error: Exception) -> Check:
    lines = str(error).strip().splitlines()
    return Check(**{**asdict(base), "error": f"{type(error).__name__}: {lines[0] if lines else ''}"})


def compare(
    kernel: Kernel, base: Check, shape: Shape, inputs: Mapping[str, Array], outputs: list[Array], damaged: int = 0
) -> Check:
    """Judge the outputs that an implementation left for these inputs."""
    scalars = kernel.scalar_values(base.dtype)
    u = unit_roundoff(base.dtype)
    mark = poison(base.dtype)
    unwritten = sum(int(np.count_nonzero(_bits(out) == _bits(mark))) for out in outputs)
    if base.data == "exact":
        expected = _each(kernel.reference(*inputs.values(), *scalars))
        # A zero may have either sign: which one depends on the order of a sum.
        wrong = sum(int(np.count_nonzero(out != right)) for out, right in zip(outputs, expected, strict=True))
        worst = math.inf if wrong else 0.0
    else:
        wide = wide_type(base.dtype)
        arguments = [array.astype(wide) for array in inputs.values()] + [wide(scalar) for scalar in scalars]
        expected = _each(kernel.reference(*arguments))
        own, reference = (
            _each(kernel.bound(shape, u, *arguments)),
            _each(kernel.bound(shape, unit_roundoff(wide), *arguments)),
        )
        wrong, worst = 0, 0.0
        for out, right, bound, slack in zip(outputs, expected, own, reference, strict=True):
            ratio = _ratio(np.abs(out.astype(wide) - right), bound + slack)
            wrong += int(np.count_nonzero(~(ratio <= 1)))
            worst = max(worst, float(np.max(ratio)))
    elements = sum(out.size for out in outputs)
    return Check(
        base.kernel, base.backend, base.dtype, base.shape, base.data, elements, wrong, worst, unwritten, damaged
    )


def _ratio(error: Array, bound: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0, error / bound)
    return np.where(np.isnan(ratio), np.inf, ratio)


def _each(result: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return result if isinstance(result, tuple) else (result,)


def _bits(array: Any) -> NDArray[Any]:
    values = np.atleast_1d(np.asarray(array))
    return values.view(f"u{values.itemsize}")


def _guarded(content: Array, number: int) -> Array:
    """The array as one dimension between two guard zones.

    Each array has a NaN of its own: what a kernel copies from behind one array to behind another must show.
    """
    guard = np.full(GUARD, poison(content.dtype, number), content.dtype)
    return np.concatenate([guard, content.ravel(), guard])


def _launch(
    kernel: Kernel, backend: Backend, dtype: str, shape: Shape, inputs: Mapping[str, Array]
) -> tuple[list[Array], int]:
    """Run one implementation once. Returns its outputs and the elements of inputs and guard zones that changed."""
    where: Memory = memory(backend)
    outputs = {name: np.full(kernel.extent(name, shape), poison(dtype), dtype) for name in kernel.outputs}
    arrays = {**outputs, **inputs}
    before = {name: _guarded(array, i) for i, (name, array) in enumerate(arrays.items(), start=1)}
    buffers = {name: where.put(array) for name, array in before.items()}
    views = [where.view(buffers[name], GUARD, kernel.extent(name, shape)) for name in buffers]
    kernel.implementations[backend.name].launch(*views, *kernel.scalar_values(dtype), *where.last)
    after = {name: where.get(buffer) for name, buffer in buffers.items()}
    damaged = sum(int(np.count_nonzero(_bits(after[name]) != _bits(before[name]))) for name in inputs)
    results = []
    for name in outputs:
        for zone in (slice(None, GUARD), slice(-GUARD, None)):
            damaged += int(np.count_nonzero(_bits(after[name][zone]) != _bits(before[name][zone])))
        results.append(after[name][GUARD:-GUARD].reshape(kernel.extent(name, shape)))
    return results, damaged
