"""The JSON files of nccl-tests (`-J FILE`), versions 1 to 3.

    {"args": ["all_reduce_perf", ...], "env": ["NCCL_ALGO=Ring", ...], "nccl_version": 22902, "start_time": ...,
     "config": {"nthreads", "ngpus", "warmup_iters", "iterations", "aggregated_iterations", ...},
     "devices": [{"rank", "group", "hostname", "device_info", ...}],
     "results": [{"size", "count", "type", "redop", "root",
                  "out_of_place": {"time" or "cpu_time", "alg_bw", "bus_bw", "nwrong"} or null, "in_place": {...},
                  "out_of_place_per_iter": {"times_us": [...]}, ...}]}

Times are in µs. `devices` names the first device of each process only, so that the ranks are counted with the devices
a process has. Numbers of wrong elements are null where the data was not checked; "nan" is no number.

Source: src/util.cu of nccl-tests.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import PurePath
from typing import Any

import numpy as np

from clusterbench.results.imported_values import json_document, listed, number, whole
from clusterbench.results.importing import Failures, Imported, ImportedFileError, Importer, Samples, Source, no_result
from clusterbench.results.nccl_rows import (
    COLLECTIVES,
    DTYPES,
    SETTINGS,
    Figures,
    Setting,
    measurement,
    sizes_agree,
    told,
)
from clusterbench.results.record import Measurement

_NEWEST = 3
_KEYS = ('"nccl_version"', '"results"', '"config"')


def _recognises(text: str) -> bool:
    return text.lstrip()[:1] == "{" and all(key in text for key in _KEYS)


def _read(source: Source) -> Imported:
    file, failures = source.file, Failures()
    document = json_document(source, "results", failures)
    version = document.get("version", 1)
    if not isinstance(version, int) or version > _NEWEST:
        raise ImportedFileError(f"{file}: version {version!r}; expected 1 to {_NEWEST}")
    setting = _setting(document, source.run_id("nccl-tests"), file)
    rows: list[Measurement] = []
    samples: list[Samples | None] = []
    for error in listed(document, "errors"):
        failures.add("errors", str(error)[:200])
    for place, result in enumerate(listed(document, "results")):
        where = f"results[{place}]"
        for placement in ("out_of_place", "in_place"):
            read = _figures(result, placement, where, file)
            if read is None:
                continue
            if not sizes_agree(setting.collective, read, setting.ranks):
                failures.add(where, f"{read.size_bytes} bytes, {read.count} elements, {setting.ranks} ranks")
            times = _samples(result, placement)
            rows.append(measurement(setting, read, times))
            samples.append(times)
    if not rows:
        raise no_result(source, failures, "times in 'results'")
    run = source.run(
        "nccl-tests",
        failures=failures.all(),
        versions={"nccl": str(document.get("nccl_version"))},
        started_at=setting.started_at,
        finished_at=_time(document, "end_time"),
        command=" ".join(str(word) for word in listed(document, "args")),
    )
    return Imported(run, tuple(rows), tuple(samples), {setting.ranks: "its devices and config"})


def _setting(document: dict[str, Any], run_id: str, file: str) -> Setting:
    words = [str(word) for word in listed(document, "args")]
    program = re.sub(r"_perf(_mpi)?$", "", PurePath(words[0]).name if words else "")
    if program not in COLLECTIVES:
        raise ImportedFileError(f"{file}: args name the program {program!r}; expected one of {', '.join(COLLECTIVES)}")
    config = document.get("config")
    counts = {
        name: whole(config.get(name, 1) if isinstance(config, dict) else 1)
        for name in ("nthreads", "ngpus", "iterations", "aggregated_iterations")
    }
    warmup = whole(config.get("warmup_iters", 0)) if isinstance(config, dict) else 0
    devices = [one for one in listed(document, "devices") if isinstance(one, dict)]
    if not devices or None in counts.values():
        raise ImportedFileError(f"{file}: no devices, or counts in config that are none; expected those of a test")
    group = [one for one in devices if one.get("group", 0) == devices[0].get("group", 0)]
    hosts = list(dict.fromkeys(str(one.get("hostname", "")) for one in group))
    results = listed(document, "results")
    return Setting(
        run_id=run_id,
        collective=COLLECTIVES[program],
        ranks=_ranks(group, (counts["nthreads"] or 1) * (counts["ngpus"] or 1)),
        nodes=len(hosts),
        host=hosts[0],
        device=", ".join(dict.fromkeys(str(one.get("device_info", "")) for one in group)),
        iterations=max(1, (counts["iterations"] or 1) * (counts["aggregated_iterations"] or 1)),
        warmup=warmup or 0,
        host_time="cpu_time" in str(results[0])[:1000] if results else False,
        started_at=_time(document, "start_time"),
        **{"algorithm": told(_settings(document)), **_ours(document.get("clusterbench"))},
    )


def _settings(document: dict[str, Any]) -> dict[str, str]:
    """What the library was told, by the environment of the process."""
    variables = (str(variable).partition("=") for variable in listed(document, "env"))
    return {name: value for name, _, value in variables if name in SETTINGS}


def _ours(what: object) -> dict[str, str]:
    """What `nccl_json` adds to say what ran, where this suite wrote the file."""
    names = ("algorithm", "transport", "backend", "sample_unit")
    return {name: str(what[name])[:200] for name in names if what.get(name)} if isinstance(what, dict) else {}


def _ranks(devices: list[dict[str, Any]], of_process: int) -> int:
    """The devices listed, each for all of its process, unless all of them are listed."""
    numbers = sorted(number for one in devices if (number := whole(one.get("rank"))) is not None)
    steps = {b - a for a, b in pairwise(numbers)}
    return len(devices) if steps == {1} else len(devices) * of_process


def _time(document: dict[str, Any], name: str) -> str:
    """ISO 8601 of the local time that nccl-tests writes, of which it does not say the zone."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)", str(document.get(name, "")))
    return f"{found.group(1)}T{found.group(2)}" if found else ""


def _figures(result: object, placement: str, where: str, file: str) -> Figures | None:
    """One half of a result, or None where it was not run."""
    half = result.get(placement) if isinstance(result, dict) else None
    if not isinstance(result, dict) or half is None:
        return None
    time_us = number(half.get("time", half.get("cpu_time"))) if isinstance(half, dict) else None
    size, count, dtype = whole(result.get("size")), whole(result.get("count")), str(result.get("type"))
    if not time_us or size is None or count is None or dtype not in DTYPES:
        raise ImportedFileError(f"{file}: {where}.{placement} has no time, size, count or type that is understood")
    wrong = number(half.get("nwrong"))
    root = str(result.get("root", "")).strip()
    return Figures(
        size_bytes=size,
        count=count,
        dtype=DTYPES[dtype],
        op=str(result.get("redop", "none")).removesuffix("none"),
        root=int(root) if re.fullmatch(r"-?\d{1,9}", root) else -1,
        placement=placement,
        time_s=time_us * 1e-6,
        wrong=None if wrong is None else int(wrong),
        note=where,
    )


def _samples(result: dict[str, Any], placement: str) -> Samples | None:
    """Seconds of every iteration, where they were recorded (`-I`)."""
    block = result.get(f"{placement}_per_iter")
    times = [number(time) for time in listed(block, "times_us")] if isinstance(block, dict) else []
    if not times or not all(times):
        return None
    return np.array(times, np.float64) * 1e-6


IMPORTER = Importer(
    name="nccl-tests-json",
    summary="the JSON files of nccl-tests (-J)",
    source="NVIDIA/nccl-tests src/util.cu",
    recognises=_recognises,
    read=_read,
    form="document",
)
