"""Whether two sets of launches differ: rank tests, the false discovery rate over rows, and how many launches it takes.

The unit is the launch: one world that was started, reduced to its median time. Launches of A and B that were started in
any order are independent: Mann and Whitney's test (Annals of Mathematical Statistics 18(1), 1947). Launches that were
started in turns, each of A next to one of B, are interleaved: Wilcoxon's signed-rank test (Biometrics Bulletin 1(6),
1945) on the logarithms of their ratios, in which what slowed both of a pair cancels. Neither assumes a distribution.

Of many rows some look significant by chance, so p-values are adjusted as Benjamini and Hochberg say (Journal of the
Royal Statistical Society B 57(1), 1995): of the rows with an adjusted one of at most 5 %, at most 5 % are expected to
be none.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Design = Literal["independent", "interleaved"]
"""How launches of A and B lie in time."""

TESTS: dict[Design, str] = {"independent": "Mann-Whitney", "interleaved": "signed-rank"}
DESIGNS: tuple[Design, ...] = ("independent", "interleaved")
FALSE_DISCOVERIES = 0.05
"""Share of the rows called different that may be equal, and level of the test of a single row."""
POWER = 0.9
"""How often a change of the tolerance is to be found, where the launches needed are reckoned."""
LEAST: dict[Design, int] = {"independent": 4, "interleaved": 6}
"""Launches a side from which the test of a single row can reach 5 %: 2/C(8, 4) is 2.9 %, 2/2^6 is 3.1 %; with one
launch fewer they are 10 % and 6.3 %."""

_MOST_EXACT = 50
"""Launches a side up to which the exact distribution is taken; beyond it the normal one differs in no digit shown."""

Times = NDArray[np.float64]


def p_values(a_s: Times, b_s: Times, design: Design) -> NDArray[np.float64]:
    """Two-sided p-values, one a row. `a_s` and `b_s` are times of shapes (rows, launches of A), (rows, launches of B).

    Interleaved launches stand in the order of their pairs. Exact where no two times of a row are equal, else by the
    normal distribution with the correction for ties; 1 where all are equal.
    """
    if design == "interleaved":
        return _signed_rank(np.log(b_s / a_s))
    return _mann_whitney(a_s, b_s)


def _mann_whitney(a_s: Times, b_s: Times) -> NDArray[np.float64]:
    from scipy.stats import mannwhitneyu  # imported here: it takes as long as a comparison

    ordered = np.sort(np.concatenate((a_s, b_s), axis=1), axis=1)
    p = np.ones(len(a_s))
    exact = np.all(np.diff(ordered) > 0, axis=1) & (max(a_s.shape[1], b_s.shape[1]) <= _MOST_EXACT)
    normal = ~exact & (ordered[:, 0] < ordered[:, -1])
    if exact.any():
        p[exact] = mannwhitneyu(a_s[exact], b_s[exact], axis=1, method="exact").pvalue
    if normal.any():
        p[normal] = mannwhitneyu(a_s[normal], b_s[normal], axis=1, method="asymptotic").pvalue
    return np.minimum(p, 1.0)


def _signed_rank(log_ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import ndtr
    from scipy.stats import rankdata, wilcoxon

    ordered = np.sort(np.abs(log_ratios), axis=1)
    p = np.ones(len(log_ratios))
    exact = (ordered[:, 0] > 0) & np.all(np.diff(ordered) > 0, axis=1) & (log_ratios.shape[1] <= _MOST_EXACT)
    normal = ~exact & (ordered[:, -1] > 0)
    if exact.any():
        p[exact] = wilcoxon(log_ratios[exact], axis=1, method="exact").pvalue
    if normal.any():
        ratios = log_ratios[normal]
        zeros = np.count_nonzero(ratios == 0, axis=1)[:, None]
        ranks = np.maximum(rankdata(np.abs(ratios), axis=1) - zeros, 0) * (ratios != 0)
        # The sum of the ranks' signs has mean 0 and, ties or not, the variance of independent signs; it moves by twos.
        off = np.abs(np.sum(np.sign(ratios) * ranks, axis=1))
        p[normal] = 2 * ndtr(-np.maximum(off - 1, 0) / np.sqrt(np.sum(ranks**2, axis=1)))
    return np.minimum(p, 1.0)


def adjusted(p: NDArray[np.float64], among: int = 0) -> NDArray[np.float64]:
    """p-values adjusted by Benjamini and Hochberg: the least false discovery rate at which each row is significant.

    `among` is how many rows there are in all, where that is more: the others count as not significant.
    """
    rows = len(p)
    order = np.argsort(p)
    stepped = p[order] * max(rows, among) / np.arange(1, rows + 1)
    result = np.empty(rows)
    result[order] = np.minimum.accumulate(stepped[::-1])[::-1]
    return np.minimum(result, 1.0)


def least_launches(level: float, design: Design) -> int:
    """Launches a side from which the test can reach a level at all: all of one side faster than all of the other."""
    launches = LEAST[design]
    while least_p(launches, design) > level:
        launches += 1
    return launches


def least_p(launches: int, design: Design) -> float:
    """The smallest p-value of so many launches a side."""
    return 2 / math.comb(2 * launches, launches) if design == "independent" else 2.0 ** (1 - launches)


def launches_needed(spread: ArrayLike, tolerance: float, level: float, design: Design) -> NDArray[np.int64]:
    """Launches a side with which a change of the tolerance reaches the level in `POWER` of all comparisons.

    `spread` is the standard deviation of the logarithms of the launches' times, and of the ratios of pairs where they
    are interleaved; one for each row. Noether's formula, whose variance is that of equal sides, so that it errs to the
    safe side (Journal of the American Statistical Association 82, 1987, sections 3 and 4), for normal logarithms.
    """
    from scipy.special import ndtr, ndtri

    quantiles = float(ndtri(1 - level / 2) + ndtri(POWER)) ** 2
    with np.errstate(divide="ignore"):
        shift = np.log1p(tolerance) / np.asarray(spread, np.float64)
    if design == "independent":
        wanted = quantiles / (6 * (ndtr(shift / math.sqrt(2)) - 0.5) ** 2)
    else:
        wanted = quantiles / (3 * (ndtr(shift * math.sqrt(2)) - 0.5) ** 2)
    needed: NDArray[np.int64] = np.maximum(np.ceil(wanted), least_launches(level, design)).astype(np.int64)
    return needed
