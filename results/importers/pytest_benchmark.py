"""The JSON files of pytest-benchmark (`--benchmark-json`, `--benchmark-save`): one row a benchmark.

    {"machine_info": {"node", "cpu": {"brand_raw"}, ...}, "commit_info": {...}, "datetime": "...", "version": "5.2.3",
     "benchmarks": [{"name": "test_sum[8-float32]", "fullname": "tests/test_sums.py::test_sum[8-float32]",
                     "params": {"n": 8, "dtype": "float32"}, "param": "8-float32", ...,
                     "stats": {"min", "max", "mean", "median", "rounds", "iterations", "data": [...], ...}}]}

Times are seconds of one call; a sample is a round, the mean of `iterations` calls. Where the rounds are in the file
(`data`) they are the row's samples. A row's name is the full one without its parameters, which are its shape.

What this suite measured itself (`bench/pytest_plugin`) is in the file as it is, and read back as it was:

    {"clusterbench": {"run": {fields of Run}}, "benchmarks": [{..., "extra_info": {"clusterbench":
        {"schema_version": 1, "rows": [{fields of Measurement}, ...]}}}]}

The rounds are the samples of its rows, one row after the other. The run is named by the file, as any that is imported.

Source: Metadata.as_dict in pytest_benchmark/stats.py, and session.py, of pytest-benchmark 5.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from clusterbench.results.columns import checked_row
from clusterbench.results.imported_values import json_document, listed, number, whole
from clusterbench.results.importing import (
    Failures,
    Imported,
    Importer,
    Samples,
    Source,
    no_result,
)
from clusterbench.results.record import SCHEMA_VERSION, Measurement, RecordError, Run
from clusterbench.results.statistics import summarise

_KEYS = ('"machine_info"', '"benchmarks"')
_LONGEST_TEXT = 200


def _recognises(text: str) -> bool:
    return text.lstrip()[:1] == "{" and all(key in text for key in _KEYS)


def _read(source: Source) -> Imported:
    failures = Failures()
    document = json_document(source, "benchmarks", failures)
    run_id = source.run_id("pytest-benchmark")
    host, device = _machine(document.get("machine_info"))
    started_at = document.get("datetime")
    rows: list[Measurement] = []
    samples: list[Samples | None] = []
    for place, benchmark in enumerate(listed(document, "benchmarks")):
        own = _own_rows(benchmark, f"benchmarks[{place}]", failures)
        if own is not None:
            rows += [replace(row, run_id=run_id) for row, _ in own]
            samples += [seconds for _, seconds in own]
            continue
        found = _row(benchmark, f"benchmarks[{place}]", failures)
        if found is not None:
            fields, seconds = found
            rows.append(Measurement(run_id=run_id, host=host, device=device, **fields))
            samples.append(seconds)
    if not rows:
        raise no_result(source, failures, "statistics in 'benchmarks'")
    run = source.run(
        "pytest-benchmark",
        failures=failures.all(),
        versions={"pytest-benchmark": str(document.get("version", ""))[:_LONGEST_TEXT]},
        started_at=started_at[:_LONGEST_TEXT] if isinstance(started_at, str) else "",
    )
    return Imported(_as_it_was(run, document.get("clusterbench"), failures), tuple(rows), tuple(samples))


def _as_it_was(run: Run, found: object, failures: Failures) -> Run:
    """`run` with what the file says of the run that its rows are of."""
    if not isinstance(found, dict):
        return run
    try:
        row = checked_row(Run, found.get("run"))
        if not isinstance(row.get("environment"), dict):
            raise RecordError("environment is no object")
        was = Run.from_row({**row, "failures": ()})
    except (RecordError, TypeError) as error:
        failures.add("clusterbench", f"{error}; left out")
        return replace(run, failures=failures.all())
    environment = {**was.environment, **run.environment, "versions": _versions(was) | run.environment["versions"]}
    return replace(run, started_at=was.started_at, command=was.command, seed=was.seed, environment=environment)


def _versions(run: Run) -> dict[str, Any]:
    versions = run.environment.get("versions")
    return versions if isinstance(versions, dict) else {}


def _own_rows(benchmark: object, where: str, failures: Failures) -> list[tuple[Measurement, Samples | None]] | None:
    """The rows of a benchmark that this suite measured, with their samples; None where they are none of its."""
    extra = benchmark.get("extra_info") if isinstance(benchmark, dict) else None
    own = extra.get("clusterbench") if isinstance(extra, dict) else None
    if not isinstance(benchmark, dict) or not isinstance(own, dict):
        return None
    try:
        version = own.get("schema_version")
        if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= SCHEMA_VERSION:
            raise RecordError(f"schema_version is {version!r:.40}; this clusterbench reads 1 to {SCHEMA_VERSION}")
        rows = [Measurement.from_row(checked_row(Measurement, row)) for row in listed(own, "rows")]
    except RecordError as error:
        failures.add(where, f"{error}; read as any benchmark")
        return None
    stats = benchmark.get("stats")
    seconds = _samples(stats.get("data")) if isinstance(stats, dict) else None
    if not rows or seconds is None or len(seconds) != sum(row.n for row in rows):
        return [(row, None) for row in rows] or None
    return list(zip(rows, np.split(seconds, np.cumsum([row.n for row in rows])[:-1]), strict=True))


def _machine(info: object) -> tuple[str, str]:
    """The host, and its processor."""
    if not isinstance(info, dict):
        return "", ""
    cpu = info.get("cpu")
    device = cpu.get("brand_raw") or cpu.get("brand") if isinstance(cpu, dict) else info.get("processor")
    return str(info.get("node") or "")[:_LONGEST_TEXT], str(device or "")[:_LONGEST_TEXT]


def _row(benchmark: object, where: str, failures: Failures) -> tuple[dict[str, Any], Samples | None] | None:
    """The fields of a row and its samples, or None where it has no time; what is not understood is noted."""
    stats = benchmark.get("stats") if isinstance(benchmark, dict) else None
    if not isinstance(benchmark, dict) or not isinstance(stats, dict):
        failures.add(where, "no statistics; left out")
        return None
    name, shape = name_and_shape(
        str(benchmark.get("fullname") or benchmark.get("name") or ""), benchmark.get("param"), benchmark.get("params")
    )
    median, rounds, iterations = number(stats.get("median")), whole(stats.get("rounds")), whole(stats.get("iterations"))
    seconds = _samples(stats.get("data"))
    if seconds is None and (not name or not median or not rounds):
        failures.add(where, f"{name[:80]}: no name, no median above 0, or no rounds; left out")
        return None
    figures: dict[str, Any] = {
        "median_s": median, "min_s": number(stats.get("min")), "mean_s": number(stats.get("mean")), "n": rounds
    }  # fmt: skip
    if seconds is not None:
        summary = summarise(seconds)
        figures = {field: getattr(summary, field) for field in summary.__slots__}
    batch = max(1, iterations or 1)
    return {
        "suite": "kernels",
        "name": name,
        "backend": "pytest",
        "shape": shape,
        **figures,
        "batch": batch,
        "sample_unit": "one call" if batch == 1 else f"the mean of {batch} calls",
        "stop": "fixed",
        "evidence": "measured",
        "origin": "imported",
        "note": where,
    }, seconds


def name_and_shape(full: str, param: object, params: object) -> tuple[str, str]:
    """`tests/test_sums.py::test_sum` and `n=8,dtype=float32`.

    Of the full name of a test, the text of its parameters, and its parameters by name, of which there may be none.
    """
    name = full.removesuffix(f"[{param}]") if param else full
    if isinstance(params, Mapping) and params:
        shape = ",".join(
            f"{key}={value if isinstance(value, str) else json.dumps(value, default=str)}"
            for key, value in params.items()
        )
    else:
        shape = str(param or "")
    return name[:_LONGEST_TEXT], shape[:_LONGEST_TEXT]


def _samples(data: object) -> Samples | None:
    """The rounds in seconds, where they are in the file and all of them are times."""
    times = [number(value) for value in data] if isinstance(data, list) else []
    if not times or not all(times):
        return None
    return np.array(times, np.float64)


IMPORTER = Importer(
    name="pytest-benchmark",
    summary="the JSON files of pytest-benchmark",
    source="pytest-benchmark 5.2, pytest_benchmark/stats.py",
    recognises=_recognises,
    read=_read,
    form="document",
)
