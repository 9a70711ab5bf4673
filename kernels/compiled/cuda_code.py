"""numba-cuda's compiler for any target, without a GPU: NVVM makes PTX, and nvJitLink machine code of it.

Both come with numba-cuda in one version, so that the second reads what the first writes; Triton's ptxas may be older.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clusterbench.kernels.compiled.code import FUSED, Code, CompileError, MissingError
from clusterbench.kernels.compiled.recording import Launch
from clusterbench.kernels.compiled.targets import Target
from clusterbench.kernels.running.lazy import EXTRAS

OPTIONS = ("fastmath",)
"""Of a decorator, those that change the code."""


def compile_cuda(launch: Launch, target: Target, made: dict[str, Any]) -> Code:
    """Compile one launch; `made` is what was compiled for the target before, and what is compiled is put there.

    Raises `CompileError` with what a compiler says, `MissingError` where one is not here.
    """
    from numba import cuda

    dispatcher = launch.function
    options = {name: value for name, value in dispatcher.targetoptions.items() if name in OPTIONS}
    try:
        signature = tuple(dispatcher.typeof_pyval(value) for value in launch.arguments)
        key = f"{id(dispatcher)} {signature}"
        if key not in made:
            ptx, _ = cuda.compile(
                dispatcher.py_func,
                signature,
                cc=target.capability,
                device=False,
                abi="numba",
                output="ptx",
                **options,
            )
            made[key] = ptx, assemble(ptx, target)
    except (CompileError, MissingError):
        raise
    except Exception as error:  # whatever a compiler raises is about this source and this target alone
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = next((line for line in lines if not line.startswith("Failed in")), "")
        raise CompileError(f"{type(error).__name__}: {said}"[:300]) from error
    ptx, cubin = made[key]
    return Code(
        name=launch.name,
        assembly=ptx,
        cubin=cubin,
        grid=launch.grid,
        block=launch.block or (1, 1, 1),
        times=launch.times,
        parameters=_parameters(launch.arguments),
    )


def assemble(ptx: str, target: Target) -> bytes:
    """Machine code of PTX. Raises `CompileError` and `MissingError` as `compile_cuda` does."""
    try:
        from cuda.bindings import nvjitlink

        nvjitlink.version()  # loads the library
    except Exception as error:  # no bindings, or no library, which is an error of its own
        hint = f"install clusterbench's extra `{EXTRAS['numba_cuda']}`"
        raise MissingError(f"nvJitLink is not installed; {hint}") from error
    options = [f"-arch={target.name}", f"-fma={int(FUSED)}"]
    data = ptx.encode()
    handle = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel.ptx")
        nvjitlink.complete(handle)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, cubin)
    except nvjitlink.nvJitLinkError as error:
        log = bytearray(nvjitlink.get_error_log_size(handle))
        nvjitlink.get_error_log(handle, log)
        said = log.decode(errors="replace").strip("\0 \n").splitlines()
        raise CompileError(f"nvJitLink: {said[0] if said else error}"[:300]) from error
    finally:
        nvjitlink.destroy(handle)
    return bytes(cubin)


def _parameters(arguments: tuple[Any, ...]) -> tuple[int | None, ...]:
    """Numba passes an array as two owners, its elements and their size, its address, extents and strides."""
    left: list[int | None] = []
    for place, value in enumerate(arguments):
        if isinstance(value, np.ndarray):
            address = (place + 1) << 40  # not NumPy's own, so that counts do not depend on where memory happened to be
            left += [0, 0, value.size, value.itemsize, address, *value.shape, *value.strides]
        else:
            left.append(int(value) if isinstance(value, int | np.integer) else None)
    return tuple(left)
