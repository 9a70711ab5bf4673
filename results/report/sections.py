"""A run ready for the template: its figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clusterbench.results.notes import SHARED_CORES, shares_cores
from clusterbench.results.record import VERDICTS, Run
from clusterbench.results.report import figures, machine, messages, predictions, roofline, tables, units, winners
from clusterbench.results.report.cells import Table
from clusterbench.results.report.data import NO_VERDICT, host_of, shown_time
from clusterbench.results.report.figures import Picture
from clusterbench.results.report.rows import groups, lines, timed_collectives

if TYPE_CHECKING:
    from pandas import DataFrame, Series


@dataclass(frozen=True, slots=True)
class Section:
    """One run, ready for the template."""

    run: Run
    anchor: str
    host: str
    started: str
    evidence: str
    counts: tuple[tuple[str, int], ...]
    glance: tuple[tuple[str, str, str], ...]
    cards: tuple[machine.Card, ...]
    backends: Table | None
    roof: Table | None
    roofline: list[Picture]
    kernels: Table | None
    compiled: Table | None
    collectives: list[Picture]
    crossovers: Table | None
    winners: list[Table]
    left_out: str
    messages: list[Picture]
    pairs: list[Picture]
    pair_tables: list[Table]
    not_measured: Table | None
    sample_units: Sequence[str]

    @property
    def pictures(self) -> list[Picture]:
        """All figures, in the order of the page."""
        return [*self.roofline, *self.collectives, *self.messages, *self.pairs]


def _evidence(rows: DataFrame) -> Series[str]:
    """What the rows rest on: imported ones are not this machine's, whatever they rest on."""
    return rows["evidence"].where(rows["origin"] == "own", rows["origin"])


def section(run: Run, rows: DataFrame, anchor: str) -> Section:
    """The section of a run from its rows; their index is what filters know them by."""
    return Section(
        run=run,
        anchor=anchor,
        host=host_of(run, rows),
        started=shown_time(run.started_at) or "not recorded",
        evidence=", ".join(f"{count} {name}" for name, count in _evidence(rows).value_counts().items()),
        counts=verdict_counts(rows),
        glance=_glance(rows),
        cards=machine.cards(run),
        backends=tables.backends(run, f"{anchor}-backends"),
        roof=tables.roof(rows, f"{anchor}-roof"),
        roofline=roofline.roofline(rows, anchor),
        kernels=tables.kernels(rows, f"{anchor}-kernels"),
        compiled=tables.compiled(rows, f"{anchor}-compiled"),
        collectives=[
            *figures.collectives(rows, anchor, winners.crossings(rows)),
            *predictions.predictions(rows, anchor),
        ],
        crossovers=winners.crossovers(rows, f"{anchor}-crossovers"),
        winners=winners.winners(rows, f"{anchor}-winners"),
        left_out=winners.left_out(rows),
        messages=messages.messages(rows, f"{anchor}-messages"),
        pairs=messages.heat_maps(rows, anchor),
        pair_tables=_present(
            messages.named_pairs(rows, f"{anchor}-named-pairs"),
            messages.pair_summary(rows, f"{anchor}-pair-summary"),
            messages.message_table(rows, f"{anchor}-message-table"),
        ),
        not_measured=tables.not_measured(rows, f"{anchor}-not-measured"),
        sample_units=tables.sample_units(rows),
    )


def verdict_counts(rows: DataFrame) -> tuple[tuple[str, int], ...]:
    """How many rows have each verdict, and how many have none."""
    found = rows["verdict"].value_counts()
    counts = [(str(verdict), int(found.get(verdict, 0))) for verdict in VERDICTS]
    return (*counts, (NO_VERDICT, int(rows["verdict"].isna().sum())))


def _present(*found: Table | None) -> list[Table]:
    return [table for table in found if table is not None]


def _glance(rows: DataFrame) -> tuple[tuple[str, str, str], ...]:
    """The few figures a reader looks for first: name, value, and where it comes from. Only measured ones."""
    measured = rows[(rows["evidence"] == "measured") & (rows["origin"] == "own")]
    found = []
    roof = measured[measured["suite"] == "roof"]
    for (name,), group in groups(roof[(roof["bytes_per_s"] > 0) & ~roof["name"].str.contains(" ")], ("name",)):
        best = f"{units.giga(group['bytes_per_s'].max())} GB/s"
        found.append((f"{str(name).capitalize()} bandwidth", best, "measured roof"))
    for dtype, peak in roof[roof["flop_per_s"] > 0].groupby("dtype")["flop_per_s"].max().items():
        found.append(("Multiply-add peak", f"{units.giga(peak)} GFLOP/s", f"{dtype}, measured roof"))
    timed = timed_collectives(measured)
    for (name,), group in groups(timed[timed["busbw"].notna()], ("name",)):
        top = max(lines(group), key=lambda row: float(row.busbw))
        where = f"{top.algorithm}, {units.size(top.size_bytes)}, {top.ranks} ranks"
        where += f", {top.buffers} buffers" if top.buffers else ""
        where += f", traffic {top.traffic}" if top.traffic else ""
        where += f", {SHARED_CORES}" if shares_cores(top.note) else ""
        found.append((f"{name}, best bus bandwidth", f"{units.giga(top.busbw)} GB/s", where))
    return tuple(found)
