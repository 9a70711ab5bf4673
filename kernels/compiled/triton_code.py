"""Triton's compiler for any target, without a GPU.

`triton.compile` of an `ASTSource` for a `GPUTarget` needs no driver; the launch path, which adds types and divisors of
the arguments, does, so they are found here by the same rules: an integer of 1 becomes a constant, one that 16 divides
says so, and so does every address (triton/runtime/jit.py, `create_function_from_signature`).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from clusterbench.kernels.compiled.code import FUSED, Code, CompileError
from clusterbench.kernels.compiled.recording import Address, Launch
from clusterbench.kernels.compiled.targets import Target

DIVISOR = 16
TYPES = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8e4nv",
    "float8_e5m2": "fp8e5",
    **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"u{bits}" for bits in (8, 16, 32, 64)},
}
"""NumPy's name of a type -> Triton's."""
_DOT = re.compile(r"tt\.dot\b([^\n]*)")
_PRECISION = re.compile(r"inputPrecision = (\w+)")
_OPERAND = re.compile(r": tensor<(?:\d+x)*(\w+)")


def compile_triton(launch: Launch, target: Target, made: dict[str, Any]) -> Code:
    """Compile one launch; `made` is what was compiled for the target before, and what is compiled is put there.

    Raises `CompileError` with what Triton says, in one line.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, constants, attributes, parameters, options = _specialised(launch)
    if target.vendor == "nvidia":
        major, minor = target.capability
        gpu = GPUTarget("cuda", 10 * major + minor, target.warp_size)
    else:
        gpu = GPUTarget("hip", target.name, target.warp_size)
    source = ASTSource(launch.function, signature, constants, attributes)
    key = f"{source.hash()} {sorted(options.items())}"
    try:
        if key not in made:
            made[key] = triton.compile(source, target=gpu, options={**options, "enable_fp_fusion": FUSED})
    except Exception as error:  # whatever a compiler raises is about this source and this target alone
        raise CompileError(_line(error)) from error
    binary = made[key]
    threads = binary.metadata.num_warps * target.warp_size
    return Code(
        name=launch.name,
        assembly=binary.asm["ptx" if target.vendor == "nvidia" else "amdgcn"],
        cubin=binary.asm["cubin"] if target.vendor == "nvidia" else b"",
        grid=launch.grid,
        block=(threads, 1, 1),
        times=launch.times,
        shared_bytes=binary.metadata.shared,
        parameters=parameters,
        products=products(binary.asm["ttir"]),
    )


def _specialised(launch: Launch) -> tuple[dict[str, str], dict[Any, Any], dict[Any, Any], tuple[int | None, ...], Any]:
    """Signature, constants and attributes of an `ASTSource`; the parameters that are left; the compiler's options."""
    parameters = launch.function.params
    names = [parameter.name for parameter in parameters]
    given = dict(zip(names, launch.arguments, strict=False))
    given |= {name: value for name, value in launch.keywords.items() if name in names}
    options = {name: value for name, value in launch.keywords.items() if name not in names}
    signature: dict[str, str] = {}
    constants: dict[Any, Any] = {}
    attributes: dict[Any, Any] = {}
    left: list[int | None] = []
    for place, parameter in enumerate(parameters):
        value = given.get(parameter.name, parameter.default if parameter.has_default else None)
        kind = "constexpr" if parameter.is_constexpr else _type(value, not parameter.do_not_specialize)
        signature[parameter.name] = kind
        if kind == "constexpr":
            constants[place,] = value
            continue
        number = _number(value)
        left.append(number)
        if number is not None and number % DIVISOR == 0 and not parameter.do_not_specialize:
            attributes[place,] = [["tt.divisibility", DIVISOR]]
    return signature, constants, attributes, tuple(left), options


def _number(value: Any) -> int | None:
    """An address, or an integer; None for anything else."""
    if isinstance(value, Address):
        return value.data_ptr()
    return int(value) if isinstance(value, int | np.integer) else None


def _type(value: Any, specialise: bool) -> str:
    if isinstance(value, Address):
        return f"*{TYPES[value.dtype.name]}"
    if isinstance(value, bool | np.bool_):
        return "u1"
    number = _number(value)
    if number is not None:
        if number == 1 and specialise:
            return "constexpr"
        return "i32" if -(1 << 31) <= number < 1 << 31 else "i64"
    if isinstance(value, float | np.floating):
        return "fp32"  # of every number of Python's, whatever it is multiplied with
    return "constexpr"


def products(ttir: str) -> tuple[str, ...]:
    """What the matrix products of Triton's first intermediate code multiply."""
    found: dict[str, None] = {}
    for line in _DOT.findall(ttir):
        operand = _OPERAND.search(line)
        precision = _PRECISION.search(line)
        kind = operand[1].lower() if operand else "unknown"
        if kind == "f32" and precision and precision[1].lower() != "ieee":
            kind = precision[1].lower()
        found[kind] = None
    return tuple(found)


def _line(error: BaseException) -> str:
    """The reason in one line: of a chain of errors the first cause, without the source that is quoted."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if not set(line) <= set("^~ ")), "")
    return f"{type(error).__name__}: {said}"[:300]
