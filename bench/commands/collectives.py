"""`clusterbench collectives`: list the algorithms, prove one, and run them under mpiexec."""

from __future__ import annotations

from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterbench.bench.commands.calibrate import calibrate
from clusterbench.bench.commands.collectives_run import run
from clusterbench.bench.commands.pairs import pairs
from clusterbench.bench.options import machine_options

if TYPE_CHECKING:
    from clusterbench.collectives.schedule import Schedule


@click.group()
def collectives() -> None:
    """What the interconnect can do: algorithms, their proofs, and their speed beside the MPI library's own."""


collectives.add_command(run)
collectives.add_command(pairs)
collectives.add_command(calibrate)


@collectives.command("list")
@machine_options
def list_algorithms(as_json: bool, as_csv: bool) -> None:
    """List every algorithm: which collectives it serves, what it needs and costs, and where it was published."""
    from clusterbench.bench.output import emit_csv, emit_json, print_table
    from clusterbench.collectives.discovery import algorithms

    rows = [
        {
            "collective": name,
            "algorithm": a.name,
            "needs": f"at least {a.min_ranks} ranks" if a.min_ranks > 1 else "",
            "options": "; ".join(f"{option}={o.default}: {o.meaning}" for option, o in a.options.items()),
            "cost": cost,
            "summary": a.summary,
            "source": a.source,
        }
        for a in algorithms().values()
        for name, cost in a.cost.items()
    ]
    rows.sort(key=lambda row: row["collective"])
    if as_json:
        emit_json({}, rows)
    elif as_csv:
        emit_csv(rows)
    else:
        columns = ("collective", "algorithm", "options", "cost", "source")
        print_table(
            "Algorithms (n bytes, p ranks, α s a message, β s a byte, γ s a byte reduced), beside `library`",
            columns,
            [[row[c] for c in columns] for row in rows],
        )


@collectives.command("prove")
@click.argument("what", metavar="ALGORITHM|FILE")
@click.option("-p", "--ranks", type=click.IntRange(1, 4096), help="Number of ranks; 8 by default, a file has its own.")
@click.option("--collective", "name", help="One collective; all that the algorithm serves by default.")
@click.option(
    "-r", "--root", type=click.IntRange(0), help="Root of a rooted collective; 0 by default, a file has its own."
)
@click.option("--draw", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture of the steps (SVG).")
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the schedule to a file: JSON, or MSCCL XML where its name ends in .xml.",
)
@machine_options
def prove_schedule(
    what: str,
    ranks: int | None,
    name: str | None,
    root: int | None,
    draw: Path | None,
    write: Path | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Prove that an algorithm, or the schedule in a file, computes its collective and cannot deadlock or race.

    ALGORITHM may have options, as in `chain:segments=4`. With --draw or --write there must be one schedule only.
    """
    from dataclasses import asdict

    from clusterbench.bench.output import emit_csv, emit_json, print_table
    from clusterbench.collectives.proof import ProofError, prove

    schedules = _schedules(what, ranks, name, root)
    if (draw or write) and len(schedules) > 1:
        served = ", ".join(schedule.collective.name for _, schedule in schedules)
        raise click.UsageError(f"{what} serves {served}; choose one by --collective to draw or write it")
    rows = []
    for label, schedule in schedules:
        facts = {"collective": schedule.collective.name, "algorithm": label, "ranks": schedule.ranks}
        try:
            rows.append({**facts, **asdict(prove(schedule))})
        except ProofError as error:
            raise ProofError(f"{what} fails its proof: {error}") from None
        if draw:
            from clusterbench.collectives.drawing.schedules import steps_svg

            picture = steps_svg(schedule, label)
            try:
                draw.write_text(picture, encoding="utf-8")
            except OSError as error:
                raise click.UsageError(
                    f"--draw {draw}: {error.strerror}; expected a file that can be written"
                ) from None
        if write:
            from clusterbench.collectives.plans.files import write_schedule

            write_schedule(schedule, write, label)
    if as_json:
        emit_json({}, rows)
    elif as_csv:
        emit_csv(rows)
    else:
        print_table("Proven", list(rows[0]), [list(row.values()) for row in rows])


def _schedules(what: str, ranks: int | None, name: str | None, root: int | None) -> list[tuple[str, Schedule]]:
    """The schedules that the arguments of `prove` mean, with what they are called."""
    if isfile(what) or what.endswith((".json", ".xml")):  # noqa: PTH113 # pathlib's fails for a text longer than a file's name
        return [_from_file(what, ranks, name, root)]
    from clusterbench.collectives import discovery
    from clusterbench.collectives.algorithm import LIBRARY, Call, parse_specs
    from clusterbench.collectives.collective import COLLECTIVES, collective

    specs = parse_specs(what)
    if len(specs) != 1:
        raise click.UsageError(f"{what!r} names {len(specs)} algorithms; expected one, or a file")
    if specs[0].name.partition(":")[0] == LIBRARY:
        raise click.UsageError(f"{what} is the MPI library's own, whose schedules are not known; expected one of ours")
    found = discovery.algorithms().get(specs[0].name)
    wanted = [collective(name)] if name else [c for c in COLLECTIVES.values() if found and c.name in found.cost]
    size = 8 if ranks is None else ranks
    if root is not None and root >= size:
        raise click.UsageError(f"-r is {root}; expected a rank from 0 to {size - 1}")
    if root is not None and wanted and not any(c.is_rooted for c in wanted):
        raise click.UsageError(f"-r is {root}; there is no root in {', '.join(c.name for c in wanted)}")
    return [
        (str(specs[0]), discovery.schedule(specs[0], Call(c, size, (root or 0) if c.is_rooted else -1)))
        for c in wanted or [COLLECTIVES["all_reduce"]]
    ]


def _from_file(path: str, ranks: int | None, name: str | None, root: int | None) -> tuple[str, Schedule]:
    """The schedule in a file, which says itself what it is for: options may only say the same."""
    from clusterbench.collectives.plans.files import read_named_schedule

    label, schedule = read_named_schedule(Path(path))
    own_root = schedule.root if schedule.collective.is_rooted else None
    for flag, given, has in (
        ("-p", ranks, schedule.ranks),
        ("--collective", name, schedule.collective.name),
        ("-r", root, own_root),
    ):
        if given is not None and given != has:
            raise click.UsageError(f"{flag} is {given}, but {path} has {'no root' if has is None else has}")
    return label, schedule
