"""Traffic matrices: how many elements rank i sends rank j in an all_to_all_v.

A matrix is given as weights, of which only the proportions count, and is scaled to a size: all ranks together send as
much as in an all_to_all of that size, so that the two can be compared.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Ints

Weights = NDArray[np.float64]

MOST_BYTES = 64 << 20
"""Of a file: about 2,000 ranks."""
UNIFORM, SKEWED = "uniform", "skewed"
SKEW = 1.0
"""Exponent of the popularity of experts in `skewed`; 0 is uniform."""


class TrafficError(ValueError):
    """A traffic matrix that cannot be read; the message names the file and line."""

    exit_code: ClassVar[int] = 2


def traffic(text: str, ranks: int, seed: int) -> Weights:
    """The weights (ranks, ranks) that `text` stands for: `uniform`, `skewed`, `skewed:EXPONENT`, or a file.

    Raises `TrafficError`.
    """
    if text == UNIFORM:
        return np.ones((ranks, ranks))
    exponent = _exponent(text)
    return read_matrix(Path(text), ranks) if exponent is None else skewed(ranks, exponent, seed)


def traffic_name(text: str, weights: Weights, seed: int) -> str:
    """A name for the traffic that `text` stands for, which no other traffic has: without commas inside its parts.

    `uniform`, `skewed:1,seed=7`, or of a file its name and eight digits of a hash of its proportions:
    `routing.csv#1f0c9a3b`.
    """
    if text == UNIFORM:
        return UNIFORM
    exponent = _exponent(text)
    if exponent is not None:
        return f"{SKEWED}:{np.format_float_positional(exponent, trim='-')},seed={seed}"
    digest = hashlib.sha256((weights / weights.max()).tobytes()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', Path(text).name)}#{digest[:8]}"


def _exponent(text: str) -> float | None:
    """The exponent of `skewed`, or None where `text` names a file. Raises `TrafficError`."""
    name, colon, exponent = text.partition(":")
    if name != SKEWED:
        return None
    try:
        skew = float(exponent) if colon else SKEW
    except ValueError:
        skew = -1.0
    if not 0 <= skew <= 10:
        raise TrafficError(f"{text!r}: expected {SKEWED}:EXPONENT with a number from 0 to 10")
    return skew


def skewed(ranks: int, exponent: float, seed: int) -> Weights:
    """Traffic as a mixture of experts makes it, with one expert a rank: some experts are asked for by everybody.

    The popularity of the k-th expert is k^-exponent (Zipf), which expert is the k-th is drawn by the seed, and every
    rank's own demand scatters about the popularity by a gamma distribution of shape 4. (That routing without a
    balancing loss is skewed over experts, the same way on all ranks: N. Shazeer et al., "Outrageously large neural
    networks: the sparsely-gated mixture-of-experts layer", ICLR 2017, section 4.)
    """
    generator = np.random.default_rng(seed)
    popularity = (1.0 + generator.permutation(ranks)) ** -exponent
    demand = popularity * generator.gamma(4.0, size=(ranks, ranks))
    weights: Weights = demand / demand.sum(axis=1, keepdims=True)
    return weights


def read_matrix(path: Path, ranks: int) -> Weights:
    """A file of one line a rank: what it sends to each, numbers with commas or blanks between; `#` begins a comment.

    Raises `TrafficError` for anything but `ranks` lines of `ranks` finite numbers of at least 0, not all 0.
    """
    try:
        with path.open("rb") as file:  # no more than is allowed, whatever kind of file it is
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise TrafficError(f"{path}: over {MOST_BYTES} bytes; expected at most that")
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        expected = f"a file, {UNIFORM}, {SKEWED} or {SKEWED}:EXPONENT"
        raise TrafficError(f"{path}: {reason}; expected {expected}") from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.partition("#")[0].replace(",", " ").split()
        if cells:
            rows.append(_row(cells, f"{path}, line {number}", ranks))
    if len(rows) != ranks:
        raise TrafficError(f"{path}: {len(rows)} lines of numbers; expected {ranks}, one for each rank")
    weights: Weights = np.array(rows)
    if not weights.any():
        raise TrafficError(f"{path}: all numbers are 0; expected some traffic")
    return weights


def _row(cells: list[str], where: str, ranks: int) -> list[float]:
    if len(cells) != ranks:
        raise TrafficError(f"{where}: {len(cells)} numbers; expected {ranks}, one for each rank")
    row = []
    for cell in cells:
        try:
            value = float(cell)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1e30:
            raise TrafficError(f"{where}: {cell!r}; expected a number of at least 0")
        row.append(value)
    return row


def counts(weights: Weights, count: int) -> Ints:
    """Elements that rank i sends rank j, (ranks, ranks): in proportion to the weights, ranks² · count in all.

    Fractions are rounded by largest remainders, so that the sum is exact.
    """
    total = weights.size * count
    shares = weights / weights.max()  # first, as the weights may be as small as numbers can be
    exact = shares * (total / shares.sum())
    whole = np.floor(exact).astype(np.int64)
    left = total - int(whole.sum())
    by_remainder = np.argsort((whole - exact).ravel(), kind="stable")
    whole.ravel()[by_remainder[: max(0, left)]] += 1
    return whole


def imbalance(matrix: Ints) -> float:
    """How many times the mean the busiest rank sends or receives; 1 where traffic is uniform."""
    return float(max(matrix.sum(axis=0).max(), matrix.sum(axis=1).max()) * len(matrix) / max(1, matrix.sum()))
