"""Command lines that start ranks on several hosts: mpiexec of each MPI, and srun; and what Slurm says of its hosts.

On a host of an emulated network it is mpiexec as that network needs it, across its hosts.

Sources of the options: Hydra's `mpiexec --help` (MPICH 5.0), Intel MPI Developer Reference 2021 ("Hydra options",
"Job scheduler support"), mpirun(1) of Open MPI 5.0, srun(1) of Slurm 24.05.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clusterbench.bench import exit_codes
from clusterbench.bench.emulation import entering, runtime
from clusterbench.bench.emulation.mpi_lines import mpi_line
from clusterbench.bench.launching.launch import LaunchError, find_mpiexec, mpiexec_command, mpiexec_family
from clusterbench.collectives.topology.graph import TopologyError
from clusterbench.collectives.topology.hostlist import expanded
from clusterbench.collectives.topology.placement import BLOCK, ROUND_ROBIN

MPIEXEC, SRUN = "mpiexec", "srun"
KINDS = (MPIEXEC, SRUN)
EMULATED = "emulated"
"""The kind of mpiexec on a host of an emulated network: it has a host for every rank, and no more ranks."""
RANK_PLACEMENTS = (BLOCK, ROUND_ROBIN)
"""One host after the other is filled; or ranks are dealt to the hosts in turn."""

# Slurm's counts of tasks are no order to place them by (Intel MPI, "Job scheduler support").
_INTEL_UNDER_SLURM = ("env", "I_MPI_JOB_RESPECT_PROCESS_PLACEMENT=0")


class HostsError(ValueError):
    """Hosts that cannot be: the message says where they come from, what was found, and what was expected."""

    exit_code: ClassVar[int] = exit_codes.USAGE


@dataclass(frozen=True, slots=True)
class Launcher:
    """How ranks are started."""

    kind: str
    command: str
    """The program."""
    family: str
    """Of an mpiexec, see `launch.mpiexec_family`; of srun empty."""
    hosts: tuple[str, ...] = ()
    """Empty for this host alone; in an emulation the host of every rank."""
    ranks_per_host: int = 0
    """At most; 0 for as many as it takes to spread the ranks evenly."""
    arguments: tuple[str, ...] = ()
    """What is passed to the program as it is, before everything else."""

    def problem(self, ranks: int) -> str:
        """Why so many ranks cannot be started, in words; empty where they can."""
        if self.kind == EMULATED and ranks > len(self.hosts):
            return f"{ranks} ranks do not fit on the emulated network, which has a place for {len(self.hosts)}"
        room = len(self.hosts) * self.ranks_per_host
        if room and ranks > room:
            return f"{ranks} ranks do not fit on {len(self.hosts)} hosts of {self.ranks_per_host} ranks each"
        return ""

    def line(self, ranks: int, placement: str, args: Sequence[str]) -> list[str]:
        """The command line that starts `ranks` processes of `args`."""
        if self.kind == EMULATED:
            return self._emulated(ranks, placement, args)
        per_host = self.ranks_per_host or -(-ranks // max(1, len(self.hosts)))
        used = self.hosts[: -(-ranks // per_host)] if placement == BLOCK else self.hosts[:ranks]
        if self.kind == SRUN:
            return [self.command, *self.arguments, *_srun(ranks, placement, used, per_host), *args]
        started = mpiexec_command(ranks, args, mpiexec=self.command, family=self.family)
        options = [*self.arguments, *_mpiexec(self.family, placement, used, per_host)]
        prefix = _INTEL_UNDER_SLURM if self.family == "impi" and used and "SLURM_JOB_ID" in os.environ else ()
        return [*prefix, started[0], *options, *started[1:]]

    def _emulated(self, ranks: int, placement: str, args: Sequence[str]) -> list[str]:
        places = self.hosts
        if placement == ROUND_ROBIN:
            before = [places[:rank].count(host) for rank, host in enumerate(places)]
            places = tuple(places[rank] for rank in sorted(range(len(places)), key=before.__getitem__))
        remote = str(runtime.FOLDER / entering.REMOTE)
        started = mpi_line(self.command, self.family, remote, places[:ranks], args)
        return [started[0], *self.arguments, *started[1:]]


def _mpiexec(family: str, placement: str, hosts: Sequence[str], per_host: int) -> list[str]:
    if not hosts:
        return []
    if family == "openmpi":
        slots = ",".join(f"{host}:{per_host}" for host in hosts)
        return ["--host", slots, "--map-by", "node" if placement == ROUND_ROBIN else "slot"]
    # Hydra begins again with the first host once the last has got its ranks.
    return ["-hosts", ",".join(hosts), "-ppn", str(1 if placement == ROUND_ROBIN else per_host)]


def _srun(ranks: int, placement: str, hosts: Sequence[str], per_host: int) -> list[str]:
    # Ranks pin themselves; what is left when one of them ends is ended, as mpiexec does.
    options = [f"--ntasks={ranks}", "--cpu-bind=none", "--kill-on-bad-exit=1", "--input=none"]
    if hosts:
        options += [f"--nodes={len(hosts)}", f"--nodelist={','.join(hosts)}", f"--ntasks-per-node={per_host}"]
    return [*options, f"--distribution={'cyclic' if placement == ROUND_ROBIN else 'block'}"]


def find_launcher(
    kind: str, command: str, hosts: tuple[str, ...], ranks_per_host: int, arguments: tuple[str, ...]
) -> Launcher:
    """The launcher of that kind; `command` empty for the mpiexec of this environment, or srun on the path.

    On a host of an emulated network mpiexec starts ranks on its hosts, in the place of those given. Raises
    `LaunchError` where there is no mpiexec, or it does not say whose it is.
    """
    if kind == SRUN:
        return Launcher(SRUN, command or SRUN, "", hosts, ranks_per_host, arguments)
    mpiexec = command or find_mpiexec()
    if mpiexec is None:
        raise LaunchError("no mpiexec in this Python environment or on the path; `pip install mpich` brings one")
    family, emulation = mpiexec_family(mpiexec)[0], runtime.current()
    if emulation is not None:
        return Launcher(EMULATED, mpiexec, family, emulation.places, 0, arguments)
    return Launcher(MPIEXEC, mpiexec, family, hosts, ranks_per_host, arguments)


def host_names(text: str, where: str) -> tuple[str, ...]:
    """The hosts that a hostlist names, as Slurm writes it (`node[01-04,07]`), each once. Raises `HostsError`."""
    try:
        return tuple(dict.fromkeys(expanded(text, where)))
    except TopologyError as error:
        raise HostsError(str(error)) from None


def slurm_hosts() -> tuple[str, ...]:
    """The hosts of the Slurm job that this process is in, or none where it is in none."""
    text = os.environ.get("SLURM_JOB_NODELIST") or os.environ.get("SLURM_NODELIST", "")
    return host_names(text, "SLURM_JOB_NODELIST") if text else ()
