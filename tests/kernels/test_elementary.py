"""Elementary functions are as good as the bounds allow them to be, and the bounds of kernels that call them hold."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import unit_roundoff
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.judging.conversion import rounded
from clusterbench.kernels.loops.vector_exp import exp

KERNELS = discover()
ROUNDED = ("softmax", "rmsnorm", "layernorm", "swiglu", "gelu", "rope", "gemm", "attention", "attention_causal")
"""Kernels whose reference, run in float32, is an honest computation of float32."""
EXACT_BUT_AT_TIES = ("quantise_int8", "quantise_fp8")


@njit
def exps(y: Any, x: Any) -> None:
    for i in range(x.size):
        y[i] = exp(x[i])


def _exp(x: Any) -> Any:
    y = np.empty_like(x)
    exps(y, x)
    return y


@pytest.mark.parametrize(("dtype", "least", "wide"), [("float32", -87, np.float64), ("float64", -708, np.longdouble)])
def test_the_vector_exponential_is_as_good_as_it_says(dtype: str, least: float, wide: Any) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(least, 0, 200_000), -np.exp2(rng.uniform(-40, 3, 50_000)), [0, -0.0, least]])
    x = x.astype(dtype)
    exact = np.exp(x.astype(wide))
    error = np.abs(_exp(x).astype(wide) - exact) / exact
    allowed = (2 + np.abs(x.astype(wide))) * unit_roundoff(dtype)
    assert np.all(error < allowed)
    assert np.all(allowed < elementary.exponential(x.astype(wide), unit_roundoff(dtype)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_vector_exponential_at_the_ends(dtype: str) -> None:
    x = np.array([0, -np.inf, np.nan, -1e4, 1], dtype)
    np.testing.assert_array_equal(_exp(x)[:4], np.array([1, 0, np.nan, 0], dtype))
    assert abs(_exp(x)[4] - np.e) < 4 * np.finfo(dtype).eps


def test_narrow_types_are_computed_with_in_float32() -> None:
    found = [elementary.computed(unit_roundoff(dtype)) for dtype in ("bfloat16", "float16", "float32", "float64")]
    assert found == [2.0**-24] * 3 + [2.0**-53]


ERRORS = st.lists(st.just(0.0) | st.floats(2.0**-60, 0.04), max_size=6)
"""Relative errors: none, or not far below the smallest rounding; with subnormal ones the sum itself is rounded."""


@given(ERRORS, ERRORS)
def test_compounded_covers_a_quotient_of_products(above: list[float], below: list[float]) -> None:
    largest = prod(1 + Fraction(e) for e in above) / Fraction(prod(1 - Fraction(e) for e in below))
    assert largest - 1 <= elementary.compounded(np.float64(sum(above) + sum(below))) * (1 + 1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 70))
def test_a_matrix_unit_that_cuts_off_what_it_aligns_stays_within_its_bound(seed: int, terms: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rounded(rng.standard_normal(terms), "float16").astype(np.float64) for _ in range(2))
    total = 0.0
    for first in range(0, terms, 4):
        addends = np.append(a[first : first + 4] * b[first : first + 4], total)
        step = np.exp2(np.frexp(np.abs(addends).max())[1] - 24)  # 24 bits from the largest addend on
        total = float((np.trunc(addends / step) * step).sum())
        total = float(np.trunc(total / step) * step)
    bound = elementary.matrix_unit(terms, np.abs(a * b).sum(), unit_roundoff("float16"))
    assert abs(total - (a * b).sum()) <= bound


def _inputs(name: str, shape: dict[str, int], seed: int, scale: float, offset: float) -> list[Any]:
    rng = np.random.default_rng(seed)
    kernel = KERNELS[name]
    return [
        (scale * rng.standard_normal(kernel.extent(array, shape)) + offset).astype(np.float32)
        for array in kernel.inputs
    ]


def _ratio(name: str, shape: dict[str, int], inputs: list[Any], dtype: str) -> Any:
    """Error over bound of an honest computation: float32 throughout, its result rounded to the type."""
    kernel = KERNELS[name]
    inputs = [rounded(array, dtype).astype(np.float32) for array in inputs]
    wide = [array.astype(np.float64) for array in inputs]
    with np.errstate(over="ignore", under="ignore"):
        found = rounded(kernel.reference(*inputs), dtype).astype(np.float64)
        right, bound = kernel.reference(*wide), kernel.bound(shape, unit_roundoff(dtype), *wide)
    floor = float(np.finfo(np.float16).smallest_subnormal) if dtype == "float16" else 0.0
    return np.where(found == right, 0, np.abs(found - right) / (bound + floor))


@pytest.mark.parametrize("name", ROUNDED)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 24),
    scale=st.sampled_from([2.0**-12, 0.1, 1.0, 8.0]),
    offset=st.sampled_from([0.0, 4.0]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
)
@settings(max_examples=25)
def test_the_bound_holds_for_an_honest_computation(
    name: str, seed: int, size: int, scale: float, offset: float, dtype: str
) -> None:
    shape = {d: max(1, size - 3 * i) for i, d in enumerate(KERNELS[name].dimensions)}
    assert np.max(_ratio(name, shape, _inputs(name, shape, seed, scale, offset), dtype)) <= 1


@pytest.mark.parametrize("name", ROUNDED)
def test_the_bound_is_not_absurdly_loose(name: str) -> None:
    shape = dict.fromkeys(KERNELS[name].dimensions, 16)
    found = [_ratio(name, shape, _inputs(name, shape, seed, 1.0, 0.0), "float32").max() for seed in range(5)]
    assert max(found) > 0.01
    # Rounding to a narrow type is most of the error there, and the bound knows it.
    if "bfloat16" in KERNELS[name].dtypes:
        assert _ratio(name, shape, _inputs(name, shape, 0, 1.0, 0.0), "bfloat16").max() > 0.4


@pytest.mark.parametrize("name", EXACT_BUT_AT_TIES)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-40, 40))
@settings(max_examples=25)
def test_quantising_in_float32_is_exact_but_next_to_ties(name: str, seed: int, exponent: int) -> None:
    kernel, shape = KERNELS[name], {"m": 7, "n": 60}
    x = (np.random.default_rng(seed).standard_normal((7, 60)) * 2.0**exponent).astype(np.float32)
    found = [part.astype(np.float64) for part in kernel.reference(x)]
    right = kernel.reference(x.astype(np.float64))
    bounds = kernel.bound(shape, unit_roundoff("float32"), x.astype(np.float64))
    for one, other, bound in zip(found, right, bounds, strict=True):
        assert np.all(np.abs(one - other) <= bound)
    assert np.count_nonzero(bounds[0]) <= 2  # of 420: near a tie is rare
