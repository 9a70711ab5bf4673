"""Verifiable data: what is right passes, what is wrong is counted and shown, in every collective and type."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.checking import data
from clusterbench.collectives.checking.data import Problem, Wrong
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.kernels.element_types import DTYPES, SHORT_FLOATS, element_type, is_float

OPS = ("sum", "prod", "min", "max", "avg")
FLOATS = [name for name in DTYPES if is_float(element_type(name))]
REDUCTIONS = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum, "avg": np.add}


def problem(
    name: str, ranks: int = 3, count: int = 101, dtype: str = "float32", op: str = "sum", root: int = 0, seed: int = 11
) -> Problem:
    what = COLLECTIVES[name]
    counts = np.random.default_rng(seed).integers(0, count + 1, (ranks, ranks)) if what.uneven else count
    return Problem(
        what, ranks, root if what.is_rooted else -1, counts, element_type(dtype), op if what.reduces else "", seed
    )


def brought(asked: Problem) -> list[np.ndarray]:
    """What every rank brings, once checked that filling stays inside the buffer."""
    vectors = []
    for rank in range(asked.ranks):
        vector = np.zeros(asked.brings(rank), asked.dtype)
        data.fill(asked, vector, rank)
        vectors.append(vector)
    return vectors


def reduced(asked: Problem, vectors: list[np.ndarray]) -> np.ndarray:
    """All vectors combined in a wide type and rounded once: exact data need no more than that."""
    wide = np.float64 if is_float(asked.dtype) else np.int64
    total = REDUCTIONS[asked.op].reduce([vector.astype(wide) for vector in vectors])
    if asked.op == "avg" and asked.dtype.name in SHORT_FLOATS:
        return (total.astype(np.float32) / np.float32(asked.ranks)).astype(asked.dtype)
    if asked.op == "avg" and is_float(asked.dtype):
        return total.astype(asked.dtype) / asked.dtype.type(asked.ranks)
    if asked.op == "avg":
        return np.trunc(total / asked.ranks).astype(asked.dtype)
    return total.astype(asked.dtype)


def results(asked: Problem, vectors: list[np.ndarray]) -> list[np.ndarray]:
    """What every rank must hold, computed from the vectors alone."""
    what, ranks, nothing = asked.collective, asked.ranks, np.zeros(0, asked.dtype)
    if what.name in ("all_to_all", "all_to_all_v"):
        lengths = np.broadcast_to(asked.count, (ranks, ranks))
        parts = [np.split(vectors[s], np.cumsum(lengths[s])[:-1]) for s in range(ranks)]
        return [np.concatenate([parts[s][r] for s in range(ranks)]) for r in range(ranks)]
    if what.name == "broadcast":
        return [vectors[asked.root]] * ranks
    if what.name == "scatter":
        return list(vectors[asked.root].reshape(ranks, -1))
    if what.name in ("all_gather", "gather"):
        whole = np.concatenate(vectors)
        return [whole if what.name == "all_gather" or r == asked.root else nothing for r in range(ranks)]
    total = reduced(asked, vectors)
    if what.name == "reduce_scatter":
        return list(total.reshape(ranks, -1))
    return [total if what.name == "all_reduce" or r == asked.root else nothing for r in range(ranks)]


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(COLLECTIVES)), dtype=st.sampled_from(DTYPES), op=st.sampled_from(OPS),
    ranks=st.integers(1, 9), count=st.sampled_from([0, 1, 3, 1024, 1500]), root=st.integers(0, 8),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_what_numpy_computes_is_right(
    name: str, dtype: str, op: str, ranks: int, count: int, root: int, seed: int
) -> None:
    asked = problem(name, ranks, count, dtype, op, root % ranks, seed)
    for rank, result in enumerate(results(asked, brought(asked))):
        assert len(result) == asked.holds(rank)
        assert data.check(asked, result, rank) == Wrong(0)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "uint8", "int8"])
@pytest.mark.parametrize("ranks", [127, 128, 600])
def test_what_numpy_computes_is_right_over_many_ranks(ranks: int, dtype: str, op: str) -> None:
    asked = problem("all_reduce", ranks, 300, dtype, op)
    assert data.check(asked, reduced(asked, brought(asked)), 1) == Wrong(0)


@pytest.mark.parametrize("ranks", [1, 2, 3, 16, 127, 128, 1000, 3000])
@pytest.mark.parametrize("op", ["sum", "avg", "prod"])
@pytest.mark.parametrize("dtype", ["bfloat16", "uint8"])
def test_every_partial_result_in_any_order_is_a_small_integer(dtype: str, op: str, ranks: int) -> None:
    vectors = np.abs(np.array(brought(problem("reduce", ranks, 50, dtype, op)), np.float64))
    if op == "prod":
        assert vectors.prod(0).max() <= 3
        assert vectors.min() == (2 if ranks == 1 else 1)
    else:
        assert 1 <= vectors.sum(0).max() <= 127


@pytest.mark.parametrize(("dtype", "most"), [("float16", 2**11), ("float32", 2**24), ("int32", 2**31 - 1)])
def test_wider_types_have_wider_sums_that_are_exact_too(dtype: str, most: int) -> None:
    for ranks in (1, 7, 1000):
        vectors = np.abs(np.array(brought(problem("reduce", ranks, 50, dtype)), np.float64))
        assert 127 < vectors.sum(0).max() <= most


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "uint8", "int32"])
@pytest.mark.parametrize("ranks", [2, 5, 17, 60, 127, 300])
def test_a_contribution_that_is_lost_or_counted_twice_is_found(ranks: int, dtype: str, op: str) -> None:
    count = 100 if ranks < 17 else 4000
    asked = problem("all_reduce", ranks, count, dtype, op)
    vectors = brought(asked)
    assert data.averages_to_zero(asked) == (op == "avg" and ranks > 127 and dtype in ("int8", "uint8"))
    if data.averages_to_zero(asked):
        assert not any(reduced(asked, vectors))
        return
    for rank in (0, ranks // 2, ranks - 1):
        lost = reduced(asked, vectors[:rank] + vectors[rank + 1 :])
        twice = reduced(asked, [*vectors, vectors[rank]])
        assert data.check(asked, lost, 0).count > 0
        assert (data.check(asked, twice, 0).count > 0) != (op in ("min", "max"))


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "float32"])
@pytest.mark.parametrize("name", ["all_gather", "all_to_all", "gather"])
def test_two_blocks_that_changed_places_are_found_where_the_first_lies(name: str, dtype: str) -> None:
    asked = problem(name, 4, 50, dtype, root=1)
    result = results(asked, brought(asked))[1].reshape(4, 50)
    swapped = result[[0, 2, 1, 3]].ravel()
    wrong = data.check(asked, swapped, 1)
    differing = np.flatnonzero(swapped != result.ravel())
    assert (wrong.count, wrong.index) == (len(differing), differing[0])
    assert 90 <= wrong.count <= 100


@pytest.mark.parametrize("name", ["broadcast", "scatter"])
def test_the_data_of_another_root_are_wrong(name: str) -> None:
    asked = problem(name, 4, 100, root=1)
    other = replace(asked, root=2)
    foreign = results(other, brought(other))[3]
    assert data.check(asked, foreign, 3).count > 95


def test_a_block_meant_for_another_rank_is_wrong_and_so_is_what_came_back() -> None:
    asked = problem("all_to_all", 4, 100, "int32")
    right = results(asked, brought(asked))
    assert data.check(asked, right[2], 1).count > 395
    assert data.check(asked, brought(asked)[1], 1).count > 295  # nothing was exchanged: its own block is right


def test_data_differ_between_ranks_and_between_seeds() -> None:
    asked = problem("all_gather", dtype="int32")
    first, second, _ = brought(asked)
    assert np.mean(first == second) < 0.1
    assert np.mean(first == brought(replace(asked, seed=12))[0]) < 0.1


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(COLLECTIVES)), dtype=st.sampled_from(DTYPES), place=st.floats(0, 1, exclude_max=True)
)
def test_a_wrong_element_is_counted_and_shown(name: str, dtype: str, place: float) -> None:
    asked = problem(name, 3, 1200, dtype, root=1)
    result = results(asked, brought(asked))[1].copy()
    index = int(place * len(result))
    right = float(result[index])
    result[index] = right + 1
    result[-1] = right + 2 if index == len(result) - 1 else result[-1] + result.dtype.type(1)
    wrong = data.check(asked, result, 1)
    assert wrong.count == (1 if index == len(result) - 1 else 2)
    assert (wrong.index, wrong.expected, wrong.found) == (index, right, float(result[index]))


def test_the_message_tells_how_many_where_what_and_how_far() -> None:
    asked = problem("all_reduce", 4, 10, "float32", "avg")
    result = results(asked, brought(asked))[0].copy()
    right = result[3]
    result[3:8] += np.float32(1)
    result[3] = np.nextafter(np.nextafter(right, np.float32(99)), np.float32(99))
    wrong = data.check(asked, result, 0)
    assert wrong.ulp == 2
    assert wrong.text() == f"5 wrong, first at index 3: expected {right:g}, found {result[3]!s} (2 ULP apart)"
    result[3] = np.nan
    assert data.check(asked, result, 0).text().endswith("found nan")
    assert Wrong(0).text() == ""
    counted = problem("all_reduce", 4, 10, "int64")
    numbers = results(counted, brought(counted))[0].copy()
    numbers[9] += 2**60
    assert data.check(counted, numbers, 0).text().endswith(f"found {numbers[9]} ({2**60} apart)")


@pytest.mark.parametrize("dtype", FLOATS)
def test_ulps_are_counted_across_zero_and_up_to_infinity(dtype: str) -> None:
    kind = element_type(dtype)
    word = f"u{kind.itemsize}"
    sign = 1 << kind.itemsize * 8 - 1

    def apart(one: int, other: int) -> int | None:
        return data._ulp(np.array([one], word).view(kind), np.array([other], word).view(kind))

    infinity = int(np.array([np.inf], kind).view(word)[0])
    assert apart(0, sign) == 0
    assert apart(1, sign + 1) == 2
    assert apart(infinity - 1, infinity) == 1
    assert apart(infinity, infinity + 1) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_was_never_written_is_wrong_in_every_element(dtype: str) -> None:
    for name in COLLECTIVES:
        for op in OPS if COLLECTIVES[name].reduces else ("",):
            asked = problem(name, 3, 500, dtype, op, root=1)
            result = np.zeros(asked.holds(1), asked.dtype)
            data.poison(result)
            assert data.check(asked, result, 1).count == len(result)


def test_a_buffer_of_another_length_or_type_is_refused() -> None:
    asked = problem("scatter", 3, 10, root=1)
    assert [asked.brings(rank) for rank in range(3)] == [0, 30, 0]
    with pytest.raises(data.DataError, match=r"brings 30 elements of type float32 in this scatter"):
        data.fill(asked, np.zeros(10, np.float32), 1)
    with pytest.raises(data.DataError, match="must hold 10"):
        data.check(asked, np.zeros(10, np.float64), 1)
    with pytest.raises(data.DataError, match="for scatter in float32; expected sum or avg"):
        data.fill_rounding(asked, np.zeros(30, np.float32), 1)
    with pytest.raises(data.DataError, match="int32"):
        data.check_rounding(problem("reduce", dtype="int32"), np.zeros(101, np.int32), 0)


def rounding(asked: Problem) -> list[np.ndarray]:
    vectors = [np.empty(asked.brings(rank), asked.dtype) for rank in range(asked.ranks)]
    for rank, vector in enumerate(vectors):
        data.fill_rounding(asked, vector, rank)
    return vectors


def error_of(asked: Problem, result: np.ndarray, rank: int, additions: int | None = None) -> float:
    """The largest error over its bound, which is over 1 exactly where something is wrong."""
    wrong = data.check_rounding(asked, result, rank, additions)
    assert wrong.error_over_bound is not None
    assert (wrong.error_over_bound > 1) == (wrong.count > 0)
    return wrong.error_over_bound


def summed(vectors: list[np.ndarray]) -> np.ndarray:
    """One rank after the other; 16-bit sums are rounded at every hop."""
    total = vectors[0]
    for vector in vectors[1:]:
        total = total + vector
    return total


@pytest.mark.parametrize("ranks", [2, 3, 16, 400])
@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_and_averages_of_rounding_data_are_within_their_bound(dtype: str, ranks: int) -> None:
    asked = problem("all_reduce", ranks, 500, dtype)
    vectors = rounding(asked)
    assert np.abs(vectors[0].astype(np.float64)).max() <= 1
    assert len(np.unique(vectors[0].astype(np.float64))) > 100
    total = summed(vectors)
    assert error_of(asked, total, 0) <= 1
    assert error_of(asked, np.nextafter(total, total.dtype.type(9)), 0) > 0
    averaged = replace(asked, op="avg")
    mean = (total.astype(np.float64) / ranks).astype(asked.dtype)
    error = error_of(averaged, mean, 0)
    assert error <= 1
    assert (error > 0) == (ranks > 2 or dtype != "float64")  # half of a float64 sum is exact
    part = replace(problem("reduce_scatter", ranks, 500 // ranks, dtype), seed=asked.seed)
    if part.count:
        own = total[int(part.count) : 2 * int(part.count)]
        assert error_of(part, own, 1) <= 1
        assert error_of(part, own, 0) > error_of(part, own, 1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_lost_contribution_a_nan_and_a_sum_in_lower_precision_break_the_bound(dtype: str) -> None:
    asked = problem("all_reduce", 3, 1000, dtype)
    vectors = rounding(asked)
    assert error_of(asked, vectors[0] + vectors[1], 0) > 1
    total = summed(vectors)
    total[7] = np.nan
    assert error_of(asked, total, 0) == np.inf
    bits = np.finfo(np.float16).nmant if dtype in SHORT_FLOATS else 10
    lower = element_type("bfloat16") if dtype == "float16" else np.dtype(np.float16)
    if dtype != "bfloat16":
        assert bits == 10
        coarse = summed([vector.astype(lower) for vector in vectors]).astype(asked.dtype)
        assert error_of(asked, coarse, 0) > 1


@pytest.mark.parametrize("op", ["sum", "avg"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_beyond_its_bound_is_counted_and_shown_beside_the_exact_value(dtype: str, op: str) -> None:
    asked = problem("all_reduce", 4, 1000, dtype, op)
    exact = np.sum([vector.astype(np.float64) for vector in rounding(asked)], axis=0) / (4 if op == "avg" else 1)
    right = exact.astype(asked.dtype)
    assert data.check_rounding(asked, right, 0).count == 0
    spoiled = right.copy()
    spoiled[[17, 300, 999]] += asked.dtype.type(0.5)
    spoiled[500] = np.nan
    wrong = data.check_rounding(asked, spoiled, 0)
    assert (wrong.count, wrong.index, wrong.found) == (4, 17, float(str(spoiled[17])))
    assert wrong.expected == pytest.approx(exact[17], rel=float(np.finfo(np.float16).eps) * 8)
    assert wrong.ulp is not None
    assert wrong.ulp > 1
    assert wrong.error_over_bound == np.inf
    spoiled[500] = right[500]
    text = data.check_rounding(asked, spoiled, 0).text()
    assert text.startswith("3 beyond the error bound, first at index 17: expected ")
    assert " ULP apart); the largest error is " in text
    assert data.check_rounding(asked, right, 0).text() == ""


def test_a_shorter_path_has_a_tighter_bound() -> None:
    asked = problem("all_reduce", 16, 1000, "bfloat16")
    vectors = rounding(asked)
    while len(vectors) > 1:
        vectors = [one + other for one, other in zip(vectors[::2], vectors[1::2], strict=True)]
    loose, tight = error_of(asked, vectors[0], 0), error_of(asked, vectors[0], 0, 4)
    assert 0 < 2 * loose < tight <= 1


def test_a_rank_that_holds_nothing_has_no_error() -> None:
    asked = problem("reduce", 3, 10, root=2)
    assert error_of(asked, np.zeros(0, np.float32), 0) == 0
    assert data.check(asked, np.zeros(0, np.float32), 0) == Wrong(0)
