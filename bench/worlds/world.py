"""Joining the MPI world on purpose: thread level, cores, and who is where.

mpi4py asks for MPI_THREAD_MULTIPLE unless it is told otherwise, which alone makes a small all-reduce of some libraries
several times slower; here one thread a rank talks to MPI, so it is told so. Ranks are pinned to cores here, and not by
the launcher, so that all libraries are measured alike; where the launcher has pinned them already, that stands.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import sleep
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from clusterbench.bench import exit_codes
from clusterbench.bench.emulation.runtime import Record as Emulation
from clusterbench.bench.emulation.runtime import current as current_emulation
from clusterbench.bench.hosts.environment import thread_level_name
from clusterbench.bench.hosts.gpu_state import gpu_uuids
from clusterbench.bench.hosts.rank_gpus import gpu_of
from clusterbench.bench.hosts.settings import nodes_of, numa_nodes
from clusterbench.bench.launching import launch
from clusterbench.bench.worlds.status_page import StatusPage
from clusterbench.bench.worlds.time_account import TimeAccount

if TYPE_CHECKING:
    from mpi4py import MPI

    from clusterbench.bench.worlds.watchdog import Watchdog

Value = TypeVar("Value")

IDLE_S = 0.0005
"""How often an idle rank looks whether the others are ready: one that spins slows its neighbours."""

_YIELD_WHEN_IDLE = {
    # What each library offers for more ranks than cores: let others run while a rank waits, instead of spinning.
    # MPICH's collectives through shared memory spin all the same, up to seconds a call: those over messages yield.
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
    "MPIR_CVAR_POSIX_POLL_FREQUENCY": "1",
    "MPIR_CVAR_DEVICE_COLLECTIVES": "none",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "I_MPI_THREAD_YIELD": "2",
}


class WorldError(RuntimeError):
    """A world that is not what the launcher was asked for."""

    exit_code: ClassVar[int] = exit_codes.USAGE


class AgreedError(RuntimeError):
    """An error of rank 0 that every rank raises, so that all end by themselves and with the same exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Where one rank runs."""

    rank: int
    host: str
    pid: int
    local_rank: int
    cores: tuple[int, ...]
    """The cores that it may run on; one where it is pinned."""
    pinned_by: str
    """`clusterbench`, `launcher` or empty."""
    numa_nodes: tuple[int, ...] = ()
    """Those that its cores belong to."""
    gpu: str = ""
    """UUID of the GPU that it would take; empty where NVML knows none."""


def unwatched(doing: str, longer_s: float) -> None:
    """No watchdog is told what begins."""


@dataclass(frozen=True, slots=True)
class World:
    """The ranks of this run as every rank sees them."""

    comm: MPI.Intracomm
    places: tuple[RankPlace, ...]
    nodes: int
    oversubscribed: bool
    """More ranks on a host than cores: times are those of the scheduler, too."""
    thread_level: str
    yields: tuple[str, ...]
    """Variables set here so that waiting ranks let others run; empty unless oversubscribed."""
    watch: Callable[[str, float], None] = unwatched
    """The watchdog's `feed`; see `begin`."""
    page: StatusPage = field(default_factory=StatusPage.private)
    """Where this rank tells what it is at."""
    account: TimeAccount = field(default_factory=TimeAccount)
    """What this rank's time goes into."""
    emulation: Emulation | None = None
    """The emulated network between its hosts; None for a real one."""

    @property
    def rank(self) -> int:
        """This process's rank."""
        return self.comm.rank

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return self.comm.size

    def begin(self, doing: str, longer_s: float = 0.0) -> None:
        """Say what begins now, in words, wherever it may take long: a sign of life for the watchdog of this rank.

        `longer_s` is by how much it may take longer than the watchdog waits for anything else.
        """
        self.watch(doing, longer_s)

    def as_row(self) -> dict[str, Any]:
        """What a run records of it."""
        return {
            "ranks": self.size,
            "nodes": self.nodes,
            "oversubscribed": self.oversubscribed,
            "thread_level": self.thread_level,
            "yields": list(self.yields),
            "places": [
                {
                    "rank": p.rank,
                    "host": p.host,
                    "pid": p.pid,
                    "cores": list(p.cores),
                    "pinned_by": p.pinned_by,
                    "numa_nodes": list(p.numa_nodes),
                    "gpu": p.gpu,
                }
                for p in self.places
            ],
        }


def join_world(environment: Mapping[str, str] | None = None, watchdog: Watchdog | None = None) -> World:
    """Initialise MPI and find out who is where. Call it before anything imports `mpi4py.MPI` or numba.

    `environment` has variables that the library is to find when it is initialised; `watchdog` is started once it is.

    Raises `WorldError` for a world of one rank under a launcher that started several.
    """
    cores = sorted(os.sched_getaffinity(0))
    # Emulated hosts have the cores of one machine.
    emulation = current_emulation()
    local_size = (launch.launcher_size() if emulation else launch.launcher_local_size()) or 1
    yields = []
    # A mask of one core says nothing yet: a launcher that binds gives every rank one of its own.
    usable = len(cores) if len(cores) > 1 else os.cpu_count() or 1
    if local_size > usable:
        for variable, value in _YIELD_WHEN_IDLE.items():
            if variable not in os.environ:
                os.environ[variable] = value
                yields.append(f"{variable}={value}")
    os.environ.update(environment or {})
    os.environ.setdefault("NUMBA_NUM_THREADS", str(max(1, usable // local_size)))
    import mpi4py

    mpi4py.rc.threads = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "suspicious MPI execution environment", RuntimeWarning)
        from mpi4py import MPI  # it warns of a foreign launcher, which is refused below, with what to do

    comm = MPI.COMM_WORLD
    if watchdog is not None:
        watchdog.start(comm.rank)
        watchdog.page.join(comm.rank, comm.size, "")
    alone = launch.lone_world(comm.size)
    if alone is not None:
        raise WorldError(alone)
    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    host = socket.gethostname()
    sharing = comm if emulation else local
    masks = sharing.allgather(tuple(cores))
    mine, pinned_by = _choose_core(masks, sharing.rank)
    if pinned_by == "clusterbench":
        os.sched_setaffinity(0, mine)
    local_rank, sharers = local.rank, sharing.size
    local.Free()
    places = comm.allgather(
        RankPlace(
            rank=comm.rank,
            host=host,
            pid=os.getpid(),
            local_rank=local_rank,
            cores=tuple(sorted(mine)),
            pinned_by=pinned_by,
            numa_nodes=nodes_of(mine, numa_nodes()),
            gpu=gpu_of(gpu_uuids(), os.environ.get("CUDA_VISIBLE_DEVICES"), local_rank),
        )
    )
    page = StatusPage.private() if watchdog is None else watchdog.page
    page.join(comm.rank, comm.size, f"core {', '.join(map(str, sorted(mine)))}")
    if watchdog is not None:
        watchdog.places = places
    return World(
        comm=comm,
        places=tuple(places),
        nodes=sum(place.local_rank == 0 for place in places),
        oversubscribed=comm.allreduce(sharers > len(set().union(*masks)), MPI.LOR),
        thread_level=thread_level_name(MPI.Query_thread()),
        yields=tuple(yields),
        watch=unwatched if watchdog is None else watchdog.feed,
        page=page,
        emulation=emulation,
    )


def await_all(world: World, alive: Callable[[], None]) -> None:
    """A barrier in which ranks sleep while they wait, so that those that measure have the machine to themselves.

    `alive` is called meanwhile: whether those that measure still do is for their own watchdogs to find out.
    """
    request = world.comm.Ibarrier()
    while not request.Test():
        alive()
        sleep(IDLE_S)


def alike(action: Callable[[], Value]) -> Value:
    """What `action` returns; it does the same on every rank, so where it is refused all refuse by themselves.

    Raises `AgreedError` in the place of any error that is meant for the user.
    """
    try:
        return action()
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        raise AgreedError(str(error), code) from None


def agreed(world: World, action: Callable[[], Value]) -> Value:
    """What `action` returns on rank 0, on every rank.

    Raises `AgreedError` on every rank where it fails on rank 0 with an error that is meant for the user.
    """
    outcome: tuple[Value | None, str, int] | None = None
    if world.rank == 0:
        try:
            outcome = action(), "", exit_codes.GOOD
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if code is None:  # a defect: its traceback is rank 0's to show, and the others must not wait for it
                world.comm.bcast((None, f"rank 0: {type(error).__name__}: {error}", exit_codes.FAILED))
                raise
            outcome = None, str(error), code
    value, message, code = world.comm.bcast(outcome)
    if code != exit_codes.GOOD:
        raise AgreedError(message, code)
    result: Value = value
    return result


def _choose_core(masks: list[tuple[int, ...]], local_rank: int) -> tuple[set[int], str]:
    """The cores for a rank, given what every rank of its host may use: one each, in turn, unless that is settled."""
    mine = masks[local_rank]
    if len(set(masks)) > 1:
        return set(mine), "launcher"
    return {mine[local_rank % len(mine)]}, "clusterbench"
