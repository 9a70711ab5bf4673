"""What `clusterbench run` measures: sizes, types, precision and budgets of its presets, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """How kernels are timed, and how far their GPU sources are verified."""

    dtypes: tuple[str, ...]
    precision: float
    """Half-width of the 95 % interval of the median at which sampling stops, as a share of the median."""
    row_budget_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class CollectivePlan:
    """One call of `collectives run`, library and every algorithm, both placements."""

    collective: str
    min_bytes: str
    max_bytes: str
    factor: int
    dtype: str
    precision: float
    row_budget_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Preset:
    """A named plan for the whole run."""

    name: str
    summary: str
    kernels: KernelPlan
    collectives: tuple[CollectivePlan, ...]


def _sweep(
    collectives: tuple[str, ...],
    dtypes: tuple[str, ...],
    sizes: tuple[str, str, int],
    precision: float,
    row_budget_s: float,
    timeout_s: float,
) -> tuple[CollectivePlan, ...]:
    return tuple(
        CollectivePlan(collective, *sizes, dtype, precision, row_budget_s, timeout_s)
        for collective in collectives
        for dtype in dtypes
    )


_ALL = ("all_reduce", "reduce_scatter", "all_gather")

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "smoke",
            "does everything work, and is the data right: under a minute on two cores",
            KernelPlan(("float32",), precision=0.05, row_budget_s=0.2, timeout_s=120),
            _sweep(_ALL, ("float32",), ("8", "2M", 64), precision=0.05, row_budget_s=0.05, timeout_s=90),
        ),
        Preset(
            "quick",
            "figures to look at: under five minutes on two cores",
            KernelPlan(("float32", "float64"), precision=0.02, row_budget_s=1.0, timeout_s=300),
            _sweep(_ALL, ("float32",), ("8", "32M", 4), precision=0.02, row_budget_s=0.3, timeout_s=300),
        ),
        Preset(
            "full",
            "figures to keep: every size, two types, tight intervals; about an hour on two cores",
            KernelPlan(("float32", "float64"), precision=0.01, row_budget_s=5.0, timeout_s=1800),
            _sweep(_ALL, ("float32", "float64"), ("8", "256M", 2), precision=0.01, row_budget_s=2.0, timeout_s=3600),
        ),
    )
}
