"""How many warps of a kernel a multiprocessor holds at once, of those that it has room for, and what ends it.

For NVIDIA the formula is that of `cuda_occupancy.h` of the CUDA toolkit; for AMD the same with wavefronts, vector
registers and LDS, as LLVM's `getNumWavesPerEUWithNumVGPRs` and `getOccupancyWithLocalMemSize` have it.
"""

from __future__ import annotations

from dataclasses import dataclass

from clusterbench.kernels.compiled.targets import Target


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Resident blocks of a multiprocessor."""

    blocks: int
    share: float
    """Warps of these blocks over the warps that there is room for, 0 to 1."""
    limited_by: str
    """`registers`, `shared memory`, `warps`, `blocks`; several with commas between."""


def occupancy(target: Target, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """The occupancy of blocks of so many threads, with so many registers each, and bytes of shared memory a block."""
    warps = _up(threads, target.warp_size) // target.warp_size
    limits = {
        "registers": _by_registers(target, warps, registers),
        "shared memory": _by_shared(target, shared_bytes),
        "warps": target.warps // warps,
        "blocks": target.blocks,
    }
    blocks = min(limits.values())
    by = ", ".join(name for name, limit in limits.items() if limit == blocks)
    return Occupancy(blocks, blocks * warps / target.warps, by)


def _by_registers(target: Target, warps: int, registers: int) -> int:
    if registers > target.registers_a_thread:
        return 0
    of_a_warp = _up(max(1, registers) * target.warp_size, target.register_unit)
    # A warp's registers lie in one partition.
    of_a_partition = target.registers // target.partitions // of_a_warp
    if of_a_warp * _up(warps, target.partitions) > target.registers:
        return 0
    return of_a_partition * target.partitions // warps


def _by_shared(target: Target, shared_bytes: int) -> int:
    taken = _up(shared_bytes + target.shared_reserved_bytes, target.shared_unit_bytes)
    if shared_bytes > target.shared_a_block_bytes:
        return 0
    return target.shared_bytes // taken if taken else target.blocks


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
