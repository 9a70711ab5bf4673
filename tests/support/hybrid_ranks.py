"""Run by every rank of a test: every collective by every algorithm over hosts that the first argument makes up.

It is the host of every rank, as in 0,0,1,1,2; a second cuts messages between hosts into pieces of so many bytes.
Two-level has the ranks of a host and the hosts as its dimensions where hosts have as many ranks each. Prints one line a
call on rank 0: what it was, and over all ranks how many elements are wrong and whether any bit of a result of rounding
data is other than over messages alone.
"""

from __future__ import annotations

from clusterbench.bench.worlds.world import join_world

COMM = join_world().comm

import sys  # noqa: E402 - ranks join before anything that may import MPI or numba
from collections import Counter  # noqa: E402

import numpy as np  # noqa: E402
from mpi4py import MPI  # noqa: E402

from clusterbench.bench.measuring.collective_buffers import Arena, sizes, take_arena  # noqa: E402
from clusterbench.collectives import discovery, traffic  # noqa: E402
from clusterbench.collectives.algorithm import Call, Spec  # noqa: E402
from clusterbench.collectives.checking import data  # noqa: E402
from clusterbench.collectives.collective import COLLECTIVES, Collective  # noqa: E402
from clusterbench.collectives.fusion.fuse import fuse  # noqa: E402
from clusterbench.collectives.fusion.layout import FusedLayout  # noqa: E402
from clusterbench.collectives.programs.program import compile_program  # noqa: E402
from clusterbench.collectives.transports import cutting, shared  # noqa: E402
from clusterbench.collectives.transports import mpi as messages  # noqa: E402
from clusterbench.collectives.transports.hybrid import hosts_of, split_window  # noqa: E402
from clusterbench.collectives.transports.native import native  # noqa: E402
from clusterbench.collectives.transports.prepared import Buffers  # noqa: E402
from clusterbench.collectives.transports.shared_window import SharedWindow  # noqa: E402

RANK, RANKS = COMM.rank, COMM.size
COUNTS = (3, 20_011)
PATIENCE = 20
"""Few looks before the core is given away: there may be more ranks than cores."""
SMALL_BYTES = 32 << 10
"""Half a stage through which larger vectors go in pieces."""


def buffers_of(window: SharedWindow, problem: data.Problem, in_place: bool) -> Buffers:
    """Registered buffers."""
    large, small = (n * problem.dtype.itemsize for n in sizes([problem], ["out_of_place"], RANK))
    room, second = window.registered(), -(-large // 64) * 64
    arena = Arena(room[:large].view(problem.dtype), room[second : second + small].view(problem.dtype))
    return arena.buffers(problem, RANK, in_place)


def tried(what: Collective, algorithm: str, root: int, hosts: tuple[int, ...], windows: list[SharedWindow]) -> None:
    """One schedule, in and out of place, registered and staged."""
    sizes_of_hosts = set(Counter(hosts).values())
    host_ranks = sizes_of_hosts.pop() if len(sizes_of_hosts) == 1 else 0
    schedule = discovery.schedule(Spec(algorithm), Call(what, RANKS, root, host_ranks))
    for in_place in (False,) if what.uneven else (False, True):
        program = compile_program(schedule, RANK, in_place)
        for staged in (False, True):
            programs = tuple(fuse(schedule, in_place, staged, hosts))
            for count in COUNTS:
                counts = traffic.counts(traffic.skewed(RANKS, 1.0, 5), count) if what.uneven else count
                op = ("sum" if count == COUNTS[0] else "avg") if what.reduces else ""
                problem = data.Problem(what, RANKS, root, counts, np.dtype("float32"), op, 11)
                own = take_arena([problem], ["in_place" if in_place else "out_of_place"], RANK)
                own_buffers = own.buffers(problem, RANK, in_place)
                window = windows[staged]
                buffers = own_buffers if staged else buffers_of(window, problem, in_place)
                layout = FusedLayout(programs, counts, 4, staged)
                call = shared.prepare(NATIVE, window, layout, problem.dtype, op, buffers, PATIENCE)
                data.poison(buffers.result)
                data.fill(problem, buffers.send, RANK)
                COMM.Barrier()
                call.run()
                wrong = COMM.allreduce(data.check(problem, buffers.result, RANK).count)
                found = []
                for one in (call, messages.prepare(NATIVE, program, counts, problem.dtype, op, own_buffers)):
                    (data.fill_rounding if what.reduces else data.fill)(problem, one.buffers.send, RANK)
                    COMM.Barrier()
                    one.run()
                    found.append(one.buffers.result.tobytes())
                differs = COMM.allreduce(found[0] != found[1], MPI.LOR)
                if RANK == 0:
                    print(what.name, algorithm, root, int(in_place), int(staged), call.pieces, wrong, int(differs))  # noqa: T201 - what the test reads


NATIVE = native(COMM)
HOSTS = tuple(map(int, sys.argv[1].split(",")))
if len(set(hosts_of(COMM))) != 1:
    sys.exit("expected one host, of which the test makes several")
if sys.argv[2:]:
    cutting.cut(NATIVE, sys.argv[1].split(","), int(sys.argv[2]))
WINDOWS = [split_window(COMM, HOSTS, 4 << 20, 4 << 20), split_window(COMM, HOSTS, SMALL_BYTES, 0)]
for collective in COLLECTIVES.values():
    for name in discovery.suitable(collective, RANKS):
        for first in sorted({0, RANKS - 1}) if collective.is_rooted else (-1,):
            tried(collective, name, first, HOSTS, WINDOWS)
for opened in WINDOWS:
    opened.close()
