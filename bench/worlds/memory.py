"""Refuses what the hosts cannot hold, with the figures and before any of it is taken."""

from __future__ import annotations

from pathlib import Path

from clusterbench.bench import exit_codes
from clusterbench.bench.hosts.cgroups import memory_limits
from clusterbench.bench.worlds.world import AgreedError, World


def free_bytes(root: Path = Path("/")) -> int:
    """What this process may still take: the least of the host's available memory and what its control groups leave."""
    import psutil

    return min([int(psutil.virtual_memory().available), *(limit.left_bytes for limit in memory_limits(root))])


def refuse_too_large(world: World, needed_bytes: int, flag: str) -> None:
    """Refuse where a host cannot hold what all its ranks need; all ranks call it together, each with its own need.

    Raises `AgreedError` on every rank; `flag` is the option to choose smaller.
    """
    asked = world.comm.allgather((needed_bytes, free_bytes()))
    for host in dict.fromkeys(place.host for place in world.places):
        there = [asked[place.rank] for place in world.places if place.host == host]
        wanted, free = sum(needed for needed, _ in there), min(free for _, free in there)
        if wanted > free:
            raise AgreedError(
                f"{flag} needs {wanted / 2**30:.1f} GiB on host {host} for the buffers of {len(there)} ranks, which "
                f"has {free / 2**30:.1f} GiB free; choose a smaller {flag}",
                exit_codes.USAGE,
            )
