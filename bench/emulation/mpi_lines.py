"""Command lines that start one MPI's ranks on emulated hosts, over TCP and nothing else, as the ranks are placed.

Sources of the options: Hydra's `mpiexec --help` (MPICH 5.0), Intel MPI Developer Reference 2021 ("Hydra options",
"Communication fabrics control"), mpirun(1) of Open MPI 5.0, UCX's documentation of UCX_TLS and UCX_MAX_EAGER_RAILS,
fi_tcp(7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from clusterbench.bench.emulation.plan import FIRST_RAIL, NETWORK
from clusterbench.bench.launching.launch import LaunchError

FAMILIES = ("mpich", "openmpi", "impi")


def mpi_line(
    mpiexec: str, family: str, remote: str, hosts: Sequence[str], args: Sequence[str], as_root: bool = True
) -> list[str]:
    """The line that starts `args` once for each of `hosts`, which has the host of every rank in their order.

    `remote` is a program that is called as ssh is. Raises `LaunchError` for an MPI of which it is not known how it
    starts ranks on several hosts.
    """
    if family not in FAMILIES:
        raise LaunchError(
            f"{mpiexec} is of no MPI that is known to start ranks on several hosts by a program in the place of ssh; "
            f"expected one of {', '.join(FAMILIES)}"
        )
    if family == "mpich":
        # Parts of a line of their own cannot name hosts here, so one part says which rank is on which of them.
        distinct = list(dict.fromkeys(hosts))
        names = ",".join(f"{host}:{hosts.count(host)}" for host in distinct)
        places = ",".join(str(distinct.index(host)) for host in hosts)
        started = ["-hosts", names, "-rankmap", places, "-n", str(len(hosts)), *args]
        return [mpiexec, *_by_remote(remote), *started]
    groups = [(host, len(list(of))) for host, of in groupby(hosts)]
    if family == "impi":
        return [mpiexec, *_by_remote(remote), *_joined([["-host", host, "-n", str(n), *args] for host, n in groups])]
    several = len(set(hosts)) < len(hosts)
    options = {
        "plm_rsh_agent": remote,
        "pml": "ob1",
        "btl": "tcp,self,sm" if several else "tcp,self",
        "btl_tcp_if_include": NETWORK,
        "oob_tcp_if_include": FIRST_RAIL,
    }
    given = [word for name, value in options.items() for word in ("--mca", name, value)]
    given += ["--bind-to", "none", "--oversubscribe", *(["--allow-run-as-root"] if as_root else [])]
    return [mpiexec, *given, "--host", ",".join(hosts), "--map-by", "seq", "-n", str(len(hosts)), *args]


def _by_remote(remote: str) -> list[str]:
    return ["-launcher", "ssh", "-launcher-exec", remote]


def _joined(parts: Sequence[Sequence[str]]) -> list[str]:
    """Parts of one line, each for some ranks, in their order."""
    return [word for part in parts for word in (":", *part)][1:]


def mpi_variables(family: str, several: bool, rails: int) -> Mapping[str, str]:
    """Variables of the library by which it takes TCP, all rails of a host, and inside a host with `several` ranks its
    shared memory."""
    if family == "mpich":
        # By default UCX sends what is not announced, here up to 256 or 512 KiB, over one rail.
        striping = {"UCX_MAX_EAGER_RAILS": str(rails), "UCX_MAX_RNDV_RAILS": str(rails)} if rails > 1 else {}
        # Shared memory inside a host is MPICH's own, whatever UCX or libfabric may use.
        return {"UCX_TLS": "tcp,self", "FI_PROVIDER": "tcp", **striping}
    if family == "impi":
        return {"I_MPI_FABRICS": "shm:ofi" if several else "ofi", "FI_PROVIDER": "tcp", "I_MPI_PIN": "0"}
    return {}
