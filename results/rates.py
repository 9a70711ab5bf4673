"""Sizes and rates of collectives, with the names and formulas of nccl-tests.

Source: nccl-tests, doc/PERFORMANCE.md and the `*GetBw` and `*GetCollByteCount` functions of its src/*.cu
(algbw = size / time; busbw = algbw times a factor that depends on the collective and the number of ranks only).
"""

from __future__ import annotations

from collections.abc import Callable

_SIZE_RANKS: dict[str, Callable[[int], int]] = {
    # How many times one rank's `count` elements make up nccl-tests' size.
    "all_reduce": lambda p: 1,
    "reduce_scatter": lambda p: p,
    "all_gather": lambda p: p,
    "broadcast": lambda p: 1,
    "reduce": lambda p: 1,
    "all_to_all": lambda p: p,
    "all_to_all_v": lambda p: p,
    "scatter": lambda p: p,
    "gather": lambda p: p,
    "sendrecv": lambda p: 1,
}

_BUSBW_FACTOR: dict[str, Callable[[int], float]] = {
    "all_reduce": lambda p: 2 * (p - 1) / p,
    "reduce_scatter": lambda p: (p - 1) / p,
    "all_gather": lambda p: (p - 1) / p,
    "broadcast": lambda p: 1.0,
    "reduce": lambda p: 1.0,
    "all_to_all": lambda p: (p - 1) / p,
    "all_to_all_v": lambda p: (p - 1) / p,
    "scatter": lambda p: (p - 1) / p,
    "gather": lambda p: (p - 1) / p,
    "sendrecv": lambda p: 1.0,
}


def collective_size_bytes(collective: str, count: int, itemsize: int, ranks: int) -> int:
    """nccl-tests' size S of a call with `count` elements a rank: the vector, or all ranks' parts together.

    Raises KeyError for a collective that is not in nccl-tests.
    """
    return count * itemsize * _SIZE_RANKS[collective](ranks)


def count_for_size(collective: str, size_bytes: int, itemsize: int, ranks: int) -> int:
    """The elements a rank for which the size is closest to `size_bytes` from below, at least 1."""
    return max(1, size_bytes // (itemsize * _SIZE_RANKS[collective](ranks)))


def busbw_factor(collective: str, ranks: int) -> float:
    """busbw / algbw. With one rank it is 0 for the collectives in which nothing crosses a link then."""
    return _BUSBW_FACTOR[collective](ranks)


def algbw(size_bytes: int, time_s: float) -> float:
    """Algorithm bandwidth in bytes/s."""
    return size_bytes / time_s


def busbw(collective: str, size_bytes: int, time_s: float, ranks: int) -> float:
    """Bus bandwidth in bytes/s."""
    return algbw(size_bytes, time_s) * busbw_factor(collective, ranks)
