"""The types of an element: their names, and what NumPy calls them.

NumPy has no bfloat16; `ml_dtypes` brings it, and is imported only where that type is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SHORT_FLOATS = ("float16", "bfloat16")
"""Floating-point types of 16 bits, which no processor of the usual kind adds: they are computed with in float32."""

DTYPES = (*SHORT_FLOATS, "float32", "float64", "int8", "uint8", "int32", "uint32", "int64", "uint64")
"""NumPy's names of the types that collectives run with."""


def element_type(name: str) -> np.dtype[Any]:
    """NumPy's type of a name, that of `ml_dtypes` for bfloat16. Raises `TypeError` for a name that NumPy lacks."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a type is floating-point; NumPy itself does not take bfloat16 for one."""
    return dtype.kind == "f" or dtype.name in SHORT_FLOATS
