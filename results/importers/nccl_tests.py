"""The tables of nccl-tests and rccl-tests, as they stand in logs: any version, several tests, and noise between.

    # Collective test starting: all_reduce_perf               (since 2.17; before, nothing names the collective)
    # nThread 1 nGpus 8 minBytes 8 maxBytes 128 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1
    #  Rank  0 Group  0 Pid  12 on host0 device  0 [0000:1b:00] NVIDIA H100 80GB HBM3              (one line a rank)
    #       size   count   type  redop  root   time  algbw  busbw #wrong   time  algbw  busbw #wrong
              8       2  float    sum    -1   9.10   0.00   0.00      0   9.05   0.00   0.00    N/A
    # Out of bounds values : 0 OK
    # Avg bus bandwidth    : 0.001

Columns are those of the table's own header, as they changed: `root` came, `error` became `#wrong`, options add some.
The first time is out of place, the second in place, in µs. Launchers put something before every line, `[1,0]<stdout>:`
or `0: `; lines of one test carry the same. Other lines are passed over, unless they say that a test failed.

Where a line of NCCL's own log, or the command line, says NCCL_ALGO or NCCL_PROTO, rows say what the library was told:

    node7:71:96 [0] NCCL INFO NCCL_ALGO set by environment to Ring        (of NCCL_DEBUG=INFO)

Where no line names the collective, it is the one whose sizes and bandwidths agree with those of the table, and of
several such the one in the name of the file.

Source: src/common.cu and src/util.cu of nccl-tests (1.0 to 2.19) and rccl-tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from clusterbench.results.imported_values import number
from clusterbench.results.importing import Failures, Imported, ImportedFileError, Importer, Source, no_result
from clusterbench.results.log_lines import without_moment
from clusterbench.results.nccl_rows import (
    COLLECTIVES,
    DTYPES,
    ITEM_BYTES,
    REDUCING,
    Figures,
    Setting,
    measurement,
    sizes_agree,
    told,
)
from clusterbench.results.rates import busbw_factor
from clusterbench.results.record import Measurement

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STARTING = re.compile(r"# Collective test starting: (?:\S*/)?(\w+?)_perf(?:_mpi)?\s*$")
_PROGRAM = re.compile(r"\b([a-z]+(?:_[a-z]+)*)_perf(?:_mpi)?\b")
_PARAMETERS = re.compile(r"# nThread +(\d{1,9}) nGpus +(\d{1,9}) minBytes")
_SETTING = {
    "warmup": re.compile(r"warmup iters: (\d{1,9})"),
    "iterations": re.compile(r"(?<!warmup )(?<!agg )iters: (\d{1,9})"),
    "aggregated": re.compile(r"agg iters: (\d{1,9})"),
}
_VERSION = re.compile(r"# (nccl|rccl)-tests version (\S+)(?:.*library=(\d{1,9}))?")
_DEVICE = re.compile(r"# +Rank +(\d{1,9}) (?:Group +(\d{1,9}) )?Pid +\d+ on +(\S+) device +\d+ \[[^\]]*\] *(.*?)\s*$")
_HEADER = re.compile(r"(?:# *)?\bsize +count +type\b")
_HEADER_RATES = re.compile(r"\b(?:cpu)?time +algbw +busbw\b")
_ROW = re.compile(rf"(?<!\S)(\d{{1,19}}) +(\d{{1,19}}) +({'|'.join(DTYPES)}) +\S.*$")
_AFTER_PREFIX = re.compile(rf"(?<=[>:])\s*\d{{1,19}} +\d{{1,19}} +(?:{'|'.join(DTYPES)}) +\S.*$")
_TOLD = re.compile(r"\b(NCCL_ALGO|NCCL_PROTO)(?: set by environment to |[= ])[\"']?([\w^:;]+(?:,[\w^:;]+\b(?!=))*)")
_FAILED = re.compile(r"Test (?:\w+ )?failure\b|# error: \S|Invalid number of GPUs", re.IGNORECASE)
_FOOTER = "# Avg bus bandwidth"
_TYPED = re.compile(rf"\d +(?:{'|'.join(DTYPES)}) ")
_PART = re.compile(r"\d\.\d\d +\d+\.\d\d +(?:\d|N/A)")
"""Two bandwidths and the number of wrong elements: what is left of a row that noise was printed into."""
_OWN = "# clusterbench version"
_LEAST_RATE = 0.2
"""GB/s from which two decimals say more than two digits of the time."""
_RATE_ERROR = 0.03
"""Of a printed bandwidth: two decimals of at least 1 GB/s, and of a time of three digits."""


class _Row(NamedTuple):
    """A line of a table, as text."""

    line: int
    fields: list[str]


@dataclass(slots=True)
class _Test:
    """One test while it is read."""

    line: int
    stated: str = ""
    announced: str = ""
    """The program of a command line before it."""
    told: dict[str, str] = field(default_factory=dict)
    """What the library was told, by name of the variable."""
    setting: dict[str, int] = field(default_factory=dict)
    devices: dict[int, tuple[int, str, str]] = field(default_factory=dict)
    """Group, host and name of the device, by rank."""
    columns: list[str] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)
    finished: bool = False


@dataclass(slots=True)
class _Log:
    """What a file was found to hold."""

    tests: list[_Test] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    versions: dict[str, str] = field(default_factory=dict)
    ranks_from: dict[int, str] = field(default_factory=dict)
    """See `Imported`."""


def _recognises(line: str) -> bool:
    if "busbw" in line:
        return _header(line) is not None
    return "cl-tests version" in line or "# Collective test starting:" in line  # of a run that failed before its table


def _read(source: Source) -> Imported:
    log = _scanned(source)
    run_id = source.run_id("nccl-tests")
    rows: list[Measurement] = []
    for test in log.tests:
        rows += _measurements(test, log, run_id, source)
    if not rows:
        raise no_result(source, log.failures, "rows of a table")
    run = source.run("nccl-tests", failures=log.failures.all(), versions=log.versions)
    return Imported(run, tuple(rows), (None,) * len(rows), log.ranks_from)


def _scanned(source: Source) -> _Log:
    """The tests of a log. Each stream, told by what its lines begin with, has one test at a time."""
    log = _Log()
    streams: dict[str, _Test] = {}
    announced, said, last = "", dict[str, str](), _Test(0)
    for line_number, raw, _ in source.lines():
        if not _says_anything(raw):
            continue
        line = _COLOUR.sub("", raw).rstrip()
        if _OWN in line:
            raise ImportedFileError(
                f"{source.file}, line {line_number}: a table of clusterbench; expected its journal (.jsonl) instead"
            )
        row = _ROW.search(line) or _AFTER_PREFIX.search(line)
        if row is not None and "#" not in line[: row.start()]:
            test = streams.get(without_moment(line[: row.start()]), last)
            if test.columns:
                test.rows.append(_Row(line_number, row.group().split()))
            else:
                log.failures.add(line_number, "a row before the header of its table")
            continue
        if _FAILED.search(line):
            log.failures.add(line_number, line.strip()[:200])
        place = line.find("#")
        header = _header(line)
        if place < 0 and header is None and last.columns and not last.finished and _PART.search(line):
            log.failures.add(line_number, "a row that is damaged, or broken in two; left out")
            continue
        if header is None and (place < 0 or not _of_nccl_tests(line[place:])):
            programs = set(_PROGRAM.findall(line)) & COLLECTIVES.keys() if "_perf" in line else set()
            if len(programs) == 1:
                announced, said = programs.pop(), dict(_TOLD.findall(line))
            elif "set by environment" in line:
                (last.told if last.line else said).update(_TOLD.findall(line))
            continue
        place = place if header is None else header
        prefix, comment = without_moment(line[:place]), line[place:]
        known = streams.get(prefix)
        if comment.startswith(_FOOTER):
            (known or last).finished = True
            continue
        if known is None or _begins(comment, header is not None, known):
            known = streams[prefix] = _Test(line_number, announced=announced, told=dict(said))
            log.tests.append(known)
        last = known
        _take(comment, header is not None, known, log)
    return log


def _says_anything(line: str) -> bool:
    """Whether a line has what all lines have that are looked at: cheaper than to try each pattern on so much noise."""
    return (
        "#" in line or "_perf" in line or "size " in line or "ailure" in line or "AILURE" in line
        or "nvalid number" in line or "set by environment" in line
        or ("." in line and (_TYPED.search(line) or _PART.search(line)) is not None)
    )  # fmt: skip


def _header(line: str) -> int | None:
    """Where in a line the header of a table begins, or None."""
    found = _HEADER.search(line)
    return found.start() if found is not None and _HEADER_RATES.search(line, found.end()) is not None else None


def _of_nccl_tests(comment: str) -> bool:
    return bool(
        _STARTING.match(comment) or _PARAMETERS.match(comment) or _DEVICE.match(comment) or _VERSION.match(comment)
    ) or comment.startswith(_FOOTER)


def _begins(comment: str, header: bool, test: _Test) -> bool:
    """Whether this line belongs to a further test, and not to this one."""
    if header:  # twice before any row: of two processes that print the same
        return bool(test.rows)
    if test.columns:
        return True
    return bool((_PARAMETERS.match(comment) and test.setting) or (_STARTING.match(comment) and test.stated))


def _take(comment: str, header: bool, test: _Test, log: _Log) -> None:
    """Read a comment line of a test into it."""
    if header:
        test.columns = comment.lstrip("# ").split()
    elif found := _STARTING.match(comment):
        test.stated = found.group(1)
    elif _PARAMETERS.match(comment):
        test.setting = {name: int(m.group(1)) for name, way in _SETTING.items() if (m := way.search(comment))}
    elif found := _DEVICE.match(comment):
        test.devices[int(found.group(1))] = (int(found.group(2) or 0), found.group(3), found.group(4))
    elif found := _VERSION.match(comment):
        log.versions[f"{found.group(1)}-tests"] = found.group(2)
        if found.group(3):
            log.versions[found.group(1)] = _library_version(int(found.group(3)))


def _library_version(code: int) -> str:
    """`2.29.2` from 22902; before 2.9 a version had four digits."""
    if code < 10000:
        return f"{code // 1000}.{code // 100 % 10}.{code % 100}"
    return f"{code // 10000}.{code // 100 % 100}.{code % 100}"


def _measurements(test: _Test, log: _Log, run_id: str, source: Source) -> list[Measurement]:
    """The rows of one test; what cannot be read is noted in the log."""
    shown = test.stated or test.announced or "a test"
    figures = [one for row in test.rows for one in _figures(row, test.columns, log)]
    if not figures:
        log.failures.add(test.line, f"{shown}: no result")
        return []
    if not test.finished:
        log.failures.add(test.rows[-1].line, f"{shown}: ends without its footer")
    if test.stated and test.stated not in COLLECTIVES:
        log.failures.add(test.line, f"{test.stated}: not a collective of this suite, left out")
        return []
    ranks = _ranks(test, figures, source)
    log.ranks_from.setdefault(ranks, f"the test from line {test.line} on")
    name = _collective(test, figures, ranks, source.file)
    group = [device for device in test.devices.values() if device[0] == test.devices.get(0, (0,))[0]]
    figures = _agreeing(figures, name, ranks, test.line, log)
    setting = Setting(
        run_id=run_id,
        collective=name,
        ranks=ranks,
        nodes=len({host for _, host, _ in group}) or 1,
        host=group[0][1] if group else "",
        device=", ".join(dict.fromkeys(device for _, _, device in group)),
        iterations=max(1, test.setting.get("iterations", 1) * test.setting.get("aggregated", 1)),
        warmup=test.setting.get("warmup", 0),
        host_time="cputime" in test.columns,
        algorithm=told(test.told),
    )
    return [measurement(setting, row) for row in figures]


def _figures(row: _Row, columns: list[str], log: _Log) -> Iterable[Figures]:
    """Both halves of a line; one that was not run is left out."""
    time = "cputime" if "cputime" in columns else "time"
    halves = [place for place, name in enumerate(columns) if name == time]
    if len(row.fields) < len([name for name in columns if name != "timestamp"]):
        log.failures.add(row.line, f"a row of {len(row.fields)} fields, its header has {len(columns)}; left out")
        return
    named = dict(zip(columns[: halves[0]], row.fields, strict=False))
    for placement, place in zip(("out_of_place", "in_place"), halves, strict=False):
        half = dict(zip(columns[place : place + 4], row.fields[place : place + 4], strict=False))
        if half[time] == "N/A":
            continue
        time_us, wrong = number(half[time]), half.get("#wrong", "N/A")
        wrong_elements = None if wrong == "N/A" else number(wrong)
        if not time_us or (wrong != "N/A" and wrong_elements is None):
            log.failures.add(
                row.line, f"time {half[time]!r} and {wrong!r} wrong elements; expected numbers, a time above 0"
            )
            continue
        rounded = "e" in half[time]  # from 10 s on the time has two digits, and the bandwidth two decimals
        if rounded and (rate := number(half["algbw"])) is not None and rate >= _LEAST_RATE:
            time_us = int(named["size"]) / (rate * 1e3)
        error = half.get("error", "N/A")
        root = named.get("root", "-1")
        yield Figures(
            size_bytes=int(named["size"]),
            count=int(named["count"]),
            dtype=DTYPES[named["type"]],
            op=named.get("redop", "none").removesuffix("none"),
            root=int(root) if re.fullmatch(r"-?\d{1,9}", root) else -1,
            placement=placement,
            time_s=time_us * 1e-6,
            wrong=None if wrong_elements is None else int(wrong_elements),
            note=f"line {row.line}" + ("" if error == "N/A" else f"; largest difference {error}"),
        )


def _agreeing(figures: list[Figures], name: str, ranks: int, line: int, log: _Log) -> list[Figures]:
    """Without rows whose size is not that of their elements, as noise makes it; all, if none agrees: then ranks do not.

    Either is noted.
    """
    agreeing = [row for row in figures if sizes_agree(name, row, ranks)]
    for row in [row for row in figures if row not in agreeing][: None if agreeing else 1]:
        words = f"{name} of {ranks} ranks: size {row.size_bytes} for {row.count} elements; they do not agree"
        if agreeing:
            log.failures.add(row.note.partition(";")[0], f"{words}, left out")
        else:
            log.failures.add(line, words)
    return agreeing or figures


def _split_over(row: Figures) -> float:
    """Into how many parts of one rank the size is cut: 1, or as many as there are ranks."""
    return row.size_bytes / (row.count * ITEM_BYTES[row.dtype]) if row.count else 0.0


def _bandwidth_factor(test: _Test) -> float | None:
    """busbw / algbw as printed, of the rows where two decimals are enough; None without such rows."""
    at = test.columns.index("algbw")
    found = []
    for row in test.rows:
        rates = [number(text) for text in row.fields[at : at + 2]]
        if len(rates) == 2 and rates[0] is not None and rates[1] is not None and min(rates[0], rates[1]) >= 1:
            found.append(rates[1] / rates[0])
    return median(found) if found else None


def _ranks(test: _Test, figures: list[Figures], source: Source) -> int:
    """How many devices the table lists; where it lists none, what sizes or bandwidths say, or the user."""
    if test.devices:
        own = test.devices.get(0, next(iter(test.devices.values())))[0]
        return sum(group == own for group, _, _ in test.devices.values())
    parts = max(_split_over(row) for row in figures)
    if parts > 1 and parts == int(parts):
        return int(parts)
    factor = _bandwidth_factor(test)
    if factor is not None and 1 < factor < 2 and figures[0].op:
        ranks = 2 / (2 - factor)  # an all_reduce: 2(p − 1)/p
        if abs(ranks - round(ranks)) < 0.1 and ranks < 64:
            return round(ranks)
    if source.ranks is not None:
        return source.ranks
    raise ImportedFileError(
        f"{source.file}, line {test.line}: the table lists no devices, and its ranks do not follow from its figures; "
        "expected lines '#  Rank 0 ... on HOST device 0 ...' before it, or --ranks"
    )


def _collective(test: _Test, figures: list[Figures], ranks: int, file: str) -> str:
    """This suite's name of the collective; see the head of this file."""
    if test.stated:
        return COLLECTIVES[test.stated]
    possible = _possible(test, figures, ranks)
    if len(possible) == 1:
        return possible[0]
    if COLLECTIVES.get(test.announced) in possible:
        return COLLECTIVES[test.announced]
    stem = re.sub(r"[^a-z]", "", Path(file).stem.lower())
    named = [name for name in possible if name.replace("_", "") in stem]
    longest = [name for name in named if not any(name != other and name in other for other in named)]
    if len(longest) == 1:
        return longest[0]
    raise ImportedFileError(
        f"{file}, line {test.line}: which collective the table is of cannot be told; it may be "
        f"{' or '.join(possible) or 'none known'}. Expected a line '# Collective test starting: NAME_perf' before it"
    )


def _possible(test: _Test, figures: list[Figures], ranks: int) -> list[str]:
    """The collectives that the operation, the root, the sizes and the bandwidths of a table agree with."""
    factor = _bandwidth_factor(test)
    rooted = any(row.root >= 0 for row in figures)
    reduced = any(row.op for row in figures)
    found = []
    for name in COLLECTIVES.values():
        agrees = 2 * sum(sizes_agree(name, row, ranks) for row in figures) > len(figures)  # noise may hit some
        expected = busbw_factor(name, ranks)
        if factor is not None:
            agrees &= abs(factor - expected) <= _RATE_ERROR * expected
        agrees &= rooted == (name in ("broadcast", "reduce", "scatter", "gather"))
        agrees &= reduced == (name in REDUCING) or name == "sendrecv"
        if agrees and name != "all_to_all_v":
            found.append(name)
    return found


IMPORTER = Importer(
    name="nccl-tests",
    summary="the tables of nccl-tests and rccl-tests, as printed or in a log",
    source="NVIDIA/nccl-tests src/common.cu and src/util.cu, ROCm/rccl-tests src/common.cu",
    recognises=_recognises,
    read=_read,
)
