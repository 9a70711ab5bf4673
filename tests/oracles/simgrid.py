"""Our simulator beside SimGrid's: the same all-reduce on the same links and routes, and how long each takes for it.

    python tests/oracles/simgrid.py [--ranks 16,64,256] [--sizes 1K,1M,64M] [--output tests/oracles/simgrid.md]

needs SimGrid (Debian package libsimgrid-dev). Each topology is written as a platform with the route of every pair, and
each algorithm has its twin among SimGrid's (src/smpi/colls/allreduce/), which sends the same messages:

    ring                 lr       2(p−1) rounds of n/p to the next rank; needs at least one element a rank, and gives a
                                  rest that p does not divide to another algorithm (none here)
    recursive-doubling   rdb      lg p exchanges of n at distance 1, 2, 4, …; folds other p than powers of two
    halving-doubling     rab_rdb  lg p exchanges of n/2, n/4, … at distance 1, 2, 4, …, and the same way back

None of them cuts messages into segments. Ranks send their next message when they have sent and received the last.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))  # as pytest has it

import smpi

from clusterbench.collectives.algorithm import Call, parse_specs
from clusterbench.collectives.collective import collective
from clusterbench.collectives.discovery import schedule
from clusterbench.collectives.formats.simgrid_xml import FORMAT
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.events import play
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.simulator.phases import plan, price
from clusterbench.collectives.simulator.prediction import Prediction
from clusterbench.collectives.topology.graph import Topology
from clusterbench.collectives.topology.spec import topology_from

DRAGONFLIES = {
    16: "dragonfly:groups=4,routers=2,hosts=2,globals=2",
    64: "dragonfly:groups=8,routers=4,hosts=2,globals=2",
    256: "dragonfly:groups=16,routers=4,hosts=4,globals=4",
}
WITHOUT_LATENCY = "dragonfly, no latency"
TOPOLOGIES = {
    "flat cluster": {p: f"single-switch:nodes={p}" for p in (16, 64, 256)},
    "tapered fat tree": {p: f"fat-tree:nodes={p},radix={radix},taper=2" for p, radix in ((16, 6), (64, 12), (256, 24))},
    "torus": {16: "torus:dims=4x4", 64: "torus:dims=4x4x4", 256: "torus:dims=4x8x8"},
    "dragonfly": DRAGONFLIES,
    WITHOUT_LATENCY: {p: f"{text},latency=0" for p, text in DRAGONFLIES.items()},
}
"""The last shows what is left where SimGrid cannot weigh messages by the latencies of their routes."""
TWINS = {"ring": "lr", "recursive-doubling": "rdb", "halving-doubling": "rab_rdb"}
SIZES = {"1K": 1 << 10, "1M": 1 << 20, "64M": 1 << 26}


@dataclass(frozen=True, slots=True)
class Row:
    """One all-reduce: simulated seconds of SimGrid, of events and of phases, and processor seconds of each."""

    topology: str
    algorithm: str
    ranks: int
    size: str
    simgrid_s: float
    events_s: float
    phases_s: float
    start_cpu_s: float
    """Of SimGrid, until the platform is read and ranks are there."""
    simgrid_cpu_s: float
    events_cpu_s: float
    phases_cpu_s: float
    """With the patterns to price, as for the first size."""
    sweep_cpu_s: float
    """Of phases, for all sizes of the table in turn: the patterns are priced once."""

    @property
    def events_off(self) -> float:
        """Difference of events from SimGrid, as a share."""
        return self.events_s / self.simgrid_s - 1

    @property
    def faster(self) -> float:
        """How many times as long SimGrid takes as phases."""
        return self.simgrid_cpu_s / self.phases_cpu_s

    @property
    def phases_off(self) -> float:
        """Difference of phases from SimGrid, as a share."""
        return self.phases_s / self.simgrid_s - 1


def compared(
    name: str, ranks: int, algorithms: list[str], sizes: list[str], flags: tuple[str, ...] = ()
) -> Iterator[Row]:
    """The rows of one topology."""
    made = topology_from(TOPOLOGIES[name][ranks])
    hosts = [made.names[rank] for rank in made.ranks]
    with TemporaryDirectory() as folder:
        platform = Path(folder) / "platform.xml"
        write = FORMAT.write
        if write is None:
            raise NotImplementedError("the format is not written")
        platform.write_text(write(made))
        start_s = smpi.smpirun(platform, hosts, "nothing", flags=flags).cpu_s
        for algorithm in algorithms:
            sweep_s = sweep_cpu_s(made, algorithm, [SIZES[size] for size in sizes])
            for size in sizes:
                if name == WITHOUT_LATENCY and SIZES[size] < 1 << 20:
                    continue  # all that would be left is what SimGrid sends beside the data
                run = smpi.smpirun(
                    platform, hosts, "all_reduce", str(SIZES[size]),
                    flags=(f"smpi/allreduce:{TWINS[algorithm]}", *flags),
                )  # fmt: skip
                simgrid_s = max(end for _, end in run.rows) - min(begin for begin, _ in run.rows)
                ours = ours_of(made, algorithm, SIZES[size])
                yield Row(name, algorithm, ranks, size, simgrid_s, *ours[:2], start_s, run.cpu_s, *ours[2:], sweep_s)


def ours_of(made: Topology, algorithm: str, size_bytes: int) -> tuple[float, float, float, float]:
    """Simulated seconds of events and of phases, and the processor seconds of each."""
    all_reduce = schedule_of(made, algorithm)
    events, events_cpu_s = least(lambda: play(all_reduce, made, size_bytes, Costs()))
    phases, phases_cpu_s = least(lambda: price(all_reduce, made, size_bytes, Costs()))
    return events.time_s, phases.time_s, events_cpu_s, phases_cpu_s


def sweep_cpu_s(made: Topology, algorithm: str, sizes: list[int]) -> float:
    """The processor seconds of phases for all sizes, one after the other: the least of some."""
    all_reduce = schedule_of(made, algorithm)

    def sweep() -> list[Prediction]:
        planned = plan(Patterns(made, Costs()), all_reduce)
        return [planned.at(size) for size in sizes]

    return least(sweep)[1]


def schedule_of(made: Topology, algorithm: str) -> Schedule:
    """The all-reduce over all ranks of the topology."""
    return schedule(parse_specs(algorithm)[0], Call(collective("all_reduce"), ranks=len(made.ranks)))


def least(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the least processor seconds of some calls; the first, which compiles, is not counted."""
    found = call()
    taken_s = []
    for _ in range(5):
        start = process_time()
        call()
        taken_s.append(process_time() - start)
    return found, min(taken_s)


COLUMNS = (
    "topology", "algorithm", "ranks", "size", "SimGrid µs", "events µs", "off", "phases µs", "off", "SimGrid s",
    "of it start s", "events s", "phases s", "times faster",
)  # fmt: skip


def as_markdown(rows: list[Row]) -> str:
    """The table of all rows."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " ---: |" * (len(COLUMNS) - 2)]
    lines += [
        f"| {r.topology} | {r.algorithm} | {r.ranks} | {r.size} | {r.simgrid_s * 1e6:.2f} | {r.events_s * 1e6:.2f} "
        f"| {r.events_off:+.2%} | {r.phases_s * 1e6:.2f} | {r.phases_off:+.2%} | {r.simgrid_cpu_s:.2f} "
        f"| {r.start_cpu_s:.2f} | {r.events_cpu_s:.4f} | {r.phases_cpu_s:.5f} | {r.faster:,.0f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def summary(rows: list[Row]) -> str:
    """What the rows of each topology come to."""
    lines = ["| topology | all-reduces | events, median | largest | phases, median | largest |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for name in dict.fromkeys(r.topology for r in rows):
        events = [abs(r.events_off) for r in rows if r.topology == name]
        phases = [abs(r.phases_off) for r in rows if r.topology == name]
        figures = (f"{figure(off):.2%}" for off in (events, phases) for figure in (median, max))
        lines.append(f"| {name} | {len(events)} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def sweeps(rows: list[Row]) -> str:
    """How long SimGrid and phases take for all sizes of an all-reduce."""
    lines = ["| topology | algorithm | ranks | sizes | SimGrid s | phases s | times faster |",
             "| --- | --- |" + " ---: |" * 5]  # fmt: skip
    keys = dict.fromkeys((r.topology, r.algorithm, r.ranks) for r in rows if r.topology != WITHOUT_LATENCY)
    for key in keys:
        of = [r for r in rows if (r.topology, r.algorithm, r.ranks) == key]
        simgrid_s, phases_s = sum(r.simgrid_cpu_s for r in of), of[0].sweep_cpu_s
        lines.append(f"| {key[0]} | {key[1]} | {key[2]} | {', '.join(r.size for r in of)} | {simgrid_s:.2f} "
                     f"| {phases_s:.5f} | {simgrid_s / phases_s:,.0f} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is asked for, print each row as it comes, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topologies", default=";".join(TOPOLOGIES))
    parser.add_argument("--algorithms", default=",".join(TWINS))
    parser.add_argument("--ranks", default="16,64,256")
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--output", type=Path, help="file for the table, as Markdown")
    chosen = parser.parse_args()
    if not smpi.installed():
        sys.exit(smpi.MISSING)
    smpi.program()
    rows = []
    for name in chosen.topologies.split(";"):
        for ranks in map(int, chosen.ranks.split(",")):
            for row in compared(name, ranks, chosen.algorithms.split(","), chosen.sizes.split(",")):
                rows.append(row)
                sys.stdout.write(as_markdown([row]).splitlines()[2] + "\n")
                sys.stdout.flush()
    sys.stdout.write("\n" + summary(rows) + "\n" + sweeps(rows))
    if chosen.output:
        chosen.output.write_text(
            f"# Our simulator beside SimGrid: the figures\n\nOf {datetime.now(UTC).date()}, {smpi.version()}, by "
            "`tests/oracles/simgrid.py`; what they mean is in docs/simgrid.md. `off` is the difference from SimGrid. "
            f"Seconds are of processor time.\n\n{summary(rows)}\nAll sizes, phases price the patterns once:\n\n"
            f"{sweeps(rows)}\nEach size on its own:\n\n{as_markdown(rows)}"
        )


if __name__ == "__main__":
    main()
