"""The inner loop of an all-reduce equals NumPy, in place and not, at any alignment."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.kernels.element_types import SHORT_FLOATS, element_type, is_float
from clusterbench.kernels.loops.local_reduce import (
    DTYPES,
    OPS,
    LocalReduceError,
    reduction_address,
    scale_address,
    user_operation_address,
)

NUMPY = {"sum": np.add, "prod": np.multiply, "min": np.fmin, "max": np.fmax}
REDUCE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
SCALE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
USER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def _random(dtype: str, count: int, rng: np.random.Generator) -> np.ndarray:
    kind = element_type(dtype)
    if is_float(kind):
        return rng.standard_normal(count).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, count, dtype=dtype, endpoint=True)


def _reduced(op: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """What NumPy gives; 16-bit floats are computed with in float32 and rounded once."""
    with np.errstate(over="ignore", invalid="ignore"):
        if left.dtype.name in SHORT_FLOATS:
            return NUMPY[op](left.astype(np.float32), right.astype(np.float32)).astype(left.dtype)
        return NUMPY[op](left, right)


def _at(array: np.ndarray, offset: int) -> np.ndarray:
    """A copy whose first byte lies `offset` bytes past a multiple of 64, with a byte of guard on either side."""
    room = np.full(array.nbytes + 192, 0x5A, np.uint8)
    start = -room.ctypes.data % 64 + 64 + offset
    view = room[start : start + array.nbytes]
    view[:] = array.view(np.uint8)
    return view


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=25)
@given(
    count=st.integers(0, 300), offsets=st.tuples(*[st.integers(0, 63)] * 3), place=st.sampled_from(["out", "a", "b"]),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_type_and_operation_equals_numpy_bit_for_bit(
    dtype: str, op: str, count: int, offsets: tuple[int, int, int], place: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    left, right = _random(dtype, count, rng), _random(dtype, count, rng)
    expected = _reduced(op, left, right)
    a, b = _at(left, offsets[0]), _at(right, offsets[1])
    out = {"out": _at(np.zeros(count, left.dtype), offsets[2]), "a": a, "b": b}[place]
    REDUCE(reduction_address(dtype, op))(out.ctypes.data, a.ctypes.data, b.ctypes.data, count)
    assert out.tobytes() == expected.tobytes()
    for view in (a, b, out):
        room = view.base
        assert room is not None
        start = view.ctypes.data - room.ctypes.data
        assert np.all(room[:start] == 0x5A)
        assert np.all(room[start + view.nbytes :] == 0x5A)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", SHORT_FLOATS)
def test_every_16_bit_float_meets_the_special_ones_in_float32_with_one_rounding(dtype: str, op: str) -> None:
    kind = element_type(dtype)
    every = np.arange(1 << 16, dtype=np.uint16).view(kind)
    special = np.array([0, 1, -1, 3, 1 / 3, 1e-6, -1e-6, 65504, np.inf, -np.inf, np.nan], np.float32).astype(kind)
    least = np.array([1, 0x8001, 0x8000], np.uint16).view(kind)
    a = np.tile(every, len(special) + len(least) + 1)
    random = np.random.default_rng(2).integers(0, 1 << 16, 1 << 16, dtype=np.uint16).view(kind)
    b = np.concatenate([np.repeat(np.concatenate([special, least]), 1 << 16), random])
    out, expected = np.zeros_like(a), _reduced(op, a, b)
    REDUCE(reduction_address(kind, op))(out.ctypes.data, a.ctypes.data, b.ctypes.data, a.size)
    nan = np.isnan(expected.astype(np.float32))
    assert np.array_equal(np.isnan(out.astype(np.float32)), nan)
    if op in ("min", "max"):  # of two zeros either is the smaller
        assert np.array_equal(out.astype(np.float32)[~nan], expected.astype(np.float32)[~nan])
    else:
        assert np.array_equal(out.view(np.uint16)[~nan], expected.view(np.uint16)[~nan])


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [*SHORT_FLOATS, "int32"])
def test_the_operation_for_mpi_reduces_into_its_second_operand(dtype: str, op: str, large: bool) -> None:
    rng = np.random.default_rng(3)
    source, target = _random(dtype, 1000, rng), _random(dtype, 1000, rng)
    expected = np.append(_reduced(op, source, target)[:999], target[999])
    length = np.array([999], np.int64 if large else np.int32)
    USER(user_operation_address(source.dtype, op, large))(
        source.ctypes.data, target.ctypes.data, length.ctypes.data, None
    )
    assert target.tobytes() == expected.tobytes()


@pytest.mark.parametrize("op", ["min", "max"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_nan_loses_against_a_number(dtype: str, op: str) -> None:
    a, b = np.array([np.nan, 1, np.nan] * 11, dtype), np.array([2, np.nan, np.nan] * 11, dtype)
    out = np.zeros_like(a)
    REDUCE(reduction_address(dtype, op))(out.ctypes.data, a.ctypes.data, b.ctypes.data, a.size)
    assert np.array_equal(out, NUMPY[op](a, b), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=25)
@given(
    count=st.integers(0, 200), ranks=st.integers(1, 2**20), offset=st.integers(0, 63), seed=st.integers(0, 2**32 - 1)
)
def test_the_average_divides_as_c_does(dtype: str, count: int, ranks: int, offset: int, seed: int) -> None:
    values = _random(dtype, count, np.random.default_rng(seed))
    if dtype in SHORT_FLOATS:
        expected = (values.astype(np.float32) / np.float32(ranks)).astype(values.dtype)
    elif is_float(values.dtype):
        expected = values / values.dtype.type(ranks)
    else:
        expected = np.array([abs(v) // ranks * (1 if v >= 0 else -1) for v in values.tolist()], dtype)
    data = _at(values, offset)
    SCALE(scale_address(dtype))(data.ctypes.data, ranks, count)
    assert data.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_extreme_quotients_of_narrow_integers_are_exact(dtype: str) -> None:
    if is_float(element_type(dtype)):
        return
    limits = np.iinfo(dtype)
    values = np.array([limits.min, limits.min + 1, limits.max - 1, limits.max] * 9, dtype)
    for ranks in (1, 2, 3, 7, 2**31 - 1):
        expected = np.array([abs(v) // ranks * (1 if v >= 0 else -1) for v in values.tolist()], dtype)
        data = values.copy()
        SCALE(scale_address(dtype))(data.ctypes.data, ranks, data.size)
        assert np.array_equal(data, expected)


def test_what_there_is_not_is_refused_with_what_there_is() -> None:
    with pytest.raises(LocalReduceError, match=r"'complex64'.*float32"):
        reduction_address("complex64", "sum")
    with pytest.raises(LocalReduceError, match=r"'avg'.*sum, prod, min, max"):
        reduction_address("float32", "avg")
    with pytest.raises(LocalReduceError, match="'uint16'"):
        scale_address(np.uint16)
    with pytest.raises(LocalReduceError, match="'mean'"):
        user_operation_address("float16", "mean")


ASK = """
from clusterbench.kernels.loops.local_reduce import reduction_address, scale_address
reduction_address("float64", "max"), scale_address("int32")
"""


def test_a_second_start_takes_the_compiled_code_from_the_cache(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    indices = []
    for _ in range(2):
        command = [sys.executable, "-c", ASK]
        subprocess.run(command, env=environment, timeout=100, check=True, capture_output=True)
        indices.append({path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbi")})
    assert len(indices[0]) == 2  # one for each function that was asked for, and none for the others
    assert indices[0] == indices[1]
