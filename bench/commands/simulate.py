"""`clusterbench simulate`: what a collective would take on a topology, as the table of a measurement."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench.names import DTYPE, OPERATIONS
from clusterbench.bench.options import FiniteRange, machine_options
from clusterbench.bench.sizes import SIZE, sweep

if TYPE_CHECKING:
    from clusterbench.bench.measuring.simulated_runs import Simulation
    from clusterbench.results.record import Measurement, Run

SECONDS = FiniteRange(0.0, 1e6)


@click.command("simulate")
@click.option(
    "--topology",
    "topology_text",
    help="A host, a fabric, or a file: dgx-h100, fat-tree:nodes=128,node=dgx-h100,taper=2.",
)
@click.option("--collective", "name", default="all_reduce", show_default=True)
@click.option("-b", "--minbytes", type=SIZE, default="8", show_default=True, help="Smallest size.")
@click.option("-e", "--maxbytes", type=SIZE, default="1G", show_default=True, help="Largest size.")
@click.option("-f", "--stepfactor", type=float, help="Factor between sizes; 2 unless -i is given.")
@click.option("-i", "--stepbytes", type=SIZE, help="Difference between sizes.")
@click.option("-d", "--datatype", type=DTYPE, default="float", show_default=True)
@click.option("-o", "--op", type=click.Choice(OPERATIONS), default="sum", show_default=True)
@click.option("-r", "--root", type=click.IntRange(0), default=0, show_default=True, help="Of a rooted collective.")
@click.option(
    "--algorithm",
    default="all",
    show_default=True,
    help="Algorithms with commas between, all, or nccl: what NCCL's own model says that it takes.",
)
@click.option(
    "--mode",
    type=click.Choice(["closed", "phases", "events"]),
    default="phases",
    show_default=True,
    help="Without contention; round by round; or message by message.",
)
@click.option(
    "--order",
    type=click.Choice(["data", "blocking"]),
    default="data",
    show_default=True,
    help="Of events: a message waits for what touches its data, or for its ranks' earlier rounds.",
)
@click.option("--alpha", type=SECONDS, default=0.0, help="Seconds a message, beside its links' latencies.")
@click.option(
    "--overhead", type=SECONDS, default=0.0, help="Seconds a sender spends on a message, one after the other."
)
@click.option("--gamma", type=SECONDS, default=0.0, help="Seconds a byte reduced.")
@click.option(
    "--share", type=FiniteRange(1e-3, 1.0), default=1.0, show_default=True, help="Of bandwidth that is payload."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    help="link:A-B=0.5, down:A-B, late:RANK=1ms or slow:RANK=3; may be given several times.",
)
@click.option(
    "--calibrate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead: fit curves to a file of measurements, and say how well they predict the sizes held out.",
)
@click.option(
    "--journal",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of a journal to keep the rows in, for the store and the report.",
)
@machine_options
def simulate(**options: Any) -> int:
    """Simulate a collective on a topology: time, share of the proven bound, and what limits it.

    Rows are those of `collectives run`, with evidence `simulated`.
    """
    if options["calibrate"]:
        return _calibrate(options)
    if not options["topology_text"]:
        raise click.UsageError("--topology is missing; expected a host, a fabric, or a file")
    asked = _asked(options)
    run, rows = _simulated(asked, options["journal"])
    _show(options, asked, run, rows)
    return 0


def _asked(options: dict[str, Any]) -> Simulation:
    from clusterbench.bench.hosts.environment import new_run_id
    from clusterbench.bench.measuring.simulated_runs import NCCL, Simulation, SimulationError, chosen
    from clusterbench.collectives.algorithm import Call, parse_specs
    from clusterbench.collectives.collective import collective
    from clusterbench.collectives.simulator.closed import host_ranks
    from clusterbench.collectives.simulator.costs import Costs
    from clusterbench.collectives.topology.faults import with_faults
    from clusterbench.collectives.topology.nearness import nearness
    from clusterbench.collectives.topology.spec import topology_from
    from clusterbench.kernels.element_types import element_type

    sizes = sweep(options["minbytes"], options["maxbytes"], options["stepfactor"], options["stepbytes"])
    what = collective(options["name"])
    if what.uneven:
        raise SimulationError(f"--collective {what.name}: expected one with parts of one size, such as all_to_all")
    faulty = with_faults(topology_from(options["topology_text"]), options["faults"])
    ranks = len(faulty.topology.ranks)
    if what.is_rooted and options["root"] >= ranks:
        raise SimulationError(f"-r is {options['root']}; expected 0 to {ranks - 1}")
    if options["mode"] == "closed" and any(fault.startswith(("link:", "down:")) for fault in faulty.faults):
        raise SimulationError("--mode closed knows no single links; expected phases or events with a --fault of a link")
    root = options["root"] if what.is_rooted else -1
    call = Call(what, ranks, root, host_ranks(faulty.topology, ranks), nearness=partial(nearness, faulty.topology))
    algorithms, left_out = chosen(parse_specs(options["algorithm"]), call)
    if not algorithms:
        raise SimulationError(f"--algorithm {options['algorithm']!r}: no algorithm; expected all, {NCCL}, or names")
    costs = Costs(
        options["alpha"], options["overhead"], options["gamma"], options["share"], faulty.late_s, faulty.slowdown
    )
    return Simulation(
        topology=faulty.topology,
        collective=what,
        sizes=tuple(sizes),
        algorithms=algorithms,
        left_out=tuple(left_out),
        mode=options["mode"],
        order=options["order"],
        costs=costs,
        dtype=options["datatype"],
        itemsize=element_type(options["datatype"]).itemsize,
        op=options["op"],
        root=root,
        faults=faulty.faults,
        culprits=faulty.culprits,
        run_id=new_run_id(),
    )


def _simulated(asked: Simulation, folder: Path | None) -> tuple[Run, list[Measurement]]:
    from clusterbench.bench.hosts.environment import capture_environment, command_line
    from clusterbench.bench.measuring.simulated_runs import simulate as simulated
    from clusterbench.bench.output import progress
    from clusterbench.results.journal import Journal, ended, now_iso
    from clusterbench.results.record import Run

    run = Run(
        run_id=asked.run_id,
        started_at=now_iso(),
        command=command_line(),
        status="running",
        environment=capture_environment(),
    )
    with progress("simulating", len(asked.algorithms) * len(asked.sizes)) as step:
        rows = simulated(asked, step)
    if folder is not None:
        with Journal.create(folder, run, "simulated") as journal:
            for row in rows:
                journal.append(row)
            journal.finish(0)
    return ended(run, 0), rows


def _show(options: dict[str, Any], asked: Simulation, run: Run, rows: list[Measurement]) -> None:
    from clusterbench.bench.output import emit_csv, emit_json, note
    from clusterbench.bench.tables.simulated_table import table

    for warning in asked.topology.warnings:
        note(f"warning: {warning}")
    for reason in asked.left_out:
        note(f"left out of all: {reason}")
    if options["as_json"]:
        emit_json(run.as_row(), [row.as_row() for row in rows])
    elif options["as_csv"]:
        emit_csv([row.as_row() for row in rows])
    else:
        of = len(asked.sizes)
        for first in range(0, len(rows), of):
            click.echo(table(asked, rows[first : first + of]), nl=False)


def _calibrate(options: dict[str, Any]) -> int:
    from clusterbench.bench.output import about_size_text, emit_csv, emit_json, print_table, rate_text, time_text
    from clusterbench.bench.tables.size_curves import calibration_of_file

    found = calibration_of_file(options["calibrate"])
    if options["as_json"] or options["as_csv"]:
        rows = [
            {"collective": one.collective, "split": one.split, **one.curve.to_dict(), "fitted_sizes": one.fitted_sizes,
             "fitted_error": one.fitted_error, "held_sizes": one.held_sizes, "held_error": one.held_error,
             "worst": one.worst}
            for one in found
        ]  # fmt: skip
        emit_json({}, rows) if options["as_json"] else emit_csv(rows)
        return 0
    print_table(
        f"Curves fitted to {options['calibrate'].name}: latency, first bytes, rate, and their errors",
        ["collective", "fitted to", "latency", "first bytes", "at", "then", "error", "held out", "their error",
         "worst"],
        [
            (one.collective, one.split, time_text(one.curve.latency_s), about_size_text(one.curve.change_bytes),
             rate_text(one.curve.start_rate), rate_text(one.curve.rate), f"{one.fitted_error:.2%}",
             f"{one.held_sizes} sizes", f"{one.held_error:.2%}", f"{one.worst:.1%}")
            for one in found
        ],
    )  # fmt: skip
    return 0
