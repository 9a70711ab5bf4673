"""What the options of `collectives run` ask for, as a request that can be measured."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from clusterbench.bench.measuring.choices import Entry
from clusterbench.bench.measuring.collective_request import (
    DEVICE,
    HOST,
    HYBRID,
    MPI,
    NCCL,
    OVER_WINDOWS,
    PLACEMENTS,
    Request,
    Way,
    is_library,
)
from clusterbench.bench.measuring.collective_schedules import all_serving
from clusterbench.bench.measuring.forced_library import refuse_ignored
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.bench.names import ALL, AUTO, BEST
from clusterbench.bench.output import note
from clusterbench.bench.tables.choice_table import ChoiceTable, ChoiceTableError, default_path, fingerprint, own_table
from clusterbench.bench.worlds.world import World, agreed
from clusterbench.collectives import discovery, traffic
from clusterbench.collectives.algorithm import Spec
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.programs.pieces import MESSAGE_BYTES
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.topology.placement import ROUND_ROBIN
from clusterbench.collectives.transports.library import works_in_place
from clusterbench.kernels.element_types import element_type
from clusterbench.results.rates import collective_size_bytes, count_for_size
from clusterbench.results.record import Measurement


def request_of(
    options: dict[str, Any],
    world: World,
    what: Collective,
    specs: list[Spec],
    sizes: list[int],
    files: dict[str, Path],
    read: dict[str, Schedule],
) -> Request:
    """What to measure. What it refuses, it refuses on every rank."""
    dtype = element_type(options["datatype"])
    counts = dict.fromkeys(count_for_size(what.name, size, dtype.itemsize, world.size) for size in sizes)
    root = _root(options, world, what, read)
    names: list[Spec] = []
    for spec in specs:
        if spec.name == ALL:
            names += [Spec("library"), *all_serving(world, what, root)]
        elif is_library(spec):
            refuse_ignored(what.name, spec.name.partition(":")[2])
            names.append(spec)
        elif spec.name == BEST:
            if spec.options:
                raise click.UsageError(f"--algorithm {spec}: best has no options; the table says which algorithm it is")
            names.append(spec)
        else:
            names.append(Spec(discovery.algorithm(spec.name, what, world.size).name, spec.options))
    names += [Spec(name) for name in read]
    transport: str = options["transport"]
    if transport == NCCL:
        names = _nccl_only(options, names)
    if transport in OVER_WINDOWS and options["buffers"] == DEVICE:
        raise click.UsageError(f"--transport {transport} runs on buffers of the host: --buffers host or registered")
    if options["host_ranks"] and transport != HYBRID:
        raise click.UsageError(f"--host-ranks is for --transport hybrid; the transport is {transport}")
    buffers: str = options["buffers"] or (DEVICE if transport == NCCL else HOST)
    placement = options["placement"].replace("-", "_")
    placements = PLACEMENTS if placement == "both" else (placement,)
    if not works_in_place(what) or (transport == NCCL and what.exchanges):
        if placement == "in_place":
            raise click.UsageError(f"--placement in-place: {what.name} has no in-place form over {transport}")
        placements = ("out_of_place",)
    seed = world.comm.bcast(options["seed"] if options["seed"] is not None else secrets.randbits(32))
    weights = agreed(world, lambda: traffic.traffic(options["traffic_text"], world.size, seed)) if what.uneven else None
    return Request(
        collective=what,
        algorithms=tuple(dict.fromkeys(names)),
        counts=tuple(counts),
        dtype=dtype,
        op=options["op"] if what.reduces else "",
        placements=placements,
        transports=(MPI if transport == AUTO else transport,),
        buffers=buffers,
        host_ranks=options["host_ranks"] or 0,
        topology=_topology(options["topology"] or "", world),
        emulation=world.emulation,
        check=options["check"] > 0,
        rules=rules_of(options),
        seed=seed,
        root=root,
        weights=weights,
        traffic="" if weights is None else traffic.traffic_name(options["traffic_text"], weights, seed),
        read=read,
        paths={name: str(path.resolve()) for name, path in files.items()},
        taken=_taken(options, world, what, [spec for spec in names if spec.name not in read], list(counts), buffers),
        piece_bytes=min(options["pieces"], MESSAGE_BYTES),
        rank_order=rank_order([place.host for place in world.places]),
    ).without(_measured(options, world), world.size)


def _topology(text: str, world: World) -> str:
    """What rows are held against; in an emulated network that is what is emulated."""
    if world.emulation is None:
        return text
    if text not in ("", world.emulation.topology):
        raise click.UsageError(
            f"--topology {text[:80]}: this network is emulated, and rows are held against "
            f"{world.emulation.topology[:80]}; leave it out"
        )
    return world.emulation.topology


def rank_order(hosts: Sequence[str]) -> str:
    """How ranks lie on the hosts of each, in words; empty for one host after the other."""
    distinct = list(dict.fromkeys(hosts))
    if sum(host != following for host, following in pairwise(hosts)) == len(distinct) - 1:
        return ""
    turns = all(host == distinct[rank % len(distinct)] for rank, host in enumerate(hosts))
    return ROUND_ROBIN if turns else "mixed"


def _measured(options: dict[str, Any], world: World) -> list[Measurement]:
    """The rows that are there already."""

    def read() -> list[Measurement]:
        from clusterbench.results.journal import read_journal

        return [row for path in options["leave_out"] for row in read_journal(path).measurements]

    return agreed(world, read)


def _taken(
    options: dict[str, Any], world: World, what: Collective, names: list[Spec], counts: list[int], buffers: str
) -> dict[tuple[Spec, int], Way]:
    """How algorithms are run at each count where the table of choices says it: `best`, and all of ours under `auto`."""
    transport = options["transport"]
    ours = [spec for spec in names if not is_library(spec) and (spec.name == BEST or transport == AUTO)]
    if not ours or transport == NCCL:
        return {}
    wants_best = Spec(BEST) in ours
    if buffers == DEVICE:
        if wants_best:
            raise click.UsageError("--algorithm best is by a table for buffers of the host; name an algorithm")
        return {}
    table: ChoiceTable = agreed(world, lambda: _table(options["table"]))
    entry = table.entry(what.name, world.size, world.nodes, buffers)
    if entry is None:
        hosts = f"{world.nodes} host{'s' if world.nodes > 1 else ''}"
        lacks = f"no choices for {what.name} by {world.size} ranks on {hosts}, {buffers} buffers, in {table.path}"
        if wants_best:
            raise ChoiceTableError(
                f"--algorithm best: there are {lacks}; run `clusterbench collectives calibrate --collective "
                f"{what.name}` with as many ranks, or name an algorithm"
            )
        if table.entries:
            note(f"there are {lacks}: --transport auto is mpi")
        return {}
    itemsize = element_type(options["datatype"]).itemsize
    sizes = {count: collective_size_bytes(what.name, count, itemsize, world.size) for count in counts}
    return {
        (spec, count): _way(table.path, entry, spec, size, transport) for spec in ours for count, size in sizes.items()
    }


def _table(path: Path | None) -> ChoiceTable:
    """The table of this machine: that in a named file, or the one in the cache directory, which may have no entries."""
    machine = fingerprint()
    if path is not None and not path.exists():
        raise ChoiceTableError(
            f"--table {path}: there is no such file; `clusterbench collectives calibrate` writes one"
        )
    return own_table(path or default_path(machine), machine)


def _way(path: Path, entry: Entry, spec: Spec, size_bytes: int, transport: str) -> Way:
    """What the table says at the nearest size; an algorithm that it does not have is run over `mpi`."""
    cell = entry.nearest(size_bytes)
    if spec.name != BEST:
        return Way(spec, cell.over.get(spec.name, MPI))
    over = cell.transport if transport == AUTO else transport
    if over not in cell.best:
        raise ChoiceTableError(f"--algorithm best: {path} has no choice over {over} at {cell.size_bytes} bytes")
    return Way(Spec(cell.best[over]), over)


def _nccl_only(options: dict[str, Any], names: list[Spec]) -> list[Spec]:
    """What NCCL runs: its own collectives. `all` asks for just these; anything else by name is refused."""
    if options["buffers"] not in (None, DEVICE):
        raise click.UsageError("--transport nccl needs --buffers device")
    others = [str(spec) for spec in names if str(spec) != "library"]
    if others and options["algorithm"] != ALL:
        raise click.UsageError(
            f"--transport nccl runs NCCL's own collectives, the algorithm library; not {', '.join(others)}"
        )
    return [spec for spec in names if str(spec) == "library"]


def _root(options: dict[str, Any], world: World, what: Collective, read: dict[str, Schedule]) -> int:
    """The root of the run; −1 where there is none. Schedules from files must be for this very call."""
    root: int = options["root"] if what.is_rooted else -1
    if root >= world.size:
        raise click.UsageError(f"-r is {root}; expected a rank from 0 to {world.size - 1}")
    for name, schedule in read.items():
        for thing, has, asked in (
            ("collective", schedule.collective.name, what.name),
            ("ranks", schedule.ranks, world.size),
            ("root", schedule.root, root),
        ):
            if has != asked:
                raise click.UsageError(f"--schedule {name.partition(':')[2]}: {thing} {has}; this run has {asked}")
    return root


def rules_of(options: dict[str, Any]) -> Rules:
    """How long to measure a row."""
    return Rules(options["precision"], options["budget"], options["iters"], options["warmup_iters"])
