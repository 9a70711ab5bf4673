"""What this host is: processor, memory, caches, NUMA nodes, frequency settings, accelerators.

Read from /proc and /sys, which cost nothing and need no rights; what cannot be read is None or missing, never guessed.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clusterbench.bench.hosts.cgroups import memory_limits
from clusterbench.bench.hosts.gpu_state import gpu_settings
from clusterbench.bench.hosts.nvml import busid, each_gpu, plain
from clusterbench.bench.hosts.settings import PCI, device_node, read_cpu_settings, read_memory_settings
from clusterbench.collectives.transports.shared_window import SHM
from clusterbench.kernels import device
from clusterbench.kernels.device import CPUS, read_text

# Instruction sets that decide how fast a kernel can be.
_VECTOR_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "asimd", "sve")


def describe_cpu() -> dict[str, Any]:
    """Model, cores (and those this process may use), caches, NUMA nodes, and how they are set up."""
    import psutil

    settings = asdict(read_cpu_settings())
    info = read_text(device.CPUINFO) or ""
    fields = dict(re.findall(r"^([^\t:]+?)\s*:[ \t]*(.*)$", info, re.MULTILINE))
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "model": device.cpu_model(),
        "vendor": fields.get("vendor_id") or fields.get("CPU implementer"),
        "architecture": platform.machine(),
        "vector": [flag for flag in _VECTOR_FLAGS if flag in flags],
        "hypervisor": "hypervisor" in flags,
        "logical_cores": os.cpu_count(),
        "physical_cores": psutil.cpu_count(logical=False),
        "sockets": len(set(re.findall(r"^physical id\s*:\s*(\d+)", info, re.MULTILINE))) or None,
        "affinity": device.affinity(),
        **settings,
        "caches": [asdict(cache) for cache in device.caches(CPUS, 0)],
        "numa": {node.name: read_text(node / "cpulist") for node in _sorted_nodes()},
    }


def _sorted_nodes() -> list[Path]:
    return sorted(Path("/sys/devices/system/node").glob("node[0-9]*"), key=lambda path: int(path.name[4:]))


def describe_memory() -> dict[str, Any]:
    """Bytes of memory in total and available, the container's limit, and how it is set up."""
    import psutil

    memory = psutil.virtual_memory()
    limits = [limit.limit_bytes for limit in memory_limits() if limit.limit_bytes < memory.total]
    return {
        "total_bytes": memory.total,
        "available_bytes": memory.available,
        "cgroup_limit_bytes": min(limits, default=None),
        "shared_memory_bytes": shared_memory_bytes(),
        **asdict(read_memory_settings()),
    }


def shared_memory_bytes(folder: Path = SHM) -> int | None:
    """How large the file system is in which processes share memory; None where there is none."""
    try:
        return shutil.disk_usage(folder).total
    except OSError:
        return None


def container_hint() -> str | None:
    """What this process seems to run in (`docker`, `podman`, `lxc`, ...), or None."""
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    named = read_text("/run/systemd/container")
    if named:
        return named
    groups = read_text("/proc/1/cgroup") or ""
    match = re.search(r"kubepods|docker|lxc|containerd|slurm", groups)
    return match.group() if match else None


def describe_gpus() -> tuple[list[dict[str, Any]], str]:
    """The accelerators of this host and, in words, how they were found or why there are none."""
    missed: list[str] = []
    for find in (_gpus_by_nvml, _gpus_by_nvidia_smi, _gpus_by_rocm_smi):
        gpus, how = find()
        if gpus:
            return gpus, how
        missed.append(how)
    return [], "; ".join(missed)


def _gpus_by_nvml() -> tuple[list[dict[str, Any]], str]:
    return each_gpu(
        lambda pynvml, index, handle: {
            "vendor": "nvidia",
            "index": index,
            "name": plain(pynvml.nvmlDeviceGetName(handle)),
            "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            "pci_id": plain(pynvml.nvmlDeviceGetPciInfo(handle).busId),
            "driver": plain(pynvml.nvmlSystemGetDriverVersion()),
            "compute_capability": ".".join(map(str, pynvml.nvmlDeviceGetCudaComputeCapability(handle))),
            "numa_node": device_node(PCI / busid(pynvml.nvmlDeviceGetPciInfo(handle).busId)),
            **gpu_settings(pynvml, handle),
        }
    )


_SMI_FIELDS = ("index", "name", "memory.total", "pci.bus_id", "driver_version", "compute_cap")


def _gpus_by_nvidia_smi() -> tuple[list[dict[str, Any]], str]:
    query = ["nvidia-smi", f"--query-gpu={','.join(_SMI_FIELDS)}", "--format=csv,noheader,nounits"]
    text, why = _ask(query)
    if text is None:
        return [], why
    found = []
    for line in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(line) != len(_SMI_FIELDS) or not line[0].isdigit():
            continue
        found.append(
            {
                "vendor": "nvidia",
                "index": int(line[0]),
                "name": line[1],
                # MiB by --format=nounits; `[N/A]` where memory is shared with the host.
                "memory_bytes": int(line[2]) * 2**20 if line[2].isdigit() else None,
                "pci_id": line[3],
                "driver": line[4],
                "compute_capability": line[5],
            }
        )
    return found, "nvidia-smi" if found else f"nvidia-smi: it names no device: {text.strip()[:100]!r}"


def _gpus_by_rocm_smi() -> tuple[list[dict[str, Any]], str]:
    text, why = _ask(["rocm-smi", "--showproductname", "--showbus", "--showmeminfo", "vram", "--json"])
    if text is None:
        return [], why
    try:
        cards = json.loads(text)
    except ValueError:
        return [], f"rocm-smi: no JSON in its answer: {text.strip()[:100]!r}"
    found = []
    for card, values in sorted(cards.items()) if isinstance(cards, dict) else ():
        number = re.fullmatch(r"card(\d+)", card)
        if number is None or not isinstance(values, dict):
            continue
        memory = str(values.get("VRAM Total Memory (B)", ""))
        found.append(
            {
                "vendor": "amd",
                "index": int(number[1]),
                # The key's spelling changed between ROCm 5 and 6.
                "name": values.get("Card Series") or values.get("Card series") or card,
                "memory_bytes": int(memory) if memory.isdigit() else None,
                "pci_id": values.get("PCI Bus"),
                "architecture": values.get("GFX Version"),
            }
        )
    return found, "rocm-smi" if found else "rocm-smi: it names no device"


def _ask(command: Sequence[str]) -> tuple[str | None, str]:
    """Standard output of a vendor's tool, or None and why there is none."""
    tool = command[0]
    path = shutil.which(tool)
    if path is None:
        return None, f"{tool}: not on the path"
    if "mpi4py.MPI" in sys.modules:
        # A child process of an MPI rank can corrupt registered memory on some interconnects.
        return None, f"{tool}: not started from within an MPI rank"
    try:
        done = subprocess.run(
            [path, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{tool}: {error}"
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return None, f"{tool}: exit code {done.returncode}: {said[0] if said else ''}"
    return done.stdout, ""
