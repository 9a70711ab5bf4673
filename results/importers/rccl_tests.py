"""The files of rccl-tests' reporter (`--output_file`), CSV or JSON: one row a time, out of place or in place.

    numCycle,collective,nodes,ranks,ranksPerNode,gpusPerRank,size,type,redop,inplace,time,algbw,busbw,#wrong
    0,"AllReduce",1,2,2,4,1048576,"float","sum",0,20.490000,51.175207,89.556613,"0"

    [
    {"numCycle":0, "name":"AllReduce", "nodes":1, "ranks":2, "ranksPerNode":2, "gpusPerRank":4, "size":1048576,
     "type":"float", "redop":"sum", "inPlace":0, "time":20.490000, "algBw":51.175207, "busBw":89.556613, "wrong":"0"},
    ]

Times are in µs, bandwidths in GB/s. Its `ranks` are processes, each with `gpusPerRank` GPUs, which are NCCL's ranks;
without MPI there is `gpus` in the place of the four counts. Where processes were split into groups, `ranksPerNode` are
those of a group: of both numbers the one is taken with which the two bandwidths agree. Its tables are nccl-tests'.

Source: the class Reporter in src/common.cu of ROCm/rccl-tests.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from clusterbench.results.imported_values import number, whole
from clusterbench.results.importing import Failures, Imported, Importer, Source, no_result
from clusterbench.results.nccl_rows import COLLECTIVES, DTYPES, ITEM_BYTES, Figures, Setting, measurement
from clusterbench.results.rates import busbw_factor, count_for_size
from clusterbench.results.record import Measurement

_NAMES = {program.replace("_", ""): name for program, name in COLLECTIVES.items()}
"""This suite's name of a collective, by the reporter's in small letters."""
_KEYS = ("name", "size", "type", "redop", "inplace", "time", "algbw", "busbw", "wrong")
_RECORD = re.compile(r"\{[^{}]*\}")
_RATE_ERROR = 0.01
"""Of the ratio of the two bandwidths, which have six decimals."""
_LEAST_RATE = 1e-3
"""GB/s from which these decimals are enough."""


def _recognises(text: str) -> bool:
    beginning = text[:4096].lstrip()
    return beginning.startswith("numCycle,") or (beginning[:1] == "[" and '"numCycle"' in beginning)


def _read(source: Source) -> Imported:
    failures = Failures()
    text = source.text()
    records = _json_records(text, failures) if text.lstrip()[:1] == "[" else _csv_records(text, failures)
    run_id = source.run_id("rccl-tests")
    rows: list[Measurement] = []
    ranks_from: dict[int, str] = {}
    for line, record in records:
        row = _row(record, line, run_id, failures)
        if row is not None:
            rows.append(row)
            ranks_from.setdefault(row.ranks, f"line {line}")
    if not rows:
        raise no_result(source, failures, "rows of rccl-tests' reporter")
    return Imported(source.run("rccl-tests", failures=failures.all()), tuple(rows), (None,) * len(rows), ranks_from)


def _csv_records(text: str, failures: Failures) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = text.split("\n")
    columns = [_key(name) for name in lines[0].strip().split(",")]
    for place, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            cells = next(csv.reader([line.strip()], strict=True))
        except (csv.Error, StopIteration) as error:
            failures.add(place, f"no CSV: {error}")
            continue
        if len(cells) != len(columns):
            failures.add(place, f"a row of {len(cells)} fields, its header has {len(columns)}; left out")
            continue
        yield place, dict(zip(columns, cells, strict=True))


def _json_records(text: str, failures: Failures) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of the array, each for itself: those before the place where a file was cut off are whole."""
    line, end = 1, 0
    for found in _RECORD.finditer(text):
        line += text.count("\n", end, found.start())
        end = found.start()
        try:
            record = json.loads(found.group())
        except ValueError as error:
            failures.add(line, f"no JSON: {error}")
            continue
        yield line, {_key(name): value for name, value in record.items()}
    rest = text[text.rfind("}") + 1 :]
    if "]" not in rest:
        failures.add(text.count("\n") + 1, "a row that was cut off" if "{" in rest else "ends without its ]")


def _key(name: str) -> str:
    """One name for a column of the CSV and a key of the JSON."""
    plain = name.strip().lower().removeprefix("#")
    return "name" if plain == "collective" else plain


def _row(record: Mapping[str, Any], line: int, run_id: str, failures: Failures) -> Measurement | None:
    """One row, or None where it is not understood."""
    missing = [key for key in _KEYS if key not in record]
    if missing:
        failures.add(line, f"a row without {missing[0]!r}; left out")
        return None
    name, dtype = _NAMES.get(str(record["name"]).lower()), DTYPES.get(str(record["type"]))
    size, time_us = whole(record["size"]), number(record["time"])
    if name is None or name == "all_to_all_v":
        failures.add(line, f"{str(record['name'])[:40]}: not a collective that can be taken over, left out")
        return None
    counts = [whole(record.get(key, 1)) for key in ("nodes", "ranks", "rankspernode", "gpusperrank")]
    gpus = whole(record.get("gpus", counts[3]))
    if dtype is None or size is None or not time_us or None in counts or not gpus:
        failures.add(line, "a row whose size, type, time or counts are not understood; left out")
        return None
    nodes, processes, of_group, _ = (count or 1 for count in counts)
    ranks = _ranks(name, record, processes * gpus, of_group * gpus)
    wrong = whole(record["wrong"])
    op = str(record["redop"])
    setting = Setting(
        run_id=run_id,
        collective=name,
        ranks=ranks,
        nodes=nodes if ranks == processes * gpus else 1,
        host="",
        device="",
        transport="rccl",
        backend="hip",
    )
    cycle = whole(record.get("numcycle", 0))
    figures = Figures(
        size_bytes=size,
        count=count_for_size(name, size, ITEM_BYTES[dtype], ranks) if size else 0,
        dtype=dtype,
        op="" if op == "none" else op,
        root=-1,
        placement="in_place" if str(record["inplace"]) in ("1", "true", "True") else "out_of_place",
        time_s=time_us * 1e-6,
        wrong=wrong,
        note=f"line {line}" + (f"; cycle {cycle}" if cycle else ""),
    )
    return measurement(setting, figures)


def _ranks(name: str, record: Mapping[str, Any], of_all: int, of_group: int) -> int:
    algbw, busbw = number(record["algbw"]), number(record["busbw"])
    if of_all != of_group and algbw is not None and busbw is not None and algbw >= _LEAST_RATE:
        agrees = [
            abs(busbw / algbw - busbw_factor(name, ranks)) <= _RATE_ERROR * busbw_factor(name, ranks)
            for ranks in (of_all, of_group)
        ]
        if agrees == [False, True]:
            return of_group
    return of_all


IMPORTER = Importer(
    name="rccl-tests",
    summary="the CSV and JSON files of rccl-tests' reporter (--output_file)",
    source="ROCm/rccl-tests src/common.cu",
    recognises=_recognises,
    read=_read,
    form="document",
)
