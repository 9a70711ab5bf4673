"""Names of types, operations and messages, and words for choices.

Of types both spellings are taken, nccl-tests' are printed, NumPy's are stored.
"""

from __future__ import annotations

from typing import Any

import click

NCCL_NAMES = {
    "float16": "half",
    "bfloat16": "bfloat16",
    "float32": "float",
    "float64": "double",
    "int8": "int8",
    "uint8": "uint8",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
}
"""nccl-tests' name of every type that collectives run with, by NumPy's."""

_OTHER_NAMES = {
    "char": "int8",
    "int": "int32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "fp64": "float64",
}
"""Older names of nccl-tests, and what people write."""

ALL, BEST, AUTO = "all", "best", "auto"
"""Words in the place of algorithms, and of a transport: all that serve the call, and what the table of choices says."""

OPERATIONS = ("sum", "prod", "min", "max", "avg")

PINGPONG, SENDRECV = "pingpong", "sendrecv"
MESSAGES = (PINGPONG, SENDRECV)
"""What `collectives run` runs beside the collectives."""


class DtypeType(click.ParamType[str]):
    """An element type on the command line, by NumPy's or nccl-tests' name; its value is NumPy's."""

    name = "type"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """NumPy's name; a usage error where the type is unknown."""
        wanted = str(value).lower()
        wanted = _OTHER_NAMES.get(wanted, wanted)
        for numpy_name, nccl_name in NCCL_NAMES.items():
            if wanted in (numpy_name, nccl_name):
                return numpy_name
        known = sorted({*NCCL_NAMES, *NCCL_NAMES.values(), *_OTHER_NAMES})
        return self.fail(f"unknown type {value!r}; expected one of {', '.join(known)}")


DTYPE = DtypeType()
