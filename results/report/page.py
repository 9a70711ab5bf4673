"""The report: runs and their rows as one HTML file that loads nothing from anywhere.

Everything from outside passes through the template's escaping; rows and figures go into the page as JSON without any
`<`, and its scripts write text only as text. A content security policy in the page forbids every request, whatever a
script in it might try.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterbench.results.export import write_whole
from clusterbench.results.record import Run, instant
from clusterbench.results.report.data import embedded
from clusterbench.results.report.drawings import drawings
from clusterbench.results.report.rows import ordered
from clusterbench.results.report.sections import section, verdict_counts

if TYPE_CHECKING:
    from pandas import DataFrame

_PLOTLY_ADDRESSES = ("https://cdn.plot.ly/un/", "https://cdn.jsdelivr.net/npm/")
"""Where plotly's map figures would load from; there are none here, and the addresses are taken out."""
_SCRIPTS = (
    "units.js",
    "rows.js",
    "filters.js",
    "tables.js",
    "figures.js",
    "compare.js",
    "runs.js",
    "history.js",
    "report.js",
)
"""The page's own scripts, each a function that the last ones call; together they are one."""


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
    rows = numbered(runs, frame)
    sections = [section(run, rows[rows["run_id"] == run.run_id], f"run{i}") for i, run in enumerate(runs)]
    latest = max(range(len(runs)), key=lambda i: (instant(runs[i].started_at) or 0.0, -i), default=0)
    return templates.get_template("report.html").render(
        sections=sections,
        latest=latest,
        counts=verdict_counts(rows),
        data=_script_of(embedded(runs, rows)),
        drawings=drawings(pictures or {}, "drawing"),
        not_drawn=not_drawn,
        figures={picture.anchor: _script_of(picture.figure) for part in sections for picture in part.pictures},
        style=_own_file("style.css"),
        script="\n".join(_own_file(name) for name in _SCRIPTS),
        plotly=_plotly() if len(runs) > 1 or any(part.pictures for part in sections) else "",
        version=metadata.version("clusterbench"),
    )


def numbered(runs: Sequence[Run], frame: DataFrame) -> DataFrame:
    """The rows of the runs in the order in which a reader looks for them, numbered from 0."""
    known = frame[frame["run_id"].isin([run.run_id for run in runs])]
    return ordered(known).reset_index(drop=True)


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


def _script_of(value: Any) -> str:
    return script_json(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def script_json(text: str) -> str:
    """JSON that can stand inside a script element: nothing in it ends the element or starts a comment."""
    json.loads(text)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _own_file(name: str) -> str:
    return resources.files("clusterbench.results.report").joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly() -> str:
    """plotly.js from its Python package."""
    source = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    for address in _PLOTLY_ADDRESSES:
        source = source.replace(address, "")
    return source.replace("</script", "<\\/script")
