"""`clusterbench topology discover`: the topology of this host, or under mpiexec that of the ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.options import BUDGET, PRECISION, SEED, keeping_options, machine_options, sampling_options
from clusterbench.bench.sizes import SIZE

if TYPE_CHECKING:
    from clusterbench.bench.pairs.runs import PairRuns
    from clusterbench.bench.worlds.watchdog import Watchdog
    from clusterbench.bench.worlds.world import World
    from clusterbench.collectives.topology.graph import Topology
    from clusterbench.results.record import Run


@click.command(short_help="Find out the topology of this host, or of the ranks under mpiexec.")
@click.option("-b", "--bytes", "size_bytes", type=SIZE, default="1M", show_default=True, help="Message for bandwidth.")
@click.option("--window", type=click.IntRange(1, 4096), default=4, show_default=True,
              help="Messages in flight where bandwidth is measured.")  # fmt: skip
@sampling_options
@click.option("--precision", type=PRECISION, default=0.05, show_default=True,
              help="Half-width of the median's 95 % interval, as a share of it, at which sampling stops.")  # fmt: skip
@click.option("--budget", type=BUDGET, default=0.1, show_default=True,
              help="Seconds a measurement after which sampling stops anyway.")  # fmt: skip
@click.option("--seed", type=SEED, help="Of the data, and of the rounds that are drawn above 64 ranks.")
@machine_options
@keeping_options
def discover(**options: Any) -> int:
    """Find out the topology of this host, or of the ranks under mpiexec.

    One process asks hwloc, NVML and Linux's /sys what is here; the options but --json and --csv are for ranks. Ranks
    measure all pairs as `collectives pairs` does, and are grouped by latency and bandwidth into hosts and levels,
    which are held against the names of the hosts.
    """
    if options["size_bytes"] < 1:
        raise click.UsageError(f"-b is {options['size_bytes']}; expected at least 1 byte")
    from clusterbench.bench.launching.launch import launcher, launcher_size

    if launcher() is None or launcher_size() == 1:
        return _of_host(options)
    from clusterbench.bench.worlds.recording import guarded

    return guarded(options, lambda world, watchdog: _of_ranks(options, world, watchdog))


def _of_host(options: dict[str, Any]) -> int:
    from clusterbench.bench.hosts.topology import discover_host

    _show(options, {}, discover_host(), None)
    return exit_codes.GOOD


def _of_ranks(options: dict[str, Any], world: World, watchdog: Watchdog) -> int:
    if world.size == 1:  # of a launcher that does not say how many it has started
        return _of_host(options)
    from clusterbench.bench.commands.pairs import pair_runs
    from clusterbench.bench.worlds.recording import keeping_of, recorded

    request, runs = pair_runs(options, world)
    return recorded(
        world,
        watchdog,
        keeping_of(options),
        "topology",
        request.seed,
        len(runs.rounds),
        runs.run,
        lambda run, device, rows: _show_ranks(options, runs, run),
        runs.skipped,
    )


def _show_ranks(options: dict[str, Any], runs: PairRuns, run: Run) -> None:
    from clusterbench.bench.pairs.groups import rank_groups
    from clusterbench.bench.pairs.runs import BANDWIDTH, LATENCY
    from clusterbench.bench.pairs.topology import group_levels, measured_topology

    hosts = [place.host for place in runs.world.places]
    latency_s, message_s = runs.times_s[LATENCY], runs.times_s[BANDWIDTH]
    bandwidth = runs.request.bandwidth_bytes / message_s
    groups = rank_groups(latency_s, message_s, hosts)
    pairs = len(runs.measured)
    source = f"{pairs} {'pair' if pairs == 1 else 'pairs'} measured by run {run.run_id}"
    warnings = ["Ranks share cores: the figures are those of the scheduler, too."] if runs.world.oversubscribed else []
    found = measured_topology(hosts, groups, latency_s, bandwidth, runs.rounds, source, warnings)
    levels = group_levels(groups, latency_s, bandwidth)
    rows = [
        {
            "ranks": list(level.group.ranks),
            "parent": level.parent if level.parent >= 0 else None,
            "by": list(level.group.by),
            "hosts": list(dict.fromkeys(hosts[rank] for rank in level.group.ranks)),
            "latency_s": level.latency_s,
            "bandwidth": level.bandwidth,
            "depth": level.depth,
        }
        for level in levels
    ]
    _show(options, {"run": run.as_row(), "groups": rows}, found, rows)


def _show(options: dict[str, Any], parts: dict[str, Any], found: Topology, groups: list[dict[str, Any]] | None) -> None:
    """Print what was found; `groups` are those of ranks, if there are any."""
    from clusterbench.bench.output import emit_csv, emit_document
    from clusterbench.bench.tables.topology_rows import document, link_rows

    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    if options["as_json"]:
        emit_document({**parts, **document(found)})
    elif options["as_csv"]:
        emit_csv(link_rows(found))
    else:
        from clusterbench.bench.tables.topology_view import print_groups, print_topology

        if groups is not None:
            print_groups(groups)
        print_topology(found)
