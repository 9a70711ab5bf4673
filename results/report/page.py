"""The report: runs and their rows as one HTML file that loads nothing from anywhere.

Everything from outside passes through the template's escaping; figures go into the page as JSON without any `<`.
A content security policy in the page forbids every request, whatever a script in it might try.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING

from clusterbench.results.export import write_whole
from clusterbench.results.notes import SHARED_CORES, shares_cores
from clusterbench.results.record import VERDICTS, Run
from clusterbench.results.report import figures, machine, messages, tables, units, winners
from clusterbench.results.report.cells import Table
from clusterbench.results.report.drawings import drawings
from clusterbench.results.report.rows import groups, lines, ordered, timed_collectives

if TYPE_CHECKING:
    from pandas import DataFrame

_PLOTLY_ADDRESSES = ("https://cdn.plot.ly/un/", "https://cdn.jsdelivr.net/npm/")
"""Where plotly's map figures would load from; there are none here, and the addresses are taken out."""


@dataclass(frozen=True, slots=True)
class _Section:
    """One run, ready for the template."""

    run: Run
    anchor: str
    host: str
    evidence: str
    counts: tuple[tuple[str, int], ...]
    glance: tuple[tuple[str, str, str], ...]
    failures: Table | None
    cards: tuple[machine.Card, ...]
    backends: Table | None
    roof: Table | None
    roofline: list[figures.Picture]
    kernels: Table | None
    collectives: list[figures.Picture]
    crossovers: Table | None
    winners: list[Table]
    left_out: str
    messages: list[figures.Picture]
    pairs: list[figures.Picture]
    pair_tables: list[Table]
    not_measured: Table | None
    everything: Table | None
    sample_units: Sequence[str]


def render_report(
    runs: Sequence[Run], frame: DataFrame, pictures: Mapping[str, str] | None = None, not_drawn: Sequence[str] = ()
) -> str:
    """The report of `runs` as HTML; `frame` holds their measurements (see `Store.frame`).

    `pictures` are of the schedules that ran: SVG by what they show, in words; `not_drawn` says of which there is none,
    and why. Raises `DrawingRefusedError` for one that has more in it than a drawing.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    templates = Environment(
        loader=FunctionLoader(_own_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [_section(run, frame[frame["run_id"] == run.run_id], f"run{i}") for i, run in enumerate(runs)]
    plots = [plot for s in sections for plot in (*s.roofline, *s.collectives, *s.messages, *s.pairs)]
    return templates.get_template("report.html").render(
        sections=sections,
        drawings=drawings(pictures or {}, "drawing"),
        not_drawn=not_drawn,
        figures={plot.anchor: script_json(plot.figure.to_json()) for plot in plots},
        style=_own_file("style.css"),
        script=_own_file("report.js"),
        plotly=_plotly() if plots else "",
        version=metadata.version("clusterbench"),
    )


def write_report(
    path: Path,
    runs: Sequence[Run],
    frame: DataFrame,
    pictures: Mapping[str, str] | None = None,
    not_drawn: Sequence[str] = (),
) -> None:
    """Write the report to a file, whole or not at all; see `render_report`.

    Raises `ExportError` where it cannot be written.
    """
    text = render_report(runs, frame, pictures, not_drawn)
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def script_json(text: str) -> str:
    """JSON that can stand inside a script element: nothing in it ends the element or starts a comment."""
    json.loads(text)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _section(run: Run, rows: DataFrame, anchor: str) -> _Section:
    rows = ordered(rows)
    verdicts = rows["verdict"].value_counts()
    counts = [(str(verdict), int(verdicts.get(verdict, 0))) for verdict in VERDICTS]
    return _Section(
        run=run,
        anchor=anchor,
        host=_host(run, rows),
        evidence=", ".join(f"{count} {name}" for name, count in rows["evidence"].value_counts().items()),
        counts=(*counts, ("not judged", int(rows["verdict"].isna().sum()))),
        glance=_glance(rows),
        failures=tables.failures(rows, f"{anchor}-failures"),
        cards=machine.cards(run),
        backends=tables.backends(run, f"{anchor}-backends"),
        roof=tables.roof(rows, f"{anchor}-roof"),
        roofline=figures.roofline(rows, anchor),
        kernels=tables.kernels(rows, f"{anchor}-kernels"),
        collectives=figures.collectives(rows, anchor),
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
        everything=tables.everything(rows, f"{anchor}-everything"),
        sample_units=tables.sample_units(rows),
    )


def _present(*found: Table | None) -> list[Table]:
    return [table for table in found if table is not None]


def _host(run: Run, rows: DataFrame) -> str:
    host = run.environment.get("host")
    named = host.get("name") if isinstance(host, dict) else host
    return str(named or next((name for name in rows["host"] if name), "") or "unnamed host")


def _glance(rows: DataFrame) -> tuple[tuple[str, str, str], ...]:
    """The few figures a reader looks for first: name, value, and where it comes from. Only measured ones."""
    measured = rows[(rows["evidence"] == "measured") & (rows["origin"] == "own")]
    found = []
    roof = measured[measured["suite"] == "roof"]
    for (name,), group in groups(roof[roof["bytes_per_s"] > 0], ("name",)):
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


def _own_file(name: str) -> str:
    return resources.files("clusterbench.results.report").joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly() -> str:
    """plotly.js from its Python package."""
    source = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    for address in _PLOTLY_ADDRESSES:
        source = source.replace(address, "")
    return source.replace("</script", "<\\/script")
