"""One implementation in one type, compiled for one target: recorded, compiled, read, counted, as one row.

An implementation may launch several kernels (one that zeroes, one that adds up). The row describes the one with the
most threads, the last of several; spills, fp64 instructions and counts are those of all together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Literal, Self

from clusterbench.kernels.compiled.code import FUSED, Code, CompileError, MissingError
from clusterbench.kernels.compiled.machine import Machine, read
from clusterbench.kernels.compiled.occupancy import occupancy
from clusterbench.kernels.compiled.ptx import NotFollowedError
from clusterbench.kernels.compiled.recording import Launch, problem, record
from clusterbench.kernels.compiled.targets import Target
from clusterbench.kernels.compiled.walk import Counts, follow, straight_accesses
from clusterbench.kernels.kernel import Kernel, KernelError, shape_text
from clusterbench.kernels.running.lazy import EXTRAS

Status = Literal["compiled", "failed", "missing", "nothing"]
BACKENDS = ("triton", "numba-cuda", "cupy")
"""The back ends whose sources are for GPUs."""
LAUNCHES = 256
"""Different launches of one implementation that are followed at most."""
_PACKAGES = {"triton": "triton", "numba-cuda": "numba_cuda"}


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one implementation became in one type on one target."""

    kernel: str
    backend: str
    dtype: str
    target: str
    status: Status = "compiled"
    """`failed`: it does not compile; `missing`: what compiles it is not installed; `nothing`: there is nothing to
    compile."""
    reason: str = ""
    """Why it is not compiled."""
    functions: tuple[str, ...] = ()
    """What is launched, in order."""
    shape: str = ""
    """The problem for which it was compiled and counted."""
    threads: int | None = None
    """Of a block."""
    registers: int | None = None
    spills: int | None = None
    stack_bytes: int | None = None
    shared_bytes: int | None = None
    occupancy: float | None = None
    limited_by: str = ""
    load_bytes: int | None = None
    """The widest load from global memory, in bytes a thread; 0 where there is none."""
    store_bytes: int | None = None
    products: tuple[str, ...] = ()
    """What the source's matrix products multiply, where the language says."""
    path: str = ""
    """`mma`, `wgmma`, `tcgen05` or `mfma`."""
    matrix: Mapping[str, int] = field(default_factory=dict)
    fp64: int | None = None
    instructions: int | None = None
    counted_bytes: int | None = None
    """Loaded and stored by all threads, without atomics; None where they could not be followed."""
    atomic_bytes: int | None = None
    counted_flops: int | None = None
    model_bytes: int | None = None
    model_flops: int | None = None
    not_followed: str = ""
    """Why nothing was counted."""
    fused: bool = FUSED

    def as_row(self) -> dict[str, Any]:
        """The fields as a dictionary of JSON values."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Read what `as_row` wrote. Raises `TypeError` where it is of another version."""
        return cls(**{**row, "functions": tuple(row["functions"]), "products": tuple(row["products"])})


def compile_kernel(kernel: Kernel, backend: str, dtype: str, target: Target) -> Compiled:
    """Compile and read one implementation. What goes wrong becomes the row's status and reason."""
    row = Compiled(kernel.name, backend, dtype, target.name, shape=shape_text(problem(kernel)))
    why = _missing(backend) or _nothing(backend, target)
    if why:
        return replace(row, status="missing" if _missing(backend) else "nothing", reason=why)
    try:
        made: dict[str, Any] = {}
        codes = [_compile(launch, backend, target, made) for launch in record(kernel, backend, dtype)]
        distinct = {(code.cubin, code.assembly): code for code in codes}
        read_once = {key: read(code, target) for key, code in distinct.items()}
        machines = [read_once[code.cubin, code.assembly] for code in codes]
    except MissingError as error:
        return replace(row, status="missing", reason=str(error))
    except CompileError as error:
        return replace(row, status="failed", reason=str(error))
    except Exception as error:  # a launch that is wrong for this type must not end the others
        return replace(row, status="failed", reason=f"{type(error).__name__}: {error}"[:300])
    return _described(row, kernel, target, codes, machines)


def _compile(launch: Launch, backend: str, target: Target, made: dict[str, Any]) -> Code:
    if backend == "triton":
        from clusterbench.kernels.compiled.triton_code import compile_triton

        return compile_triton(launch, target, made)
    from clusterbench.kernels.compiled.cuda_code import compile_cuda

    return compile_cuda(launch, target, made)


def _missing(backend: str) -> str:
    package = _PACKAGES.get(backend)
    if package is None or find_spec(package) is not None:
        return ""
    return f"{package} is not installed; install clusterbench's extra `{EXTRAS[package]}`"


def _nothing(backend: str, target: Target) -> str:
    if backend == "cupy":
        return "array-level source: CuPy has its kernels compiled already, or by itself when it runs"
    if backend == "numba-cuda" and target.vendor != "nvidia":
        return "numba-cuda has no compiler for AMD"
    return ""


def _described(row: Compiled, kernel: Kernel, target: Target, codes: list[Code], machines: list[Machine]) -> Compiled:
    distinct = {id(one): one for one in machines}.values()
    heaviest = max(range(len(codes)), key=lambda i: (_threads(codes[i]), i))
    code, machine = codes[heaviest], machines[heaviest]
    # Of AMD's shared memory both the code and Triton say all.
    both = machine.shared_bytes, code.shared_bytes
    shared_bytes = max(both) if target.vendor == "amd" else sum(both)
    held = occupancy(target, code.threads, machine.registers, shared_bytes)
    shape = problem(kernel)
    described = replace(
        row,
        functions=tuple(dict.fromkeys(code.name for code in codes)),
        threads=code.threads,
        registers=machine.registers,
        spills=sum(one.spills for one in distinct),
        stack_bytes=machine.stack_bytes,
        shared_bytes=shared_bytes,
        occupancy=held.share,
        limited_by=held.limited_by,
        load_bytes=max(machine.loads, default=0),
        store_bytes=max(machine.stores, default=0),
        products=tuple(dict.fromkeys(kind for one in codes for kind in one.products)),
        path=machine.path,
        matrix=machine.matrix,
        fp64=sum(one.fp64 for one in distinct),
        instructions=machine.instructions,
        model_bytes=kernel.traffic_bytes(shape, row.dtype),
        model_flops=kernel.operations(shape),
    )
    if target.vendor != "nvidia":
        return replace(described, not_followed="only PTX is followed")
    try:
        if len(codes) > LAUNCHES:
            raise NotFollowedError(f"{len(codes)} different launches; at most {LAUNCHES} are followed")
        for one, its_machine in zip(codes, machines, strict=True):
            _refuse_other_accesses(one, its_machine)
        counts = sum((follow(code) for code in codes), Counts())
    except NotFollowedError as error:
        return replace(described, not_followed=str(error))
    return replace(
        described,
        counted_bytes=counts.loaded_bytes + counts.stored_bytes,
        atomic_bytes=counts.atomic_bytes,
        counted_flops=counts.flops,
    )


def _refuse_other_accesses(code: Code, machine: Machine) -> None:
    """Raise `NotFollowedError` where machine code without a loop has other accesses than its PTX, which is followed."""
    in_ptx = straight_accesses(code.assembly)
    in_machine = tuple(
        sum(width * count for width, count in found.items()) for found in (machine.loads, machine.stores)
    )
    if in_ptx is not None and in_ptx != in_machine:
        raise NotFollowedError("the assembler changed the accesses")


def _threads(code: Code) -> int:
    x, y, z = code.grid
    return x * y * z * code.threads


def jobs(
    kernels: list[Kernel], backends: tuple[str, ...], targets: list[Target], dtypes: tuple[str, ...] = ()
) -> list[tuple[Kernel, str, str, Target]]:
    """What there is to compile: every kernel that has the back end, in every type that it has there, for every target.

    Raises `KernelError` for a back end that has no GPU sources.
    """
    for backend in backends:
        if backend not in BACKENDS:
            raise KernelError(f"back end {backend!r} is none for GPUs; expected one of {', '.join(BACKENDS)}")
    return [
        (kernel, backend, dtype, target)
        for kernel in kernels
        for backend in backends
        for dtype in (dtypes or kernel.dtypes)
        if kernel.has(backend, dtype)
        for target in targets
    ]
