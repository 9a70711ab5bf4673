"""How an element type and a reduction reach the MPI library: its own type, an extension, or an operation of ours.

MPI 4.1 has no 16-bit floats. Libraries have them as extensions, and those are used where the loaded library says that
it has the type and computes with it rightly on this rank. Elsewhere the library moves 16-bit integers and reduces them
by an operation that is made of our own local reduction (`MPI_Op_create`; MPI 4.1, section 6.9.5).

- Open MPI (option `shortfloat`): the object `ompi_mpi_short_float` in the library, in C `MPIX_C_FLOAT16`.
- MPICH and what is made from it: numbers in the `mpi.h` beside the library, `MPIX_C_FLOAT16`, `MPIX_BFLOAT16` (MPICH)
  or `MPIX_C_BF16` (Intel MPI). The numbers differ between them, so a number counts only if the library knows it by
  that name. MPICH up to 5.0 computes with these types where its compiler did, and elsewhere can only add; any other
  operation then ends the process (src/mpi/coll/op/op_fns.c), and there is no asking beforehand: so only sums are left
  to it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterbench.collectives.transports.native import MpiError, handle, loaded_library
from clusterbench.kernels.element_types import SHORT_FLOATS, element_type
from clusterbench.kernels.loops.local_reduce import user_operation_address

if TYPE_CHECKING:
    from mpi4py import MPI

_TYPES = {
    # The library's own types: only these may be reduced by its own operations.
    "float32": "FLOAT",
    "float64": "DOUBLE",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}_T" for sign in ("", "u") for bits in (8, 32, 64)},
}
_OPERATIONS = {"sum": "SUM", "prod": "PROD", "min": "MIN", "max": "MAX"}

_HEADER_NAMES = {"float16": ("MPIX_C_FLOAT16",), "bfloat16": ("MPIX_BFLOAT16", "MPIX_C_BF16")}
_ALL_OPERATIONS = ("Open MPI", "Intel MPI")
"""Libraries that refuse an operation on an extension type with an error where they lack it."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """An MPI datatype and operation, as values of their handles; the operation is 0 where nothing is reduced."""

    datatype: int
    operation: int
    note: str
    """What a row is to say of it; empty where both are MPI's own."""


def own_type(type_name: str) -> MPI.Datatype:
    """MPI's own datatype, which its own operations reduce. Raises `KeyError` for a type that it does not have."""
    from mpi4py import MPI

    found: MPI.Datatype = getattr(MPI, _TYPES[type_name])
    return found


@cache
def carrier(type_name: str, op: str, large: bool = False) -> Carrier:
    """What the loaded library reduces a type with; `op` is one of the local reductions, or empty to move data only.

    `large` means that the operation must serve more elements than an int counts. MPI must be initialised. What is
    created lives as long as the process. Raises `MpiError` where the library refuses to create an operation.
    """
    from mpi4py import MPI

    if type_name not in SHORT_FLOATS:
        operation = handle(getattr(MPI, _OPERATIONS[op])) if op else 0
        return Carrier(handle(getattr(MPI, _TYPES[type_name])), operation, "")
    if not op:
        return Carrier(handle(MPI.UINT16_T), 0, "")
    for name, extension in _extensions(type_name):
        if (op == "sum" or MPI.get_vendor()[0] in _ALL_OPERATIONS) and _computes(extension, type_name, op):
            note = f"{type_name} by the library's extension type {name}"
            return Carrier(handle(extension), handle(getattr(MPI, _OPERATIONS[op])), note)
    note = f"{type_name} by a user operation: no type of the library is sure to do its {op}"
    return Carrier(handle(MPI.UINT16_T), _user_operation(type_name, op, large), note)


def marking(dtype: np.dtype[Any], op: str) -> str:
    """What a row of the library's own collective says of how it reduces; empty where MPI has all of it.

    `op` is any of the command line, `avg` too, or empty. MPI must be initialised.
    """
    note = carrier(dtype.name, "sum" if op == "avg" else op).note
    average = "avg by sum and a timed division: MPI has no average" if op == "avg" else ""
    return "; ".join(filter(None, (note, average)))


def _extensions(type_name: str) -> Iterator[tuple[str, MPI.Datatype]]:
    """Names and types that the loaded library has for a 16-bit float."""
    from mpi4py import MPI

    path = loaded_library()
    found: list[tuple[str, str, int]] = []  # the name in C, the name that the library says, the handle
    if type_name == "float16":
        try:
            there = ctypes.c_char.in_dll(ctypes.CDLL(str(path)), "ompi_mpi_short_float")
            found.append(("MPIX_C_FLOAT16", "MPI_SHORT_FLOAT", ctypes.addressof(there)))
        except ValueError:
            pass  # not Open MPI, or built without
    numbers = _header_numbers(path)
    found += [(name, name, numbers[name]) for name in _HEADER_NAMES[type_name] if name in numbers]
    for name, said, value in found:
        try:
            extension = MPI.Datatype.fromhandle(value)
            if extension.Get_name() in (name, said) and extension.Get_size() == 2:
                yield name, extension
        except MPI.Exception:
            continue  # the header is another library's


def _header_numbers(library: Path) -> dict[str, int]:
    """Handles that the header beside a library gives to extension types, by name; none where there is no header."""
    header = "mpi_abi.h" if library.name.startswith("libmpi_abi") else "mpi.h"
    for parent in library.parents[1:4]:  # PREFIX/lib/libmpi.so, and Intel's PREFIX/lib/release/libmpi.so
        try:
            text = (parent / "include" / header).read_text(errors="replace")
        except OSError:
            continue
        found = re.findall(r"#\s*define\s+(MPIX_\w+)\s+\(\(MPI_Datatype\)\s*(?:\(int\)\s*)?(0x[0-9a-fA-F]+)\)", text)
        return {name: int(value, 16) for name, value in found}
    return {}


def _computes(extension: MPI.Datatype, type_name: str, op: str) -> bool:
    """Whether the library reduces the type as it should, within one rounding."""
    from mpi4py import MPI

    rng = np.random.default_rng(0)
    one, other = (rng.uniform(1, 2, 64).astype(element_type(type_name)) for _ in range(2))
    exact = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}[op](
        one.astype(np.float64), other.astype(np.float64)
    )
    try:
        operation = getattr(MPI, _OPERATIONS[op])
        operation.Reduce_local([one.view(np.uint16), 64, extension], [other.view(np.uint16), 64, extension])
    except MPI.Exception:
        return False
    unit = 2.0**-11 if type_name == "float16" else 2.0**-8
    return bool((np.abs(other.astype(np.float64) - exact) <= unit * exact).all())


def _user_operation(type_name: str, op: str, large: bool) -> int:
    """The handle of an operation made of our own local reduction."""
    from mpi4py import MPI

    library = ctypes.CDLL(str(loaded_library()))
    function = ctypes.c_void_p(user_operation_address(type_name, op, large))
    value = (ctypes.c_int if MPI._sizeof(MPI.Op) == ctypes.sizeof(ctypes.c_int) else ctypes.c_int64)()
    create = library.MPI_Op_create_c if large else library.MPI_Op_create
    code = create(function, ctypes.c_int(1), ctypes.byref(value))  # 1: the operation commutes
    if code != MPI.SUCCESS:
        raise MpiError(f"MPI could not create an operation for {type_name} {op}: {MPI.Get_error_string(code)}")
    return int(value.value)
