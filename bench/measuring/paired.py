"""The paired comparison: A and B run in turns, so that what changes on the machine meanwhile meets both.

It serves blocks inside one process (a callable that returns the samples of a block) and whole launches (a callable that
starts a program and returns its one figure). The unit of the statistics is the pair: one A and one B next to each
other, each reduced to its median.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterbench.results.statistics import DEFAULT_TOLERANCE, MIN_SAMPLES_CI95, Change, Ratio, paired_ratio

Arm = Callable[[], ArrayLike]
"""Runs one block or one launch, and returns its samples, or its single figure, in seconds."""


class PairedError(ValueError):
    """A paired comparison that cannot be: the message says which argument or arm, what was found and expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Paired:
    """What a paired comparison found. `a_s[i]` and `b_s[i]` are the medians of pair i, in seconds."""

    ratio: Ratio
    """Median of B / median of A."""
    change: Change
    """What B is, compared with A, by the rule of `Ratio.change`."""
    a_s: NDArray[np.float64]
    b_s: NDArray[np.float64]
    order: str
    """The order in which the arms ran, warm-up left out: `ABBAAB`."""
    tolerance: float
    seed: int

    def line(self, a: str = "A", b: str = "B") -> str:
        """The result in one line for a person: medians, ratio, interval, change."""
        interval = "" if self.ratio.low is None else f" [{self.ratio.low:.3f}, {self.ratio.high:.3f}]"
        return (
            f"{b} / {a} = {self.ratio.value:.3f}{interval}, {self.change}: {np.median(self.b_s):.4g} s against "
            f"{np.median(self.a_s):.4g} s, {len(self.a_s)} pairs"
        )


def run_paired(
    a: Arm,
    b: Arm,
    *,
    pairs: int = 20,
    warmup_pairs: int = 1,
    budget_s: float | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    seed: int = 0,
) -> Paired:
    """Run A and B in turns and compare their median times.

    Half of the pairs run A first, the other half B, in an order shuffled by the seed.

    Parameters
    ----------
    pairs: pairs that count; below 6 the change is always `cannot tell`.
    warmup_pairs: pairs run first and not counted (compilation, page faults, connections).
    budget_s: ends early once this time is spent and 6 pairs are counted; None runs all pairs.

    Raises `PairedError` for fewer than one pair, and for an arm that returns no time, or one that is not positive.
    """
    if pairs < 1 or warmup_pairs < 0:
        raise PairedError(f"pairs is {pairs}, warmup_pairs {warmup_pairs}; expected at least 1 and 0")
    rng = np.random.default_rng(seed)
    b_first = rng.permutation(np.arange(pairs) % 2 == 1)
    for _ in range(warmup_pairs):
        _median(a, "A")
        _median(b, "B")
    a_s, b_s, order = [], [], ""
    started = monotonic()
    for flipped in b_first:
        if flipped:
            b_s.append(_median(b, "B"))
        a_s.append(_median(a, "A"))
        if not flipped:
            b_s.append(_median(b, "B"))
        order += "BA" if flipped else "AB"
        if budget_s is not None and len(a_s) >= MIN_SAMPLES_CI95 and monotonic() - started >= budget_s:
            break
    medians_a, medians_b = np.array(a_s), np.array(b_s)
    ratio = paired_ratio(medians_a, medians_b, rng)
    return Paired(ratio, ratio.change(tolerance), medians_a, medians_b, order, tolerance, seed)


def _median(arm: Arm, name: str) -> float:
    samples = np.atleast_1d(np.asarray(arm(), dtype=np.float64))
    if samples.ndim != 1 or not len(samples) or not np.all(np.isfinite(samples) & (samples > 0)):
        raise PairedError(f"arm {name} returned {samples.tolist()[:3]}; expected times in seconds, over 0")
    return float(np.median(samples))
