"""`clusterbench topology`: show, convert and bound a topology, and find out that of this host or of these ranks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clusterbench.bench.commands.discover import discover
from clusterbench.bench.options import machine_options
from clusterbench.bench.sizes import SIZE, sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from clusterbench.collectives.topology.graph import Topology

Command = TypeVar("Command", bound="Callable[..., object]")


@click.group()
def topology() -> None:
    """The machine as a graph: show it, convert its file, and what no collective can beat on it.

    TOPOLOGY is a preset or a fabric with options, as in `dgx-h100` or `fat-tree:nodes=16,node=dgx-h100,taper=2`, or a
    file in a format that is recognised.
    """


topology.add_command(discover)


def _topology_options(command: Command) -> Command:
    """Give a command the argument TOPOLOGY, and what changes how it is read."""
    for option in (
        click.option("--format", "format_name", metavar="NAME", help="Of the file; else it is recognised."),
        click.option("--node", metavar="TOPOLOGY", help="What each host of a network file is like inside."),
        click.argument("text", metavar="TOPOLOGY"),
    ):
        command = option(command)
    return command


def _read(text: str, node: str | None, format_name: str | None) -> Topology:
    """The topology that the options of `_topology_options` mean; what was guessed is told of on standard error."""
    from clusterbench.bench.launching.launch import speaks
    from clusterbench.collectives.topology.cluster_files import cluster_of_files
    from clusterbench.collectives.topology.file import read_topology
    from clusterbench.collectives.topology.spec import topology_from

    found = read_topology(Path(text), format_name) if format_name is not None else topology_from(text)
    if node is not None:
        found = cluster_of_files(found, topology_from(node))
    if speaks():
        for warning in found.warnings:
            click.echo(f"warning: {warning}", err=True)
    return found


def _written(path: Path, flag: str, text: str) -> None:
    """Write a file, or to standard output where it is `-`. Raises `click.UsageError`, which names the flag."""
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{flag} {path}: {error.strerror}; expected a file that can be written") from None


@topology.command(short_help="Show a topology as text, as a picture, or for programs.")
@_topology_options
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture (SVG).")
@machine_options
def show(text: str, node: str | None, format_name: str | None, svg: Path | None, as_json: bool, as_csv: bool) -> None:
    """Show a topology: what there is, a host inside, the levels of the network, and the ways between ranks.

    --json prints all vertices and links, --csv the links; bytes/s one way, seconds.
    """
    found = _read(text, node, format_name)
    if svg:
        from clusterbench.collectives.topology.drawing import topology_svg

        _written(svg, "--svg", topology_svg(found))
    if as_json:
        from clusterbench.bench.output import emit_document
        from clusterbench.bench.tables.topology_rows import document

        emit_document(document(found))
    elif as_csv:
        from clusterbench.bench.output import emit_csv
        from clusterbench.bench.tables.topology_rows import link_rows

        emit_csv(link_rows(found))
    elif svg != Path("-"):
        from clusterbench.bench.tables.topology_view import print_topology

        print_topology(found)


@topology.command()
@_topology_options
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="File to write; - for standard output.")  # fmt: skip
@click.option("--to", "target", metavar="FORMAT", required=True, help="Format of that file.")
def convert(text: str, node: str | None, format_name: str | None, output: Path, target: str) -> None:
    """Write a topology in another format.

    What the format cannot express ends the command with code 2 and is named.
    """
    from clusterbench.collectives.topology.file import format_key, formats
    from clusterbench.collectives.topology.graph import TopologyError

    known = formats()
    writable = ", ".join(name for name, format_ in known.items() if format_.write)
    if format_key(target) not in known:
        raise TopologyError(f"--to {target}: no format of that name; expected one of {writable}")
    write = known[format_key(target)].write
    if write is None:
        raise TopologyError(f"--to {target}: this format is only read; expected one of {writable}")
    _written(output, "--output", write(_read(text, node, format_name)))


@topology.command("bound", short_help="The least time of a collective, and what limits it.")
@_topology_options
@click.option("--collective", "name", default="all_reduce", show_default=True, help="Which; by any of its names.")
@click.option("-b", "--minbytes", type=SIZE, default="1G", show_default=True, help="Smallest size.")
@click.option("-e", "--maxbytes", type=SIZE, help="Largest size.  [default: that of -b]")
@click.option("-f", "--stepfactor", type=float, default=2.0, show_default=True, help="Factor between sizes.")
@click.option("-r", "--root", type=click.IntRange(0), help="Root of a rooted collective.  [default: 0]")
@machine_options
def bound_of(text: str, node: str | None, format_name: str | None, as_json: bool, as_csv: bool, **options: Any) -> None:
    """Print what no algorithm beats: the least time of a collective, what limits it, and the best of a class."""
    from clusterbench.bench.measuring.topology_bounds import bound_rows, print_bounds
    from clusterbench.bench.output import emit_csv, emit_json
    from clusterbench.collectives.collective import collective

    first = options["minbytes"]
    sizes = sweep(first, first if options["maxbytes"] is None else options["maxbytes"], options["stepfactor"], None)
    what, root = collective(options["name"]), options["root"]
    if what.uneven:
        raise click.UsageError(f"--collective {what.name}: expected one with parts of one size, such as all_to_all")
    if root is not None and not what.is_rooted:
        raise click.UsageError(f"-r is {root}; there is no root in {what.name}")
    rows = bound_rows(_read(text, node, format_name), what, sizes, root or 0)
    if as_json:
        emit_json({}, rows)
    elif as_csv:
        emit_csv(rows)
    else:
        print_bounds(rows)
