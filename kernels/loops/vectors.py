"""What loops that are written out in LLVM's own vectors have in common: so no optimiser decides what is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils

LINE_BYTES = 64
"""A cache line, on x86 and on most of ARM; a store of the whole of it need not read it first."""

PAGE_BYTES = 4096
"""Of whose addresses a processor compares the places in a page before it knows the rest."""

AHEAD_BYTES = 2048
"""How far ahead a long array is fetched into the second cache, which has more loads in flight than the first. Of 1 to 4
KiB this and 4 KiB were the best on two cores of an Intel Xeon (family 6, model 207): 3 to 10 % faster than without."""


def vector_bytes() -> int:
    """The width of this CPU's vector registers, from LLVM's list of its features: 16, 32 or 64 bytes."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


def lanes(dtype: Any) -> int:
    """Elements of a vector register."""
    return vector_bytes() // int(np.dtype(dtype).itemsize)


def splat(builder: Any, value: Any, vector: Any) -> Any:
    """A vector of this type that holds the value in every lane."""
    index = ir.IntType(32)
    only = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(index, 0))
    return builder.shuffle_vector(only, only, ir.Constant(ir.VectorType(index, vector.count), [0] * vector.count))


def store_past_cache(builder: Any, line: Any, place: Any) -> None:
    """Store a line to where one begins, past the caches (non-temporal: movnt on x86, stnp on ARM).

    Such stores are seen in any order until a fence.
    """
    stored = builder.store(line, place, align=LINE_BYTES)
    stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


def fetch(builder: Any, address: Any, level: int = 2) -> None:
    """Fetch a line into the first or second cache; one behind the end of an array does no harm."""
    pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
    declared = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
    instruction = cgutils.get_or_insert_function(builder.module, declared, "llvm.prefetch.p0")
    reading, locality, data = (ir.Constant(word, value) for value in (0, 4 - level, 1))
    builder.call(instruction, [builder.inttoptr(address, pointer), reading, locality, data])
