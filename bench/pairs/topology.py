"""The topology that measured pairs of ranks tell of: a tree of their groups, with figures by which they exchange.

A rank is a vertex, and so is each group (bench/pairs/groups.py); a group is linked to the smallest that it lies in. The
latency from rank to rank is the median of the pairs that meet in a group. A rank's link has the median bandwidth of its
pairs in its group, or that of all ranks of the group where they differ by no more than anybody would act on; that of a
group has the most that was seen to cross it at once, in a round of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clusterbench.bench.pairs.groups import Group, Groups
from clusterbench.bench.pairs.outliers import WORSE, Matrix
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology, links, topology
from clusterbench.collectives.topology.layout import ranges

AT_ONCE = "What a group exchanges with others is the most that crossed it at once; it may be able to do more."

Rounds = Sequence[Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Level:
    """A group in the tree of groups, and the medians of the pairs that meet in it, in no smaller one."""

    group: Group
    parent: int
    """Number of the group that it lies in; −1 of that of all."""
    depth: int
    latency_s: float
    """At least that of the groups in it."""
    bandwidth: float
    """NaN where no such pair was measured."""


def group_levels(groups: Groups, latency_s: Matrix, bandwidth: Matrix) -> list[Level]:
    """The groups with their places, the largest first; both matrices have shape (ranks, ranks), NaN if not measured."""
    meeting = _meeting(groups, len(latency_s))
    parents = [-1]
    for number, group in enumerate(groups.groups[1:], 1):
        parents.append(max(n for n in range(number) if set(group.ranks) <= set(groups.groups[n].ranks)))
    medians = [_median(latency_s[meeting == number]) for number in range(len(parents))]
    for number in reversed(range(1, len(parents))):
        medians[parents[number]] = max(medians[parents[number]], medians[number])
    depths = [0]
    for parent in parents[1:]:
        depths.append(depths[parent] + 1)
    return [
        Level(group, parents[n], depths[n], medians[n], _median(bandwidth[meeting == n], np.nan))
        for n, group in enumerate(groups.groups)
    ]


def measured_topology(
    hosts: Sequence[str],
    groups: Groups,
    latency_s: Matrix,
    bandwidth: Matrix,
    rounds: Rounds,
    source: str,
    warnings: Sequence[str] = (),
) -> Topology:
    """The tree of groups as a topology, marked as estimated.

    `hosts` has the host of each rank; the matrices have shape (ranks, ranks), from sender to receiver, with NaN for
    pairs that were not measured, in seconds and bytes/s; the pairs of a round in `rounds` ran at once. `warnings` is
    what is to be said of the measurement.
    """
    ranks, levels = len(hosts), group_levels(groups, latency_s, bandwidth)
    meeting = _meeting(groups, ranks)
    home = np.diag(meeting)
    own = _ranks_bandwidth(bandwidth, meeting)
    rows: list[tuple[int, int, float, float]] = []

    def join(below: int, above: int, out: float, back: float, latency_s: float) -> None:
        rows.extend(((below, above, out, latency_s), (above, below, back, latency_s)))

    for rank in range(ranks):
        join(rank, ranks + int(home[rank]), own[rank, 0], own[rank, 1], levels[home[rank]].latency_s / 2)
    for number, level in enumerate(levels[1:], 1):
        out, back = _crossing(level.group, rounds, bandwidth)
        step_s = (levels[level.parent].latency_s - level.latency_s) / 2
        join(ranks + number, ranks + level.parent, out, back, step_s)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(hosts))}
    of_ranks = [numbers[name] for name in hosts]
    of_groups = [_host(level.group, of_ranks) for level in levels]
    titles = _titles(hosts)
    return topology(
        name=f"measured, {ranks} ranks on {len(numbers)} {'host' if len(numbers) == 1 else 'hosts'}",
        kinds=[Kind.CPU] * ranks + [Kind.SWITCH] * len(levels),
        names=[f"{titles[hosts[rank]]}.rank{rank}" for rank in range(ranks)]
        + [_name(level.group, of_groups[n], list(numbers), titles) for n, level in enumerate(levels)],
        links=links(*zip(*rows, strict=True)),
        ranks=range(ranks),
        hosts=[*of_ranks, *of_groups],
        ports=[],
        source=source,
        warnings=[
            *warnings,
            *(f"{doubt[0].upper()}{doubt[1:]}." for doubt in groups.doubts),
            *([AT_ONCE] if len(levels) > 1 else []),
        ],
        estimated=True,
    )


def _meeting(groups: Groups, ranks: int) -> Ints:
    """For each pair of ranks the number of the smallest group that both are in."""
    meeting = np.zeros((ranks, ranks), np.int64)
    for number, group in enumerate(groups.groups):  # the largest first
        meeting[np.ix_(group.ranks, group.ranks)] = number
    return meeting


def _median(values: Matrix, otherwise: float = 0.0) -> float:
    there = values[~np.isnan(values)]
    return float(np.median(there)) if len(there) else otherwise


def _ranks_bandwidth(bandwidth: Matrix, meeting: Ints) -> Matrix:
    """Of each rank out and in: the median in the smallest group in which pairs of it were measured.

    Where it is near the median of all ranks of that group, out and in, it is that: noise makes no two ranks differ.
    """
    found = np.full((len(bandwidth), 2), np.inf)
    for rank in range(len(bandwidth)):
        for way, values in enumerate((bandwidth[rank], bandwidth[:, rank])):
            there = ~np.isnan(values)
            if there.any():
                nearest = meeting[rank][there].max()  # of two groups that a rank is in, the smaller comes later
                found[rank, way] = np.median(values[there & (meeting[rank] == nearest)])
    home = np.diag(meeting)
    for group in np.unique(home):
        own = found[home == group]
        usual = np.median(own)
        found[home == group] = np.where((own < usual * WORSE) & (usual < own * WORSE), usual, own)
    return found


def _crossing(group: Group, rounds: Rounds, bandwidth: Matrix) -> tuple[float, float]:
    """The most bytes/s that left a group at once, and that came to it; infinite where nothing was measured.

    In a round all pairs send from the lower rank to the higher at once, and then all of them back.
    """
    inside = np.zeros(len(bandwidth), np.bool_)
    inside[list(group.ranks)] = True
    most = [0.0, 0.0]
    for pairs in rounds:
        low, high = np.array(pairs, np.int64).reshape(-1, 2).T
        for src, dst in ((low, high), (high, low)):
            rates = np.nan_to_num(bandwidth[src, dst])
            most[0] = max(most[0], float(rates[inside[src] & ~inside[dst]].sum()))
            most[1] = max(most[1], float(rates[~inside[src] & inside[dst]].sum()))
    return most[0] or np.inf, most[1] or np.inf


def _host(group: Group, of_ranks: Sequence[int]) -> int:
    """The host that a group lies in, or none."""
    found = {of_ranks[rank] for rank in group.ranks}
    return found.pop() if len(found) == 1 else NO_HOST


def _titles(hosts: Sequence[str]) -> dict[str, str]:
    """The hosts' names without their domains, where these still tell them apart."""
    short = {name: name.partition(".")[0] for name in hosts}
    return short if len(set(short.values())) == len(short) else {name: name for name in hosts}


def _name(group: Group, host: int, names: Sequence[str], titles: dict[str, str]) -> str:
    head = "" if host == NO_HOST else f"{titles[names[host]]}."
    return f"{head}ranks{ranges(group.ranks)}"
