"""Which points a request has, and which of them a journal makes superfluous."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clusterbench.bench.commands.collectives_request import rank_order
from clusterbench.bench.measuring.collective_request import Request
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.collectives.algorithm import Spec
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.results.record import Measurement

REQUEST = Request(
    COLLECTIVES["all_reduce"], (Spec("library"), Spec("ring")), (2, 16), np.dtype("float32"), "sum",
    ("out_of_place", "in_place"), ("mpi",), True, Rules(), 5,
)  # fmt: skip # one line shows the whole request
ROW = Measurement(
    run_id="r", suite="collectives", name="all_reduce", algorithm="ring", transport="mpi", dtype="float32", op="sum",
    placement="in_place", count=16, size_bytes=64, ranks=2,
)  # fmt: skip


def test_a_row_that_is_there_takes_its_point_away_and_no_other() -> None:
    before = REQUEST.points()
    after = REQUEST.without([ROW], 2).points()
    (gone,) = [point for point in before if point not in after]
    assert (str(gone.algorithm), gone.count, gone.placement) == ("ring", 16, "in_place")
    assert after == [point for point in before if point != gone]


@pytest.mark.parametrize("other", [{"dtype": "int32"}, {"op": "max"}, {"ranks": 3}, {"shape": "bytes=64,ranks=mixed"}])
def test_a_row_of_something_else_takes_nothing_away(other: dict[str, object]) -> None:
    row = replace(ROW, **other)  # type: ignore[arg-type] # fields of several types
    assert len(REQUEST.without([row], 2).points()) == len(REQUEST.points())


def test_what_only_the_points_that_are_gone_needed_is_gone_too() -> None:
    rows = [replace(ROW, placement=placement, count=count) for placement in REQUEST.placements for count in (2, 16)]
    assert REQUEST.without(rows, 2).algorithms == (Spec("library"),)
    both = [replace(row, algorithm="library", transport="library") for row in rows]
    of_one_count = [row for row in (*rows, *both) if row.count == 2]
    assert REQUEST.without(of_one_count, 2).counts == (16,)
    assert REQUEST.without([*rows, *both], 2).points() == []


@pytest.mark.parametrize(
    ("hosts", "order"),
    [
        ("aaaa", ""),
        ("aabb", ""),
        ("aabbb", ""),
        ("abab", "round-robin"),
        ("abcab", "round-robin"),
        ("abba", "mixed"),
        ("aaba", "mixed"),
    ],
)
def test_rows_say_how_ranks_lie_on_several_hosts(hosts: str, order: str) -> None:
    assert rank_order(list(hosts)) == order
    assert replace(REQUEST, rank_order=order).shape(64) == (f"bytes=64,ranks={order}" if order else "")
