"""What an integer instruction of PTX makes of registers that are known: 64-bit integers, of one thread or of all.

The instructions are those of NVIDIA's "Parallel Thread Execution ISA", version 9.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from clusterbench.kernels.compiled.ptx import TYPE, Instruction

Value = Any
"""A register of all threads: an array of 64-bit integers, or one for all; None where it is not known."""


def _bits(kind: str) -> int:
    return 1 if kind == "pred" else int(kind[1:])


def signed(value: Any, bits: int) -> Any:
    """The low bits as a signed number."""
    if isinstance(value, int):
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value
    if bits >= 64:
        return value
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half if bits > 1 else value & 1


def _read(value: Any, kind: str) -> Any:
    """A register as a number of this type; 64 bits without a sign as NumPy's `uint64`."""
    bits = _bits(kind)
    if kind == "pred":
        return value & 1
    if kind[0] == "s":
        return signed(value, bits)
    return np.asarray(value).astype(np.uint64) if bits == 64 else value & ((1 << bits) - 1)


def _wrap(value: Any, kind: str) -> Any:
    """A result as a register holds it."""
    return signed(np.asarray(value).astype(np.int64), _bits(kind))


def _plain(compute: Callable[..., Any]) -> Callable[[Instruction, list[Any]], Any]:
    """An operation on two or more numbers of the instruction's type."""

    def run(instruction: Instruction, values: list[Any]) -> Any:
        kind = instruction.type
        return _wrap(compute(*(_read(value, kind) for value in values)), kind)

    return run


def _quotient(a: Any, b: Any) -> Any:
    """Division towards zero."""
    if np.any(b == 0):
        raise ZeroDivisionError
    exact = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -exact, exact) if np.asarray(a).dtype != np.uint64 else a // b


def _remainder(a: Any, b: Any) -> Any:
    return a - _quotient(a, b) * b


def _multiply(instruction: Instruction, values: list[Any]) -> Any:
    kind, parts = instruction.type, instruction.parts
    a, b = (_read(value, kind) for value in values[:2])
    if "hi" in parts:
        if _bits(kind) > 32:
            return None
        return _wrap((a * b) >> 32, kind)
    wide = f"{kind[0]}{2 * _bits(kind)}" if "wide" in parts else kind
    product = np.asarray(a).astype(np.int64) * np.asarray(b).astype(np.int64)
    return _wrap(product + values[2] if len(values) > 2 else product, wide)


def _convert(instruction: Instruction, values: list[Any]) -> Any:
    kinds = [part for part in instruction.parts if TYPE.fullmatch(part)]
    if len(kinds) != 2 or any(kind[0] not in "sub" or kind.startswith("bf") for kind in kinds):
        return None
    return _wrap(_read(values[0], kinds[1]), kinds[0])


_COMPARED = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "lo": operator.lt, "ls": operator.le, "hi": operator.gt, "hs": operator.ge,
}  # fmt: skip
_JOINED: dict[str, Callable[[Any, Any], Any]] = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}


def _compare(instruction: Instruction, values: list[Any]) -> Any:
    kind = instruction.type
    a, b = (_read(value, kind) for value in values[:2])
    result = np.asarray(_COMPARED[instruction.parts[1]](a, b)).astype(np.int64)
    joined = next((part for part in instruction.parts[2:] if part in _JOINED), None)
    return _JOINED[joined](result, values[2]) if joined else result


def _shift_left(instruction: Instruction, values: list[Any]) -> Any:
    bits = _bits(instruction.type)
    by = _read(values[1], "u32")
    return _wrap(np.where(by < bits, values[0] << np.minimum(by, bits - 1), 0), instruction.type)


def _shift_right(instruction: Instruction, values: list[Any]) -> Any:
    kind = instruction.type
    by = np.minimum(_read(values[1], "u32"), 63)
    a = _read(values[0], kind)
    return _wrap(a >> by.astype(np.asarray(a).dtype), kind)


def _extract(instruction: Instruction, values: list[Any]) -> Any:
    if instruction.type != "u32":
        return None
    a, first, length = (_read(value, "u32") for value in values)
    return _wrap((a >> first) & ((np.int64(1) << length) - 1), "u32")


def short_cut(operation: str, kind: str, values: list[Value]) -> Value:
    """false and x, true or x: known whatever x is."""
    if kind != "pred" or sum(value is None for value in values) != 1:
        return None
    (known,) = (value for value in values if value is not None)
    if operation == "and" and not np.any(known):
        return np.int64(0)
    return np.int64(1) if operation == "or" and np.all(known) else None


INTEGER: dict[str, Callable[[Instruction, list[Any]], Any]] = {
    "mov": _plain(lambda a: a),
    "cvta": _plain(lambda a: a),
    "add": _plain(operator.add),
    "sub": _plain(operator.sub),
    "min": _plain(np.minimum),
    "max": _plain(np.maximum),
    "and": _plain(operator.and_),
    "or": _plain(operator.or_),
    "xor": _plain(operator.xor),
    "not": _plain(operator.invert),
    "neg": _plain(operator.neg),
    "abs": _plain(np.abs),
    "div": _plain(_quotient),
    "rem": _plain(_remainder),
    "mul": _multiply,
    "mad": _multiply,
    "cvt": _convert,
    "setp": _compare,
    "shl": _shift_left,
    "shr": _shift_right,
    "bfe": _extract,
}
