"""What the page itself computes with: every row of every run, as columns in which no text stands twice.

The tables of all rows and of problems, the filters, the comparison of two runs and the history of a point are made in
the page from this, so that a report over dozens of runs holds each row once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from clusterbench.results.compare import ALIKE, POINT
from clusterbench.results.notes import what_ran
from clusterbench.results.record import Run, instant
from clusterbench.results.report import machine
from clusterbench.results.report.rows import buffers, lines, traffic
from clusterbench.results.statistics import DEFAULT_TOLERANCE

if TYPE_CHECKING:
    from pandas import DataFrame, Series

FILTERS = {
    "suite": "Suite",
    "name": "Kernel or collective",
    "algorithm": "Algorithm",
    "dtype": "Type",
    "host": "Host",
    "device": "Device",
    "verdict": "Verdict",
    "evidence": "Evidence",
    "origin": "Origin",
}
"""The fields by which a reader filters, with their names."""
NO_VERDICT = "not judged"
MIN_LAUNCHES = 4
"""Launches a side from which their spread can be told: with 3 a rank test cannot reach 5 %, as 2/C(6, 3) is 10 %."""
_TEXTS = ("suite", "name", "algorithm", "dtype", "host", "device", "evidence", "origin", "bound_by", "reason")
_MORE_TEXTS = ("culprit", "note", "started_at")
_NUMBERS = {
    "low_s": "ci95_low_s",
    "high_s": "ci95_high_s",
    "median_s": "median_s",
    "bound_share": "bound_share",
    "size_bytes": "size_bytes",
    "ranks": "ranks",
    "n": "n",
    "wrong": "wrong",
}


def embedded(runs: Sequence[Run], frame: DataFrame) -> dict[str, Any]:
    """The runs, their rows and the rules of comparison as JSON values; `frame` has its rows numbered from 0.

    A column of text is `{"values": [...], "codes": [...]}`. `point` numbers what was measured (`compare.POINT` and
    `compare.ALIKE`), so that rows of several runs meet; it is -1 for a row that only repeats another (`_points`).
    """
    listed = list(lines(frame))
    place = {run.run_id: number for number, run in enumerate(runs)}
    columns: dict[str, Any] = {name: _coded(frame[name]) for name in (*_TEXTS, *_MORE_TEXTS)}
    columns["verdict"] = _coded(frame["verdict"].fillna(NO_VERDICT))
    columns["what"] = _coded([what(row) for row in listed])
    columns["shape"] = _coded([shown_shape(row) for row in listed])
    columns.update({name: _numbers(frame[field]) for name, field in _NUMBERS.items()})
    rate = frame["busbw"].fillna(frame["bytes_per_s"])
    columns["rate"] = _numbers(rate)
    columns["run"] = [place[run_id] for run_id in frame["run_id"]]
    columns["point"] = _points(frame)
    return {
        "rows": columns,
        "count": len(frame),
        "filters": FILTERS,
        "runs": [_run(run, frame[frame["run_id"] == run.run_id]) for run in runs],
        "environment": _environment(runs),
        "rules": {"tolerance": DEFAULT_TOLERANCE, "min_launches": MIN_LAUNCHES},
    }


def what(row: Any) -> str:
    """What a row of `lines` measured, in words, without its size."""
    root = f"root {row.root}" if row.root >= 0 else ""
    routed = f"traffic {traffic(row.shape)}" if traffic(row.shape) else ""
    memory = f"{buffers(row.shape)} buffers" if buffers(row.shape) else ""
    placement = row.placement.replace("_", " ")
    # The library is its own transport, and host memory needs no mention.
    where = "" if row.transport in ("mpi", row.algorithm) else row.transport
    backend = "" if row.backend == "cpu" else row.backend
    parts = (row.name, row.algorithm, where, backend, row.dtype, row.op, placement, root, memory, routed)
    return " ".join(part for part in parts if part)


def shown_shape(row: Any) -> str:
    """The shape of a kernel or of messages; empty for a collective, which is told by its size."""
    return row.shape if row.suite != "collectives" else ""


def host_of(run: Run, rows: DataFrame) -> str:
    """The host of a run, by its environment or its rows."""
    host = run.environment.get("host")
    named = host.get("name") if isinstance(host, dict) else host
    return str(named or next((name for name in rows["host"] if name), "") or "unnamed host")


def _run(run: Run, rows: DataFrame) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "host": host_of(run, rows),
        "started": shown_time(run.started_at),
        "started_s": instant(run.started_at),
        "command": run.command,
        "status": run.status,
    }


def shown_time(started_at: str) -> str:
    """An ISO 8601 time to the minute, with its zone; whatever else it is as it stands."""
    if instant(started_at) is None:
        return started_at
    return datetime.fromisoformat(started_at).isoformat(" ", "minutes")


def _coded(values: Series | list[str]) -> dict[str, Any]:
    import pandas as pd

    codes, found = pd.factorize(pd.Series(values, dtype="str"))
    return {"values": [str(value) for value in found], "codes": codes.tolist()}


def _numbers(values: Series) -> list[float | int | None]:
    """Integers as they are, of other numbers seven digits; None where one is missing, or is none that JSON has."""
    plain = values.astype(object).where(values.notna(), None)
    return [value if value is None or isinstance(value, int) else _short(value) for value in plain]


def _short(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _points(frame: DataFrame) -> list[int]:
    """Numbers of the points; of what a run measured again to be sure, a ceiling or a pair, one row takes part.

    Of a ceiling it is the highest and of a pair the middle one, as neither is another launch.
    """
    if frame.empty:
        return []
    size = frame["shape"].where(frame["shape"] != "", frame["size_bytes"].astype("str"))
    ran = [what_ran(*pair) for pair in zip(frame["algorithm"], frame["note"], strict=True)]
    sized = frame.assign(size=size, algorithm=ran)
    numbers = sized.groupby([*POINT, *ALIKE], sort=False, dropna=False).ngroup()
    again = sized.assign(point=numbers, rate=sized["flop_per_s"].fillna(sized["bytes_per_s"]))
    roof = again[again["suite"] == "roof"].sort_values("rate", kind="stable")
    numbers[roof.index[roof.duplicated(["run_id", "point"], keep="last")]] = -1
    pairs = again[again["suite"] == "pairs"].sort_values("median_s", kind="stable").groupby(["run_id", "point"])
    place, count = pairs.cumcount(), pairs["point"].transform("size")
    numbers[place.index[place != (count - 1) // 2]] = -1
    found: list[int] = numbers.tolist()
    return found


def _environment(runs: Sequence[Run]) -> dict[str, Any]:
    """The settings in which the runs differ: names, texts, and for each run the number of its text (-1: not there)."""
    each = [
        {f"{card.title}: {name}": text for card in machine.cards(run) for name, text in card.entries} for run in runs
    ]
    names = list(dict.fromkeys(name for settings in each for name in settings))
    names = [name for name in names if len({settings.get(name) for settings in each}) > 1]
    texts = list(dict.fromkeys(text for settings in each for name in names if (text := settings.get(name)) is not None))
    number = {text: i for i, text in enumerate(texts)}
    codes = [[-1 if (text := s.get(name)) is None else number[text] for name in names] for s in each]
    return {"names": names, "texts": texts, "codes": codes}
