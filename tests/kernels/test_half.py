"""Conversions of 16-bit floats: every value, and rounding at every tie, as NumPy and ml_dtypes have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit, types
from numba.extending import intrinsic

from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.loops import half

EVERY = np.arange(1 << 16, dtype=np.uint16)


def _in_software(name: str, widens: bool) -> Any:
    """The conversion without the processor's own, which the compiled one takes where there is one."""
    kind = half.SHORT_FLOAT_TYPES[name]
    emit = half.emit_widened if widens else half.emit_narrowed
    signature = types.float32(types.uint16) if widens else types.uint16(types.float32)

    @intrinsic
    def converted(typingctx: Any, value: Any) -> Any:
        return signature, lambda context, builder, _, args: emit(builder, kind, args[0], False)

    return converted


def _loop(convert: Any, result: type) -> Callable[[np.ndarray], np.ndarray]:
    @njit
    def run(values: Any, out: Any) -> None:
        for i in range(len(values)):
            out[i] = convert(values[i])

    def over(values: np.ndarray) -> np.ndarray:
        out = np.empty(len(values), result)
        run(values, out)
        return out

    return over


WIDEN = {
    "float16": _loop(half.from_float16, np.float32),
    "float16 in software": _loop(_in_software("float16", True), np.float32),
    "bfloat16": _loop(half.from_bfloat16, np.float32),
}
NARROW = {
    "float16": _loop(half.to_float16, np.uint16),
    "float16 in software": _loop(_in_software("float16", False), np.uint16),
    "bfloat16": _loop(half.to_bfloat16, np.uint16),
}


def _numpy_narrow(values: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(element_type(name.split()[0])).view(np.uint16)


def _same(bits: np.ndarray, expected: np.ndarray, name: str) -> bool:
    """Equal bits, or NaN both."""
    kind = element_type(name.split()[0])
    nan = np.isnan(expected.view(kind).astype(np.float32))
    return bool(
        np.array_equal(np.isnan(bits.view(kind).astype(np.float32)), nan) and np.array_equal(bits[~nan], expected[~nan])
    )


@pytest.mark.parametrize("name", sorted(WIDEN))
def test_every_value_is_widened_exactly(name: str) -> None:
    expected = EVERY.view(element_type(name.split()[0])).astype(np.float32)
    found = WIDEN[name](EVERY)
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(found), nan)
    assert np.array_equal(found.view(np.uint32)[~nan], expected.view(np.uint32)[~nan])


@pytest.mark.parametrize("name", sorted(NARROW))
def test_every_value_survives_there_and_back(name: str) -> None:
    assert _same(NARROW[name](WIDEN[name](EVERY)), EVERY, name)


@pytest.mark.parametrize("name", sorted(NARROW))
def test_values_beside_and_at_every_tie_go_where_numpy_rounds_them(name: str) -> None:
    kind = element_type(name.split()[0])
    positive = np.arange(0x8000, dtype=np.uint16).view(kind)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        positive = positive[np.isfinite(positive)].astype(np.float64)
    largest = positive[-1]
    ties = (np.append(positive, 2 * largest - positive[-2])[1:] + positive) / 2
    ties = ties.astype(np.float32)
    around = np.concatenate([ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(np.inf))])
    values = np.concatenate([around, -around])
    assert _same(NARROW[name](values), _numpy_narrow(values, name), name)
    assert np.isinf(NARROW[name](ties[-1:]).view(kind).astype(np.float32)).all()


@pytest.mark.parametrize("name", sorted(NARROW))
def test_any_float32_is_rounded_as_numpy_rounds_it(name: str) -> None:
    bits = np.random.default_rng(1).integers(0, 1 << 32, 1_000_000, dtype=np.uint32)
    special = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0x7F800000, 0xFF800000, 1, 0x80000001], np.uint32)
    values = np.concatenate([bits, special]).view(np.float32)
    assert _same(NARROW[name](values), _numpy_narrow(values, name), name)
