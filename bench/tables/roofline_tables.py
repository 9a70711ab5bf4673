"""The tables of `kernels roofline`: ceilings, kernels under them, and what vendors' figures permit at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from clusterbench.bench.output import print_table, rate_text, share_text
from clusterbench.kernels.ceilings.vendor import Gpu, ceiling
from clusterbench.kernels.compiled.compiling import Compiled
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.kernel import Kernel, shape_text
from clusterbench.results.record import Measurement
from clusterbench.results.report.roofline import VendorRoof

ELEMENTS = 1 << 26
"""Of the largest array of a kernel without a size of its own, for the intensity that it is shown with."""
EVIDENCE = "declared: an upper bound, nothing ran"
COMPILED = "compiled: an upper bound, nothing ran"


@dataclass(frozen=True, slots=True)
class UpperBound:
    """What a kernel cannot exceed on a GPU, by its declared bytes and flops and its vendor's figures."""

    name: str
    dtype: str
    shape: str
    gpu: str
    target: str
    flop_per_byte: float
    bytes_per_s: float
    flop_per_s: float | None
    bound_s: float
    bound_by: str
    counted_flop_per_byte: float | None = None
    """In the machine code of the Triton source: what its threads load and store, of which caches may serve a part."""
    evidence: str = EVIDENCE

    def as_row(self) -> dict[str, Any]:
        """The fields as a flat dictionary of JSON values."""
        return asdict(self)


def upper_bounds(kernels: Sequence[Kernel], dtypes: Sequence[str], gpus: Sequence[Gpu]) -> list[UpperBound]:
    """Of every kernel that has a source for GPUs, in each of these types that it has and that the vendor names."""
    found = []
    for kernel in kernels:
        sources = [backend for backend in kernel.implementations if backend != "numba"]
        for dtype in (dtype for dtype in dtypes if any(kernel.has(backend, dtype) for backend in sources)):
            shape = kernel.shape_of(kernel.elements or ELEMENTS)
            for gpu in gpus:
                limit = ceiling(gpu, kernel, shape, dtype)
                if limit is not None:
                    intensity = kernel.operations(shape) / kernel.traffic_bytes(shape, dtype)
                    what = (kernel.name, dtype, shape_text(shape), gpu.key, gpu.target, intensity)
                    found.append(UpperBound(*what, limit.bytes_per_s, limit.flop_per_s, limit.time_s, limit.by))
    return found


def with_counts(bounds: Sequence[UpperBound], rows: Sequence[Compiled]) -> list[UpperBound]:
    """The bounds with what was counted in machine code, where a Triton source was compiled for the target."""
    counted = {
        (row.kernel, row.dtype, row.target): row.counted_flops / row.counted_bytes
        for row in rows
        if row.backend == "triton" and row.counted_bytes and row.counted_flops is not None
    }
    found = []
    for bound in bounds:
        intensity = counted.get((bound.name, bound.dtype, bound.target))
        evidence = bound.evidence if intensity is None else COMPILED
        found.append(replace(bound, counted_flop_per_byte=intensity, evidence=evidence))
    return found


def vendor_roofs(gpus: Sequence[Gpu], bounds: Sequence[UpperBound]) -> list[VendorRoof]:
    """What a figure shows of the GPUs."""
    return [
        VendorRoof(
            gpu.name,
            gpu.memory.rate,
            {peak.dtype: peak.rate for peak in sorted(gpu.peaks, key=lambda peak: peak.rate)},
            tuple((b.flop_per_byte, b.flop_per_s) for b in bounds if b.gpu == gpu.key and b.flop_per_s),
        )
        for gpu in gpus
    ]


def print_ceilings(rows: Sequence[Measurement]) -> None:
    """The ceilings of this machine, the best measurement of each."""
    best: dict[tuple[str, str, str], Measurement] = {}
    for row in rows:
        key = (row.name, row.dtype, row.shape)
        rate = row.bytes_per_s or row.flop_per_s or 0.0
        if key not in best or rate > (best[key].bytes_per_s or best[key].flop_per_s or 0.0):
            best[key] = row
    if not best:
        return
    cells = []
    for row in best.values():
        fields = dict(part.split("=", 1) for part in row.shape.split(",") if "=" in part)
        where = fields.get("level", "memory" if row.bytes_per_s else "registers")
        rates = (rate_text(row.bytes_per_s), rate_text(row.flop_per_s))
        cells.append((row.name.split()[0], where, fields.get("cores", "all"), row.dtype, *rates, row.n, row.verdict))
    columns = ("ceiling", "where", "cores", "type", "GB/s", "GFLOP/s", "n", "verdict")
    print_table(f"Measured ceilings of {rows[0].device}, the best of n", columns, cells)


def print_kernels(rows: Sequence[Measurement]) -> None:
    """The kernels that were timed, with their intensity and their share of the roof."""
    cells = [
        (
            row.name,
            row.dtype,
            row.shape,
            f"{(row.flop_per_s or 0.0) / row.bytes_per_s:.4g}" if row.bytes_per_s else "",
            rate_text(row.bytes_per_s),
            rate_text(row.flop_per_s),
            share_text(row.bound_share),
            row.bound_by,
            row.verdict,
        )
        for row in sorted(rows, key=lambda row: (row.name, row.dtype, row.shape))
    ]
    columns = ("kernel", "type", "shape", "flop/byte", "GB/s", "GFLOP/s", "of roof", "limited by", "verdict")
    if cells:
        title = "Kernels on the CPU, measured, under the ceilings of the level that holds their arrays"
        print_table(title, columns, cells)


def print_gpus(gpus: Sequence[Gpu]) -> None:
    """The vendors' figures, dense, with their sources."""
    dtypes = list(dict.fromkeys(figure.dtype for gpu in gpus for figure in gpu.peaks))
    dtypes.sort(key=lambda dtype: -element_type(dtype).itemsize if dtype != "float8" else 0)
    cells = []
    for gpu in gpus:
        peaks = ["/".join(f"{f.rate / 1e12:.4g}" for f in gpu.peaks if f.dtype == dtype) for dtype in dtypes]
        cells.append((gpu.key, gpu.name, f"{gpu.memory.rate / 1e12:.4g}", *peaks))
    title = "Vendors' figures, not measured: TB/s of memory, TFLOP/s without sparsity (vector/matrix units)"
    print_table(title, ("GPU", "product", "TB/s", *dtypes), cells)
    sources = dict.fromkeys((gpu.key, figure.source) for gpu in gpus for figure in (gpu.memory, *gpu.peaks))
    for key, source in sources:
        click.echo(f"{key}: {source.document}, {source.url} ({source.date})")


def print_bounds(bounds: Sequence[UpperBound]) -> None:
    """The upper bounds, one line a kernel and type, with a column for each GPU."""
    gpus = list(dict.fromkeys(bound.gpu for bound in bounds))
    lines: dict[tuple[str, str, str], dict[str, UpperBound]] = {}
    for bound in bounds:
        lines.setdefault((bound.name, bound.dtype, bound.shape), {})[bound.gpu] = bound
    cells = []
    for key, found in lines.items():
        intensity = next(iter(found.values())).flop_per_byte
        counted = dict.fromkeys(
            f"{bound.counted_flop_per_byte:.4g}" for bound in found.values() if bound.counted_flop_per_byte is not None
        )
        what = (*key, f"{intensity:.4g}", " ".join(counted))
        cells.append((*what, *(_bound_text(found.get(gpu)) for gpu in gpus)))
    if cells:
        title = "Upper bounds of GPU sources by declared bytes and flops, GB/s, GFLOP/s: nothing ran"
        print_table(title, ("kernel", "type", "shape", "flop/byte", "counted", *gpus), cells)


def _bound_text(bound: UpperBound | None) -> str:
    if bound is None:
        return ""
    arithmetic = f", {bound.flop_per_s / 1e9:.4g}" if bound.flop_per_s else ""
    return f"{bound.bytes_per_s / 1e9:.4g}{arithmetic}{'' if bound.bound_by == 'memory' else ' (arithmetic)'}"
