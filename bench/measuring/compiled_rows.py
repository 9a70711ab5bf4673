"""Compiled kernels as rows of results: evidence `compiled`, no time, and what their machine code says as remarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clusterbench.kernels.compiled.compiling import Compiled
from clusterbench.kernels.compiled.gate import Broken
from clusterbench.kernels.compiled.targets import targets
from clusterbench.results import notes
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement, Verdict


def measurements(
    rows: Sequence[Compiled], faults: Sequence[Broken] | None, run_id: str, host: str
) -> list[Measurement]:
    """The rows of what there was to compile. `faults` is what rules are broken; None where none was asked for."""
    by_row: dict[int, list[Broken]] = {}
    for fault in faults or ():
        by_row.setdefault(id(fault.row), []).append(fault)
    base = Measurement(run_id=run_id, suite="kernels", name="", host=host, evidence="compiled", started_at=now_iso())
    return [
        _measurement(row, by_row.get(id(row), []), faults is not None, base) for row in rows if row.status != "nothing"
    ]


def _measurement(row: Compiled, faults: Sequence[Broken], judged: bool, base: Measurement) -> Measurement:
    verdict: Verdict | None = None
    if row.status != "compiled":
        verdict = "FAIL" if faults else "INCONCLUSIVE"
    elif judged:
        verdict = "FAIL" if faults else "PASS"
    broken = [f"{fault.limit} is {fault.found}, expected {fault.expected}: {fault.rule.reason}" for fault in faults]
    return replace(
        base,
        name=row.kernel,
        backend=row.backend,
        dtype=row.dtype,
        shape=row.shape,
        size_bytes=row.model_bytes or 0,
        device=f"{targets()[row.target].device} ({row.target})",
        verdict=verdict,
        reason="; ".join(broken) or (row.reason and f"not compiled: {row.reason}"),
        note=notes.joined(notes.figures(_figures(row))) if row.status == "compiled" else "",
    )


def _figures(row: Compiled) -> Mapping[str, object]:
    return {
        "registers": row.registers,
        "spills": row.spills,
        "shared_bytes": row.shared_bytes,
        "occupancy": None if row.occupancy is None else f"{row.occupancy:.4g}",
        "limited_by": row.limited_by,
        "load_bytes": row.load_bytes,
        "store_bytes": row.store_bytes,
        "matrix": " ".join(row.matrix),
        "fp64": row.fp64,
        "counted_bytes": ratio_text(row.counted_bytes, row.model_bytes),
        "counted_flops": ratio_text(row.counted_flops, row.model_flops),
        "fused": "yes" if row.fused else "no",
    }


def ratio_text(counted: int | None, model: int | None) -> str:
    """What was counted over what the model says: `1` where they are the same; empty where either says nothing."""
    if counted is None or model is None:
        return ""
    if model == 0:
        return "1" if counted == 0 else f"{counted} of 0"
    return "1" if counted == model else f"{counted / model:.4g}"
