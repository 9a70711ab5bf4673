"""Kernels of a test: verified, timed under the ceilings that the session has measured, and judged."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import click

from clusterbench.bench.measuring.kernel_runs import Plan, roof_runs, run_kernels
from clusterbench.bench.pytest_plugin.results import BenchmarkError, Result
from clusterbench.bench.sizes import SIZE
from clusterbench.bench.worlds.time_account import TimeAccount
from clusterbench.kernels import device
from clusterbench.kernels.discovery import choose, choose_dtypes, discover
from clusterbench.kernels.judging.verify import verify
from clusterbench.kernels.kernel import Kernel, KernelError
from clusterbench.kernels.running.backends import detect
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    from clusterbench.bench.pytest_plugin.session import BenchmarkSession

SEED = 0
"""Of the data, so that two sessions time the same."""


def measure_kernel(
    session: BenchmarkSession, kernel: str | Kernel, dtype: str, size: str | int | None, only_check: bool
) -> list[Result]:
    """One row of a kernel, FAIL where it is wrong. The ceilings that it needs are measured once a session.

    Raises `BenchmarkError` for a kernel, type or size that is none, or does not fit into memory.
    """
    try:
        chosen = [kernel] if isinstance(kernel, Kernel) else choose(discover(), [kernel])
        dtypes = tuple(choose_dtypes(chosen, [dtype]))
        size_bytes = None if size is None else SIZE.convert(size, None, None)
        if only_check:
            return [_only_checked(chosen[0], dtypes[0])]
        plan = Plan(
            kernels=tuple(chosen),
            dtypes=dtypes,
            rules=session.rules,
            seed=SEED,
            run_id=session.journal.run.run_id,
            size_bytes=size_bytes,
            verify=False,
        )
        if session.roofs is None:
            session.roofs = roof_runs(plan, TimeAccount())
        found: list[Result] = []

        def append(row: Measurement, samples: NDArray[float64] | None) -> None:
            found.append(Result(row, samples))

        run_kernels(plan, append=append, roofs=session.roofs)
    except click.BadParameter as error:
        raise BenchmarkError(f"size: {error.message}") from None
    except KernelError as error:
        raise BenchmarkError(str(error)) from None
    session.keep([result for result in found if result.row.suite == "roof"])
    return [result for result in found if result.row.suite == "kernels"]


def _only_checked(kernel: Kernel, dtype: str) -> Result:
    """Raises `KernelError` for a kernel that the CPU has not in this type: nothing would be checked."""
    if not kernel.has("numba", dtype):
        raise KernelError(f"kernel {kernel.name!r} has no numba implementation for {dtype}, which is what is checked")
    checks = list(verify(kernel, detect()["numba"], [dtype], SEED))
    failed = [check for check in checks if not check.passed]
    row = Measurement(
        run_id="",
        suite="kernels",
        name=kernel.name,
        backend="numba",
        dtype=dtype,
        host=socket.gethostname(),
        device=device.cpu().name,
        wrong=sum(check.wrong + check.unwritten + check.damaged for check in checks),
        error_over_bound=max(check.error_over_bound for check in checks),
        verdict="FAIL" if failed else "PASS",
        reason=failed[0].reason if failed else "",
        started_at=now_iso(),
    )
    return Result(row, None)
