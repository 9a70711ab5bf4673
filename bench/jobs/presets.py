"""What `clusterbench run` measures: sizes, types, precision and budgets of its presets, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """How kernels are timed, and how far their GPU sources are verified."""

    names: tuple[str, ...]
    """Kernels by name; all of the catalogue where there are none."""
    dtypes: tuple[str, ...]
    precision: float
    """Half-width of the 95 % interval of the median at which sampling stops, as a share of the median."""
    row_budget_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class PairPlan:
    """The call of `collectives pairs`."""

    precision: float
    row_budget_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class CollectivePlan:
    """One call of `collectives run`, both placements."""

    collective: str
    min_bytes: str
    max_bytes: str
    factor: int
    dtype: str
    precision: float
    row_budget_s: float
    timeout_s: float
    algorithms: str = "all"
    transport: str = "mpi"
    """Always said, so that no table of choices on the machine decides what two runs have in common."""
    buffers: str = "host"

    @property
    def title(self) -> str:
        """What it measures, in words."""
        over = "" if self.transport == "mpi" else f" over {self.transport}, {self.buffers} buffers"
        return f"{self.collective} {self.dtype}{over}"


@dataclass(frozen=True, slots=True)
class Preset:
    """A named plan for the whole run."""

    name: str
    summary: str
    kernels: KernelPlan
    pairs: PairPlan
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


def _shared(
    sizes: tuple[str, str, int], precision: float, row_budget_s: float, timeout_s: float
) -> tuple[CollectivePlan, ...]:
    """all_reduce over shared memory: by algorithms that suit it, and the library on registered buffers beside them."""
    ours = "direct,recursive-doubling,ring"
    return tuple(
        CollectivePlan(
            "all_reduce", *sizes, "float32", precision, row_budget_s, timeout_s, algorithms, "shared", buffers
        )
        for buffers, algorithms in (("host", ours), ("registered", f"library,{ours}"))
    )


_STREAMS_AND_GEMM = ("add", "copy", "dot", "gemm", "scale", "triad")
_REDUCING_ALL = ("all_reduce", "reduce_scatter", "all_gather")
_OTHERS = ("broadcast", "reduce", "all_to_all", "all_to_all_v", "scatter", "gather")

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "smoke",
            "does everything work, and is the data right: under a minute on two cores",
            KernelPlan(_STREAMS_AND_GEMM, ("float32",), precision=0.05, row_budget_s=0.2, timeout_s=600),
            PairPlan(precision=0.1, row_budget_s=0.05, timeout_s=60),
            _sweep(_REDUCING_ALL, ("float32",), ("8", "2M", 512), precision=0.05, row_budget_s=0.02, timeout_s=90)
            + _shared(("8", "2M", 512), precision=0.05, row_budget_s=0.02, timeout_s=90),
        ),
        Preset(
            "quick",
            "figures to look at, of every collective: under five minutes on two cores",
            KernelPlan(_STREAMS_AND_GEMM, ("float32", "float64"), precision=0.02, row_budget_s=1.0, timeout_s=300),
            PairPlan(precision=0.05, row_budget_s=0.2, timeout_s=300),
            _sweep(_REDUCING_ALL, ("float32",), ("8", "16M", 8), precision=0.02, row_budget_s=0.15, timeout_s=300)
            + _sweep(_OTHERS, ("float32",), ("8", "2M", 64), precision=0.02, row_budget_s=0.1, timeout_s=300)
            + _shared(("8", "2M", 8), precision=0.02, row_budget_s=0.1, timeout_s=300),
        ),
        Preset(
            "full",
            "figures to keep: every size, more types, tight intervals; some hours on two cores",
            KernelPlan((), ("float32", "float64"), precision=0.01, row_budget_s=5.0, timeout_s=1800),
            PairPlan(precision=0.02, row_budget_s=1.0, timeout_s=3600),
            _sweep(
                _REDUCING_ALL, ("float32", "bfloat16"), ("8", "256M", 2), precision=0.01, row_budget_s=2.0,
                timeout_s=10800,
            )
            + _sweep(_OTHERS, ("float32",), ("8", "256M", 2), precision=0.01, row_budget_s=2.0, timeout_s=10800)
            + _shared(("8", "256M", 2), precision=0.01, row_budget_s=2.0, timeout_s=10800),
        ),
    )
}  # fmt: skip
