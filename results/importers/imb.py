"""The tables of the Intel MPI Benchmarks, as they stand in logs: several benchmarks and numbers of processes a file.

    #----------------------------------------------------------------
    # Benchmarking Allreduce
    # #processes = 16
    # ( 48 additional processes waiting in MPI_Barrier)
    #----------------------------------------------------------------
           #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]
             1024         1000        24.06        30.77        27.94

The processes that run are the first ones of all. t_min, t_max and t_avg are over processes of each one's mean; ours is
that of the slowest, t_max. `t[usec]` of PingPong is half of a round trip, MB are 10^6 bytes. Non-blocking collectives
have the time of communication alone, `t_pure`, and the rest in the note. Every rank was the root in turn before version
2017, and is with `-root_shift on`. With `-multi` several groups run at once; the note says which group a row is of, if
one. Builds that check add a column of defects.

Uniband and Biband give the rate of messages of all pairs together, Biband in both directions; ours is the time of one
message of a pair, of 64 in flight.

What else there is (PingPing, Exchange, Barrier, one-sided, input and output) is named as left out; so are sizes that
ran out of memory, time, or integers.

Source: src_c/IMB_output.c of intel/mpi-benchmarks, and its user guide; versions 3 to 2021.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from clusterbench.results.imported_values import number
from clusterbench.results.importing import Failures, Imported, Importer, Line, Source, no_result
from clusterbench.results.log_lines import is_damaged_row, unprefixed
from clusterbench.results.mpi_rows import (
    DTYPES,
    LIKE_A_ROW,
    WINDOW,
    Benchmark,
    Figures,
    Setting,
    collective,
    measurement,
    message,
    says_failed,
)
from clusterbench.results.notes import first_of
from clusterbench.results.record import Measurement

_BENCHMARK = re.compile(r"# ?Benchmarking (Multi-)?(\w+)")
_PROCESSES = re.compile(r"# #processes = (\d{1,9})\b")
_GROUPS = re.compile(r"# \( (\d{1,9}) groups of (\d{1,9}) processes")
_WAITING = re.compile(r"# \( (\d{1,9}) additional process(?:es)? waiting")
_VERSION = re.compile(r"Intel ?\(R\) MPI Benchmarks?\s+([\w.]*\d[\w.]*)")
_DATE = re.compile(r"# Date +: (.+)")
_SETTING = re.compile(r"# (MPI_Datatype|MPI_Datatype for reductions|MPI_Op) +: +MPI_(\w+)")
_FINISHED = "# All processes entering MPI_Finalize"
_ROOT_SHIFT = re.compile(r"-root_shift[ =](\w+)")
_ROOT_STAYS_FROM = 2017
"""The version from which the root stays the same, unless `-root_shift` says otherwise (ReadMe_IMB.txt)."""
_COLUMNS = (
    "Group", "#bytes", "#repetitions", "t[usec]", "t_min[usec]", "t_max[usec]", "t_avg[usec]", "Mbytes/sec", "Msg/sec",
    "t_ovrl[usec]", "t_pure[usec]", "t_CPU[usec]", "overlap[%]", "defects",
)  # fmt: skip
_HEADER = re.compile(r"(?:Group +)?(?:#bytes +)?#repetitions\b.*")
_ENDED = re.compile(r"\.\d\d$")
"""How a last line ends that is known not to be cut off: times and rates have two decimals."""
_NO_RESULT = re.compile(r"\d+ +(out-of-mem|int-overflow|time-out)\.;")
_MESSAGES = {
    "PingPong": message("latency"),
    "Sendrecv": message("sendrecv"),
    "Uniband": message("one-way"),
    "Biband": message("two-way"),
}


@dataclass(slots=True)
class _Table:
    """The table of a benchmark and a number of processes while it is read."""

    line: int
    name: str
    processes: int = 0
    processes_line: int = 0
    groups: int = 1
    waiting: int = 0
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)


@dataclass(slots=True)
class _Log:
    """What a file was found to hold."""

    tables: list[_Table] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    version: str = ""
    started_at: str = ""
    setting: dict[str, str] = field(default_factory=dict)
    """What the head says: `MPI_Datatype`, `MPI_Datatype for reductions`, `MPI_Op`."""
    shifts_root: bool | None = None
    """Whether every rank is the root in turn; None where neither the version nor the command is known."""
    finished: bool = False
    last_line: int = 0


def _recognises(line: str) -> bool:
    return _columns(line) is not None


def _read(source: Source) -> Imported:
    log = _scanned(source)
    run_id = source.run_id("imb")
    world = max((table.processes * table.groups + table.waiting for table in log.tables), default=0)
    rows: list[Measurement] = []
    ranks_from: dict[int, str] = {}
    for table in log.tables:
        if not table.processes and source.ranks is not None:
            table.processes = source.ranks
        rows += _measurements(table, log, run_id, world)
        if table.processes:
            ranks_from.setdefault(table.processes, f"line {table.processes_line}")
    if log.version and not log.finished:
        log.failures.add(log.last_line, f"ends without {_FINISHED!r}")
    if not rows:
        raise no_result(source, log.failures, "rows of a table")
    run = source.run(
        "imb",
        failures=log.failures.all(),
        versions={"imb": log.version} if log.version else {},
        started_at=log.started_at,
    )
    return Imported(run, tuple(rows), (None,) * len(rows), ranks_from)


def _scanned(source: Source) -> _Log:
    log = _Log()
    prefix = ""
    for line in source.lines():
        text = unprefixed(line.text, prefix)
        log.last_line = line.number
        place = text.find("#")
        if place > 0 and (_BENCHMARK.match(text, place) or _VERSION.search(text, place)):
            prefix, text = text[:place].strip(), text[place:]
        columns = _columns(text)
        if columns is not None:
            if not log.tables or log.tables[-1].columns:
                log.tables.append(_Table(line.number, ""))
            log.tables[-1].columns = columns
        elif text[:1] == "#":
            _comment(text, line.number, log)
        elif says_failed(text):
            log.failures.add(line.number, text[:200])
        elif log.tables and log.tables[-1].columns:
            if LIKE_A_ROW.match(text):
                _row(text, line, log.tables[-1], log.failures)
            elif is_damaged_row(text, len(log.tables[-1].columns)):
                log.failures.add(line.number, "a row that is damaged, or behind other words; left out")
    return log


def _columns(line: str) -> list[str] | None:
    """The columns of a table, or None where the line is no header of one."""
    found = _HEADER.search(line) if "#repetitions" in line else None
    fields = found.group().split() if found is not None else []
    return fields if fields and all(name in _COLUMNS for name in fields) else None


def _comment(text: str, line: int, log: _Log) -> None:
    """A line of the file's head, or of a table's."""
    if found := _BENCHMARK.match(text):
        log.tables.append(_Table(line, found.group(2)))
    elif found := _VERSION.search(text):
        log.version = found.group(1)
        log.shifts_root = int(re.split(r"\D", log.version)[0] or 0) < _ROOT_STAYS_FROM
    elif found := _DATE.match(text):
        log.started_at = _date(found.group(1))
    elif found := _SETTING.match(text):
        log.setting[found.group(1)] = found.group(2)
    elif text.startswith(_FINISHED):
        log.finished = True
    elif found := _ROOT_SHIFT.search(text):
        log.shifts_root = found.group(1) in ("on", "1", "enable", "yes")
    if not log.tables or log.tables[-1].columns:
        return
    table = log.tables[-1]
    if found := _PROCESSES.match(text):
        table.processes, table.processes_line = int(found.group(1)), line
    elif found := _GROUPS.match(text):
        table.groups, table.processes, table.processes_line = int(found.group(1)), int(found.group(2)), line
    elif found := _WAITING.match(text):
        table.waiting = int(found.group(1))


def _date(text: str) -> str:
    """ISO 8601 of the local time that is printed, of which the zone is not said."""
    try:
        return datetime.strptime(text.strip(), "%a %b %d %H:%M:%S %Y").isoformat()
    except ValueError:
        return ""


def _row(text: str, line: Line, table: _Table, failures: Failures) -> None:
    """Take a line of a table, or note why not."""
    fields = text.split()
    if (stopped := _NO_RESULT.search(text)) is not None:
        failures.add(line.number, f"{table.name}: {stopped.group(1)} at {fields[0]} bytes")
    elif len(fields) != len(table.columns):
        failures.add(line.number, f"{len(fields)} fields, the header of the table has {len(table.columns)}; left out")
    elif not line.whole and not _ENDED.search(text):
        failures.add(line.number, "the last line, which may have been cut off; left out")
    else:
        table.rows.append((line.number, dict(zip(table.columns, fields, strict=True))))


def _measurements(table: _Table, log: _Log, run_id: str, world: int) -> Iterator[Measurement]:
    """The rows of a table; what cannot be taken over is noted."""
    name = table.name or "a table without its head"
    benchmark = _MESSAGES.get(table.name) or collective(table.name.lower().removesuffix("_pure"))
    if benchmark is None or "#bytes" not in table.columns:
        log.failures.add(table.line, f"{name}: not a benchmark that can be taken over, left out")
        return
    if not table.processes:
        log.failures.add(table.line, f"{name}: how many processes ran is not said, left out; expected --ranks N")
        return
    if not table.rows:
        log.failures.add(table.line, f"{name}: no result")
    default = "FLOAT" if benchmark.reduces else "BYTE"
    kind = "MPI_Datatype for reductions" if benchmark.reduces else "MPI_Datatype"
    at_once = f"groups={table.groups}" if table.groups > 1 else ""
    pairs = table.processes // 2 if benchmark.has_window else 1
    rooted = benchmark.name in ("broadcast", "reduce", "gather", "scatter")
    setting = Setting(
        run_id=run_id,
        benchmark=benchmark,
        ranks=table.processes,
        dtype=DTYPES.get(f"MPI_{log.setting.get(kind, default)}", DTYPES[f"MPI_{default}"]),
        op=log.setting.get("MPI_Op", "SUM").lower(),
        transport="mpi" if benchmark.is_message else "library",
        root=0 if rooted and log.shifts_root is False else -1,
        shape=",".join(filter(None, (benchmark.shape(pairs), at_once))),
        started_at=log.started_at,
        notes=(
            first_of(world) if table.processes < world and not at_once else "",
            f"{table.groups} groups of {table.processes} at once" if at_once else "",
            "every rank is the root in turn" if rooted and log.shifts_root else "",
            f"{pairs} pairs at once" if pairs > 1 else "",
        ),
    )
    for line, row in table.rows:
        figures = _figures(row, line, benchmark, pairs, log.failures)
        if figures is not None:
            group = row.get("Group")
            shape = f"{setting.shape},group={group}" if group is not None else setting.shape
            yield measurement(replace(setting, shape=shape.lstrip(",")), figures)


def _figures(
    row: dict[str, str], line: int, benchmark: Benchmark, pairs: int, failures: Failures
) -> Figures | None:  # fmt: skip
    """A row of a table, or None where it is not understood."""
    values = {name: number(text) for name, text in row.items()}
    found = {name: value for name, value in values.items() if value is not None}
    time_us = next((found[name] for name in ("t_max[usec]", "t[usec]", "t_pure[usec]") if found.get(name)), None)
    if benchmark.has_window and found.get("Msg/sec"):
        time_us = pairs * benchmark.directions / found["Msg/sec"] * 1e6
    if len(found) < len(values) or not time_us:
        failures.add(line, "a row whose figures are not all numbers from 0, or without a time above 0; left out")
        return None
    repetitions = max(1, int(found["#repetitions"]))
    notes: tuple[str, ...] = ()
    calls = f"the mean of {repetitions} calls"
    if "t_min[usec]" in found and "t_avg[usec]" in found:
        notes = (f"over ranks {found['t_min[usec]']:g} to {time_us:g} us, mean {found['t_avg[usec]']:g}",)
    if "t_ovrl[usec]" in found:
        notes = (
            f"with {found.get('t_CPU[usec]', 0):g} us of computing {found['t_ovrl[usec]']:g} us, "
            f"{found.get('overlap[%]', 0):g} % overlapped",
        )
        calls += " without computing"
    unit = {"latency": f"half of a round trip, {calls}"}.get(benchmark.algorithm, f"{calls} on the slowest rank")
    if benchmark.has_window:
        unit = f"one message, the mean of windows of {WINDOW}"
    defects = found.get("defects")
    return Figures(
        line=line,
        size_bytes=int(found["#bytes"]),
        time_s=time_us * 1e-6,
        batch=repetitions,
        sample_unit=unit,
        wrong=None if defects is None else int(defects > 0),
        reason="it found defects, at how many elements is not said" if defects else "",
        notes=notes,
    )


IMPORTER = Importer(
    name="imb",
    summary="the tables of the Intel MPI Benchmarks, as printed or in a log",
    source="intel/mpi-benchmarks src_c/IMB_output.c",
    recognises=_recognises,
    read=_read,
)
