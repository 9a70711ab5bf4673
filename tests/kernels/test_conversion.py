"""Rounding to the types that NumPy lacks, held against arithmetic on fractions and against `ml_dtypes`."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.kernels.bounds import significand_bits, unit_roundoff
from clusterbench.kernels.element_types import TINY_FLOATS, accumulator, element_type, finfo
from clusterbench.kernels.judging.conversion import rounded

NORMAL = st.floats(2.0**-100, 2.0**100, width=32)


def _nearest(value: float, bits: int) -> Fraction:
    """The nearest number with so many significant bits, ties to even, by exact arithmetic."""
    exact = Fraction(value)
    step = Fraction(2) ** (int(np.floor(np.log2(value))) + 1 - bits)
    if exact / step >= 2**bits:  # the logarithm was rounded down
        step *= 2
    return round(exact / step) * step


@given(NORMAL, st.sampled_from([-1, 1]))
def test_tf32_keeps_eleven_bits_and_rounds_ties_to_even(value: float, sign: int) -> None:
    (found,) = rounded(np.array([sign * value], np.float32), "tf32")
    assert Fraction(float(found)) == sign * _nearest(float(np.float32(value)), 11)


@given(st.integers(1, 2**11 - 1), st.integers(-60, 60))
def test_a_number_of_the_type_stays_what_it_is(digits: int, exponent: int) -> None:
    value = np.array([digits * 2.0**exponent], np.float32)
    np.testing.assert_array_equal(rounded(value, "tf32"), value)


@pytest.mark.parametrize("dtype", TINY_FLOATS)
def test_eight_bits_round_as_ml_dtypes_does_and_saturate_beyond_the_largest(dtype: str) -> None:
    largest = float(finfo(dtype).max)
    values = np.concatenate([np.linspace(-largest, largest, 20001), np.exp2(np.linspace(-20, 8, 5001))])
    np.testing.assert_array_equal(rounded(values, dtype), values.astype(element_type(dtype)))
    beyond = rounded(np.array([largest * 1.2, -1e30, np.nan]), dtype).astype(np.float64)
    np.testing.assert_array_equal(beyond, [largest, -largest, np.nan])


def test_infinity_stays_one_where_the_type_has_it() -> None:
    infinite = np.array([np.inf, -np.inf])
    for dtype, expected in (("tf32", infinite), ("float8_e5m2", infinite), ("float8_e4m3fn", [448, -448])):
        np.testing.assert_array_equal(rounded(infinite, dtype).astype(np.float64), expected)


@pytest.mark.parametrize(
    ("dtype", "u", "bits", "sums"),
    [
        ("tf32", 2.0**-11, 11, "float32"),
        ("bfloat16", 2.0**-8, 8, "float32"),
        ("float8_e4m3fn", 2.0**-4, 4, "float32"),
        ("float8_e5m2", 2.0**-3, 3, "float32"),
        ("float64", 2.0**-53, 53, "float64"),
        ("int8", 0.0, 7, "int32"),
        ("uint32", 0.0, 32, "uint32"),
    ],
)
def test_a_type_says_how_it_rounds_and_what_its_sums_are_kept_in(dtype: str, u: float, bits: int, sums: str) -> None:
    assert (unit_roundoff(dtype), significand_bits(dtype), accumulator(dtype)) == (u, bits, sums)
