"""The types of an element: their names, what NumPy calls them, how they round, and what sums of them are kept in.

NumPy has no bfloat16 and no floats of 8 bits; `ml_dtypes` brings them, and is imported only where those are asked for.
tf32 is float32 in memory whose low 13 bits a matrix unit leaves out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SHORT_FLOATS = ("float16", "bfloat16")
"""Floating-point types of 16 bits, which no processor of the usual kind adds: they are computed with in float32."""

TINY_FLOATS = ("float8_e4m3fn", "float8_e5m2")
"""Floating-point types of 8 bits (P. Micikevicius et al., "FP8 formats for deep learning", arXiv 2209.05433, 2022)."""

TF32 = "tf32"
"""8 exponent and 10 fraction bits, in memory a float32 (NVIDIA A100 Tensor Core GPU Architecture, 2020)."""

DTYPES = (*SHORT_FLOATS, "float32", "float64", "int8", "uint8", "int32", "uint32", "int64", "uint64")
"""NumPy's names of the types that collectives run with."""


def element_type(name: str) -> np.dtype[Any]:
    """How elements lie in memory: NumPy's type of a name, that of `ml_dtypes` for what NumPy lacks, float32 for tf32.

    Raises `TypeError` for a name that neither knows.
    """
    if name == "bfloat16" or name in TINY_FLOATS:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype("float32" if name == TF32 else name)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a type is floating-point; NumPy itself does not take those of `ml_dtypes` for one."""
    return dtype.kind == "f" or dtype.name in (*SHORT_FLOATS, *TINY_FLOATS)


def finfo(name: str) -> Any:
    """The limits of a floating-point type as NumPy's `finfo` has them; those of float32 for tf32, but for its `eps`."""
    if name == "bfloat16" or name in TINY_FLOATS:
        import ml_dtypes

        return ml_dtypes.finfo(element_type(name))  # type: ignore[no-untyped-call]  # it has no types
    return np.finfo(element_type(name))


def accumulator(name: str) -> str:
    """The type in which sums of this type are kept: float32 for what is narrower, int32 for narrow integers."""
    if name == TF32 or name in SHORT_FLOATS or name in TINY_FLOATS:
        return "float32"
    return "int32" if name in ("int8", "uint8") else name
