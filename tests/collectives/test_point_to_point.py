"""Messages between ranks: every kind, type and size on real ranks, and data that would show any mistake."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import mpi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.collectives.transports import point_to_point
from clusterbench.results.journal import read_journal

FEW = ("-n", "6", "-w", "1")
"""Enough samples for an interval."""

itemsizes = st.sampled_from([1, 2, 4, 8])


@given(itemsizes, st.integers(1, 300), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_what_was_sent_is_right_and_what_never_came_is_wrong_everywhere(
    itemsize: int, count: int, rank: int, seed: int
) -> None:
    buffer = np.zeros(count * itemsize, np.uint8)
    point_to_point.fill(buffer, itemsize, rank, seed)
    assert point_to_point.check(buffer, itemsize, rank, seed).count == 0
    point_to_point.spoil(buffer, itemsize, rank, seed)
    assert point_to_point.check(buffer, itemsize, rank, seed).count == count


@given(itemsizes, st.data())
def test_a_wrong_element_is_found_with_its_bits(itemsize: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 100))
    index = data.draw(st.integers(0, count - 1))
    bit = data.draw(st.integers(0, 8 * itemsize - 1))
    buffer = np.zeros(count * itemsize, np.uint8)
    point_to_point.fill(buffer, itemsize, 3, 7)
    elements = buffer.view(f"u{itemsize}")
    right = int(elements[index])
    elements[index] ^= elements.dtype.type(1 << bit)
    found = point_to_point.check(buffer, itemsize, 3, 7)
    assert (found.count, found.index, found.expected, found.found) == (1, index, right, right ^ 1 << bit)


@pytest.mark.parametrize("itemsize", [2, 4, 8])
def test_the_data_of_another_rank_or_place_are_wrong(itemsize: int) -> None:
    buffer = np.zeros(1000 * itemsize, np.uint8)
    point_to_point.fill(buffer, itemsize, 1, 7)
    assert point_to_point.check(buffer, itemsize, 2, 7).count > 990
    assert point_to_point.check(buffer, itemsize, 1, 8).count > 990
    assert point_to_point.check(np.roll(buffer, itemsize), itemsize, 1, 7).count > 990


def run(ranks: int, name: str, folder: Path, *arguments: str) -> mpi.Finished:
    return mpi.clusterbench(ranks, "collectives", "run", name, "--journal", str(folder), *FEW, *arguments)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_pingpong_measures_latency_and_both_bandwidths(ranks: int, tmp_path: Path) -> None:
    sizes = ("-b", "4", "-e", "500000", "-f", "353.5")
    document = mpi.document(run(ranks, "pingpong", tmp_path, *sizes, "--window", "5", "--json"))
    rows = document["rows"]
    assert {(row["algorithm"], row["count"]) for row in rows} == {
        (kind, count) for kind in ("latency", "one-way", "two-way") for count in (1, 353, 124962)
    }
    for row in rows:
        assert row["suite"] == "point-to-point"
        assert row["wrong"] == 0
        assert row["size_bytes"] == 4 * row["count"]
        assert row["algbw"] == pytest.approx(row["size_bytes"] / row["median_s"])
        assert row["busbw"] == pytest.approx(row["algbw"] * (2 if row["algorithm"] == "two-way" else 1))
        window = "" if row["algorithm"] == "latency" else ",window=5"
        assert row["shape"] == f"bytes={row['size_bytes']},src=0,dst={ranks - 1}{window}"
        assert 0 < row["ci95_low_s"] <= row["median_s"] <= row["ci95_high_s"]
    (journal,) = tmp_path.glob("*.jsonl")
    kept = read_journal(journal).measurements
    assert sorted(map(str, kept)) == sorted(str(type(kept[0]).from_row(row)) for row in rows)


ON_TWO = {
    "int8": ("pingpong", "-b", "1001", "-d", "int8", "--csv"),
    "double": ("sendrecv", "-b", "1001", "-d", "double", "--csv"),
    "checked": ("pingpong", "-b", "8", "-e", "64", "-f", "8", "-c", "1"),
    "unchecked": ("pingpong", "-b", "8", "-e", "64", "-f", "8", "-c", "0"),
    "too large": ("sendrecv", "-b", "500T"),
}
TABLE = ("sendrecv", "-b", "12", "-e", "1200", "-f", "100", "-d", "float")
ON_ONE = {"table of 1": TABLE, "alone": ("pingpong", "-b", "8")}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mpi.Finished]:
    """How the commands ended: on two ranks, on one, and the one that prints a table on three."""
    found = {}
    for ranks, commands in ((2, ON_TWO), (1, ON_ONE), (3, {"table of 3": TABLE})):
        where = ("--journal", str(tmp_path_factory.mktemp("journals")), *FEW)
        finished = mpi.each(ranks, [("collectives", "run", *command, *where) for command in commands.values()])
        found.update(zip(commands, finished, strict=True))
    return found


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_sendrecv_prints_the_table_of_nccl_tests(ranks: int, ended: dict[str, mpi.Finished]) -> None:
    finished = ended[f"table of {ranks}"]
    assert finished.exit_code == 0, finished.stderr
    lines = [line.split() for line in finished.stdout.splitlines() if line and not line.startswith("#")]
    assert [line[:5] for line in lines] == [["12", "3", "float", "none", "-1"], ["1200", "300", "float", "none", "-1"]]
    assert all(len(line) == 13 and line[8] == "0" and line[9:] == ["N/A"] * 4 for line in lines)
    assert [line[6] for line in lines] == [line[7] for line in lines], "sendrecv has busbw = algbw"
    assert "# Collective test concluded: sendrecv_perf" in finished.stdout


@pytest.mark.mpi
@pytest.mark.parametrize(("dtype", "size"), [("int8", 1001), ("double", 1000)])
def test_types_of_all_widths_are_sent_right(dtype: str, size: int, ended: dict[str, mpi.Finished]) -> None:
    assert ended[dtype].exit_code == 0, ended[dtype].stderr
    rows = list(csv.DictReader(io.StringIO(ended[dtype].stdout)))
    assert {row["wrong"] for row in rows} == {"0"}
    assert {row["size_bytes"] for row in rows} == {str(size)}


@pytest.mark.mpi
@pytest.mark.parametrize(("name", "wrong"), [("checked", "0"), ("unchecked", "N/A")])
def test_pingpong_prints_one_line_a_size(name: str, wrong: str, ended: dict[str, mpi.Finished]) -> None:
    assert ended[name].exit_code == 0, ended[name].stderr
    lines = [line.split() for line in ended[name].stdout.splitlines() if line and not line.startswith("#")]
    assert [line[0] for line in lines] == ["8", "64"]
    assert all(len(line) == 5 and line[4] == wrong for line in lines)
    assert all(float(cell) > 0 for line in lines for cell in line[1:4])


@pytest.mark.mpi
def test_one_rank_has_nobody_to_play_with(ended: dict[str, mpi.Finished]) -> None:
    assert ended["alone"].exit_code == 2
    assert "at least 2 ranks" in ended["alone"].stderr
    journals = Path(ended["alone"].command[ended["alone"].command.index("--journal") + 1])
    assert len(list(journals.iterdir())) == 1, "only that of the table"


@pytest.mark.mpi
def test_more_memory_than_the_host_has_is_refused_with_the_figure(ended: dict[str, mpi.Finished]) -> None:
    assert ended["too large"].exit_code == 2
    assert "GiB" in ended["too large"].stderr
    assert "Traceback" not in ended["too large"].stderr


SPOILED = """
import sys
from clusterbench.bench.world import join_world
world = join_world()
import numpy as np
from clusterbench.bench import point_to_point_runs
from clusterbench.bench.point_to_point_runs import PointToPointRequest, PointToPointRuns
from clusterbench.bench.sampling import Rules
from clusterbench.collectives.transports import point_to_point
name, kind, victim, when = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
checks = []
def check(buffer, itemsize, rank, seed, check=point_to_point.check):
    # A transport that loses the last element, before or after the timing.
    checks.append(buffer)
    if world.rank == victim and len(checks) == (1 if when == "first" else 2):
        buffer[-itemsize:] ^= 255
    return check(buffer, itemsize, rank, seed)
point_to_point.check = check
def measure(*arguments, measure=point_to_point_runs.measure):
    checks.clear()
    return measure(*arguments)
point_to_point_runs.measure = measure
request = PointToPointRequest(name, (10,), np.dtype("float32"), True, Rules(iterations=6, warmup=1), 5, window=3)
for row in PointToPointRuns(world, request).run("r", "d", lambda row, seconds: None, lambda text, done: None):
    if world.rank == 1 and row.algorithm == kind:
        print(row.verdict, row.wrong, row.culprit, row.reason, sep="|")
"""


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("name", "kind", "victim", "sender", "messages"),
    [("pingpong", "latency", 0, 1, 1), ("pingpong", "one-way", 1, 0, 3), ("pingpong", "two-way", 0, 1, 3),
     ("sendrecv", "sendrecv", 1, 0, 1)],
)  # fmt: skip
def test_wrong_data_are_counted_with_rank_index_and_bits(
    name: str, kind: str, victim: int, sender: int, messages: int
) -> None:
    finished = mpi.ranks(2, "-c", SPOILED, name, kind, str(victim), "first")
    assert finished.exit_code == 0, finished.stderr
    verdict, wrong, culprit, reason = finished.stdout.strip().split("|")
    assert (verdict, wrong, culprit) == ("FAIL", "1", f"rank {victim}")
    message = f" of message {messages - 1}" if messages > 1 else ""
    assert reason.startswith(
        f"rank {victim}: 1 elements from rank {sender} wrong, first at index 9{message}: expected bits 0x"
    )


@pytest.mark.mpi
def test_data_that_go_wrong_while_timing_are_found_afterwards() -> None:
    finished = mpi.ranks(2, "-c", SPOILED, "sendrecv", "sendrecv", "0", "second")
    assert finished.exit_code == 0, finished.stderr
    verdict, wrong, culprit, reason = finished.stdout.strip().split("|")
    assert (verdict, wrong, culprit) == ("FAIL", "1", "rank 0")
    assert reason.startswith("after timing, rank 0: 1 elements from rank 1 wrong")
