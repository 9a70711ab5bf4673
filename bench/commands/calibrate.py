"""`clusterbench collectives calibrate`: measures the table by which `best` and `--transport auto` choose."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench.options import BUDGET, PRECISION, SEED, keeping_options, machine_options
from clusterbench.bench.sizes import SIZE, sweep

if TYPE_CHECKING:
    from clusterbench.bench.jobs.calibration import Calibration
    from clusterbench.bench.worlds.watchdog import Watchdog
    from clusterbench.bench.worlds.world import World
    from clusterbench.results.record import Measurement, Run


@click.command("calibrate")
@click.option(
    "--collective", "names", multiple=True, help="One to calibrate; may be given several times. All unless given."
)
@click.option("-b", "--minbytes", type=SIZE, default="8", show_default=True, help="Smallest size.")
@click.option("-e", "--maxbytes", type=SIZE, default="64M", show_default=True, help="Largest size.")
@click.option("-f", "--stepfactor", type=float, default=4.0, show_default=True, help="Factor between sizes.")
@click.option("--buffers", type=click.Choice(["both", "host", "registered"]), default="both", show_default=True)
@click.option("--table", type=click.Path(dir_okay=False, path_type=Path),
              help="File of the table; in the user's cache directory by default.")  # fmt: skip
@click.option("--precision", type=PRECISION, default=0.05, show_default=True,
              help="Half-width of the median's 95 % interval, as a share of it, at which sampling stops.")  # fmt: skip
@click.option("--budget", type=BUDGET, default=0.02, show_default=True,
              help="Seconds a point after which sampling stops anyway.")  # fmt: skip
@click.option("--seed", type=SEED, help="Of the order of points and of the data.")
@machine_options
@keeping_options
def calibrate(**options: Any) -> int:
    """Measure under mpiexec which algorithm over which transport is the fastest, and keep that in a table.

    The table is what `collectives run` takes `--algorithm best` and `--transport auto` from, with as many ranks.
    What it has of other collectives and other numbers of ranks stays.
    """
    from clusterbench.bench.worlds.recording import guarded
    from clusterbench.collectives.collective import COLLECTIVES, collective

    sizes = sweep(options["minbytes"], options["maxbytes"], options["stepfactor"], None)
    names = list(dict.fromkeys(collective(name).name for name in options["names"])) or list(COLLECTIVES)
    return guarded(options, lambda world, watchdog: _calibrate(options, world, watchdog, names, sizes))


def _calibrate(options: dict[str, Any], world: World, watchdog: Watchdog, names: list[str], sizes: list[int]) -> int:
    from clusterbench.bench.jobs.calibration import Calibration
    from clusterbench.bench.measuring.collective_request import HOST, REGISTERED
    from clusterbench.bench.measuring.sampling import Rules
    from clusterbench.bench.tables.choice_table import default_path, fingerprint, own_table
    from clusterbench.bench.worlds.recording import keeping_of, recorded
    from clusterbench.bench.worlds.world import agreed

    def path_of() -> Path:
        machine = fingerprint()
        path: Path = options["table"] or default_path(machine)
        own_table(path, machine)  # what cannot be added to is refused before anything is measured
        return path

    path = agreed(world, path_of)
    calibration = Calibration(
        world=world,
        path=path,
        names=tuple(names),
        buffers=(HOST, REGISTERED) if options["buffers"] == "both" else (options["buffers"],),
        sizes=tuple(sizes),
        rules=Rules(options["precision"], options["budget"]),
        seed=world.comm.bcast(options["seed"] if options["seed"] is not None else secrets.randbits(32)),
    )
    return recorded(
        world,
        watchdog,
        keeping_of(options),
        "calibrate",
        calibration.seed,
        len(calibration.points()),
        calibration.run,
        lambda run, device, rows: _show(options, calibration, run, rows),
        calibration.left_out,
    )


def _show(options: dict[str, Any], calibration: Calibration, run: Run, rows: list[Measurement]) -> None:
    """Print what was chosen; for machines the rows that were measured."""
    from clusterbench.bench.measuring.collective_request import MPI, SHARED
    from clusterbench.bench.output import emit_csv, emit_json, print_table, size_text

    if options["as_json"]:
        emit_json(run.as_row(), [row.as_row() for row in rows])
    elif options["as_csv"]:
        emit_csv([row.as_row() for row in rows])
    else:
        for entry in calibration.entries:
            other = next((transport for cell in entry.cells for transport in cell.best if transport != MPI), SHARED)
            print_table(
                f"{entry.collective}, {entry.ranks} ranks, {entry.buffers} buffers",
                ["size", "fastest", "best over mpi", f"best over {other}"],
                [
                    (size_text(cell.size_bytes), cell.transport, cell.best.get(MPI, ""), cell.best.get(other, ""))
                    for cell in entry.cells
                ],
            )
        click.echo(f"Table: {calibration.path}")
