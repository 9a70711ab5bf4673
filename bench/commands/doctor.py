"""`clusterbench doctor`: what is here, what works, and what to do about what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.launch import speaks
from clusterbench.bench.mpi_status import MpiStatus
from clusterbench.bench.options import machine_options


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: `state` is ok, info, warning or problem, or the mode of a back end."""

    part: str
    """`mpi`, `host`, `gpu` or `backend`."""
    name: str
    state: str
    found: str
    reason: str = ""
    """Why it is so, or what to do."""


@click.command()
@machine_options
def doctor(as_json: bool, as_csv: bool) -> int:
    """Say what is here: MPI, cores, memory, GPUs and back ends, and what will be simulated and why.

    Two processes are really started by mpiexec. Ends with 1 where MPI does not work or where the mpiexec on the path
    does not belong to the MPI library that mpi4py loads.
    """
    from clusterbench.bench import output

    if not speaks():
        return exit_codes.GOOD
    environment, status = examine()
    findings = diagnose(environment, status)
    broken = any(finding.state == "problem" for finding in findings)
    code = exit_codes.FAILED if broken else exit_codes.GOOD
    if as_json:
        output.emit_json(_run_row(environment, findings, code), [asdict(finding) for finding in findings])
    elif as_csv:
        output.emit_csv([asdict(finding) for finding in findings])
    else:
        print_findings(findings)
    return code


def examine() -> tuple[dict[str, Any], MpiStatus]:
    """The environment with its back ends and its MPI, and the state of MPI."""
    from clusterbench.bench.environment import backend_rows, capture_environment
    from clusterbench.bench.mpi_status import check_mpi

    status = check_mpi()
    return capture_environment(mpi=status.as_row(), backends=backend_rows()), status


def diagnose(environment: Mapping[str, Any], status: MpiStatus) -> list[Finding]:
    """The findings in the order in which they are printed."""
    return [
        *_mpi_findings(status),
        *_host_findings(environment),
        *_gpu_findings(environment),
        *(
            Finding("backend", row["backend"], row["mode"], row.get("version") or "", row.get("reason") or "")
            for row in environment.get("backends", ())
        ),
    ]


def print_findings(findings: Sequence[Finding]) -> None:
    """Print the findings as two tables, and after them the problems and warnings in full."""
    from clusterbench.bench.output import print_table

    here = [finding for finding in findings if finding.part != "backend" and finding.found]
    print_table("This machine", ["part", "what", "found"], [(f.part, f.name, f.found) for f in here])
    backends = [finding for finding in findings if finding.part == "backend"]
    print_table(
        "Back ends",
        ["back end", "mode", "version", "reason"],
        [(f.name, f.state, f.found, f.reason) for f in backends],
    )
    for state in ("warning", "problem"):
        for finding in findings:
            if finding.state == state:
                click.echo(f"{state}: {finding.reason}")
    if not any(finding.state == "problem" for finding in findings):
        click.echo("MPI works here.")


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
    found = [
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
    found += [Finding("host", "warning", "warning", "", text) for text in _unsteady(host, cpu, usable)]
    return found


def _unsteady(host: Mapping[str, Any], cpu: Mapping[str, Any], usable: int) -> list[str]:
    """What makes times on this host vary from run to run."""
    found = []
    if cpu["governor"] and cpu["governor"] != "performance":
        found.append(f"the frequency governor is {cpu['governor']}: times vary until it is `performance`")
    if host["load_1min"] > max(0.5, usable / 2):
        found.append(f"the load is {host['load_1min']:.2f}: other work shares the {usable} cores with the measurement")
    if usable < 2:
        found.append("one usable core: two ranks share it, and their times say little")
    if host["cgroup_cores"] and host["cgroup_cores"] < usable:
        found.append(f"the container may use {host['cgroup_cores']:g} of {usable} cores: it is paused above that")
    return found


def _gpu_findings(environment: Mapping[str, Any]) -> list[Finding]:
    if not environment["gpus"]:
        return [Finding("gpu", "GPUs", "info", "none", environment["gpus_found_by"])]
    return [
        Finding("gpu", f"GPU {gpu['index']}", "ok", f"{gpu['name']} ({gpu['pci_id']})", environment["gpus_found_by"])
        for gpu in environment["gpus"]
    ]


def _run_row(environment: dict[str, Any], findings: Sequence[Finding], code: int) -> dict[str, Any]:
    from clusterbench.bench.environment import new_run_id
    from clusterbench.results.journal import ended, now_iso
    from clusterbench.results.record import Run

    failures = [finding.reason for finding in findings if finding.state == "problem"]
    run = Run(run_id=new_run_id(), started_at=now_iso(), command=environment["command"], environment=environment)
    return ended(run, code, failures).as_row()
