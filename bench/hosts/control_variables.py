"""The control variables of the loaded MPI library, by MPI's tool interface: what one holds, and what it may hold.

Source: MPI 4.1, chapter 15 "Tool Support", section 15.3.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from clusterbench.collectives.transports.native import loaded_library

_NAME_BYTES = 4096
_THREAD_SINGLE = 0
"""Any value will do for the level that is asked for: one thread uses the interface here."""


@dataclass(frozen=True, slots=True)
class ControlVariable:
    """A variable that is one of a list of choices."""

    value: int
    choices: dict[int, str]


def control_variable(name: str) -> ControlVariable | None:
    """The variable of this name; None where the library has none, or it is no whole number of an enumeration.

    MPI must be initialised; every rank may ask by itself.
    """
    mpi = ctypes.CDLL(str(loaded_library()))
    number, provided = ctypes.c_int(), ctypes.c_int()
    if not hasattr(mpi, "MPI_T_init_thread") or mpi.MPI_T_init_thread(_THREAD_SINGLE, ctypes.byref(provided)):
        return None
    try:
        if mpi.MPI_T_cvar_get_index(name.encode(), ctypes.byref(number)):
            return None
        choices = _choices(mpi, number)
        return ControlVariable(_value(mpi, number), choices) if choices else None
    finally:
        mpi.MPI_T_finalize()


def _choices(mpi: ctypes.CDLL, number: ctypes.c_int) -> dict[int, str]:
    """The values and names of a variable's enumeration; none where it has no such."""
    kind, enumeration = ctypes.c_void_p(), ctypes.c_void_p()
    ignored = ctypes.c_int()
    no_text = (None, ctypes.byref(ctypes.c_int(0)))
    if mpi.MPI_T_cvar_get_info(
        number, *no_text, ctypes.byref(ignored), ctypes.byref(kind), ctypes.byref(enumeration), *no_text,
        ctypes.byref(ignored), ctypes.byref(ignored),
    ):  # fmt: skip
        return {}
    count = ctypes.c_int()
    if not enumeration or mpi.MPI_T_enum_get_info(enumeration, ctypes.byref(count), *no_text):
        return {}
    found = {}
    for item in range(count.value):
        value, room = ctypes.c_int(), ctypes.c_int(_NAME_BYTES)
        text = ctypes.create_string_buffer(_NAME_BYTES)
        if mpi.MPI_T_enum_get_item(enumeration, item, ctypes.byref(value), text, ctypes.byref(room)) == 0:
            found[value.value] = text.value.decode(errors="replace")
    return found


def _value(mpi: ctypes.CDLL, number: ctypes.c_int) -> int:
    handle, count, value = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    mpi.MPI_T_cvar_handle_alloc(number, None, ctypes.byref(handle), ctypes.byref(count))
    mpi.MPI_T_cvar_read(handle, ctypes.byref(value))
    mpi.MPI_T_cvar_handle_free(ctypes.byref(handle))
    return value.value
