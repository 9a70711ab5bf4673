"""The process that times kernels on the GPU, and the one place that starts it.

A kernel that writes where it must not takes the whole CUDA context with it, and so whatever is timed after it in the
same process: then a new one goes on behind it. `python -m clusterbench.bench.measuring.gpu_worker` reads one job, a
JSON object, from standard input and writes one JSON object a line: {"begin": index} and then {"timed": {...}} or
{"error": text} for each problem. Whatever else is printed goes to standard error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Timer
from typing import Any, TextIO

import numpy as np

from clusterbench.bench.measuring.gpu_kernels import GpuTimed, time_on_gpu
from clusterbench.bench.measuring.gpu_timing import Gpu, gpu_at_hand
from clusterbench.bench.measuring.kernel_timing import Cache
from clusterbench.bench.measuring.sampling import Rules, Samples
from clusterbench.kernels.judging.verify import Check
from clusterbench.kernels.kernel import KernelError
from clusterbench.kernels.running.backends import Backend, Memory

COMMAND = (sys.executable, "-m", "clusterbench.bench.measuring.gpu_worker")
_TAIL_LINES = 3


@dataclass(frozen=True, slots=True)
class GpuProblem:
    """What is to be timed: a kernel by the file of its catalogue, and how."""

    file: str
    backend: str
    dtype: str
    size_bytes: int | None = None
    cache: Cache = "hot"
    graph: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a problem was not timed, in words."""

    reason: str
    failed: bool
    """Whether something went wrong, rather than did not fit."""


Result = tuple[Gpu, GpuTimed] | Refused


def time_in_worker(
    problems: Sequence[GpuProblem], rules: Rules, seed: int, timeout_s: float
) -> Iterator[tuple[int, Result]]:
    """Time problems in order, each with its number; after one that ends the process a new one goes on behind it.

    `timeout_s` is for one problem, with the start of the process.
    """
    done = 0
    while done < len(problems):
        for index, result in _one_process(problems, done, rules, seed, timeout_s):
            done = index + 1
            yield index, result


def _one_process(
    problems: Sequence[GpuProblem], first: int, rules: Rules, seed: int, timeout_s: float
) -> Iterator[tuple[int, Result]]:
    """What one process says, from problem `first` on.

    Where it ends early, the problem that it was at is refused, and all that are left where it did not get to any.
    """
    at, begun, late = first, -1, False
    job = {"problems": [asdict(p) for p in problems], "first": first, "rules": asdict(rules), "seed": seed}
    with TemporaryFile("w+") as errors:
        process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)

        def stop() -> None:
            nonlocal late
            late = True
            process.kill()

        watch = _after(timeout_s, stop)
        try:
            stdin, stdout = process.stdin, process.stdout
            assert stdin is not None, "it is a pipe"
            assert stdout is not None, "it is a pipe"
            with suppress(BrokenPipeError):  # it has ended, and what it said of that comes below
                stdin.write(json.dumps(job))
                stdin.close()
            for line in stdout:
                message = json.loads(line)
                watch.cancel()
                watch = _after(timeout_s, stop)
                if "begin" in message:
                    begun = message["begin"]
                else:
                    yield at, _result(message)
                    at += 1
            code = process.wait()
        finally:
            watch.cancel()
            process.kill()
            process.wait()
        errors.seek(0)
        tail = " | ".join(errors.read().strip().splitlines()[-_TAIL_LINES:])
    how = f"ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}{f' ({tail})' if tail else ''}"
    how = f"was stopped after {timeout_s:g} s" if late else how
    refused = Refused(f"the process that timed it {how}", failed=True)
    if begun >= at:
        yield at, refused
    elif at == first:
        yield from ((index, refused) for index in range(first, len(problems)))


def _after(timeout_s: float, action: Callable[[], None]) -> Timer:
    timer = Timer(timeout_s, action)
    timer.daemon = True
    timer.start()
    return timer


def _result(message: dict[str, Any]) -> Result:
    if "error" in message:
        return Refused(message["error"], message["failed"])
    timed = message["timed"]
    samples = Samples(**{**timed["samples"], "seconds": np.array(timed["samples"]["seconds"])})
    return Gpu(**message["gpu"]), GpuTimed(**{**timed, "samples": samples, "check": Check(**timed["check"])})


def work(job: dict[str, Any], out: TextIO, cupy: Any, place: Memory | None = None) -> None:
    """Do a job in this process, writing its lines to `out`; `place` stands for the memory of every back end."""
    from clusterbench.kernels.discovery import load
    from clusterbench.kernels.running.backends import detect

    backends: dict[str, Backend] = detect()
    rules = Rules(**job["rules"])
    for index, fields in enumerate(job["problems"][job["first"] :], start=job["first"]):
        problem = GpuProblem(**fields)
        _say(out, {"begin": index})
        try:
            timed = time_on_gpu(
                load(Path(problem.file)), backends[problem.backend], problem.dtype, problem.size_bytes, rules,
                job["seed"], cupy, problem.cache, problem.graph, place,
            )  # fmt: skip
        except KernelError as error:
            _say(out, {"error": str(error), "failed": False})
            continue
        except Exception as error:  # whatever a back end raises is this problem's
            _say(out, {"error": f"{type(error).__name__}: {error}", "failed": True})
            if _is_lost(cupy):
                return
            continue
        _say(out, {"gpu": asdict(gpu_at_hand(cupy)), "timed": _as_row(timed)})


def _as_row(timed: GpuTimed) -> dict[str, Any]:
    row = asdict(timed)
    row["samples"]["seconds"] = timed.samples.seconds.tolist()
    return row


def _is_lost(cupy: Any) -> bool:
    """Whether nothing runs any more in this process: an illegal access stays with the context."""
    try:
        cupy.cuda.runtime.deviceSynchronize()
    except Exception:  # CuPy's error of its runtime, which may not be imported here
        return True
    return False


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def main() -> None:
    """Read a job from standard input and do it; standard output is kept for the protocol alone."""
    import cupy

    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        work(json.load(sys.stdin), out, cupy)


if __name__ == "__main__":
    main()
