"""Rows from the output of nccl-tests and rccl-tests, whatever form it was written in: names, sizes and rates as ours.

Source: nccl-tests, doc/PERFORMANCE.md and src/*.cu. Its time is the mean of calls issued back to back, so a row is one
sample of that batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clusterbench.results.importing import Samples
from clusterbench.results.rates import algbw, busbw, collective_size_bytes
from clusterbench.results.record import Measurement, Verdict
from clusterbench.results.statistics import summarise

COLLECTIVES = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "broadcast": "broadcast",
    "reduce": "reduce",
    "alltoall": "all_to_all",
    "alltoallv": "all_to_all_v",
    "scatter": "scatter",
    "gather": "gather",
    "sendrecv": "sendrecv",
}
"""This suite's name of a collective, by the name of nccl-tests' program without `_perf`."""
ITEM_BYTES = {
    "int8": 1,
    "uint8": 1,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}
DTYPES = {
    **{name: name for name in ("int8", "uint8", "int32", "uint32", "int64", "uint64", "bfloat16")},
    "char": "int8",
    "int": "int32",
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "f8e4m3": "float8_e4m3fn",
    "f8e5m2": "float8_e5m2",
    "fp8_e4m3": "float8_e4m3fn",
    "fp8_e5m2": "float8_e5m2",
}
"""NumPy's (or ml_dtypes') name of a type, by nccl-tests'."""
LIBRARY = "library"
SETTINGS = ("NCCL_ALGO", "NCCL_PROTO")
"""The variables by which NCCL and RCCL are told an algorithm and a protocol (user guide, "Environment Variables")."""
_NAMES = {"collnetdirect": "collnet_direct", "collnetchain": "collnet_chain", "nvlstree": "nvls_tree"}
"""Names of the example tuner plugin that are not NCCL's own in small letters (`ncclAlgoStr`, src/graph/tuning.cc)."""
REDUCING = ("all_reduce", "reduce_scatter", "reduce")
_ROOTED = ("broadcast", "reduce", "scatter", "gather")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all rows of one test share."""

    run_id: str
    collective: str
    ranks: int
    nodes: int
    host: str
    device: str
    iterations: int = 1
    warmup: int = 0
    host_time: bool = False
    """Whether the times are of the host (`-C`), and not of the device."""
    started_at: str = ""
    algorithm: str = LIBRARY
    transport: str = ""
    """NCCL's or RCCL's, by the name of the device, where it is not given;"""
    backend: str = ""
    """and their memory."""
    sample_unit: str = ""
    """What a sample is, where it is not nccl-tests'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One half of a line of nccl-tests' table: out of place, or in place."""

    size_bytes: int
    count: int
    dtype: str
    op: str
    root: int
    placement: str
    time_s: float
    wrong: int | None
    note: str


def measurement(setting: Setting, row: Figures, samples: Samples | None = None) -> Measurement:
    """The row of a measurement; with the times of every call, in seconds, its figures are theirs."""
    name = setting.collective
    figures: dict[str, Any] = {"median_s": row.time_s, "min_s": row.time_s, "mean_s": row.time_s, "n": 1}
    unit, batch = f"the mean of {setting.iterations} calls issued back to back", setting.iterations
    if samples is not None:
        summary = summarise(np.asarray(samples, np.float64))
        figures = {field: getattr(summary, field) for field in summary.__slots__}
        unit, batch = "one call, the slowest process", 1
    median_s = float(figures["median_s"])
    verdict: Verdict | None = None if row.wrong is None else "FAIL" if row.wrong else "PASS"
    return Measurement(
        run_id=setting.run_id,
        suite="point-to-point" if name == "sendrecv" else "collectives",
        name=name,
        algorithm="sendrecv" if name == "sendrecv" else setting.algorithm,
        transport=setting.transport or ("rccl" if is_amd(setting.device) else "nccl"),
        backend=setting.backend or ("hip" if is_amd(setting.device) else "cuda"),
        dtype=row.dtype,
        op=row.op if name in REDUCING else "",
        root=row.root if name in _ROOTED else -1,
        placement=row.placement,
        count=row.count,
        size_bytes=row.size_bytes,
        ranks=setting.ranks,
        nodes=setting.nodes,
        **figures,
        batch=batch,
        warmup=setting.warmup,
        sample_unit=setting.sample_unit or unit + (", by the host's clock" if setting.host_time else ""),
        stop="fixed",
        algbw=algbw(row.size_bytes, median_s),
        busbw=busbw(name, row.size_bytes, median_s, setting.ranks),
        wrong=row.wrong,
        verdict=verdict,
        reason=f"{row.wrong} wrong elements" if row.wrong else "",
        host=setting.host,
        device=setting.device,
        evidence="measured",
        origin="imported",
        note=row.note,
        started_at=setting.started_at,
    )


def told(settings: Mapping[str, str]) -> str:
    """The algorithm of a row: `library`, and where the library was told what to take, `library:ALGORITHM/PROTOCOL`.

    `settings` are those of NCCL_ALGO and NCCL_PROTO, whose names are written as NCCL's example tuner plugin writes
    them: `library:nvls_tree/simple`. What was not told is `*`; what leaves a choice, as a list does, stands as it is,
    with `+` for commas.
    """
    words = [settings.get(name, "").strip().lower().replace(",", "+")[:80] for name in SETTINGS]
    if not any(words):
        return LIBRARY
    return f"{LIBRARY}:{'/'.join(_NAMES.get(word, word) or '*' for word in words)}"


def is_amd(device: str) -> bool:
    """Whether a device's name is one of AMD's."""
    return any(word in device for word in ("AMD", "Radeon", "Instinct", "gfx"))


def sizes_agree(collective: str, row: Figures, ranks: int) -> bool:
    """Whether size = count × item size × ranks or 1, as the collective demands: else it, or the ranks, are others.

    The size of an all_to_all_v follows from its traffic and is not looked at.
    """
    expected = collective_size_bytes(collective, row.count, ITEM_BYTES[row.dtype], ranks)
    return collective == "all_to_all_v" or row.size_bytes == expected
