"""Measurements as JSON with the keys of nccl-tests (`-J`, version 3), for programs that read that: a file a test.

A test is one collective of one run, by one algorithm, on the same ranks. Times are medians in µs, bandwidths GB/s.
What nccl-tests has no key for stands under `clusterbench`: which algorithm ran by what, and what a sample is. Numbers
and truth values are written as such. The importer `nccl-tests-json` reads such a file back with the same figures.

Source: src/util.cu of nccl-tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterbench.results.export import write_whole
from clusterbench.results.nccl_rows import COLLECTIVES, DTYPES
from clusterbench.results.record import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

VERSION = 3
_TEST = ("run_id", "name", "algorithm", "transport", "backend", "ranks", "nodes", "host", "device", "sample_unit")
_NAMED = ("name", "algorithm", "transport", "ranks")
"""What the names of several files tell apart; a number does the rest."""
_POINT = ["size_bytes", "count", "dtype", "op", "root"]
_PROGRAMS = {name: program for program, name in COLLECTIVES.items()}
_TYPES = {numpy_name: nccl_name for nccl_name, numpy_name in reversed(DTYPES.items())}
_PLACEMENTS = ("out_of_place", "in_place")

Times = Mapping[int, "NDArray[np.float64]"]


def export_nccl_json(frame: DataFrame, samples: Times, runs: Mapping[str, Run], path: Path) -> tuple[list[Path], int]:
    """Write the measured rows of a frame that nccl-tests has a program for (see `Store.frame`), and their samples.

    One test goes to `path`, each of several to a file beside it. Returns the files, and how many rows were left out.
    Raises `ExportError` where a file cannot be written.
    """
    known = (
        frame["suite"].isin(["collectives", "point-to-point"])
        & frame["name"].isin(list(_PROGRAMS))
        & frame["dtype"].isin(list(_TYPES))
        & (frame["evidence"] == "measured")
        & frame["placement"].isin(_PLACEMENTS)
        & (frame["median_s"] > 0)
    )
    tests = list(frame[known].groupby(list(_TEST), sort=False, dropna=False))
    paths: list[Path] = []
    for key, rows in tests:
        head = dict(zip(_TEST, key, strict=True))
        target = path if len(tests) == 1 else _beside(path, head, paths)
        document = _document(head, rows, samples, runs.get(str(head["run_id"])))
        write_whole(target, partial(_write, document))
        paths.append(target)
    return paths, int((~known).sum())


def _write(document: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _beside(path: Path, head: Mapping[str, Any], taken: list[Path]) -> Path:
    words = "-".join(str(head[name]).replace("/", "_").replace(":", "_") for name in _NAMED)
    target = path.with_name(f"{path.stem}-{words}{path.suffix}")
    return target if target not in taken else path.with_name(f"{path.stem}-{words}-{len(taken)}{path.suffix}")


def _document(head: Mapping[str, Any], rows: DataFrame, samples: Times, run: Run | None) -> dict[str, Any]:
    batches, warmups = rows["batch"].unique(), rows["warmup"].unique()
    wrong = int(rows["wrong"].fillna(0).sum())
    versions = run.environment.get("versions") if run is not None else None
    nccl = versions.get("nccl") if isinstance(versions, dict) else None
    return {
        "version": VERSION,
        "start_time": _time(run.started_at if run else ""),
        "args": [f"{_PROGRAMS[head['name']]}_perf"],
        "env": [],
        "nccl_version": _version_code(nccl),
        "config": {
            "nthreads": 1,
            "ngpus": 1,
            "minimum_bytes": int(rows["size_bytes"].min()),
            "maximum_bytes": int(rows["size_bytes"].max()),
            "warmup_iters": int(warmups[0]) if len(warmups) == 1 else 0,
            "iterations": int(batches[0]) if len(batches) == 1 else 1,
            "aggregated_iterations": 1,
            "validation": int(bool(rows["wrong"].notna().any())),
        },
        "devices": _devices(head),
        "results": list(_results(rows, samples)),
        "errors": list(run.failures) if run is not None else [],
        "out_of_bounds": {"count": wrong, "okay": wrong == 0},
        "average_bus_bandwidth": {"bandwidth": float(rows["busbw"].mean()) / 1e9, "okay": True},
        "end_time": _time(run.finished_at if run else ""),
        "clusterbench": {name: head[name] for name in ("run_id", "algorithm", "transport", "backend", "sample_unit")},
    }


def _devices(head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A device a rank; of the hosts only the first has a name in a row, and the others get numbers behind it."""
    ranks, nodes = int(head["ranks"]), max(1, int(head["nodes"]))
    found = []
    for rank in range(ranks):
        node = rank * nodes // ranks
        host = f"{head['host']}+{node}" if node else str(head["host"])
        found.append({"rank": rank, "group": 0, "hostname": host, "device_info": str(head["device"])})
    return found


def _results(rows: DataFrame, samples: Times) -> Iterator[dict[str, Any]]:
    """An object a point, with both placements; where a point was measured again, further ones."""
    for _, point in rows.groupby(_POINT, sort=False):
        # A named tuple has a method `count`; what is missing is None.
        plain = point.rename(columns={"count": "elements"}).astype(object)
        listed: list[Any] = list(plain.where(plain.notna(), None).itertuples())
        halves = [[row for row in listed if row.placement == placement] for placement in _PLACEMENTS]
        for pair in zip_longest(*halves):
            first = next(row for row in pair if row is not None)
            result: dict[str, Any] = {
                "size": int(first.size_bytes),
                "count": int(first.elements),
                "type": _TYPES[first.dtype],
                "redop": first.op or "none",
                "root": str(first.root),
            }
            for placement, row in zip(_PLACEMENTS, pair, strict=True):
                result[placement] = None if row is None else _half(row)
                if row is not None and row.batch == 1 and row.Index in samples:
                    result[f"{placement}_per_iter"] = _per_iteration(samples[row.Index])
            yield result


def _half(row: Any) -> dict[str, Any]:
    return {
        "time": row.median_s * 1e6,
        "alg_bw": row.algbw / 1e9,
        "bus_bw": row.busbw / 1e9,
        "nwrong": None if row.wrong is None else int(row.wrong),
    }


def _per_iteration(seconds: NDArray[np.float64]) -> dict[str, Any]:
    times_us = seconds * 1e6
    p50, p95, p99 = np.percentile(times_us, (50, 95, 99)).tolist()
    return {
        "min_us": float(times_us.min()), "max_us": float(times_us.max()), "avg_us": float(times_us.mean()),
        "p50_us": p50, "p95_us": p95, "p99_us": p99, "times_us": times_us.tolist(),
    }  # fmt: skip


def _time(text: str) -> str:
    """nccl-tests' form of an ISO 8601 time, which has no zone."""
    return text[:19].replace("T", " ")


def _version_code(text: object) -> int:
    """22902 of `2.29.2`, or of a code already; 0 where it is unknown."""
    parts = str(text or "").split(".")
    if not all(part.isdecimal() and len(part) < 7 for part in parts):
        return 0
    numbers = [int(part) for part in parts]
    return (
        numbers[0] if len(numbers) == 1 else sum(n * 100**place for place, n in zip((2, 1, 0), numbers, strict=False))
    )
