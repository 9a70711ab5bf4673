"""What is here, as findings: MPI, this host, its GPUs and the back ends, and what to do about what does not work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clusterbench.bench.finding import Finding
from clusterbench.bench.launching.mpi_status import MpiStatus


def examine() -> tuple[dict[str, Any], MpiStatus]:
    """The environment with its back ends and its MPI, and the state of MPI."""
    from clusterbench.bench.hosts.environment import backend_rows, capture_environment
    from clusterbench.bench.launching.mpi_status import check_mpi

    status = check_mpi()
    return capture_environment(mpi=status.as_row(), backends=backend_rows()), status


def diagnose(environment: Mapping[str, Any], status: MpiStatus, deep: bool = False) -> list[Finding]:
    """The findings in the order in which they are printed; `deep` leaves what spoils a measurement to others."""
    return [
        *_mpi_findings(status),
        *_host_findings(environment),
        *(() if deep else _unsteady(environment)),
        *_gpu_findings(environment),
        *(
            Finding("backend", row["backend"], row["mode"], row.get("version") or "", row.get("reason") or "")
            for row in environment.get("backends", ())
        ),
    ]


def _mpi_findings(status: MpiStatus) -> list[Finding]:
    found = []
    if status.library:
        found.append(Finding("mpi", "library", "ok", f"{status.library} ({status.libmpi})"))
    if status.mpiexec:
        answer = f"{status.mpiexec} ({status.mpiexec_family} {status.mpiexec_version})"
        if status.world is not None:
            answer += f": 2 processes found a world of {status.world}"
        found.append(Finding("mpi", "mpiexec", "ok" if status.usable else "info", answer))
    path = status.path_mpiexec or "none"
    if status.path_mpiexec and status.path_world is not None:
        path += f": 2 processes found a world of {status.path_world}"
    found.append(Finding("mpi", "mpiexec on the path", "info", path))
    found += [Finding("mpi", "problem", "problem", "", text) for text in (*status.problems, *status.path_problems)]
    found += [Finding("mpi", "warning", "warning", "", text) for text in status.warnings]
    return found


def _host_findings(environment: Mapping[str, Any]) -> list[Finding]:
    from clusterbench.bench.output import about_size_text

    host, cpu, memory = environment["host"], environment["cpu"], environment["memory"]
    usable = len(cpu["affinity"])
    cores = f"{usable} usable of {cpu['logical_cores']} logical, {cpu['physical_cores'] or 'unknown'} physical"
    caches = [
        f"L{cache['level']} {about_size_text(cache['size_bytes'])}"
        for cache in cpu["caches"]
        if cache["type"] != "Instruction"
    ]
    return [
        Finding("host", "name", "info", f"{host['name']}, {host['os']}, kernel {host['kernel']}"),
        Finding("host", "container", "info", host["container"] or "no sign of one"),
        Finding("host", "CPU", "info", f"{cpu['model'] or 'unknown model'} ({cpu['architecture']})"),
        Finding("host", "vector units", "info", ", ".join(cpu["vector"]) or "unknown"),
        Finding("host", "cores", "info", cores),
        Finding("host", "NUMA nodes", "info", str(len(cpu["numa"]) or "unknown")),
        Finding("host", "caches", "info", ", ".join(caches) or "unknown"),
        Finding(
            "host",
            "memory",
            "info",
            f"{about_size_text(memory['total_bytes'])}, {about_size_text(memory['available_bytes'])} available",
        ),
        Finding("host", "governor", "info", cpu["governor"] or "not readable here"),
        Finding("host", "load", "info", f"{host['load_1min']:.2f} over the last minute"),
    ]


def _unsteady(environment: Mapping[str, Any]) -> list[Finding]:
    """What makes times on this host vary from run to run, as far as one look tells."""
    host, cpu = environment["host"], environment["cpu"]
    usable = len(cpu["affinity"])
    found = []
    if cpu["governor"] and cpu["governor"] != "performance":
        found.append(f"the frequency governor is {cpu['governor']}: times vary until it is `performance`")
    if host["load_1min"] > max(0.5, usable / 2):
        found.append(f"the load is {host['load_1min']:.2f}: other work shares the {usable} cores with the measurement")
    if usable < 2:
        found.append("one usable core: two ranks share it, and their times say little")
    if host["cgroup_cores"] and host["cgroup_cores"] < usable:
        found.append(f"the container may use {host['cgroup_cores']:g} of {usable} cores: it is paused above that")
    return [Finding("host", "warning", "warning", "", text) for text in found]


def _gpu_findings(environment: Mapping[str, Any]) -> list[Finding]:
    if not environment["gpus"]:
        return [Finding("gpu", "GPUs", "info", "none", environment["gpus_found_by"])]
    return [
        Finding("gpu", f"GPU {gpu['index']}", "ok", f"{gpu['name']} ({gpu['pci_id']})", environment["gpus_found_by"])
        for gpu in environment["gpus"]
    ]
