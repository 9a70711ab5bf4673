"""The tables of nccl-tests in all their forms: made here, line by line, as its versions and launchers print them."""

from __future__ import annotations

import io
import json
import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.results.importing import (
    Imported,
    ImportedFileError,
    Importer,
    Source,
    import_file,
    known_importers,
)
from clusterbench.results.record import Measurement

TEXT = known_importers()["nccl-tests"]
JSON = known_importers()["nccl-tests-json"]
TYPE_BYTES = {"float": 4, "double": 8, "half": 2}


def devices(ranks: int = 8, hosts: int = 1, group: str = "Group  0 ", bus: str = "0000:1b:00") -> list[str]:
    return [
        f"#  Rank {rank:2d} {group}Pid {1000 + rank:6d} on node{rank * hosts // ranks} device {rank % 8:2d} "
        f"[{bus}] NVIDIA H100 80GB HBM3"
        for rank in range(ranks)
    ]


def new(
    program: str = "all_reduce", *, ranks: int = 8, hosts: int = 1, sizes: tuple[int, ...] = (1 << 20, 1 << 25),
    op: str = "sum", root: int = -1, factor: float = 1.75, split: bool = False, wrong: str = "0", in_place: str = "0",
    kind: str = "float", starting: bool = True, footer: bool = True,
) -> list[str]:  # fmt: skip
    """A table of today's form: the time out of place is 10 µs + size / 100 GB/s, in place 1 µs less."""
    lines = [
        "# nccl-tests version 2.17.8 nccl-headers=22902 nccl-library=22902",
        f"# Collective test starting: {program}_perf",
        f"# nThread 1 nGpus 1 minBytes {min(sizes)} maxBytes {max(sizes)} step: 2(factor) warmup iters: 5 iters: 20 "
        "agg iters: 2 validation: 1 graph: 0",
        "#", "# Using devices", *devices(ranks, hosts), "#",
        "# Reducing maxBytes to 26549638485 due to memory limitation", "#",
        "#                                                              out-of-place                       in-place",
        "#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw"
        "  #wrong",
        "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)          (us)  (GB/s)  (GB/s)",
    ]  # fmt: skip
    if not starting:
        lines = [line for line in lines if "version" not in line and "starting" not in line]
    for size in sizes:
        count = size // TYPE_BYTES[kind] // (ranks if split else 1)
        halves = "".join(
            f" {time:8.2f} {size / time / 1e3:7.2f} {size / time / 1e3 * factor:7.2f} {checked:>7s}"
            for time, checked in ((10 + size / 1e5, wrong), (9 + size / 1e5, in_place))
        )
        lines.append(f"{size:12d} {count:13d} {kind:>9s} {op:>7s} {root:7d} {halves}")
    if footer:
        lines += ["# Out of bounds values : 0 OK", "# Avg bus bandwidth    : 87.5 ", "#"]
        lines += [f"# Collective test concluded: {program}_perf", "#"] if starting else []
    return lines


OLD = [
    "# nThread 1 nGpus 8 minBytes 1 maxBytes 8589934592 step: 2(factor) warmup iters: 5 iters: 20 validation: 0",
    "#",
    "# Using devices",
    *[f"#   Rank {rank:2d} Pid 112424 on localhost device {rank:2d} [0x0{rank}] A100-SXM4-40GB" for rank in range(8)],
    "#",
    "#                                                     out-of-place                       in-place",
    "#       size         count    type   redop     time   algbw   busbw  error     time   algbw   busbw  error",
    "#        (B)    (elements)                     (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)",
    "hostname:3442:3442 [0] NCCL INFO Launch mode Parallel",
    "           0             0   float     sum    35.20    0.00    0.00    N/A    34.05    0.00    0.00    N/A",
    "           0             0   float     sum    34.18    0.00    0.00    N/A    33.50    0.00    0.00    N/A",
    "           4             1   float     sum    34.73    0.00    0.00  2e-07    35.30    0.00    0.00    N/A",
    "  1073741824     268435456   float     sum   8159.5  131.59  230.29    N/A   8176.5  131.32  229.81    N/A",
    "# Out of bounds values : 0 OK",
    "# Avg bus bandwidth    : 68.4048",
    "#",
]


def source(text: str, name: str, ranks: int | None = None) -> Source:
    return Source(name, io.BytesIO(text.encode()), ranks)


def read(lines: list[str], name: str = "run.log", importer: Importer = TEXT, ranks: int | None = None) -> Imported:
    return importer.read(source("\n".join(lines) + "\n", name, ranks))


def only(lines: list[str], name: str = "run.log") -> Measurement:
    """The first row; the file must have been understood to its end."""
    found = read(lines, name)
    assert found.run.failures == ()
    return found.measurements[0]


def test_a_row_of_todays_form_becomes_two_measurements() -> None:
    found = read(new())
    assert found.run.failures == ()
    assert found.run.status == "finished"
    assert found.run.environment["versions"] == {"nccl-tests": "2.17.8", "nccl": "2.29.2"}
    assert len(found.measurements) == len(found.samples) == 4
    first, second = found.measurements[:2]
    assert (first.origin, first.evidence, first.suite, first.name) == (
        "imported",
        "measured",
        "collectives",
        "all_reduce",
    )
    assert (first.size_bytes, first.count, first.dtype, first.op, first.root) == (
        1 << 20,
        1 << 18,
        "float32",
        "sum",
        -1,
    )
    assert (first.ranks, first.nodes, first.host, first.device) == (8, 1, "node0", "NVIDIA H100 80GB HBM3")
    assert (first.placement, second.placement) == ("out_of_place", "in_place")
    assert first.median_s == first.mean_s == pytest.approx(20.49e-6)
    assert second.median_s == pytest.approx(19.49e-6)
    assert (first.n, first.batch, first.warmup) == (1, 40, 5)
    assert first.algbw == pytest.approx((1 << 20) / 20.49e-6)
    assert first.busbw == pytest.approx(1.75 * (1 << 20) / 20.49e-6)
    assert (first.wrong, first.verdict) == (0, "PASS")
    assert first.note == "line 20"


@pytest.mark.parametrize(
    ("program", "name", "factor", "split", "op", "root"),
    [
        ("all_gather", "all_gather", 0.875, True, "none", -1),
        ("reduce_scatter", "reduce_scatter", 0.875, True, "sum", -1),
        ("alltoall", "all_to_all", 0.875, True, "none", -1),
        ("broadcast", "broadcast", 1.0, False, "none", 0),
        ("reduce", "reduce", 1.0, False, "max", 3),
        ("gather", "gather", 0.875, True, "none", 0),
    ],
)
def test_every_program_has_its_name_and_only_reductions_an_operation(
    program: str, name: str, factor: float, split: bool, op: str, root: int
) -> None:
    row = only(new(program, factor=factor, split=split, op=op, root=root))
    assert (row.name, row.op, row.root) == (name, "" if op == "none" else op, root)
    assert row.busbw == pytest.approx(factor * (row.algbw or 0))


def test_sendrecv_is_point_to_point_though_it_prints_an_operation() -> None:
    row = only(new("sendrecv", factor=1.0, in_place="N/A"))
    assert (row.suite, row.name, row.op) == ("point-to-point", "sendrecv", "")


def test_the_old_form_has_neither_a_root_nor_a_count_of_wrong_elements() -> None:
    found = read(OLD)
    assert found.run.failures == ()
    assert [row.size_bytes for row in found.measurements] == [0, 0, 0, 0, 4, 4, 1 << 30, 1 << 30]
    last = found.measurements[-2]
    assert (last.name, last.ranks, last.root, last.wrong, last.verdict) == ("all_reduce", 8, -1, None, None)
    assert last.median_s == pytest.approx(8159.5e-6)
    assert found.measurements[0].algbw == 0.0
    assert "largest difference 2e-07" in found.measurements[4].note


def test_a_broadcast_of_the_old_form_has_a_root_and_no_operation() -> None:
    lines = [line.replace("  redop ", "   root ").replace("     sum ", "       0 ") for line in OLD]
    lines = [line.replace(" 230.29 ", " 131.59 ").replace(" 229.81 ", " 131.32 ") for line in lines]
    row = only(lines)
    assert (row.name, row.op, row.root) == ("broadcast", "", 0)


@pytest.mark.parametrize(
    "prefix",
    ["[1,0]<stdout>:", "0: ", "(head, rank=0, pid=3808) [1,0]<stdout>:", "\x1b[36m[1,0]<stdout>:\x1b[0m", "    "],
)
def test_what_a_launcher_puts_before_lines_is_taken_off(prefix: str) -> None:
    lines = [prefix + line for line in new(sizes=(1 << 20, 137438953472))]
    plain, prefixed = read(new(sizes=(1 << 20, 137438953472))), read(lines)
    assert prefixed.run.failures == ()
    assert [row.median_s for row in prefixed.measurements] == [row.median_s for row in plain.measurements]


def test_noise_between_and_around_the_lines_is_passed_over() -> None:
    noise = [
        "node0:12:34 [0] NCCL INFO Channel 00/24 : 0 1 2 3 4 5 6 7",
        "[node0:99] Read -1, expected 8",
        "",
        "\x00\ufffd" * 9,
    ]
    lines = [piece for line in new() for piece in (*noise, line)]
    assert [row.size_bytes for row in read(lines).measurements] == [1 << 20, 1 << 20, 1 << 25, 1 << 25]
    assert read([line + "\r" for line in lines]).run.failures == ()


def test_tests_one_after_the_other_are_kept_apart() -> None:
    lines = [
        *new(), "", *new("all_gather", factor=0.875, split=True, op="none", ranks=16, hosts=2),
        *new("broadcast", factor=1.0, op="none", root=0),
    ]  # fmt: skip
    found = read(lines)
    assert found.run.failures == ()
    assert [(row.name, row.ranks, row.nodes) for row in found.measurements[::4]] == [
        ("all_reduce", 8, 1), ("all_gather", 16, 2), ("broadcast", 8, 1),
    ]  # fmt: skip


def test_tables_that_several_launchers_print_into_each_other_are_kept_apart() -> None:
    first = ["0: " + line for line in new(ranks=2, factor=1.0)]
    second = ["1: " + line for line in new("all_gather", factor=0.75, split=True, op="none", ranks=4)]
    found = read([line for both in zip_longest(first, second, fillvalue="") for line in both])
    assert found.run.failures == ()
    assert {(row.name, row.ranks) for row in found.measurements} == {("all_reduce", 2), ("all_gather", 4)}
    assert len(found.measurements) == 8


def test_an_older_table_is_named_by_its_command_line_or_by_its_file() -> None:
    gathered = new("all_gather", factor=0.875, split=True, op="none", starting=False)
    row = only(["+ mpirun -np 8 ./build/all_gather_perf -b 1M -e 32M -f 2", *gathered])
    assert row.name == "all_gather"
    assert only(gathered, "nccl_allgather.log").name == "all_gather"
    assert only(gathered, "nccl-alltoall.log").name == "all_to_all"
    with pytest.raises(ImportedFileError, match=r"run\.log, line 1: which collective .* all_gather or all_to_all"):
        read(gathered)


def test_a_command_line_of_another_test_does_not_name_a_table_that_disagrees_with_it() -> None:
    row = only(["./build/all_gather_perf -b 8 -e 1G", *new(starting=False)])
    assert row.name == "all_reduce"


def told(*lines: str) -> list[str]:
    return [row.algorithm for row in read([*lines]).measurements[::4]]


def test_what_the_library_was_told_is_part_of_the_row() -> None:
    says = "node7:71:96 [0] NCCL INFO {} set by environment to {}".format
    line = "srun --export=ALL,NCCL_ALGO=NVLSTree,NCCL_PROTO=Simple all_reduce_perf -b 1M"
    assert told(*new()) == ["library"]
    assert told(line, *new()) == ["library:nvls_tree/simple"]
    first = new()
    inside = [*first[:13], says("NCCL_ALGO", "CollnetDirect"), says("NCCL_PROTO", "LL128"), *first[13:]]
    assert told(*inside) == ["library:collnet_direct/ll128"]
    # Of the next test nothing is said, and before the first test a line is of it.
    assert told(*inside, *new()) == ["library:collnet_direct/ll128", "library"]
    assert told(says("NCCL_ALGO", "Ring"), *new()) == ["library:ring/*"]
    assert told(says("NCCL_ALGO", "^NVLS,Tree"), *new()) == ["library:^nvls+tree/*"]
    assert told("NCCL_DEBUG=INFO NCCL_ALGO='Ring' ./all_reduce_perf", *new()) == ["library:ring/*"]


def test_wrong_data_fails_the_row_and_not_the_run() -> None:
    found = read(new(wrong="1e+06", in_place="N/A"))
    assert found.run.failures == ()
    assert (found.measurements[0].wrong, found.measurements[0].verdict) == (1_000_000, "FAIL")
    assert found.measurements[0].reason == "1000000 wrong elements"
    assert (found.measurements[1].wrong, found.measurements[1].verdict) == (None, None)


def test_a_half_that_was_not_run_makes_no_row() -> None:
    lines = [re.sub(r"19\.49( +\S+){3}", "N/A N/A N/A N/A", line) for line in new()]
    assert [row.placement for row in read(lines).measurements] == ["out_of_place", "out_of_place", "in_place"]


def test_columns_that_options_add_do_not_shift_the_others() -> None:
    half = "cputime algbw busbw #wrong i_min i_max i_p99 i_cv%"
    head = f"#  size  count  type  redop  root  {half}  {half}  timestamp"
    row = (
        "     1048576        262144     float     sum      -1    20.00   52.43   91.75       0      18      25      24"
        "     2.5    19.00   55.19   96.58       3      17      24      23     2.5  2026-01-28 14:50:17"
    )
    lines = [line for line in new(sizes=(1 << 20,)) if not line.startswith(" ") and " size " not in line]
    at = next(i for i, line in enumerate(lines) if "out-of-place" in line)
    found = read([*lines[: at + 1], head, row, *lines[at + 2 :]])
    assert found.run.failures == ()
    assert [measured.median_s for measured in found.measurements] == pytest.approx([20e-6, 19e-6])
    assert found.measurements[1].wrong == 3
    assert "host's clock" in found.measurements[0].sample_unit


def test_a_table_without_its_devices_has_the_ranks_that_its_figures_say() -> None:
    def without(lines: list[str]) -> list[str]:
        return [line for line in lines if "Rank" not in line]

    assert only(without(new(ranks=16, factor=1.875))).ranks == 16
    assert only(without(new("all_gather", ranks=32, factor=31 / 32, split=True, op="none"))).ranks == 32
    unknown = without(new("broadcast", factor=1.0, op="none", root=0))
    with pytest.raises(ImportedFileError, match="lists no devices"):
        read(unknown)
    assert read(unknown, ranks=24).measurements[0].ranks == 24


def test_only_the_group_of_rank_0_was_measured() -> None:
    lines = [
        line.replace("Group  0", "Group  1") if line.startswith("#  Rank") and int(line.split()[2]) >= 4 else line
        for line in new(factor=1.5)
    ]
    assert only(lines).ranks == 4


def test_failed_cut_off_and_unreadable_parts_are_named_with_their_lines() -> None:
    failed = new("all_gather", op="none", split=True, factor=0.875, sizes=(1 << 20,), footer=False)[:-1]
    cut = new(footer=False)
    lines = [
        *new(),
        *failed,
        "node0: Test NCCL failure common.cu:961 'unhandled cuda error / '",
        *cut[:-1],
        cut[-1][:70],
    ]
    found = read(lines)
    assert found.run.status == "failed"
    assert [row.name for row in found.measurements] == ["all_reduce"] * 6
    text = "\n".join(found.run.failures)
    first = len(new()) + 1
    assert f"line {first}: all_gather: no result" in text
    assert f"line {first + len(failed)}: node0: Test NCCL failure" in text
    assert f"line {len(lines)}: a row of 7 fields, its header has 13; left out" in text
    assert "ends without its footer" in text


def test_a_time_that_is_printed_with_two_digits_follows_from_the_bandwidth() -> None:
    halves = "1.7e+07 1.04 1.82 0 1.7e+09 0.01 0.02 0"
    lines = [re.sub(r"(float +sum +-1 ).*", rf"\1 {halves}", line) for line in new(sizes=(1 << 34,))]
    times_s = [row.median_s for row in read(lines).measurements]
    assert times_s == pytest.approx([(1 << 34) / 1.04e9, 1.7e3])


def test_a_row_that_is_no_row_of_numbers_is_named_and_left_out() -> None:
    lines = [line.replace(" 20.49 ", " -nan ") for line in new()]
    found = read(lines)
    assert len(found.measurements) == 3
    assert found.run.failures == ("line 20: time '-nan' and '0' wrong elements; expected numbers, a time above 0",)


def test_sizes_that_do_not_agree_with_the_devices_are_named() -> None:
    lines = new("all_gather", factor=0.875, split=True, op="none")
    found = read([line for line in lines if "Rank  7" not in line])
    assert any("they do not agree" in failure for failure in found.run.failures)


@pytest.mark.parametrize("starting", [True, False])
def test_a_row_whose_size_is_not_that_of_its_elements_is_named_and_left_out(starting: bool) -> None:
    lines = new(starting=starting, sizes=(1 << 20, 1 << 22, 1 << 25))
    at = next(place for place, line in enumerate(lines) if line.lstrip().startswith("4194304"))
    lines[at] = lines[at].replace("4194304", "41 noise 304")
    found = read(lines)
    assert [row.size_bytes for row in found.measurements] == [1 << 20, 1 << 20, 1 << 25, 1 << 25]
    assert f"line {at + 1}: all_reduce of 8 ranks: size 304 for 1048576 elements; they do not agree, left out" in (
        found.run.failures
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["Test CUDA failure common.cu:12 'out of memory'"], "no result in it: line 1: Test CUDA failure"),
        (new()[:15], "no result in it"),
        (["# clusterbench version 0.1.0, evidence: measured, buffers: host memory", *new()], "expected its journal"),
        (["       8       2     float     sum      -1     1.00    0.00    0.00       0"], "a row before the header"),
        (new("hypercube", starting=True), "hypercube: not a collective"),
    ],
)
def test_a_file_without_a_result_is_refused_with_the_reason(lines: list[str], words: str) -> None:
    with pytest.raises(ImportedFileError, match=words) as caught:
        read(lines)
    assert str(caught.value).startswith("run.log")


def document(**changes: Any) -> dict[str, Any]:
    """A file of `-J`: two processes of four devices each, of which it lists the first."""
    half = {"time": 20.0, "alg_bw": 52.4, "bus_bw": 91.8, "nwrong": 0.0}
    result = {
        "size": 1 << 20, "count": 1 << 18, "type": "float", "redop": "sum", "root": "    -1", "out_of_place": half,
        "in_place": {**half, "time": 19.0, "nwrong": None}, "actual_iterations": 20, "experiment_name": "AllReduce",
    }  # fmt: skip
    devices = [
        {"rank": rank, "group": 0, "pid": 1, "hostname": f"node{rank // 4}", "device": 0, "device_info": "NVIDIA H100"}
        for rank in (0, 4)
    ]
    config = {"nthreads": 1, "ngpus": 4, "warmup_iters": 5, "iterations": 20, "aggregated_iterations": 1}
    whole = {
        "version": 2, "start_time": "2026-01-28 14:50:17", "args": ["./build/all_reduce_perf", "-J", "x"],
        "env": ["A=1"], "nccl_version": 22902, "config": config, "devices": devices, "results": [result], "errors": [],
        "out_of_bounds": {"count": 0, "okay": "true"}, "end_time": "2026-01-28 14:51:00",
    }  # fmt: skip
    return {**whole, **changes}


def read_json(value: Any) -> Imported:
    return JSON.read(source(json.dumps(value), "run.json"))


def test_the_json_form_counts_all_devices_of_a_process() -> None:
    found = read_json(document())
    assert found.run.failures == ()
    assert found.run.started_at == "2026-01-28T14:50:17"
    first, second = found.measurements
    assert (first.name, first.ranks, first.nodes, first.root) == ("all_reduce", 8, 2, -1)
    assert (first.median_s, second.median_s) == (pytest.approx(20e-6), pytest.approx(19e-6))
    assert (first.wrong, second.wrong) == (0, None)
    assert "A=1" not in json.dumps(found.run.as_row())  # the whole environment is none of ours


def test_the_json_form_keeps_the_times_of_every_iteration() -> None:
    value = document()
    value["results"][0]["out_of_place_per_iter"] = {"times_us": [20.0, 22.0, 21.0, 24.0, 20.5, 21.5, 90.0]}
    found = read_json(value)
    assert found.samples[0] is not None
    assert found.samples[0].tolist() == pytest.approx([20e-6, 22e-6, 21e-6, 24e-6, 20.5e-6, 21.5e-6, 90e-6])
    assert found.measurements[0].median_s == pytest.approx(21.5e-6)
    assert (found.measurements[0].n, found.measurements[0].batch) == (7, 1)
    assert found.samples[1] is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (document(version=9), "version 9; expected 1 to 3"),
        (document(args=["./hello"]), "args name the program 'hello'"),
        (document(devices=[]), "no devices"),
        (document(results=[]), "no result in it"),
        (
            document(results=[{"size": 8, "count": 2, "type": "float", "out_of_place": {"time": "nan"}}]),
            "no time, size",
        ),
        (document(results=[{"size": -8, "count": 2, "type": "float", "out_of_place": {"time": 1.0}}]), "no time, size"),
        (
            document(results=[{"size": 8, "count": 2, "type": "float", "out_of_place": {"time": 10**400}}]),
            "no time, size",
        ),
        ([1], "no object"),
    ],
)
def test_a_json_file_that_is_not_understood_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ImportedFileError, match=words):
        read_json(value)


def test_a_json_file_that_was_cut_off_names_its_line() -> None:
    text = json.dumps(document(), indent=1)
    with pytest.raises(ImportedFileError, match=r"run\.json, line \d+: .*; expected JSON"):
        JSON.read(source(text[: text.index('"results"')], "run.json"))
    with pytest.raises(ImportedFileError, match="expected JSON"):
        JSON.read(source('{"results":' + "[" * 100_000, "run.json"))


def test_of_a_json_file_that_was_cut_off_the_whole_results_are_taken() -> None:
    value = document()
    value["results"] = value["results"] * 3
    text = json.dumps(value, indent=1)
    third = [place.start() for place in re.finditer('"size"', text)][2]
    found = JSON.read(source(text[: third + 40], "run.json"))
    assert found.measurements == JSON.read(source(json.dumps(document()), "run.json")).measurements * 2 or (
        len(found.measurements) == 4 and found.run.status == "failed"
    )
    assert re.search(r"line \d+: .*what comes before is taken", found.run.failures[0])


def test_importing_a_file_twice_gives_the_same_run(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_text("\n".join(new()))
    a, b = import_file(tmp_path / "a.log"), import_file(tmp_path / "b.log")
    assert a.run.run_id == b.run.run_id
    assert {row.run_id for row in a.measurements} == {a.run.run_id}
    assert read(new(ranks=4, factor=1.5)).run.run_id != a.run.run_id


PIECES = [*new(), *OLD, *(f"[1,{i}]<stdout>:{line}" for i, line in enumerate(new(footer=False)))]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=60)), max_size=60), st.integers(0, 4000))
def test_no_log_makes_it_fail_in_another_way_than_it_says(lines: list[str], cut: int) -> None:
    text = "\n".join(lines)[: cut if cut else None]
    for importer in (TEXT, JSON):
        importer.recognises(text)
        try:
            found = importer.read(source(text, "fuzz.log"))
        except ImportedFileError:
            continue
        assert len(found.measurements) == len(found.samples) > 0
        assert all(row.median_s and row.median_s > 0 and row.ranks >= 1 for row in found.measurements)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(document())), JSON_VALUES, st.booleans())
def test_no_json_makes_it_fail_in_another_way_than_it_says(key: str, value: Any, inside: bool) -> None:
    whole = document()
    if inside:
        name = sorted(whole["results"][0])[len(key) % len(whole["results"][0])]
        whole["results"][0][name] = value
    else:
        whole[key] = value
    try:
        found = read_json(whole)
    except ImportedFileError:
        return
    assert all(row.median_s and row.median_s > 0 and row.ranks >= 1 for row in found.measurements)
