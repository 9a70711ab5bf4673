"""What vendors say of their GPUs: TOML files in `devices/`, every figure with the source that it was read in.

A file has the `name` of the product, what its driver has `reported` it as where that is known, and the `target` that
code is compiled for, the sources, memory, and peaks::

    [sources.data-sheet]
    document = "..."    # what says it
    url = "https://..."
    date = "2026-11"    # of the document, or when it was read

    [memory]
    bytes_per_s = 2.039e12
    source = "data-sheet"

    [[peaks]]
    dtype = "float16"   # float8 stands for every float of 8 bits
    unit = "matrix"     # or vector
    flop_per_s = 312e12 # dense: without sparsity
    source = "data-sheet"

A vendor's figure is what the hardware cannot exceed and not what a kernel gets: a bound, named so wherever shown.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, ClassVar, Literal

from clusterbench.kernels.ceilings import devices as catalogue
from clusterbench.kernels.element_types import TINY_FLOATS
from clusterbench.kernels.kernel import Kernel, Shape

Unit = Literal["vector", "matrix"]
FLOAT8 = "float8"


class VendorError(ValueError):
    """A GPU that is not known, or whose file is not as it must be."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure is from."""

    document: str
    url: str
    date: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a vendor: bytes/s of memory, or flop/s of a type on the `vector` or the `matrix` units."""

    dtype: str
    unit: str
    rate: float
    source: Source


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its vendor describes it."""

    key: str
    name: str
    reported: str
    """What the driver calls it; empty where that is not known."""
    target: str
    memory: Figure
    peaks: tuple[Figure, ...]

    def peak(self, dtype: str) -> Figure | None:
        """The highest rate for a type, whichever unit gives it; None where the vendor names none."""
        named = FLOAT8 if dtype in TINY_FLOATS else dtype
        return max((f for f in self.peaks if f.dtype == named), key=lambda f: f.rate, default=None)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a kernel cannot exceed on a GPU."""

    bytes_per_s: float
    flop_per_s: float | None
    """None for one without arithmetic."""
    time_s: float
    by: str


def gpu_names() -> list[str]:
    """The GPUs that there is a file of, in alphabetical order."""
    return sorted(f.name.removesuffix(".toml") for f in files(catalogue).iterdir() if f.name.endswith(".toml"))


def gpu(key: str) -> Gpu:
    """A GPU by the name of its file. Raises `VendorError` for one that there is not, and for a file that is damaged."""
    if key not in gpu_names():
        raise VendorError(f"unknown GPU {key!r}; expected one of {', '.join(gpu_names())}")
    text = files(catalogue).joinpath(f"{key}.toml").read_text("utf-8")
    try:
        return _read(key, tomllib.loads(text))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise VendorError(f"{key}.toml: {type(error).__name__}: {error}") from None


def gpu_reported(name: str) -> Gpu | None:
    """The GPU that a driver calls by this name; None where there is no file of it."""
    return next((found for found in map(gpu, gpu_names()) if found.reported == name), None)


def _read(key: str, table: dict[str, Any]) -> Gpu:
    sources = {name: Source(s["document"], s["url"], s["date"]) for name, s in table["sources"].items()}
    memory = Figure("", "memory", _rate(table["memory"]["bytes_per_s"]), sources[table["memory"]["source"]])
    peaks = []
    for peak in table["peaks"]:
        if peak["unit"] not in ("vector", "matrix"):
            raise ValueError(f"unit is {peak['unit']!r}; expected vector or matrix")
        peaks.append(Figure(peak["dtype"], peak["unit"], _rate(peak["flop_per_s"]), sources[peak["source"]]))
    return Gpu(key, table["name"], table.get("reported", ""), table["target"], memory, tuple(peaks))


def _rate(value: Any) -> float:
    if not value > 0:
        raise ValueError(f"a rate is {value}; expected more than 0")
    return float(value)


def ceiling(gpu: Gpu, kernel: Kernel, shape: Shape, dtype: str) -> Ceiling | None:
    """The bound of a kernel by its declared bytes and flops; None where it computes in a type without a peak."""
    size_bytes, flops = kernel.traffic_bytes(shape, dtype), kernel.operations(shape)
    peak = gpu.peak(dtype)
    if flops and peak is None:
        return None
    times = {"memory": size_bytes / gpu.memory.rate}
    if flops and peak is not None:
        times[f"{peak.unit} peak of {peak.dtype}"] = flops / peak.rate
    by = max(times, key=lambda name: times[name])
    return Ceiling(size_bytes / times[by], flops / times[by] if flops else None, times[by], by)
