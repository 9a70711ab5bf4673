"""The topology of this host, from whatever here tells of it: NVML and Linux's /sys, or hwloc where it is installed."""

from __future__ import annotations

import platform
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

from clusterbench.bench.hosts.nvml import find_gpus
from clusterbench.bench.hosts.sysfs import read_host
from clusterbench.collectives.topology.file import formats
from clusterbench.collectives.topology.graph import Topology, TopologyError
from clusterbench.collectives.topology.link_rates import Socket
from clusterbench.collectives.topology.link_rates import socket as socket_kind
from clusterbench.kernels import device

LSTOPO = ("lstopo-no-graphics", "lstopo")


def discover_host() -> Topology:
    """This host, marked as estimated: what nothing here says is guessed, as the warnings say.

    Where NVML knows GPUs, it and /sys are asked, as packages of hwloc are mostly built without knowledge of NVLinks;
    else hwloc, and /sys where there is none, or inside a rank of MPI.
    """
    gpus, how = find_gpus()
    found, why = (None, "") if gpus else _by_hwloc()
    if found is None:
        found = read_host(gpus, own_socket())
    return replace(
        found,
        name=socket.gethostname(),
        estimated=True,
        source="; ".join(filter(None, (found.source, "" if gpus else how, why))),
    )


def own_socket() -> Socket:
    """The kind of this host's CPUs, for what they exchange."""
    info = device.read_text(device.CPUINFO) or ""
    fields = dict(re.findall(r"^([^\t:]+?)\s*:[ \t]*(.*)$", info, re.MULTILINE))
    family, model = (int(fields[key]) if fields.get(key, "").isdigit() else -1 for key in ("cpu family", "model"))
    return socket_kind(platform.machine(), fields.get("vendor_id", ""), family, model)


def _by_hwloc() -> tuple[Topology | None, str]:
    """What hwloc's `lstopo` says, or None and why it is not asked or not understood."""
    tool = next(filter(None, map(shutil.which, LSTOPO)), None)
    if tool is None:
        return None, "hwloc: lstopo is not on the path"
    if "mpi4py.MPI" in sys.modules:
        # A child process of an MPI rank can corrupt registered memory on some interconnects.
        return None, "hwloc: lstopo is not started from within an MPI rank"
    command = [tool, "--of", "xml", "-"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"hwloc: {error}"
    if done.returncode != 0:
        return None, f"hwloc: {tool} ended with {done.returncode}"
    try:
        found = formats()["hwloc-xml"].read(done.stdout, tool)
        return replace(found, source="; ".join(filter(None, ("hwloc's lstopo", found.source)))), ""
    except TopologyError as error:
        return None, f"hwloc: {error}"
