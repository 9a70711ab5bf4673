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


PLAY = ("pingpong", "-b", "4", "-e", "500000", "-f", "353.5", "--window", "5", "--json")
TABLE = ("sendrecv", "-b", "12", "-e", "1200", "-f", "100", "-d", "float")
COMMANDS = {
    1: {"table of 1": TABLE, "alone": ("pingpong", "-b", "8")},
    2: {
        "play of 2": PLAY,
        "int8": ("pingpong", "-b", "1001", "-d", "int8", "--csv"),
        "double": ("sendrecv", "-b", "1001", "-d", "double", "--csv"),
        "checked": ("pingpong", "-b", "8", "-e", "64", "-f", "8", "-c", "1"),
        "unchecked": ("pingpong", "-b", "8", "-e", "64", "-f", "8", "-c", "0"),
        "too large": ("sendrecv", "-b", "500T"),
    },
    3: {"play of 3": PLAY, "table of 3": TABLE},
    4: {"play of 4": PLAY},
}
"""By the number of ranks."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the journals of a command are, in a folder of its name."""
    return tmp_path_factory.mktemp("journals")


@pytest.fixture(scope="module")
def ended(folder: Path) -> dict[str, mpi.Finished]:
    """How the commands ended."""
    found: dict[str, mpi.Finished] = {}
    for ranks, commands in COMMANDS.items():
        finished = mpi.each(ranks, [
            ("collectives", "run", *command, *FEW, "--journal", str(folder / name))
            for name, command in commands.items()
        ])  # fmt: skip
        found.update(zip(commands, finished, strict=True))
    return found


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_pingpong_measures_latency_and_both_bandwidths(
    ranks: int, folder: Path, ended: dict[str, mpi.Finished]
) -> None:
    document = mpi.document(ended[f"play of {ranks}"])
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
    (journal,) = (folder / f"play of {ranks}").glob("*.jsonl")
    kept = read_journal(journal).measurements
    assert sorted(map(str, kept)) == sorted(str(type(kept[0]).from_row(row)) for row in rows)


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
def test_one_rank_has_nobody_to_play_with(folder: Path, ended: dict[str, mpi.Finished]) -> None:
    assert ended["alone"].exit_code == 2
    assert "at least 2 ranks" in ended["alone"].stderr
    assert not list((folder / "alone").glob("*"))


@pytest.mark.mpi
def test_more_memory_than_the_host_has_is_refused_with_the_figure(ended: dict[str, mpi.Finished]) -> None:
    assert ended["too large"].exit_code == 2
    assert "GiB" in ended["too large"].stderr
    assert "Traceback" not in ended["too large"].stderr


SPOILED = """
import sys
from clusterbench.bench.worlds.world import join_world
world = join_world()
import numpy as np
from clusterbench.bench.measuring import point_to_point_runs
from clusterbench.bench.measuring.point_to_point_runs import PointToPointRequest, PointToPointRuns
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.collectives.transports import point_to_point
checks = []
def check(buffer, itemsize, rank, seed, check=point_to_point.check):
    # A transport that loses the last element, before or after the timing.
    checks.append(buffer)
    if world.rank == int(victim) and len(checks) == (1 if when == "first" else 2):
        buffer[-itemsize:] ^= 255
    return check(buffer, itemsize, rank, seed)
point_to_point.check = check
def measure(*arguments, measure=point_to_point_runs.measure):
    checks.clear()
    return measure(*arguments)
point_to_point_runs.measure = measure
for case in sys.argv[1:]:
    name, kind, victim, when = case.split()
    request = PointToPointRequest(name, (10,), np.dtype("float32"), True, Rules(iterations=6, warmup=1), 5, window=3)
    for row in PointToPointRuns(world, request).run("r", "d", lambda row, seconds: None, lambda text, done: None):
        if world.rank == 1 and row.algorithm == kind:
            print(case, row.verdict, row.wrong, row.culprit, row.reason, sep="|")
"""

SPOILS = (
    ("pingpong", "latency", 0, 1, 1),
    ("pingpong", "one-way", 1, 0, 3),
    ("pingpong", "two-way", 0, 1, 3),
    ("sendrecv", "sendrecv", 1, 0, 1),
)
"""What is sent and how, the rank that gets wrong data, the rank that sent them, and the messages at once."""
LATER = "sendrecv sendrecv 0 second"


@pytest.fixture(scope="module")
def spoiled() -> dict[str, list[str]]:
    """Verdict, wrong elements, culprit and reason of each case."""
    cases = [f"{name} {kind} {victim} first" for name, kind, victim, *_ in SPOILS]
    finished = mpi.ranks(2, "-c", SPOILED, *cases, LATER)
    assert finished.exit_code == 0, finished.stderr
    rows = [line.split("|") for line in finished.stdout.splitlines()]
    assert [row[0] for row in rows] == [*cases, LATER]
    return {case: figures for case, *figures in rows}


@pytest.mark.mpi
@pytest.mark.parametrize(("name", "kind", "victim", "sender", "messages"), SPOILS)
def test_wrong_data_are_counted_with_rank_index_and_bits(
    name: str, kind: str, victim: int, sender: int, messages: int, spoiled: dict[str, list[str]]
) -> None:
    verdict, wrong, culprit, reason = spoiled[f"{name} {kind} {victim} first"]
    assert (verdict, wrong, culprit) == ("FAIL", "1", f"rank {victim}")
    message = f" of message {messages - 1}" if messages > 1 else ""
    assert reason.startswith(
        f"rank {victim}: 1 elements from rank {sender} wrong, first at index 9{message}: expected bits 0x"
    )


@pytest.mark.mpi
def test_data_that_go_wrong_while_timing_are_found_afterwards(spoiled: dict[str, list[str]]) -> None:
    verdict, wrong, culprit, reason = spoiled[LATER]
    assert (verdict, wrong, culprit) == ("FAIL", "1", "rank 0")
    assert reason.startswith("after timing, rank 0: 1 elements from rank 1 wrong")
