"""The tables of the OSU Micro-Benchmarks, as they stand in logs: several tests, any version, and noise between.

    + mpirun -np 64 ./osu_allreduce -f -z                      (how many ranks ran is said nowhere else)

    # OSU MPI-CUDA Allreduce Latency Test v7.4
    # Datatype: MPI_FLOAT.                                     (since 7.1)
    # Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)  Iterations        P50 Tail Lat(us)
    1024                   91.33             55.75            118.85        1000                   90.11

Columns are those of the table's own header. `-f` adds minimum, maximum and iterations; `-c` validation; `-z` or
`-z LIST` percentiles. Average, minimum and maximum are over ranks of each rank's mean, and percentiles over iterations
of the mean over ranks: so average and percentiles are of the same samples, and minimum and maximum are not.

    percentiles with P50    the median is P50, the mean the average; a sample is one call, averaged over the ranks
    -f                      the maximum: the mean of the slowest rank
    neither                 the average of the ranks' means

Non-blocking collectives have the time of communication alone ("Pure Comm."), and the rest in the note. Latency is half
of a round trip; bandwidths, in MB/s of 10^6 bytes, are of 64 messages in flight, and those of the bi-directional test
of both directions together, of the multiple-pair test of all pairs together; ours are those of one pair. What else is
there (one-sided, neighbourhood, barrier, latency of many pairs or threads) is named as left out.

Source: c/util/osu_util_mpi.c and the `BENCHMARK` of each program, OSU Micro-Benchmarks 5 to 7.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from clusterbench.results.imported_values import number
from clusterbench.results.importing import (
    Failures,
    Imported,
    ImportedFileError,
    Importer,
    Line,
    Source,
    no_result,
)
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
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import MIN_SAMPLES_P95, MIN_SAMPLES_P99

_TITLE = re.compile(r"# OSU (\S+?)(?:-([A-Z]+))?(?: MANAGED)? (\S.*?) Test\b(?: v(\S+))?")
_DATATYPE = re.compile(r"# Datatype: (MPI_\w+)")
_WINDOW = re.compile(r"\[ window size: (\d{1,9}) \]")
_PAIRS = re.compile(r"\[ pairs: (\d{1,9}) \]")
_PROGRAM = re.compile(r"\bosu_(?:nccl_|xccl_)?([a-z_]+)\b")
_RANKS = re.compile(r"(?:^|\s)(?:-np|-n|--np|--n|--ntasks|-ntasks)[ =](\d{1,9})\b")
_LAUNCHER = re.compile(r"\b(?:srun|mpirun|mpiexec|prun|prterun|aprun|ibrun|jsrun|flux)\b")
_POINT_TO_POINT = ("latency", "latency_mt", "latency_mp", "bw", "bibw", "mbw_mr", "multi_lat")
_ANY = ""
"""Any collective, in what command lines say."""
_COLUMN = re.compile(
    r"P\d{1,3} Tail (?:Lat\(us\)|BW\(MB/s\))|(?:Avg |Min |Max )?Latency ?\(us\)|Bandwidth ?\(MB/s\)|MB/s|Messages/s|"
    r"(?:Overall|Compute|Coll\. Init|MPI_Test|MPI_Wait|(?:Pure|Min|Max) Comm\.)\(us\)|Overlap ?\(%\)|"
    r"Iterations|Validation|Transmit Size|Size"
)
_HEADER = re.compile(r"# (?:Size|Overall\(us\)|Avg Latency|Bandwidth|Latency)\b")
_ENDED = re.compile(r"(?:\.\d\d|Pass|Fail)$")
"""How a last line ends that is known not to be cut off: numbers have two decimals, but for iterations."""
_BACKENDS = {"CUDA": "cuda", "ROCM": "hip", "OPENACC": "openacc"}
_OVER_NCCL = {"NCCL": "nccl", "RCCL": "rccl"}
_LATENCY, _BANDWIDTH = "latency", "bandwidth"
_PERCENTILE = re.compile(r"P(\d+)TailLat")
_US, _MB = 1e-6, 1e6


@dataclass(slots=True)
class _Test:
    """One test while it is read."""

    line: int
    library: str
    """MPI, NCCL or, of one-sided tests, a function."""
    device: str
    what: str
    announced: int | None = None
    """Ranks of the command line of its program before it."""
    dtype: str = ""
    window: int = WINDOW
    pairs: int = 1
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)


def _recognises(line: str) -> bool:
    return "# OSU " in line and _TITLE.search(line) is not None


def _read(source: Source) -> Imported:
    failures = Failures()
    tests, version = _scanned(source, failures)
    run_id = source.run_id("osu")
    rows: list[Measurement] = []
    ranks_from: dict[int, str] = {}
    for test in tests:
        found = _measurements(test, run_id, source, failures)
        rows += found
        for row in found:
            ranks_from.setdefault(
                row.ranks, "--ranks" if test.announced is None else f"the command before line {test.line}"
            )
    if not rows:
        raise no_result(source, failures, "rows of a table")
    run = source.run("osu", failures=failures.all(), versions={"osu": version} if version else {})
    return Imported(run, tuple(rows), (None,) * len(rows), ranks_from)


def _scanned(source: Source, failures: Failures) -> tuple[list[_Test], str]:
    """The tests of a log in their order, and the version of the last of them."""
    tests: list[_Test] = []
    announced: dict[str, int] = {}
    version = prefix = ""
    for line in source.lines():
        text = unprefixed(line.text, prefix)
        if title := _TITLE.search(text):
            library, device, what, named = title.groups()
            tests.append(_Test(line.number, library, device or "", what.lower()))
            tests[-1].announced = announced.get(_function(tests[-1].what), announced.get(_ANY))
            version = named or version
            prefix = text[: title.start()].strip() or prefix
        elif text[:1] == "#":
            _comment(text, line.number, tests, failures)
        elif says_failed(text):
            failures.add(line.number, text[:200])
        elif "osu_" in text and (program := _PROGRAM.search(text)):
            _command(text, program.group(1).removesuffix("_persistent"), announced)
        elif tests and tests[-1].columns:
            if LIKE_A_ROW.match(text):
                _row(text, line, tests[-1], failures)
            elif is_damaged_row(text, len(tests[-1].columns)):
                failures.add(line.number, "a row that is damaged, or behind other words; left out")
    return tests, version


def _command(text: str, function: str, announced: dict[str, int]) -> None:
    """Note for which tables a command line says how many ranks run: those of its program, and any without one.

    A command that does not say it ends what an earlier one said.
    """
    of = (function,) if function in _POINT_TO_POINT else (function, _ANY)
    ranks = _RANKS.search(text)
    if ranks or _LAUNCHER.search(text):
        for one in of:
            announced.pop(one, None)
    if ranks:
        announced.update(dict.fromkeys(of, int(ranks.group(1))))


def _comment(text: str, line: int, tests: list[_Test], failures: Failures) -> None:
    """A line of a test's head."""
    if _HEADER.match(text):
        if not tests or tests[-1].columns:
            failures.add(line, "the header of a table without its title")
            tests.append(_Test(line, "", "", "a table without its title"))
        unknown = _COLUMN.sub("", text).strip("# \t")
        if unknown:
            failures.add(line, f"columns {unknown[:60]!r} are not known, and their table is left out")
        else:
            tests[-1].columns = [name.replace(" ", "") for name in _COLUMN.findall(text)]
    elif tests and (datatype := _DATATYPE.match(text)):
        tests[-1].dtype = datatype.group(1)
    elif tests and (window := _WINDOW.search(text)):
        tests[-1].window = int(window.group(1))
        pairs = _PAIRS.search(text)
        tests[-1].pairs = max(1, int(pairs.group(1))) if pairs else 1


def _row(text: str, line: Line, test: _Test, failures: Failures) -> None:
    """Take a line of a table, or note why not."""
    fields = text.split()
    if len(fields) != len(test.columns):
        failures.add(line.number, f"{len(fields)} fields, the header of the table has {len(test.columns)}; left out")
    elif not line.whole and not _ENDED.search(text):
        failures.add(line.number, "the last line, which may have been cut off; left out")
    else:
        test.rows.append((line.number, dict(zip(test.columns, fields, strict=True))))


def _measurements(test: _Test, run_id: str, source: Source, failures: Failures) -> list[Measurement]:
    """The rows of a test; what cannot be taken over is noted."""
    benchmark = _benchmark(test)
    if benchmark is None:
        failures.add(test.line, f"{test.library} {test.what}: not a test that can be taken over, left out")
        return []
    figures = [one for line, row in test.rows if (one := _figures(row, line, test, benchmark, failures)) is not None]
    if not figures:
        failures.add(test.line, f"{test.what}: no result")
        return []
    ranks = 2 * test.pairs if benchmark.is_message else source.ranks if test.announced is None else test.announced
    if not ranks:
        raise ImportedFileError(
            f"{source.file}, line {test.line}: how many ranks ran is said neither here nor by a command "
            "'mpirun -np N ... osu_...' before it; expected --ranks N"
        )
    rooted = benchmark.name in ("broadcast", "reduce", "gather", "scatter")
    backend = _BACKENDS.get(test.device, "cpu")
    over_nccl = _OVER_NCCL.get(test.library, "library")
    setting = Setting(
        run_id=run_id,
        benchmark=benchmark,
        ranks=ranks,
        # Where no line says so, reductions are of floats and all else is of characters.
        dtype=DTYPES.get(test.dtype, "float32" if benchmark.reduces else "int8"),
        op="sum",
        root=0 if rooted else -1,
        transport=("mpi" if benchmark.is_message else "library") if over_nccl == "library" else over_nccl,
        backend=backend,
        shape=benchmark.shape(test.pairs, test.window),
        notes=(f"{test.pairs} pairs at once",) if test.pairs > 1 else (),
    )
    return [measurement(setting, one) for one in figures]


def _benchmark(test: _Test) -> Benchmark | None:
    """What a test measures, or None for one that has no place among our rows."""
    if test.library not in ("MPI", *_OVER_NCCL):
        return None
    messages = {
        "latency": message("latency"),
        "bandwidth": message("one-way"),
        "bi-directional bandwidth": message("two-way"),
        "multiple bandwidth / message rate": message("one-way"),
    }
    if test.what in messages:
        return messages[test.what]
    function = _function(test.what)
    if function.endswith("reduce_scatter_block"):  # whose sizes are in no source that was read
        return None
    return collective(f"{function}_init" if test.what.removesuffix(" latency").endswith(" persistent") else function)


def _function(what: str) -> str:
    """MPI's function that a title names, in small letters: `iallreduce` of `non-blocking allreduce latency`."""
    words = what.removesuffix(" latency").removesuffix(" persistent")
    blocking, words = not words.startswith("non-blocking "), words.removeprefix("non-blocking ")
    function = words.removesuffix(" personalized exchange").replace("all-to-all", "alltoall").replace("-", "_")
    function = {"broadcast": "bcast"}.get(function, function)
    return function if blocking else f"i{function}"


def _figures(
    row: dict[str, str], line: int, test: _Test, benchmark: Benchmark, failures: Failures
) -> Figures | None:  # fmt: skip
    """A row of a table, or None where it is not understood."""
    values = {name: number(text) for name, text in row.items() if name != "Validation"}
    found = {name: value for name, value in values.items() if value is not None}
    if len(found) < len(values) or "Size" not in found:
        failures.add(line, "a row whose figures are not all numbers from 0, or without a size; left out")
        return None
    time = _time(found, test, benchmark)
    if time is None:
        failures.add(line, "no time, or one of 0; left out")
        return None
    wrong = {"pass": 0, "fail": 1}.get(row.get("Validation", "").lower())
    return Figures(
        line=line,
        size_bytes=int(found["Size"]),
        time_s=time.seconds,
        mean_s=time.mean_s,
        p95_s=time.p95_s,
        p99_s=time.p99_s,
        n=time.n,
        batch=time.batch,
        sample_unit=time.unit,
        wrong=wrong,
        reason="its validation failed, at how many elements is not said" if wrong else "",
        notes=time.notes,
    )


class _Time(NamedTuple):
    """What a row says of the time."""

    seconds: float
    unit: str
    mean_s: float | None = None
    n: int = 1
    batch: int = 1
    p95_s: float | None = None
    p99_s: float | None = None
    notes: tuple[str, ...] = ()


def _time(found: dict[str, float], test: _Test, benchmark: Benchmark) -> _Time | None:
    """The time of a row by its columns, or None where it has none above 0."""
    if _BANDWIDTH in test.what:
        return _of_bandwidth(found, benchmark, test)
    if "PureComm.(us)" in found:
        return _of_non_blocking(found)
    average = found.get("AvgLatency(us)", found.get("Latency(us)", 0.0))
    if not average:
        return None
    iterations, slowest = int(found.get("Iterations", 0)), found.get("MaxLatency(us)")
    of_ranks = (
        (f"over ranks {found.get('MinLatency(us)', 0):g} to {slowest:g} us, mean {average:g}",) if slowest else ()
    )
    if found.get("P50TailLat(us)"):
        return _of_percentiles(found, average, iterations, benchmark, of_ranks)
    calls = f"the mean of {iterations or 'all'} calls"
    batch = max(1, iterations)
    if benchmark.is_message:
        return _Time(average * _US, f"half of a round trip, {calls}", batch=batch)
    if slowest:
        return _Time(slowest * _US, f"{calls} on the slowest rank", batch=batch, notes=of_ranks)
    return _Time(average * _US, f"{calls}, averaged over the ranks", batch=batch)


def _of_percentiles(
    found: dict[str, float], average: float, iterations: int, benchmark: Benchmark, notes: tuple[str, ...]
) -> _Time:  # fmt: skip
    """Percentiles of so few iterations that the tail is only the largest of them go into the note."""
    p95, p99 = (
        found[name] * _US if name in found and iterations >= least else None
        for name, least in (("P95TailLat(us)", MIN_SAMPLES_P95), ("P99TailLat(us)", MIN_SAMPLES_P99))
    )
    others = {
        text.group(1): value
        for name, value in found.items()
        if (text := _PERCENTILE.match(name)) and text.group(1) not in ("50", *["95"] * bool(p95), *["99"] * bool(p99))
    }
    return _Time(
        found["P50TailLat(us)"] * _US,
        "half of a round trip" if benchmark.is_message else "one call, averaged over the ranks",
        mean_s=average * _US,
        n=max(1, iterations),
        p95_s=p95,
        p99_s=p99,
        notes=(*notes, *(f"P{percentile} {value:g} us" for percentile, value in others.items())),
    )


def _of_non_blocking(found: dict[str, float]) -> _Time | None:
    """The time of communication alone, of the slowest rank where it is known."""
    pure, slowest = found["PureComm.(us)"], found.get("MaxComm.(us)")
    if not (slowest or pure):
        return None
    notes = (
        f"with {found.get('Compute(us)', 0):g} us of computing {found.get('Overall(us)', 0):g} us, "
        f"{found.get('Overlap(%)', 0):g} % overlapped",
    )
    unit = "the mean of all calls without computing, " + (
        "on the slowest rank" if slowest else "averaged over the ranks"
    )
    return _Time((slowest or pure) * _US, unit, notes=notes)


def _of_bandwidth(found: dict[str, float], benchmark: Benchmark, test: _Test) -> _Time | None:
    """The time of one message of a pair, of those in flight; what is printed is of all pairs, and both directions."""
    rate = found.get("Bandwidth(MB/s)", found.get("MB/s", 0.0)) * _MB
    if not rate or not found["Size"]:
        return None
    at_once = benchmark.directions * test.pairs
    return _Time(found["Size"] * at_once / rate, f"one message, the mean of windows of {test.window}")


IMPORTER = Importer(
    name="osu",
    summary="the tables of the OSU Micro-Benchmarks, as printed or in a log",
    source="OSU Micro-Benchmarks 7.4, c/util/osu_util_mpi.c",
    recognises=_recognises,
    read=_read,
)
