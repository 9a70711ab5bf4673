"""In what the hosts of a world differ: the environment of a run is that of rank 0's host, and this is of the others.

One host that is set up otherwise than the rest slows every collective, and is not to be seen on the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clusterbench.bench.worlds.world import World

_OF_ONE_MOMENT = {"host": ("name", "load_1min"), "cpu": ("affinity",), "memory": ("available_bytes",)}
_OF_ONE_GPU = ("uuid", "pci_id", "index")


def host_differences(world: World) -> dict[str, dict[str, Any]]:
    """By host what is otherwise than on rank 0's, as `cpu.governor` and its value; empty for one that is alike.

    Filled on rank 0, of several hosts; all ranks call it together.
    """
    if world.nodes == 1:
        return {}
    mine = world.places[world.rank]
    described = world.comm.gather((mine.host, describe() if mine.local_rank == 0 else None))
    return differences((host, values) for host, values in described or () if values is not None)


def describe() -> dict[str, Any]:
    """What this host is and how it is set up, by `section.name`, without what is of one moment or of one device."""
    from clusterbench.bench.hosts import environment, hardware

    gpus, _ = hardware.describe_gpus()
    alike = [{key: gpu[key] for key in gpu if key not in _OF_ONE_GPU} for gpu in gpus]
    sections = environment.host_setup() | {"gpu": {"all": alike}}
    return {
        f"{section}.{name}": value
        for section, values in sections.items()
        for name, value in values.items()
        if name not in _OF_ONE_MOMENT.get(section, ())
    }


def differences(described: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Of each host but the first what differs from the first; `described` has their names and values."""
    hosts = dict(described)
    if not hosts:
        return {}
    first = next(iter(hosts.values()))
    return {
        host: {name: value for name, value in values.items() if value != first.get(name)}
        for host, values in list(hosts.items())[1:]
    }
