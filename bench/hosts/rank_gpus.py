"""Which GPU of its host a rank takes: pure functions over what NVML lists and what the rank may see."""

from __future__ import annotations

from collections.abc import Sequence


def visible_gpus(uuids: Sequence[str], visible: str | None) -> tuple[str, ...]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` leaves of those of a host, by their UUIDs; all where it is not set.

    An entry is a number or the beginning of a UUID, and the first that is neither hides all behind it (CUDA Programming
    Guide, "CUDA Environment Variables"). Numbers are taken for NVML's, from which CUDA's differ only where the GPUs of
    a host do. A part of a GPU (MIG) is kept as it is written.
    """
    if visible is None:
        return tuple(uuids)
    found: list[str] = []
    for entry in visible.split(","):
        name = entry.strip()
        if name.isdigit() and int(name) < len(uuids):
            found.append(uuids[int(name)])
        elif name.startswith("MIG-"):
            found.append(name)
        elif name.startswith("GPU-") and (named := [uuid for uuid in uuids if uuid.startswith(name)]):
            found.append(named[0])
        else:
            break
    return tuple(found)


def gpu_of(uuids: Sequence[str], visible: str | None, local_rank: int) -> str:
    """The GPU that a rank takes, the `local_rank`-th that it sees, counting round; empty where it sees none."""
    seen = visible_gpus(uuids, visible)
    return seen[local_rank % len(seen)] if seen else ""
