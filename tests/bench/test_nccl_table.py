"""The table of nccl-tests: what its heading says, and that what is wrong is counted in rows, columns and footer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mpi
import numpy as np
import pytest

from clusterbench.bench.measuring.collective_request import Request
from clusterbench.bench.measuring.point_to_point_runs import PointToPointRequest
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.bench.tables.nccl_table import Heading, heading, message_heading, table
from clusterbench.bench.worlds.world import RankPlace, World
from clusterbench.collectives.algorithm import Spec
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.results.record import Measurement

RULES = Rules(iterations=6, warmup=1)


class Comm:
    """As much of a communicator as a table asks for."""

    rank, size = 0, 2


def world() -> World:
    places = tuple(RankPlace(rank, "host", 100 + rank, rank, (rank,), "clusterbench") for rank in range(2))
    return World(Comm(), places, 1, False, "single", ())  # type: ignore[arg-type] # see Comm


def request(name: str, **fields: Any) -> Request:
    given = {"op": "sum", "placements": ("out_of_place", "in_place"), "transports": ("mpi",), "check": True, **fields}
    specs, float32 = (Spec("ring"),), np.dtype("float32")
    return Request(COLLECTIVES[name], specs, (2, 16), float32, rules=RULES, seed=5, **given)


def row(count: int, placement: str = "out_of_place", **fields: Any) -> Measurement:
    given = {"name": "all_reduce", "dtype": "float32", "op": "sum", "verdict": "PASS", "wrong": 0, **fields}
    return Measurement(
        run_id="r", suite="collectives", algorithm="ring", transport="mpi", placement=placement, count=count,
        size_bytes=4 * count, median_s=1e-6, algbw=1e9, busbw=1e9, n=6, stop="fixed", **given,
    )  # fmt: skip


def test_the_heading_comes_from_collectives_and_from_messages_alike() -> None:
    asked = heading(request("all_gather", op=""), 2)
    assert (asked.name, asked.counts, asked.sizes_bytes) == ("all_gather", (2, 16), (16, 128))
    message = message_heading(PointToPointRequest("sendrecv", (2, 16), np.dtype("int8"), False, RULES, 5))
    assert (message.name, message.sizes_bytes, message.op, message.check) == ("sendrecv", (2, 16), "", False)
    text = table(message, world(), "cpu", "sendrecv", [row(2, name="sendrecv", dtype="int8", op="", wrong=None)])
    assert "# Collective test starting: sendrecv_perf" in text
    assert "minBytes 2 maxBytes 16" in text
    assert [line.split()[3] for line in text.splitlines() if line[0] != "#"] == ["none"]
    assert "# Not measured: 1 of 2 points" in text


def test_the_traffic_stands_in_the_heading_of_an_all_to_all_v_only() -> None:
    asked = heading(request("all_to_all_v", op="", traffic="skewed:1,seed=5"), 2)
    assert "# Traffic: skewed:1,seed=5\n" in table(asked, world(), "cpu", "direct", [])
    assert "Traffic" not in table(heading(request("all_reduce"), 2), world(), "cpu", "ring", [])


def test_wrong_elements_of_all_rows_are_in_column_and_footer() -> None:
    asked: Heading = heading(request("all_reduce"), 2)
    rows = [row(2), row(2, "in_place", wrong=3, verdict="FAIL", reason="rank 1: 3 wrong"), row(16, wrong=4)]
    text = table(asked, world(), "cpu", "ring", rows)
    cells = [line.split() for line in text.splitlines() if line and line[0] != "#"]
    assert [(line[8], line[12]) for line in cells] == [("0", "3"), ("4", "N/A")]
    assert "# Out of bounds values : 7 FAILED" in text
    assert "FAIL; rank 1: 3 wrong" in text


BEYOND = """
from clusterbench.collectives.transports import prepared

run, rounding = prepared.PreparedCall.run, 0

def spoil(self):
    global rounding
    is_rounding = bool((self.buffers.send % 1).any())
    rounding += is_rounding
    run(self)
    # The first and third of such calls are those that are compared at once, the others repeat them.
    if is_rounding and self.mpi.comm.rank == 1 and rounding % 2 == {which} % 2:
        self.buffers.result[5:8] += 1

prepared.PreparedCall.run = spoil
"""


@pytest.mark.mpi
@pytest.mark.parametrize(("which", "when"), [(1, ""), (2, "in the second call, ")])
def test_sums_beyond_their_error_bound_are_wrong_elements(which: int, when: str, tmp_path: Path) -> None:
    few = ("-b", "64", "-n", "6", "-w", "1", "--algorithm", "ring", "--journal", str(tmp_path))
    command = ("collectives", "run", "all_reduce", *few)
    shown, document = mpi.each(2, [command, (*command, "--json")], patch=BEYOND.format(which=which))
    assert (shown.exit_code, document.exit_code) == (3, 3), shown.stderr
    assert "# Out of bounds values : 6 FAILED" in shown.stdout
    (cells,) = [line.split() for line in shown.stdout.splitlines() if line and line[0] != "#"]
    assert (cells[8], cells[12]) == ("3", "3")
    for measured in json.loads(document.stdout)["rows"]:
        assert (measured["wrong"], measured["verdict"], measured["culprit"]) == (3, "FAIL", "rank 1")
        assert measured["error_over_bound"] > 1000
        assert measured["reason"].startswith(f"{when}rank 1: 3 beyond the error bound, first at index 5: expected ")
        assert " ULP apart); the largest error is " in measured["reason"]
        assert "results of two calls differ in bits on rank 1" in measured["note"]
