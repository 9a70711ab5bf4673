"""The derived bounds hold, and are no looser than they say."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from clusterbench.kernels.bounds import (
    gamma,
    inner_product,
    multiply_add,
    one_rounding,
    significand_bits,
    unit_roundoff,
)

FLOATS = st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0 or abs(x) > 1e-6)  # no underflow in a product


def _vectors(largest: int) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    def pair(n: int) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
        one = stn.arrays(np.float32, n, elements=FLOATS)
        return st.tuples(one, one)

    return st.integers(1, largest).flatmap(pair)


@pytest.mark.parametrize(
    ("dtype", "u", "bits"), [("float32", 2.0**-24, 24), ("float64", 2.0**-53, 53), ("float16", 2.0**-11, 11)]
)
def test_constants_are_those_of_ieee_754(dtype: str, u: float, bits: int) -> None:
    assert unit_roundoff(dtype) == u
    assert significand_bits(dtype) == bits
    kind = np.dtype(dtype).type
    assert int(kind(2**bits)) == 2**bits
    assert int(kind(2.0**bits + 1)) != 2**bits + 1


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_gammas_of_two_parts_stay_within_the_gamma_of_both(i: int, j: int) -> None:
    # Higham, lemma 3.3: γ_i + γ_j + γ_i·γ_j <= γ_(i+j)
    u = 2.0**-24
    assert gamma(i, u) + gamma(j, u) + gamma(i, u) * gamma(j, u) <= gamma(i + j, u) * (1 + 1e-12)


def test_gamma_refuses_what_it_says_nothing_about() -> None:
    with pytest.raises(ValueError, match="below 1"):
        gamma(1 << 24, 2.0**-24)
    with pytest.raises(ValueError, match="-1 roundings"):
        gamma(-1, 2.0**-24)


@given(FLOATS, FLOATS)
def test_one_rounding_covers_addition_and_multiplication(x: float, y: float) -> None:
    a, b, u = np.float32(x), np.float32(y), unit_roundoff("float32")
    for rounded, exact in ((a + b, Fraction(x) + Fraction(y)), (a * b, Fraction(x) * Fraction(y))):
        bound = one_rounding(np.array(float(exact)), u)
        assert abs(Fraction(float(rounded)) - exact) <= Fraction(float(bound)) * (1 + Fraction(1, 2**50))


@given(FLOATS, FLOATS, FLOATS)
def test_multiply_add_covers_the_operation_in_two_roundings_and_in_one(b: float, k: float, c: float) -> None:
    u = unit_roundoff("float32")
    exact = Fraction(b) + Fraction(k) * Fraction(c)
    bound = Fraction(float(multiply_add(np.array(float(Fraction(k) * Fraction(c))), np.array(float(exact)), u)))
    apart = float(np.float32(b) + np.float32(k) * np.float32(c))
    fused = float(np.float32(float(exact)))
    for result in (apart, fused):
        assert abs(Fraction(result) - exact) <= bound * (1 + Fraction(1, 2**20))


@given(_vectors(60), st.integers(0, 2**32 - 1))
def test_inner_product_covers_any_order_of_summation(vectors: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    x, y = vectors
    order = np.random.default_rng(seed).permutation(x.size)
    total = np.float32(0)
    for i in order:
        total = np.float32(total + x[i] * y[i])
    products = [Fraction(float(p)) * Fraction(float(q)) for p, q in zip(x, y, strict=True)]
    absolute = np.array(float(sum(map(abs, products))))
    bound = Fraction(float(inner_product(x.size, absolute, unit_roundoff("float32"))))
    assert abs(Fraction(float(total)) - sum(products)) <= bound * (1 + Fraction(1, 2**40))
