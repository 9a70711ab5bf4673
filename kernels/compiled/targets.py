"""The GPUs that sources are compiled for: `targets.toml`, which names the source of every figure."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from clusterbench.kernels.kernel import KernelError

TARGETS = Path(__file__).parent / "targets.toml"


@dataclass(frozen=True, slots=True)
class Target:
    """One architecture, and the resources of one of its multiprocessors (compute units)."""

    name: str
    """`sm_90`, `gfx942`."""
    vendor: Literal["nvidia", "amd"]
    device: str
    """The GPU that people know it by."""
    warp_size: int
    """Threads of a warp (wavefront)."""
    partitions: int
    """Parts of a multiprocessor that have registers and warps of their own."""
    registers: int
    """Of 4 bytes, of a multiprocessor; vector registers on AMD."""
    registers_a_thread: int
    register_unit: int
    """Registers that a warp is given at once."""
    warps: int
    blocks: int
    shared_bytes: int
    shared_a_block_bytes: int
    shared_reserved_bytes: int
    """Shared memory of every block that the system keeps."""
    shared_unit_bytes: int

    @property
    def capability(self) -> tuple[int, int]:
        """CUDA's compute capability of an NVIDIA target: (9, 0) for sm_90."""
        number = int(self.name.removeprefix("sm_"))
        return number // 10, number % 10


@lru_cache(maxsize=1)
def targets() -> dict[str, Target]:
    """All targets by name."""
    return {name: Target(name, **fields) for name, fields in tomllib.loads(TARGETS.read_text()).items()}


def choose_targets(names: Sequence[str]) -> list[Target]:
    """The targets by these names, each of which may hold several with commas between; all where there are none.

    Raises `KernelError` for one that is not among them.
    """
    known = targets()
    asked = [name.strip() for text in names for name in text.split(",")]
    for name in asked:
        if name not in known:
            raise KernelError(f"unknown target {name!r}; expected one of {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(asked or known)]
