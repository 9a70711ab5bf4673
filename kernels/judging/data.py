"""The data that kernels are checked with, by class, and the problems on which each class is tried.

exact
    Small random integers such that every partial sum, in any order, is a number of the type: the result does not depend
    on order or fusion and must equal the reference bit for bit. Finds any wrong index, lost tile or double count.
rounding
    Numbers with full significands, zero mean. Finds a wrong type of accumulation, by the bound or by the RMS error.
hard
    Exponents over a wide range, neighbours that nearly cancel, subnormals and zeros of both signs.
offset
    A mean of many standard deviations: one-pass variances and sums of differences lose everything here.
special
    A NaN, both infinities and a negative zero among ordinary numbers: they must come out where the reference has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import numpy as np

from clusterbench.kernels.bounds import significand_bits
from clusterbench.kernels.element_types import element_type, finfo, is_float
from clusterbench.kernels.judging.conversion import rounded
from clusterbench.kernels.kernel import Array, DataClass, Kernel, Shape, shape_text

LARGEST_INTEGER = 1000
EVERYWHERE: tuple[DataClass, ...] = ("exact", "rounding")
"""Classes that are tried on all shapes; the others are on two, as they look for wrong arithmetic and not for edges."""
LARGEST_OFFSET = 1024.0


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


def cases(kernel: Kernel, backend: str) -> list[tuple[dict[str, int], DataClass]]:
    """The problems on which an implementation is checked, each with the class of its data."""
    shapes = shapes_around(kernel.implementations[backend].tile)
    few = [shape for shape in shapes if shape in (shapes[min(1, len(shapes) - 1)], shapes[-1])]
    return [(shape, data) for shape in shapes for data in kernel.data if data in EVERYWHERE or shape in few]


def make_inputs(
    kernel: Kernel, shape: Shape, dtype: str, data: DataClass, rng: np.random.Generator
) -> dict[str, Array]:
    """Inputs of a class, by name, in the types that the kernel wants."""
    given = kernel.fill(shape, dtype, data, rng) if kernel.fill else {}
    terms = kernel.terms({**shape, "s": 1})
    sums = kernel.type_of(next(iter(kernel.outputs)), dtype)
    made = {}
    for name in kernel.inputs:
        kind = kernel.type_of(name, dtype)
        if name in given:
            made[name] = np.ascontiguousarray(given[name], element_type(kind))
        elif data == "exact" or not is_float(element_type(kind)):
            made[name] = _exact(kernel.extent(name, shape), kind, sums, terms, rng)
        else:
            made[name] = rounded(_MAKERS[data](kernel.extent(name, shape), kind, rng), kind)
    return made


def _exact(extent: tuple[int, ...], dtype: str, sums: str, terms: int, rng: np.random.Generator) -> Array:
    """Integers of a type such that sums of `terms` products of two of them are numbers of the type `sums`."""
    kind = element_type(dtype)
    room = 1 << significand_bits(sums)
    largest = min(isqrt(room // terms), (1 << significand_bits(dtype)) - 1, LARGEST_INTEGER)
    if largest >= 1:
        least = 0 if kind.kind == "u" else -largest
        return rng.integers(least, largest, extent, endpoint=True, dtype=np.int16).astype(kind)
    # More terms than the type can count: ones with random signs, so few that their number stays below the limit.
    values = rng.choice(np.array([0 if kind.kind == "u" else -1, 1], np.int8), extent)
    values[rng.random(extent, dtype=np.float32) >= room / 2 / terms] = 0
    return values.astype(kind)


def _rounding(extent: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Array:
    # The generator's own numbers are multiples of 2^-52, whose sums are exact in float64; thirds use all bits.
    values: Array = rng.uniform(-1, 1, extent) / 3
    return values


def _hard(extent: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Array:
    limits: Any = finfo(dtype)
    reach = max(1, int(limits.maxexp) // 8)  # so that sums of products of them stay finite
    values = rng.choice([-1.0, 1.0], extent) * np.exp2(rng.uniform(-reach, reach, extent))
    flat = values.reshape(-1)
    pairs = flat[: flat.size // 2 * 2].reshape(-1, 2)
    pairs[:, 1] = -pairs[:, 0] * (1 + float(limits.eps) * rng.integers(0, 4, len(pairs)))
    kinds = rng.random(flat.size)
    tiny = kinds < 1 / 16
    flat[tiny] = float(limits.smallest_subnormal) * rng.integers(1, 8, int(tiny.sum()))
    zero = (kinds >= 1 / 16) & (kinds < 1 / 8)
    flat[zero] = rng.choice([-0.0, 0.0], int(zero.sum()))
    return values


def _offset(extent: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Array:
    values: Array = min(LARGEST_OFFSET, 2.0 ** (int(finfo(dtype).maxexp) // 8)) + rng.standard_normal(extent)
    return values


def _special(extent: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Array:
    values = _rounding(extent, dtype, rng)
    flat = values.reshape(-1)
    marks = np.array([np.nan, np.inf, -np.inf, -0.0])[: max(1, flat.size // 4)]
    flat[rng.choice(flat.size, marks.size, replace=False)] = marks
    return values


_MAKERS = {"rounding": _rounding, "hard": _hard, "offset": _offset, "special": _special}
