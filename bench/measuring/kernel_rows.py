"""The row of a kernel that was timed, on whatever device: its rates, its share of the bound, and its check."""

from __future__ import annotations

from dataclasses import replace

from clusterbench.bench.judge import Bound
from clusterbench.kernels.judging.verify import Check
from clusterbench.kernels.kernel import Kernel, Shape, shape_text
from clusterbench.results.record import Measurement, Verdict

COLD = ",cache=cold"
"""In the shape of a row whose calls find their data in memory, and not where the call before left them."""


def kernel_row(
    sampled: Measurement,
    kernel: Kernel,
    dtype: str,
    shape: Shape,
    bound: Bound,
    check: Check,
    judged: tuple[Verdict, str],
) -> Measurement:
    """`sampled`, which has the figures of its samples, as the row of a kernel on a problem.

    `judged` is the verdict on its time, which counts only where `check`, made on the timed buffers, is passed.
    """
    median_s = sampled.median_s
    assert median_s is not None, "it was timed"
    size_bytes, flops = kernel.traffic_bytes(shape, dtype), kernel.operations(shape)
    verdict, reason = judged if check.passed else ("FAIL", f"after timing, on the timed buffers: {check.reason}")
    return replace(
        sampled,
        name=kernel.name,
        backend=check.backend,
        dtype=dtype,
        count=next(iter(shape.values())),
        size_bytes=size_bytes,
        shape=shape_text(shape),
        bytes_per_s=size_bytes / median_s,
        flop_per_s=flops / median_s if flops else None,
        bound_s=bound.time_s,
        bound_share=None if bound.time_s is None else bound.time_s / median_s,
        bound_by=bound.by,
        wrong=check.wrong + check.unwritten + check.damaged,
        error_over_bound=check.error_over_bound,
        verdict=verdict,
        reason=reason,
    )


def step_text(kernel: Kernel, shape: Shape, time_s: float) -> str:
    """The time of a step of a kernel whose steps follow one another."""
    steps = kernel.steps(shape) if kernel.steps else 0
    return f"{1e9 * time_s / steps:.4g} ns for each of {steps} steps, one after the other" if steps else ""
