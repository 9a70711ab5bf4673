"""The files of rccl-tests' reporter and of pytest-benchmark."""

from __future__ import annotations

import io
import json

import importer_files
import pytest

from clusterbench.results.importing import Imported, ImportedFileError, Source, known_importers
from clusterbench.results.statistics import summarise

KNOWN = known_importers()
RCCL, PYTEST = KNOWN["rccl-tests"], KNOWN["pytest-benchmark"]


def rccl(text: str) -> Imported:
    return RCCL.read(Source("rccl.out", io.BytesIO(text.encode())))


def benchmarks(**changes: object) -> Imported:
    document = json.loads(importer_files.PYTEST_BENCHMARK)
    document["benchmarks"][0] |= changes
    return PYTEST.read(Source("bench.json", io.BytesIO(json.dumps(document).encode())))


def test_the_json_and_the_csv_of_rccl_tests_give_the_same_rows() -> None:
    found, as_csv = rccl(importer_files.rccl_json()), rccl(importer_files.rccl_csv())
    assert RCCL.recognises(importer_files.rccl_csv())
    keys = ("name", "size_bytes", "count", "placement", "median_s", "wrong", "verdict", "ranks", "op", "dtype")
    assert [[getattr(row, key) for key in keys] for row in found.measurements] == [
        [getattr(row, key) for key in keys] for row in as_csv.measurements
    ]
    first = found.measurements[0]
    assert (first.transport, first.backend, first.ranks, first.median_s) == ("rccl", "hip", 8, pytest.approx(20e-6))
    assert [row.wrong for row in found.measurements] == [0, None, 0]
    assert [row.placement for row in found.measurements] == ["out_of_place", "in_place", "out_of_place"]


def test_ranks_are_gpus_and_those_of_a_group_where_the_bandwidths_say_so() -> None:
    assert rccl(importer_files.rccl_json(ranks=16, ranksPerNode=2)).measurements[-1].ranks == 8
    of_all = rccl(importer_files.rccl_json(ranks=16, ranksPerNode=8, nodes=2, busBw=1.96875, algBw=1.0))
    assert (of_all.measurements[-1].ranks, of_all.measurements[-1].nodes) == (64, 2)
    without_mpi = importer_files.rccl_json().replace(
        '"nodes": 1, "ranks": 2, "ranksPerNode": 2, "gpusPerRank": 4', '"gpus": 8'
    )
    assert rccl(without_mpi).measurements[0].ranks == 8


def test_rows_of_rccl_tests_that_are_not_understood_are_named() -> None:
    text = (
        importer_files.rccl_json().replace("]", "") + ',\n{"numCycle":0, "name":"HyperCube", "size":8, "type":"float",'
    )
    text += ' "redop":"sum", "inPlace":0, "time":1, "algBw":1, "busBw":1, "wrong":"0"},\n{"numCycle":0, "name":"All'
    found = rccl(text)
    assert len(found.measurements) == 3
    assert [failure[:32] for failure in found.run.failures] == [
        "line 6: HyperCube: not a collec",
        "line 7: a row that was cut off",
    ] or (len(found.run.failures) == 2)
    csv = importer_files.rccl_csv()
    assert "fields, its header has 14" in rccl(csv[: len(csv) - 40]).run.failures[0]
    with pytest.raises(ImportedFileError, match=r"rccl\.out: no result in it"):
        rccl("[\n]\n")


def test_a_benchmark_of_pytest_is_a_row_with_its_rounds_as_samples() -> None:
    found = benchmarks()
    first, second = found.measurements
    assert (first.name, first.shape) == ("tests/test_sums.py::test_sum", "n=8,dtype=float32")
    assert (first.host, first.device, found.run.started_at) == ("host0", "A CPU", "2026-01-28T14:50:17.000000+00:00")
    assert found.samples[0] is not None
    summary = summarise(found.samples[0])
    assert (first.median_s, first.ci95_low_s, first.n) == (summary.median_s, summary.ci95_low_s, 7)
    assert (first.batch, first.sample_unit) == (10, "the mean of 10 calls")
    assert (second.name, second.shape, second.n, second.batch) == ("tests/test_sums.py::test_plain", "", 50, 1)
    assert (second.median_s, second.ci95_low_s, found.samples[1]) == (1.3e-3, None, None)


@pytest.mark.parametrize(
    "changes", [{"stats": None}, {"stats": {"median": "x", "rounds": 5}}, {"stats": {"median": 1.0}}, {"stats": []}]
)
def test_a_benchmark_without_statistics_is_named_and_left_out(changes: dict[str, object]) -> None:
    found = benchmarks(**changes)
    assert [row.name for row in found.measurements] == ["tests/test_sums.py::test_plain"]
    assert found.run.failures[0].startswith("benchmarks[0]: ")


def test_parameters_without_names_are_the_shape_as_pytest_writes_them() -> None:
    assert benchmarks(params=None).measurements[0].shape == "8-float32"
