"""Verifiable data: what is right passes, what is wrong is counted and shown, for every type and operation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives import data
from clusterbench.collectives.collective import COLLECTIVES, Collective
from clusterbench.kernels.local_reduce import DTYPES

REDUCTIONS = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum, "avg": np.add}
RANKS, COUNT = 3, 101


def brought(what: Collective, dtype: str, op: str, seed: int = 11) -> list[np.ndarray]:
    length = COUNT if what.takes == "part" else COUNT * what.parts(RANKS)
    vectors = []
    for rank in range(RANKS):
        vector = np.empty(length, dtype)
        data.fill(vector, what, rank, RANKS, op, seed)
        vectors.append(vector)
    return vectors


def result_of(what: Collective, vectors: list[np.ndarray], op: str, rank: int) -> np.ndarray:
    if not what.reduces:
        return np.concatenate(vectors)
    total = vectors[0].copy()
    with np.errstate(over="ignore"):
        for vector in vectors[1:]:
            total = REDUCTIONS[op](total, vector)
    if op == "avg":
        total = (
            np.trunc(total / RANKS).astype(total.dtype) if total.dtype.kind in "iu" else total / total.dtype.type(RANKS)
        )
    return total if what.gives == "whole" else total.reshape(RANKS, -1)[rank]


@pytest.mark.parametrize("op", sorted(REDUCTIONS))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["all_reduce", "reduce_scatter"])
def test_what_numpy_computes_is_right(name: str, dtype: str, op: str) -> None:
    what = COLLECTIVES[name]
    vectors = brought(what, dtype, op)
    for rank in range(RANKS):
        assert data.check(result_of(what, vectors, op, rank), what, rank, RANKS, op, 11) == data.Wrong(0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gathered_data_are_right(dtype: str) -> None:
    what = COLLECTIVES["all_gather"]
    gathered = result_of(what, brought(what, dtype, ""), "", 0)
    assert data.check(gathered, what, 0, RANKS, "", 11) == data.Wrong(0)


@settings(max_examples=30)
@given(st.sampled_from(sorted(COLLECTIVES)), st.integers(0, COUNT - 1))
def test_a_wrong_element_is_counted_and_shown(name: str, index: int) -> None:
    what = COLLECTIVES[name]
    op = "sum" if what.reduces else ""
    result = result_of(what, brought(what, "float32", op), op, 1)
    right, result[index] = float(result[index]), np.nan
    result[-1] += 1
    wrong = data.check(result, what, 1, RANKS, op, 11)
    assert wrong.count == (1 if index == len(result) - 1 else 2)
    assert (wrong.index, wrong.expected) == (index, right)
    assert np.isnan(wrong.found)


def test_data_differ_between_ranks_and_between_chunks() -> None:
    what = COLLECTIVES["all_gather"]
    first, second, _ = brought(what, "int32", "")
    assert np.mean(first == second) < 0.1
    assert np.mean(first[:50] == first[50:100]) < 0.1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sum_of_rounding_data_is_within_its_bound_and_a_lost_contribution_is_not(dtype: str) -> None:
    vectors = [np.empty(1000, dtype) for _ in range(RANKS)]
    for rank, vector in enumerate(vectors):
        data.fill_rounding(vector, rank, 3)
        assert len(np.unique(vector)) == 1000
        assert np.abs(vector).max() <= 1
    total = vectors[0] + vectors[1] + vectors[2]
    assert 0 < data.error_over_bound(total, 0, RANKS, "sum", 3) <= 1
    assert data.error_over_bound(total[500:], 500, RANKS, "sum", 3) <= 1
    assert data.error_over_bound(vectors[0] + vectors[1], 0, RANKS, "sum", 3) > 1
    total[7] = np.nan
    assert data.error_over_bound(total, 0, RANKS, "sum", 3) == np.inf


def test_a_sum_in_lower_precision_breaks_the_bound() -> None:
    vectors = [np.empty(1000, np.float32) for _ in range(RANKS)]
    for rank, vector in enumerate(vectors):
        data.fill_rounding(vector, rank, 3)
    halves = sum(vector.astype(np.float16) for vector in vectors)
    assert data.error_over_bound(np.asarray(halves).astype(np.float32), 0, RANKS, "sum", 3) > 1
