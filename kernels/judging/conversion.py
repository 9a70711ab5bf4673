"""A model of rounding to the types that neither NumPy nor the interpreters of GPU code compute with.

Round to nearest, ties to even; what is beyond the largest finite value of an 8-bit float becomes that value, as the
GPUs' saturating conversions have it (PTX ISA, `cvt.rn.satfinite`), where `ml_dtypes` alone gives NaN or infinity. tf32
keeps 10 of float32's 23 fraction bits.
"""

from __future__ import annotations

import numpy as np

from clusterbench.kernels.element_types import TF32, TINY_FLOATS, element_type, finfo
from clusterbench.kernels.kernel import Array

_TF32_DROPPED = 13


def rounded(values: Array, dtype: str) -> Array:
    """Floating-point values as elements of `dtype`, lying in memory as `element_type` says; NaN stays NaN."""
    if dtype == TF32:
        return _to_tf32(np.asarray(values, np.float32))
    if dtype in TINY_FLOATS:
        largest = float(finfo(dtype).max)
        values = np.where(np.isinf(values), values, np.clip(values, -largest, largest))
        if dtype == "float8_e4m3fn":  # it has no infinity
            values = np.where(np.isinf(values), np.copysign(largest, values), values)
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(element_type(dtype))


def _to_tf32(values: Array) -> Array:
    bits = values.view(np.uint32)
    odd = (bits >> _TF32_DROPPED) & 1
    kept = (bits + ((1 << _TF32_DROPPED - 1) - 1) + odd) & ~np.uint32((1 << _TF32_DROPPED) - 1)
    return np.where(np.isnan(values), values, kept.view(np.float32))
