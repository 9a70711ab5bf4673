"""Sets of buffers in turns: enough of them, each a place of its own, from a cache line on."""

from __future__ import annotations

import numpy as np
import pytest

from clusterbench.bench.measuring.buffer_sets import (
    LINE_BYTES,
    MOST_SETS,
    TIMES_CACHE,
    cold_sets,
    order_of_turns,
    placed,
)


@pytest.mark.parametrize(("footprint", "cache"), [(1, 1 << 25), (4096, 1 << 20), (3 << 20, 1 << 20)])
def test_the_other_sets_fill_the_caches_twice(footprint: int, cache: int) -> None:
    sets = cold_sets(footprint, cache)
    assert (sets - 1) * footprint >= TIMES_CACHE * cache or sets == MOST_SETS
    assert sets == MOST_SETS or (sets - 2) * footprint < TIMES_CACHE * cache


@pytest.mark.parametrize("sets", [1, 2, 9, 100])
def test_every_set_has_its_turn_and_those_that_were_filled_last_come_last(sets: int) -> None:
    order = order_of_turns(sets, np.random.default_rng(0))
    assert sorted(order) == list(range(sets))
    assert max(order[: sets // 2], default=-1) < min(order[sets // 2 :])
    assert sets < 9 or order != list(range(sets))


def test_arrays_far_beyond_the_cache_need_no_others() -> None:
    assert cold_sets(4 << 20, 1 << 20) == 1


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "bfloat16"])
def test_each_set_is_contiguous_and_shares_no_line_with_another(dtype: str) -> None:
    arrays = placed((3, 7), dtype, 5)
    first = [array.__array_interface__["data"][0] for array in arrays]
    assert all(place % LINE_BYTES == 0 for place in first)
    assert len({place // LINE_BYTES for place in first}) == 5
    assert min(np.diff(sorted(first))) >= arrays[0].nbytes
    for i, array in enumerate(arrays):
        assert array.flags.c_contiguous
        assert array.shape == (3, 7)
        array[...] = i
    assert [float(array[2, 6]) for array in arrays] == [0, 1, 2, 3, 4]
