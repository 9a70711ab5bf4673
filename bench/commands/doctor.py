"""`clusterbench doctor`: what is here, what works, and what to do about what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.finding import Finding
from clusterbench.bench.launch import launcher, speaks
from clusterbench.bench.mpi_status import MpiStatus
from clusterbench.bench.options import FiniteRange, machine_options

if TYPE_CHECKING:
    from clusterbench.bench.disturbances.facts import Facts
    from clusterbench.bench.world import World


@click.command()
@click.option("--deep", is_flag=True, help="Look for what spoils a measurement, too; under mpiexec on all ranks.")
@click.option(
    "--interval",
    "interval_s",
    type=FiniteRange(0.05, 600.0),
    metavar="SECONDS",
    help="How long --deep looks for other load, and then for noise.  [default: 1]",
)
@click.option("--strict", is_flag=True, help="Take warnings for a failure: exit code 4.")
@machine_options
def doctor(deep: bool, interval_s: float | None, strict: bool, as_json: bool, as_csv: bool) -> int:
    """Say what is here: MPI, cores, memory, GPUs and back ends, and what will be simulated and why.

    Two processes are really started by mpiexec. Ends with 1 where MPI does not work or where the mpiexec on the path
    does not belong to the MPI library that mpi4py loads.

    --deep names what makes times unsteady or wrong, each with the command that mends it, which is not executed: shared
    and oversubscribed cores, shared and far GPUs, other processes, clocks, quotas, swap, memory, the noise of each
    core. `mpiexec -n N clusterbench doctor --deep` looks at N ranks where they would run.
    """
    if interval_s is not None and not deep:
        raise click.UsageError("--interval is of --deep, which was not given")
    # Before MPI is loaded: it starts programs, which a rank must not.
    looked = examine() if speaks() else None
    world, facts = _look_deep(interval_s or 1.0) if deep else (None, None)
    code = exit_codes.GOOD
    if looked is not None:
        environment, status = looked
        findings = diagnose(environment, status, deep=deep)
        spoilt = _disturbances(facts)
        code = _code([*findings, *spoilt], strict)
        if facts is not None:
            environment["observed"] = asdict(facts)
        _print(environment, findings, spoilt, code, as_json, as_csv)
    return code if world is None else world.comm.bcast(code)


def _look_deep(interval_s: float) -> tuple[World | None, Facts | None]:
    """The world where a launcher started this, and what rank 0 knows of all ranks and hosts."""
    from clusterbench.bench.disturbances.gathering import gather, gather_world

    if launcher() is None:
        return None, gather(interval_s)
    from clusterbench.bench.world import join_world

    world = join_world()
    return world, gather_world(world, interval_s)


def _disturbances(facts: Facts | None) -> list[Finding]:
    if facts is None:
        return []
    from clusterbench.bench.disturbances.judged import judge

    return judge(facts)


def _code(findings: Sequence[Finding], strict: bool) -> int:
    states = {finding.state for finding in findings}
    if "problem" in states:
        return exit_codes.FAILED
    return exit_codes.BELOW if strict and "warning" in states else exit_codes.GOOD


def _print(
    environment: dict[str, Any],
    findings: Sequence[Finding],
    spoilt: Sequence[Finding],
    code: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    from clusterbench.bench import output

    rows = [asdict(finding) for finding in (*findings, *spoilt)]
    if as_json:
        output.emit_json(_run_row(environment, findings, code), rows)
    elif as_csv:
        output.emit_csv(rows)
    else:
        print_findings(findings)
        if "observed" in environment:
            print_disturbances(spoilt)


def examine() -> tuple[dict[str, Any], MpiStatus]:
    """The environment with its back ends and its MPI, and the state of MPI."""
    from clusterbench.bench.environment import backend_rows, capture_environment
    from clusterbench.bench.mpi_status import check_mpi

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


def print_disturbances(findings: Sequence[Finding]) -> None:
    """Print what spoils a measurement: what was found, why it matters, and what mends it."""
    click.echo("\nWhat spoils a measurement here")
    for finding in findings:
        if finding.state == "warning":
            click.echo(f"\nwarning: {finding.name}: {finding.found}")
            click.echo(f"  why:   {finding.reason}\n  mend:  {finding.mend}")
    if not any(finding.state == "warning" for finding in findings):
        click.echo("\nNothing was found.")
    for finding in findings:
        if finding.state != "warning":
            click.echo(f"\n{finding.name}: {finding.found}" + (f" ({finding.reason})" if finding.reason else ""))


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


def _run_row(environment: dict[str, Any], findings: Sequence[Finding], code: int) -> dict[str, Any]:
    from clusterbench.bench.environment import new_run_id
    from clusterbench.results.journal import ended, now_iso
    from clusterbench.results.record import Run

    failures = [finding.reason for finding in findings if finding.state == "problem"]
    run = Run(run_id=new_run_id(), started_at=now_iso(), command=environment["command"], environment=environment)
    return ended(run, code, failures).as_row()
