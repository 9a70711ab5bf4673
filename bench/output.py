"""How results leave a command: one JSON document, CSV, or a table for a person; and progress while it works.

Seconds and bytes become microseconds, GB/s (1e9 bytes/s) and K = 1024 here, and nowhere before.
"""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clusterbench.bench.launching.launch import SAID_BY, speaks
from clusterbench.results.record import SCHEMA_VERSION

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_WIDTH = 160
"""Columns of a table that is not printed on a terminal: no terminal's width to respect, so cells stay on their line."""

_NUMBER = re.compile(r"[-+<≥]?\d[\d.,]*(?:[eE][-+]?\d+)?(?: ?[%\w/]{1,7})?")
"""A number, with a unit behind it or not."""
_SUFFIXES = ("", "K", "M", "G", "T")


def emit_json(run: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    """Write the one document of a command to standard output: `{"schema_version", "run", "rows"}`.

    NaN and infinity, which JSON does not have, are written as null; NumPy's scalars as the numbers they are.
    """
    emit_document({"run": run, "rows": list(rows)})


def emit_document(parts: dict[str, Any]) -> None:
    """Write parts, with the schema version before them, as one JSON document to standard output; see `emit_json`."""
    json.dump(
        json_value({"schema_version": SCHEMA_VERSION, **parts}),
        sys.stdout,
        ensure_ascii=False,
        allow_nan=False,
        indent=1,
    )
    sys.stdout.write("\n")
    sys.stdout.flush()


def emit_csv(rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as CSV to standard output, the head row from the keys of all rows; None as an empty cell."""
    listed = list(rows)
    columns = list(dict.fromkeys(key for row in listed for key in row))
    writer = csv.DictWriter(sys.stdout, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in listed:
        writer.writerow({key: _csv_cell(value) for key, value in row.items()})
    sys.stdout.flush()


def json_value(value: Any) -> Any:
    """`value` with every number that JSON cannot hold replaced: NaN and infinity by None, NumPy scalars by numbers."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_value(item) for item in value]
    if hasattr(value, "item"):
        return json_value(value.item())
    return str(value)


def _csv_cell(value: Any) -> Any:
    value = json_value(value)
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, dict | list) else value


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output; a column in which every cell is a number is aligned to the right.

    Cells are printed as they are (no markup is read in them); None is printed as an empty cell.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 1, 0, 0)
    for i, name in enumerate(columns):
        numeric = any(row[i] for row in cells) and all(_is_number(row[i]) for row in cells if row[i])
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    _print(table)


def print_tree(title: str, nodes: Iterable[tuple[int, str]]) -> None:
    """Print lines as a tree on standard output; each has its depth, 0 at the roots, and stands below its parent."""
    from rich.text import Text
    from rich.tree import Tree

    path = [Tree(Text(title))]
    for depth, text in nodes:
        del path[depth + 1 :]
        path.append(path[-1].add(Text(text)))
    _print(path[0])


def _print(drawn: RenderableType) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    with console.capture() as capture:
        console.print(drawn)
    # Rich fills lines with blanks to the table's width; they only get in the way of files and pipes.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))
    sys.stdout.flush()


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None or text in ("N/A", "-", "–")


def note(message: str) -> None:
    """Say something to the person who waits, on standard error and only from the process that speaks."""
    if speaks():
        sys.stderr.write(f"{SAID_BY} {message}\n")
        sys.stderr.flush()


def shows_progress() -> bool:
    """Whether progress is shown: standard error is a terminal, and this process is the one that speaks."""
    return speaks() and sys.stderr.isatty()


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Callable[[str, int], None]]:
    """Show progress on standard error, only on a terminal and only from the process that speaks.

    Yields `step(what, advance)`: what is done now, and by how many of `total` units the work has advanced.
    """
    if not shows_progress():
        yield lambda what, advance: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn()]
    if total is not None:
        columns.insert(3, MofNCompleteColumn())
    # Seldom refreshed: what is measured may need every core.
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2) as bar:
        task = bar.add_task(escape(title), total=total)

        def step(what: str, advance: int) -> None:
            bar.update(task, description=escape(f"{title}: {what}" if what else title), advance=advance)

        yield step


def time_text(time_s: float | None) -> str:
    """Microseconds with four significant digits and at most four decimals: `0.4213`, `12.34`, `1234`, `4.00e-05`."""
    return _significant(None if time_s is None else time_s * 1e6)


def rate_text(bytes_per_s: float | None) -> str:
    """GB/s (1e9 bytes/s), or GFLOP/s of a rate in flop/s, with four significant digits and at most four decimals.

    Below 0.001, where these would not be enough, three digits and a power of ten: `4.00e-05`.
    """
    return _significant(None if bytes_per_s is None else bytes_per_s / 1e9)


def share_text(share: float | None) -> str:
    """A share as per cent: `87 %`."""
    return "" if share is None or not math.isfinite(share) else f"{share * 100:.0f} %"


def _significant(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        return f"{value:.2e}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 4)}f}"


def size_text(size_bytes: int) -> str:
    """A size with K = 1024 where it divides (`8`, `32K`, `4M`), and in plain bytes where it does not."""
    power = 0
    while size_bytes and size_bytes % 1024 == 0 and power < len(_SUFFIXES) - 1:
        size_bytes //= 1024
        power += 1
    return f"{size_bytes}{_SUFFIXES[power]}"


def about_size_text(size_bytes: float) -> str:
    """A size rounded to three digits with K = 1024: `15.6 GiB`, for memory and caches."""
    power = 0
    while size_bytes >= 1024 and power < len(_SUFFIXES) - 1:
        size_bytes /= 1024
        power += 1
    unit = f"{_SUFFIXES[power]}iB" if power else "B"
    return f"{size_bytes:.3g} {unit}"
