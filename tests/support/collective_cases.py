"""What every algorithm is tried with: option values, roots, sizes, data, and what NumPy says the result is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.schedule import Schedule

Array = np.ndarray[Any, Any]
Options = Mapping[str, str]


def _dims(ranks: int) -> list[str]:
    """Ways to write a number of ranks as a block: flat, both ways round, and of as many dimensions as there can be."""
    primes, rest = [], ranks
    for factor in range(2, ranks + 1):
        while rest % factor == 0:
            primes.append(factor)
            rest //= factor
    if len(primes) < 2:
        return [f"1x{ranks}"]
    return [f"{ranks}", f"{primes[-1]}x{ranks // primes[-1]}", "x".join(map(str, primes))]


def values(option: str, ranks: int) -> list[str]:
    """The values that an option is tried with, besides its default. A new option needs a line here."""
    return {
        "segments": lambda: ["3", "4"],
        "rings": lambda: ["1", "3"],
        "radix": lambda: ["3", "4"],
        "group": lambda: [str(group) for group in (2, 3, ranks) if group <= ranks],
        "dims": lambda: _dims(ranks),
    }[option]()


def variants(algorithm: Algorithm, ranks: int) -> list[Options]:
    """The default options, each other value of each option, and where there are several, the last values together."""
    tried: list[Options] = [{}]
    tried += [{option: value} for option in algorithm.options for value in values(option, ranks)]
    if len(algorithm.options) > 1:
        tried.append({option: values(option, ranks)[-1] for option in algorithm.options})
    return tried


def roots(what: Collective, ranks: int) -> list[int]:
    """The roots to try: the first rank, one in the middle, and the last; or none."""
    return sorted({0, ranks // 2, ranks - 1}) if what.is_rooted else [-1]


def schedule_of(algorithm: Algorithm, what: Collective, ranks: int, root: int, options: Options) -> Schedule:
    """The algorithm's schedule for a call."""
    return algorithm.schedule(Call(what, ranks, root, options=options))


@contextmanager
def named(**case: object) -> Iterator[None]:
    """Name the case in the report of whatever goes wrong inside."""
    try:
        yield
    except Exception as error:
        error.add_note(", ".join(f"{name} {value}" for name, value in case.items()))
        raise


def count_for(what: Collective, ranks: int, count: int, seed: int) -> int | Array:
    """`count` elements a rank; for uneven parts a matrix: random and with zeros, or all to one, by the seed."""
    if not what.uneven:
        return count
    random = np.random.default_rng(seed)
    matrix = random.integers(0, count + 1, (ranks, ranks)) * random.integers(0, 2, (ranks, ranks))
    if seed % 2:
        matrix[:, seed % ranks] += 5 * count  # as when most tokens are routed to one expert
    return matrix


def some_inputs(what: Collective, ranks: int, count: int | Array, root: int, dtype: Any = np.int32) -> list[Array]:
    """What every rank brings: random integers, of which every partial sum is representable, or random floats."""
    inputs = []
    for rank in range(ranks):
        length = int(count[rank].sum()) if isinstance(count, np.ndarray) else count
        if what.takes != "part" and not what.uneven:
            length *= what.parts(ranks)
        if what.takes == "root" and rank != root:
            length = 0
        random = np.random.default_rng(rank)
        whole = random.integers(-1000, 1000, length) if np.issubdtype(dtype, np.integer) else random.random(length)
        inputs.append(whole.astype(dtype))
    return inputs


def numpy_results(what: Collective, inputs: list[Array], count: int | Array, root: int) -> list[Array]:
    """What the collective gives every rank, by its definition."""
    ranks = len(inputs)
    if what.exchanges:
        lengths = count if isinstance(count, np.ndarray) else np.full((ranks, ranks), count)
        parts = [np.split(inputs[rank], np.cumsum(lengths[rank])[:-1]) for rank in range(ranks)]
        return [np.concatenate([parts[source][rank] for source in range(ranks)]) for rank in range(ranks)]
    whole = np.sum(inputs, axis=0, dtype=inputs[0].dtype) if what.reduces else np.concatenate(inputs)
    if what.gives == "part":
        return list(whole.reshape(ranks, -1))
    return [whole if what.gives == "whole" or rank == root else whole[:0] for rank in range(ranks)]
