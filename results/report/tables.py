"""The tables of a run that are written into the report: kernels, roof, compiled, what was not measured, back ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clusterbench.results.notes import figures_of
from clusterbench.results.record import Run, gravest
from clusterbench.results.report import units
from clusterbench.results.report.cells import (
    Cell,
    Table,
    evidence_cell,
    heads,
    mark_cell,
    number_cell,
    table_of,
    text_cell,
    timing_cells,
)
from clusterbench.results.report.rows import groups, lines

if TYPE_CHECKING:
    from pandas import DataFrame


def kernels(rows: DataFrame, anchor: str) -> Table | None:
    """The kernels that were timed."""
    chosen = rows[(rows["suite"] == "kernels") & rows["median_s"].notna()]
    if chosen.empty:
        return None
    listed = tuple(
        (
            text_cell(row.name),
            text_cell(row.dtype),
            Cell(row.shape or units.size(row.size_bytes), float(row.size_bytes)),
            *timing_cells(row),
            number_cell(row.bytes_per_s, units.giga(row.bytes_per_s)),
            number_cell(row.flop_per_s, units.giga(row.flop_per_s)),
            number_cell(row.bound_share, units.share(row.bound_share)),
            mark_cell(row.verdict, "not judged"),
            evidence_cell(row),
            text_cell(row.bound_by),
            number_cell(row.error_over_bound, units.digits(row.error_over_bound, 2)),
            text_cell(row.backend),
            text_cell(row.reason),
        )
        for row in lines(chosen)
    )
    columns = heads("Kernel", "Type", "Shape", "#Time", "#95 %", "#GB/s", "#GFLOP/s", "#Of roof", "Verdict", "Evidence")
    more = heads("Limited by", "#Error / bound", "Back end", "Reason")
    caption = "Kernels: median time, rates, and their share of the measured roof"
    return table_of(anchor, caption, columns + more, listed, zip(chosen.index, strict=True))


def roof(rows: DataFrame, anchor: str) -> Table | None:
    """The measured ceilings."""
    chosen = rows[rows["suite"] == "roof"]
    if chosen.empty:
        return None
    names = {"copy": "copy bandwidth", "read": "read bandwidth", "fma": "multiply-add peak"}
    listed = tuple(
        (
            text_cell(" ".join([names.get(row.name.split(" ")[0], row.name), *row.name.split(" ")[1:]])),
            text_cell(row.dtype),
            text_cell(row.shape),
            number_cell(row.bytes_per_s, f"{units.giga(row.bytes_per_s)} GB/s"),
            number_cell(row.flop_per_s, f"{units.giga(row.flop_per_s)} GFLOP/s"),
            text_cell(row.device),
            evidence_cell(row),
        )
        for row in lines(chosen)
    )
    columns = heads("Ceiling", "Type", "Where", "#Bandwidth", "#Arithmetic", "Device", "Evidence")
    return table_of(
        anchor,
        "The roof: each measurement of a ceiling; the highest counts",
        columns,
        listed,
        zip(chosen.index, strict=True),
    )


def compiled(rows: DataFrame, anchor: str) -> Table | None:
    """The kernels that were compiled for a target and not run: what their machine code says, out of the rows' notes."""
    chosen = rows[(rows["suite"] == "kernels") & (rows["evidence"] == "compiled")]
    if chosen.empty:
        return None
    listed = []
    for row in lines(chosen):
        said = figures_of(row.note)
        listed.append(
            (
                *(text_cell(value) for value in (row.name, row.dtype, row.backend, row.device)),
                *(_figure_cell(said.get(name)) for name in ("registers", "spills", "shared_bytes", "occupancy")),
                text_cell(said.get("limited_by")),
                *(_figure_cell(said.get(name)) for name in ("load_bytes", "store_bytes")),
                text_cell(said.get("matrix")),
                *(_figure_cell(said.get(name)) for name in ("fp64", "counted_bytes", "counted_flops")),
                mark_cell(row.verdict, "not judged"),
                evidence_cell(row),
                text_cell(row.reason),
            )
        )
    columns = heads("Kernel", "Type", "Back end", "Target", "#Registers", "#Spills", "#Shared, B", "#Occupancy")
    more = heads("Limited by", "#Load, B", "#Store, B", "Matrix instruction", "#fp64", "#Bytes / model")
    last = heads("#Flops / model", "Verdict", "Evidence", "Reason")
    caption = "Compiled without a GPU: what the machine code of each target says"
    return table_of(anchor, caption, columns + more + last, tuple(listed), zip(chosen.index, strict=True))


def _figure_cell(value: str | None) -> Cell:
    """A figure of a note, as it is written there."""
    try:
        return Cell(value, float(value)) if value else text_cell("")
    except ValueError:
        return text_cell(value)


def not_measured(rows: DataFrame, anchor: str) -> Table | None:
    """What was simulated, emulated or imported, put together by back end and reason; kernels in `compiled` are not."""
    elsewhere = (rows["evidence"] != "measured") | (rows["origin"] != "own")
    chosen = rows[elsewhere & ~((rows["suite"] == "kernels") & (rows["evidence"] == "compiled"))]
    if chosen.empty:
        return None
    listed, behind = [], []
    for key, group in groups(chosen, ("suite", "backend", "evidence", "origin", "note")):
        suite, backend, evidence, origin, note = key
        worst = group["error_over_bound"].max()
        verdict = gravest(group["verdict"])
        text, mark = (evidence, evidence) if origin == "own" else (f"{evidence}, {origin}", "imported")
        what = ", ".join(dict.fromkeys(f"{row.name} {row.algorithm}".strip() for row in lines(group)))
        head = (
            text_cell(backend),
            Cell(text, text, mark),
            text_cell(note),
            text_cell(what),
            mark_cell(verdict, "not judged"),
        )
        figures = (number_cell(worst, units.digits(worst, 2)), number_cell(len(group), str(len(group))))
        listed.append((*head, *figures, text_cell(suite)))
        behind.append(group.index.tolist())
    columns = heads("Back end", "Evidence", "How, and why", "What", "Verdict", "#Worst error / bound", "#Rows", "Suite")
    return table_of(anchor, "Not measured on this machine's own hardware", columns, tuple(listed), behind)


def backends(run: Run, anchor: str) -> Table | None:
    """The back ends of the run, their mode and the reason."""
    listed = run.environment.get("backends")
    if not isinstance(listed, list) or not listed:
        return None
    listed = tuple(
        (
            text_cell(row.get("backend")),
            mark_cell(row.get("mode")),
            text_cell(row.get("version")),
            text_cell(row.get("reason")),
        )
        for row in listed
        if isinstance(row, dict)
    )
    return table_of(
        anchor,
        "Back ends: what runs natively, what is simulated",
        heads("Back end", "Mode", "Version", "Reason"),
        listed,
    )


def sample_units(rows: DataFrame) -> Sequence[str]:
    """What one sample was, in the words of the rows, without their name of a field."""
    return [unit.replace("`batch` calls", "several calls") for unit in dict.fromkeys(rows["sample_unit"]) if unit]
