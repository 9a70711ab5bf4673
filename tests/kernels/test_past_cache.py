"""Sums that are written past the caches: every element, whatever the alignment, by stores that do not read first."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from numba import njit

from clusterbench.kernels.catalog import reduce_buffers
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.judging.verify import verify
from clusterbench.kernels.loops import past_cache
from clusterbench.kernels.loops.past_cache import BLOCK_BYTES, combine, sum_rows
from clusterbench.kernels.loops.vectors import LINE_BYTES
from clusterbench.kernels.running.backends import detect


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("behind_a_line", [0, 3])
@pytest.mark.parametrize("lines", [0, 1, 8, 9, 40])
def test_every_element_is_the_sum_of_its_column_and_no_other_is_written(
    dtype: str, rows: int, behind_a_line: int, lines: int
) -> None:
    itemsize = np.dtype(dtype).itemsize
    n = lines * LINE_BYTES // itemsize + 5
    x = np.arange(rows * n).reshape(rows, n).astype(dtype)
    room = np.full(n + 2 * BLOCK_BYTES // itemsize, -1, dtype)
    first = -room.ctypes.data % BLOCK_BYTES // itemsize + behind_a_line
    y = room[first : first + n]
    sum_rows(y, x)
    assert np.array_equal(y, x.sum(axis=0, dtype=dtype))
    assert np.all(room[:first] == -1)
    assert np.all(room[first + n :] == -1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("behind_a_line", [0, 3])
@pytest.mark.parametrize("n", [1, 15, 128, 129, 5000])
def test_a_combination_is_that_of_its_one_or_two_arrays(dtype: str, behind_a_line: int, n: int) -> None:
    b, c = np.arange(n).astype(dtype), np.arange(n)[::-1].astype(dtype)
    room = np.full(n + 2 * BLOCK_BYTES // b.itemsize, -1, dtype)
    first = -room.ctypes.data % BLOCK_BYTES // b.itemsize + behind_a_line
    y = room[first : first + n]
    combine(y, b, first=3)
    assert np.array_equal(y, 3 * b)
    combine(y, b, c, other=5)
    assert np.array_equal(y, b + 5 * c)
    assert np.all(room[:first] == -1)
    assert np.all(room[first + n :] == -1)


def test_the_stores_go_past_the_caches() -> None:
    @njit
    def summed(to, source, step, rows, blocks):  # type: ignore[no-untyped-def] # compiled for one signature below
        past_cache._sum_rows(to, source, step, rows, blocks, np.float32(1), np.float32(1))

    summed(0, 0, 0, 1, 0)
    (assembly,) = summed.inspect_asm().values()
    assert len(re.findall(r"\sv?movnt|\sstnp", assembly)) >= past_cache.LINES


@pytest.mark.parametrize("name", ["copy", "scale", "add", "triad", "reduce_buffers"])
def test_a_kernel_is_right_past_the_caches_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = discover()[name]
    module = sys.modules[kernel.implementations["numba"].launch.__module__]
    monkeypatch.setattr(module, "is_beyond_caches", lambda size_bytes: True)
    monkeypatch.setattr(module, "on_cpu", lambda *arguments: pytest.fail("it went through the caches"))
    checks = list(verify(kernel, detect()["numba"], kernel.dtypes, 1))
    assert checks
    assert [check.reason for check in checks if not check.passed] == []


@pytest.mark.parametrize("beyond", [False, True])
def test_a_reduction_takes_the_way_that_its_size_asks_for(beyond: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr(reduce_buffers, "is_beyond_caches", lambda size_bytes: beyond)
    monkeypatch.setattr(reduce_buffers, "sum_rows", lambda y, x: taken.append("past"))
    monkeypatch.setattr(reduce_buffers, "on_cpu", lambda y, x: taken.append("through"))
    reduce_buffers.KERNEL.implementations["numba"].launch(np.zeros(3), np.zeros((2, 3)))
    assert taken == ["past" if beyond else "through"]
