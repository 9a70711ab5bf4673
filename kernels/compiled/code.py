"""What a compiler made of one launch for one target, before it is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterbench.kernels.kernel import KernelError

FUSED = True
"""Whether compilers may fuse a multiplication and an addition. Pinned, as their defaults change (Triton 3.10's does),
and with them counts of instructions and rounding errors; NVVM and nvJitLink fuse by default, too."""


class CompileError(KernelError):
    """A source that does not compile for a target; the message is the compiler's."""


class MissingError(KernelError):
    """A compiler or tool that is not here; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Code:
    """Machine code, and what of its launch is not in it."""

    name: str
    assembly: str
    """PTX for NVIDIA, the instruction set's own assembly for AMD."""
    cubin: bytes
    """NVIDIA's machine code; empty for AMD, whose assembly says all."""
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    """Threads of a block."""
    times: int = 1
    """How often it is launched."""
    shared_bytes: int = 0
    """Shared memory that a launch asks for, beyond what is in the code."""
    parameters: tuple[int | None, ...] = ()
    """The kernel's parameters in order: addresses and integers as they were recorded, None for what is no integer."""
    products: tuple[str, ...] = field(default=())
    """What the source's matrix products multiply: `f16`, `bf16`, `tf32`, `f32`, `f64`, `f8e4m3fn`, `i8`; empty where it
    has none, or is written in a language that does not say."""

    @property
    def threads(self) -> int:
        """Threads of a block."""
        x, y, z = self.block
        return x * y * z
