"""Synthetic runs for the tests of the results floor: made up by formula and seeded noise, measured nowhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterbench.results.journal import Journal
from clusterbench.results.rates import algbw, busbw
from clusterbench.results.record import Measurement, Run
from clusterbench.results.statistics import summarise

Row = tuple[Measurement, NDArray[np.float64] | None]

COPY_BYTES_PER_S = 14.2e9
FMA_FLOP_PER_S = {"float32": 96.0e9, "float64": 48.5e9}
DEVICE = "Synthetic CPU, 4 cores"


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Makes runs. `slowdown` multiplies every time."""

    run_id: str = "synthetic-a"
    seed: int = 1
    slowdown: float = 1.0
    noise: float = 0.01

    def run(self, **changes: Any) -> Run:
        """The record of the run, with an environment like a real one."""
        values: dict[str, Any] = {
            "run_id": self.run_id,
            "started_at": f"2026-01-0{self.seed}T10:00:00.000+00:00",
            "command": "clusterbench run --preset quick",
            "status": "running",
            "seed": self.seed,
            "environment": environment(),
        }
        return Run(**{**values, **changes})

    def times(self, time_s: float, n: int = 40) -> NDArray[np.float64]:
        """Samples with a long tail above, as run times have."""
        rng = np.random.default_rng([self.seed, int(time_s * 1e12) % (1 << 31)])
        return time_s * self.slowdown * (1 + self.noise * rng.exponential(1.0, n))

    def row(self, samples_s: NDArray[np.float64] | None = None, **fields: Any) -> Row:
        """A measurement with the figures of its samples."""
        figures: dict[str, Any] = {}
        if samples_s is not None:
            summary = summarise(samples_s)
            figures = {name: getattr(summary, name) for name in summary.__slots__}
        host = {"host": "synthetic-host", "device": DEVICE, "started_at": "2026-01-01T10:00:01.000+00:00"}
        return Measurement(**{"run_id": self.run_id, **host, **figures, **fields}), samples_s

    def kernels(self) -> list[Row]:
        """The roof, kernels timed on the CPU, and GPU sources verified in a simulator."""
        rows = [self.row(suite="roof", name="copy", dtype="float64", bytes_per_s=COPY_BYTES_PER_S, backend="numba")]
        rows += [
            self.row(suite="roof", name="fma", dtype=dtype, flop_per_s=peak, backend="numba")
            for dtype, peak in FMA_FLOP_PER_S.items()
        ]
        for name, flops_per_byte, share in (
            ("copy", 0, 0.98),
            ("triad", 1 / 12, 0.93),
            ("dot", 1 / 8, 1.05),
            ("gemm", 32, 0.6),
        ):
            for size_bytes in (1 << 20, 1 << 24, 1 << 27):
                rows.append(self._kernel(name, flops_per_byte, share, size_bytes))
        for backend, reason in (
            ("triton", "Triton's interpreter: no GPU"),
            ("numba-cuda", "Numba's simulator: no GPU"),
        ):
            for name, error in (("copy", 0.0), ("triad", 0.21), ("dot", 0.63), ("gemm", 0.4)):
                verified: dict[str, Any] = {"evidence": "simulated", "verdict": "PASS", "error_over_bound": error}
                shape = {"shape": "n=1009", "dtype": "float32", "wrong": 0, "note": reason}
                rows.append(self.row(suite="kernels", name=name, backend=backend, **shape, **verified))
        return rows

    def _kernel(self, name: str, flops_per_byte: float, share: float, size_bytes: int) -> Row:
        bandwidth = COPY_BYTES_PER_S * share
        limited = flops_per_byte * bandwidth > FMA_FLOP_PER_S["float32"] * share
        time_s = (
            flops_per_byte * size_bytes / (FMA_FLOP_PER_S["float32"] * share) if limited else size_bytes / bandwidth
        )
        samples = self.times(time_s)
        median = float(np.median(samples))
        what = {"suite": "kernels", "name": name, "backend": "numba", "dtype": "float32", "size_bytes": size_bytes}
        judged = {
            "bound_s": time_s * share,
            "bound_share": time_s * share / median,
            "error_over_bound": 0.1,
            "wrong": 0,
        }
        return self.row(
            samples,
            **what,
            **judged,
            shape=f"n={size_bytes // 8}",
            bound_by="multiply-add peak" if limited else "copy bandwidth",
            bytes_per_s=size_bytes / median,
            flop_per_s=flops_per_byte * size_bytes / median if flops_per_byte else None,
            verdict="PASS" if share <= 1 else "INVALID",
            reason="" if share <= 1 else "faster than the measured roof permits",
        )

    def collectives(self, names: tuple[str, ...] = ("all_reduce",), ranks: int = 4) -> list[Row]:
        """Alpha-beta times of four algorithms over sizes from 8 B to 16 MiB, out of place and in place."""
        rows = []
        steps = {"library": (4, 1.7), "ring": (6, 1.5), "recursive_doubling": (2, 2.0), "halving_doubling": (4, 1.52)}
        for name in names:
            for placement in ("out_of_place", "in_place"):
                for algorithm, (latency, traffic) in steps.items():
                    for power in range(3, 25, 3):
                        size_bytes = 1 << power
                        samples = self.times(latency * 4e-7 + traffic * size_bytes / 6e9)
                        median = float(np.median(samples))
                        what = {"name": name, "algorithm": algorithm, "placement": placement, "transport": "mpi"}
                        rates = {"algbw": algbw(size_bytes, median), "busbw": busbw(name, size_bytes, median, ranks)}
                        how = {"dtype": "float32", "op": "sum", "ranks": ranks, "count": size_bytes // 4, "wrong": 0}
                        unit = {
                            "sample_unit": "one call, the slowest rank",
                            "size_bytes": size_bytes,
                            "verdict": "PASS",
                        }
                        rows.append(self.row(samples, suite="collectives", **what, **how, **rates, **unit))
        return rows

    def messages(self, ranks: int = 4) -> list[Row]:
        """Ping-pong and sendrecv over sizes, and all pairs once; rank 2 is slow, and its pair with rank 0 is named."""
        rows = []
        for name, algorithm, factor in (
            ("pingpong", "latency", 1),
            ("pingpong", "one-way", 1),
            ("pingpong", "two-way", 2),
            ("sendrecv", "sendrecv", 1),
        ):
            for size_bytes in (8, 1024, 1 << 17):
                shape = f"bytes={size_bytes},src=0,dst={ranks - 1},window=64" if name == "pingpong" else ""
                samples = self.times(5e-7 + size_bytes / 6e9)
                rate = size_bytes / float(np.median(samples))
                what = {"suite": "point-to-point", "name": name, "algorithm": algorithm, "transport": "mpi"}
                how = {"dtype": "float32", "shape": shape, "size_bytes": size_bytes, "ranks": ranks, "wrong": 0}
                rows.append(self.row(samples, **what, **how, algbw=rate, busbw=factor * rate, verdict="PASS"))
        for src in range(ranks):
            for dst in range(ranks):
                for quantity, size_bytes in (("latency", 8), ("bandwidth", 1 << 20)):
                    if src < dst or (src > dst and quantity == "bandwidth"):
                        rows.append(self._pair(quantity, size_bytes, src, dst, ranks, "at-once"))
        named = {"culprit": "rank 0 - rank 2", "reason": "10 us alone, where rank 0 to 1 has 1"}
        rows.append(self._pair("latency", 8, 0, 2, ranks, "alone", **named))
        rows.append(self._pair("latency", 8, 0, 1, ranks, "alone"))
        return rows

    def _pair(self, quantity: str, size_bytes: int, src: int, dst: int, ranks: int, how: str, **more: Any) -> Row:
        samples = self.times((10 if 2 in (src, dst) else 1) * (1e-6 + size_bytes / 6e9 + 1e-8 * (src + 2 * dst)))
        rate = size_bytes / float(np.median(samples))
        shape = f"bytes={size_bytes},src={src},dst={dst}"
        what = {"suite": "pairs", "name": quantity, "algorithm": how, "transport": "mpi", "shape": shape}
        rates = {"size_bytes": size_bytes, "ranks": ranks, "algbw": rate, "busbw": rate, "verdict": "PASS"}
        return self.row(samples, **what, **rates, **more)

    def write(self, folder: Path, rows: list[Row] | None = None, part: str = "", **changes: Any) -> Path:
        """A journal of these rows, or of all of them, finished."""
        with Journal.create(folder, self.run(**changes), part) as journal:
            for measurement, samples in self.kernels() + self.collectives() if rows is None else rows:
                journal.append(measurement, samples)
            journal.finish(0)
        return journal.path


def environment() -> dict[str, Any]:
    """An environment of the shape that the suite records."""
    return {
        "host": {"name": "synthetic-host", "os": "Synthetic Linux 12", "kernel": "6.1.0", "container": None},
        "cpu": {
            "model": DEVICE,
            "architecture": "x86_64",
            "physical_cores": 4,
            "affinity": [0, 1, 2, 3],
            "governor": "performance",
            "caches": [
                {"level": 1, "type": "Data", "size_bytes": 32768},
                {"level": 3, "type": "Unified", "size_bytes": 1 << 25},
            ],
        },
        "memory": {"total_bytes": 33_500_000_000, "available_bytes": 1 << 34},
        "gpus": [],
        "gpus_found_by": "no NVML, nvidia-smi or rocm-smi",
        "versions": {"python": "3.11.7", "numpy": "2.4.6", "numba": "0.63.0", "mpi4py": "4.1.2"},
        "mpi": {"family": "mpich", "version": "5.0.2", "thread_level": "single", "ranks": 4},
        "pinning": {"rank 0": [0], "rank 1": [1], "rank 2": [2], "rank 3": [3]},
        "backends": [
            {"backend": "numba", "mode": "native", "version": "0.63.0", "reason": ""},
            {
                "backend": "triton",
                "mode": "interpreter",
                "version": "3.9.0",
                "reason": "no GPU: sources run in the interpreter",
            },
            {
                "backend": "numba-cuda",
                "mode": "simulator",
                "version": "0.30.1",
                "reason": "no GPU: sources run in the simulator",
            },
            {"backend": "cupy", "mode": "absent", "version": None, "reason": "cupy is not installed"},
        ],
    }


@pytest.fixture(scope="session")
def synthetic() -> Callable[..., Synthetic]:
    """The maker of synthetic runs: `synthetic(run_id=..., seed=..., slowdown=...)`."""
    return Synthetic


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium. Without one the tests that need it are skipped, except under CI, where they fail."""
    import os

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and os.environ.get("CI"):
        pytest.fail("no chromium on the path; continuous integration installs it (apt-get install chromium)")
    if found is None:
        pytest.skip("no chromium on the path: the report was not opened in a browser (apt-get install chromium)")
    return found
