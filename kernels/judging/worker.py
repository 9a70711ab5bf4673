"""The worker process in which interpreted and simulated code runs, and the one place that starts it.

Triton decides when it decorates, and Numba when it is imported, whether code is interpreted, so the variables must be
set before the first import: `python -m clusterbench.kernels.judging.worker` reads one job, a JSON object, from standard
input, and writes one JSON object a line to standard output: {"check": {...}} for each check, {"error": text} where the
job cannot be done, and {"end": number of checks} at the end. Whatever else a kernel prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from clusterbench.kernels.judging.verify import Check, verify
from clusterbench.kernels.kernel import Kernel
from clusterbench.kernels.running.backends import Backend

_TAIL_LINES = 3


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker shall verify."""

    backend: str
    mode: str
    reason: str
    files: tuple[str, ...]
    """The kernels, each by the file of its catalogue."""
    dtypes: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back: the checks that were made, and what went wrong with the process, if anything did."""

    checks: tuple[Check, ...]
    error: str = ""


def run_worker(
    backend: Backend, kernels: Sequence[Kernel], dtypes: Sequence[str], seed: int, timeout_s: float
) -> Outcome:
    """Verify kernels in a worker process; the checks made before a failure or the time-out are kept.

    Kernels without an implementation for this back end are left out. Dtypes that a kernel lacks are passed over.
    """
    chosen = [kernel for kernel in kernels if backend.name in kernel.implementations]
    job = Job(backend.name, backend.mode, backend.reason, tuple(k.file for k in chosen), tuple(dtypes), seed)
    inherited = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM")}
    command = [sys.executable, "-m", "clusterbench.kernels.judging.worker"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asdict(job)),
            env={**inherited, **backend.environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        checks, _ = _read(_text(expired.stdout))
        last = f"after {checks[-1].kernel} at {checks[-1].shape}" if checks else "before the first check"
        return Outcome(checks, f"the {backend.name} worker was stopped after {timeout_s:g} s, {last}")
    except OSError as error:
        return Outcome((), f"the {backend.name} worker did not start: {error}")
    checks, problem = _read(done.stdout)
    if problem or done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        tail = " | ".join(done.stderr.strip().splitlines()[-_TAIL_LINES:])
        problem = f"the {backend.name} worker failed: {problem or how}{f' ({tail})' if tail and not problem else ''}"
    return Outcome(checks, problem)


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _read(output: str) -> tuple[tuple[Check, ...], str]:
    """The checks in a worker's output, and what is wrong with it."""
    checks: list[Check] = []
    end: int | None = None
    for line in output.splitlines():
        try:
            message = json.loads(line)
            if "error" in message:
                return tuple(checks), str(message["error"])
            if "check" in message:
                checks.append(Check(**message["check"]))
            end = message.get("end", end)
        except (ValueError, TypeError, AttributeError):
            return tuple(checks), f"its output holds {line[:80]!r}; expected one JSON object a line"
    return tuple(checks), "" if end == len(
        checks
    ) else f"its output ends after {len(checks)} checks without its last line"


def work(job: Job, out: TextIO) -> None:
    """Do a job in this process, writing its lines to `out`."""
    import numpy as np

    from clusterbench.kernels.discovery import load

    backend = Backend(job.backend, job.mode, job.reason)  # type: ignore[arg-type] # a mode, as it comes from a Backend
    if job.backend == "triton" and job.mode == "interpreter":
        from clusterbench.kernels.running.interpreted import shuffle_programs

        shuffle_programs(np.random.default_rng(job.seed))
    if job.backend == "numba-cuda" and job.mode == "simulator":
        from clusterbench.kernels.running.simulated import repair

        repair()
    count = 0
    for file in job.files:
        kernel = load(Path(file))
        for check in verify(kernel, backend, [d for d in job.dtypes if d in kernel.dtypes], job.seed):
            count += 1
            _say(out, {"check": check.as_row()})
    _say(out, {"end": count})


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def main() -> None:
    """Read a job from standard input and do it; standard output is kept for the protocol alone."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        try:
            fields = json.load(sys.stdin)
            job = Job(**{**fields, "files": tuple(fields["files"]), "dtypes": tuple(fields["dtypes"])})
            work(job, out)
        except Exception as error:
            _say(out, {"error": f"{type(error).__name__}: {error}"})
            sys.exit(1)


if __name__ == "__main__":
    main()
