"""`clusterbench doctor`: what is here, what works, and what to do about what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.finding import Finding
from clusterbench.bench.hosts.diagnosis import diagnose, examine
from clusterbench.bench.launching.launch import launcher, speaks
from clusterbench.bench.options import FiniteRange, machine_options
from clusterbench.bench.tables.findings import print_disturbances, print_findings

if TYPE_CHECKING:
    from clusterbench.bench.disturbances.facts import Facts
    from clusterbench.bench.worlds.world import World


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
    from clusterbench.bench.worlds.world import join_world

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


def _run_row(environment: dict[str, Any], findings: Sequence[Finding], code: int) -> dict[str, Any]:
    from clusterbench.bench.hosts.environment import new_run_id
    from clusterbench.results.journal import ended, now_iso
    from clusterbench.results.record import Run

    failures = [finding.reason for finding in findings if finding.state == "problem"]
    run = Run(run_id=new_run_id(), started_at=now_iso(), command=environment["command"], environment=environment)
    return ended(run, code, failures).as_row()
