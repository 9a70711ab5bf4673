"""`clusterbench synthesize`: a schedule made for one topology, by trees at the rate of its bound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench.options import machine_options
from clusterbench.bench.sizes import SIZE, sweep

if TYPE_CHECKING:
    from clusterbench.bench.tables.synthesis_table import Made


@click.command("synthesize")
@click.option("--topology", "topology_text", required=True, help="A host, a fabric, or a file: teccl-ndv2:nodes=2.")
@click.option("--collective", "name", default="all_gather", show_default=True,
              help="all_gather, reduce_scatter, all_reduce or broadcast.")  # fmt: skip
@click.option("-b", "--minbytes", type=SIZE, default="1K", show_default=True, help="Smallest size.")
@click.option("-e", "--maxbytes", type=SIZE, default="1G", show_default=True, help="Largest size.")
@click.option("-f", "--stepfactor", type=float, default=32.0, show_default=True, help="Factor between sizes.")
@click.option("-r", "--root", type=click.IntRange(0), help="Of a broadcast.  [default: 0]")
@click.option("--fault", "faults", multiple=True, metavar="FAULT",
              help="link:A-B=FRACTION, link:A>B=FRACTION, down:A-B or down:A>B; may be repeated.")  # fmt: skip
@click.option("--trees", type=click.IntRange(1, 1024), help="Of a root at most; else as many as the bound needs.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="File (JSON; MSCCL XML by .xml) for what is best at the largest size, once proven.")  # fmt: skip
@machine_options
def synthesize(topology_text: str, name: str, output: Path | None, as_json: bool, as_csv: bool, **options: Any) -> None:
    """Make a schedule of a collective for a topology, and say how near it comes to what nothing beats.

    Trees from every root are packed at the rate of the worst cut, which is compared exactly; segments follow one
    another down the trees. Small sizes take the shortest ways instead. Times are simulated, round by round.
    """
    from clusterbench.bench.output import emit_csv, emit_json, note
    from clusterbench.bench.tables.synthesis_table import made, print_synthesis, rows, written
    from clusterbench.collectives.collective import collective
    from clusterbench.collectives.topology.faults import with_faults
    from clusterbench.collectives.topology.spec import topology_from

    sizes = sweep(options["minbytes"], options["maxbytes"], options["stepfactor"], None)
    what, root = collective(name), options["root"]
    if root is not None and not what.is_rooted:
        raise click.UsageError(f"-r is {root}; there is no root in {what.name}")
    faulty = with_faults(topology_from(topology_text), options["faults"])
    for fault in faulty.faults:
        if fault.startswith(("late:", "slow:")):
            raise click.UsageError(f"--fault {fault}; expected link: or down:, a schedule is made for links")
    machine = faulty.topology
    for warning in machine.warnings:
        note(f"warning: {warning}")
    found: Made = made(machine, what.name, sizes, root or 0, options["trees"])
    if output is not None:
        note(written(found, output))
    if as_json:
        emit_json({}, rows(found))
    elif as_csv:
        emit_csv(rows(found))
    else:
        print_synthesis(found)
