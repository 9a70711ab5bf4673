"""Which algorithm is fastest, how sure that is, and where the fastest changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterbench.results.columns import to_frame
from clusterbench.results.record import Measurement, Run
from clusterbench.results.report import winners
from clusterbench.results.report.page import render_report


def row(algorithm: str, size_bytes: int, median_s: float, arm: float | None = 0.01, **more: Any) -> Measurement:
    ends = (None, None) if arm is None else (median_s * (1 - arm), median_s * (1 + arm))
    fields = {"suite": "collectives", "name": "all_reduce", "op": "sum", "dtype": "float32", "ranks": 4, **more}
    times = {"median_s": median_s, "ci95_low_s": ends[0], "ci95_high_s": ends[1]}
    return Measurement(run_id="r", algorithm=algorithm, size_bytes=size_bytes, **fields, **times)


def only(rows: list[Measurement]) -> winners.Competition:
    (found,) = winners.competitions(to_frame(rows))
    return found


def cells(table: Any, number: int = 0) -> dict[str, str]:
    return {head.text: cell.text for head, cell in zip(table.heads, table.rows[number], strict=True)}


def test_a_clear_winner_is_shown_beside_its_runner_up_and_the_library() -> None:
    rows = [row("ring", 8, 1.0, 0.1), row("library", 8, 2.0, 0.05), row("chain", 8, 4.0)]
    (table,) = winners.winners(to_frame(rows), "x")
    assert table.caption == "Fastest by size: all_reduce sum float32, 4 ranks"
    assert cells(table) == {
        "Size": "8 B",
        "Fastest": "ring",
        "Time": "1.00 s",
        "95 %": "± 10 %",
        "How sure": "clear",
        "Runner-up": "library",
        "Slower by": "100 %",
        "Library / fastest": "2.00×",
    }


def test_overlapping_intervals_are_a_tie_with_all_that_overlap() -> None:
    rows = [row("ring", 8, 1.0, 0.1), row("library", 8, 1.1, 0.1), row("chain", 8, 1.15, 0.1), row("direct", 8, 2.0)]
    (table,) = winners.winners(to_frame(rows), "x")
    found = cells(table)
    assert found["How sure"] == "tie"
    assert found["As fast, as far as can be told"] == "library, chain"


def test_without_an_interval_nothing_is_known() -> None:
    (table,) = winners.winners(to_frame([row("ring", 8, 1.0, None), row("library", 8, 1.1, None)]), "x")
    assert cells(table)["How sure"] == "unknown"


def test_roots_do_not_compete_with_each_other() -> None:
    rows = [row(name, 8, 1.0, name="broadcast", root=root) for name in ("chain", "library") for root in (0, 1)]
    titles = [found.title for found in winners.competitions(to_frame(rows))]
    assert titles == ["broadcast sum float32, root 0, 4 ranks", "broadcast sum float32, root 1, 4 ranks"]


def test_the_best_of_several_launches_competes_and_not_with_itself() -> None:
    found = only([row("ring", 8, 1.2), row("ring", 8, 1.0), row("library", 8, 3.0)])
    assert [(winners.series(r), r.median_s) for r in found.by_size[8]] == [("ring", 1.0), ("library", 3.0)]


def test_a_crossover_is_where_the_models_cross() -> None:
    """α + β·n of two algorithms: 1 + n and 8 + n/8 are equal at n = 8."""
    rows = [
        row(name, size, alpha + beta * size)
        for name, alpha, beta in (("tree", 1.0, 1.0), ("ring", 8.0, 1 / 8))
        for size in (1, 2, 4, 16, 64)
    ]
    found = only(rows)
    assert [(s.first_bytes, s.last_bytes, s.series) for s in winners.stretches(found)] == [
        (1, 4, "tree"),
        (16, 64, "ring"),
    ]
    about = winners.crossing_bytes(found, *winners.stretches(found))
    assert about == pytest.approx(8.0, rel=0.1)
    table = winners.crossovers(to_frame(rows), "x")
    assert table is not None
    assert cells(table)["Then changes between"] == "4 B and 16 B"
    assert cells(table, 1)["Then changes between"] == "–"


def test_a_size_won_by_chance_in_a_tie_is_no_crossover() -> None:
    rows = [row("ring", size, 1.0, 0.1) for size in (8, 64, 512)]
    rows += [row("tree", size, time, 0.1) for size, time in ((8, 1.5), (64, 0.99), (512, 1.5))]
    (stretch,) = winners.stretches(only(rows))
    assert (stretch.first_bytes, stretch.last_bytes, stretch.series, stretch.equals) == (8, 512, "ring", ())


def test_two_that_never_differ_are_one_stretch_with_both_named() -> None:
    rows = [row(name, size, time, 0.1) for name, time in (("ring", 1.0), ("tree", 1.05)) for size in (8, 64)]
    (stretch,) = winners.stretches(only(rows))
    assert (stretch.series, stretch.equals) == ("ring", ("tree",))


def test_a_crossing_that_was_not_measured_on_both_sides_is_not_made_up() -> None:
    rows = [row("tree", 8, 1.0), row("ring", 64, 2.0), row("slow", 8, 9.0), row("slow", 64, 9.0)]
    found = only(rows)
    assert winners.crossing_bytes(found, *winners.stretches(found)) is None


def test_one_algorithm_alone_has_no_competition() -> None:
    assert winners.winners(to_frame([row("ring", 8, 1.0)]), "x") == []
    assert winners.crossovers(to_frame([row("ring", 8, 1.0)]), "x") is None


times = st.floats(1e-6, 1.0)


@example([(1.0, 1.0000000000000002e-06, 1e-06), (1.0, 0.25, 1.0)], 0.0)  # equal at the first size but for a rounding
@given(st.lists(st.tuples(times, times, times), min_size=1, max_size=8), st.floats(0.0, 0.5))
def test_stretches_cover_all_sizes_once_and_name_nothing_clearly_slower(
    measured: list[tuple[float, float, float]], arm: float
) -> None:
    names = ("a", "b", "c")
    by_size: dict[int, list[Any]] = {}
    for i, taken in enumerate(measured):
        rows = [row(name, 8 << i, time_s, arm) for name, time_s in zip(names, taken, strict=True)]
        by_size[8 << i] = sorted(rows, key=lambda r: r.median_s or 0.0)
    found = winners.Competition("", by_size)
    parts = winners.stretches(found)
    sizes = [size for part in parts for size in found.by_size if part.first_bytes <= size <= part.last_bytes]
    assert sizes == list(found.by_size)
    for part in parts:
        for size in (s for s in found.by_size if part.first_bytes <= s <= part.last_bytes):
            for name in (part.series, *part.equals):
                mine = next(r for r in found.by_size[size] if r.algorithm == name)
                first = found.by_size[size][0]
                assert mine is first or not first.ci95_high_s < mine.ci95_low_s
    for part, following in pairwise(parts):
        about = winners.crossing_bytes(found, part, following)
        assert about is None or part.last_bytes <= about <= following.first_bytes


def test_the_synthetic_algorithms_cross_where_their_formulas_do(synthetic: Callable[..., Any]) -> None:
    """Recursive doubling has the fewest steps, the ring the least traffic: 2α + 2βn = 4α + 1.52βn, then 1.5βn + 6α."""
    found = winners.competitions(to_frame(r for r, _ in synthetic().collectives()))[0]
    parts = winners.stretches(found)
    assert parts[0].series == "recursive_doubling"
    assert {parts[-1].series, *parts[-1].equals} & {"ring", "halving_doubling"}
    about = winners.crossing_bytes(found, parts[0], parts[1])
    assert about is not None
    expected = 2 * 4e-7 / (0.48 / 6e9)
    assert np.log2(about / expected) == pytest.approx(0, abs=2)


def test_with_more_ranks_than_cores_nothing_wins_and_the_report_says_so() -> None:
    rows = [row("ring", 8, 1.0), row("library", 8, 2.0)]
    shared = [replace(r, ranks=9, note="x; more ranks than cores") for r in rows]
    frame = to_frame([*rows, *shared])
    assert [table.caption for table in winners.winners(frame, "x")] == [
        "Fastest by size: all_reduce sum float32, 4 ranks"
    ]
    assert winners.crossovers(to_frame(shared), "x") is None
    said = winners.left_out(frame)
    assert "the times of 2 of 4 rows, those of 9 ranks" in said
    assert winners.left_out(to_frame(rows)) == ""
    page = render_report([Run(run_id="r", started_at="")], to_frame(shared))
    assert winners.left_out(to_frame(shared)) in page
    assert "times are those of the scheduler, too" in page


def test_traffics_do_not_compete_with_each_other() -> None:
    traffics = ("uniform", "skewed:1,seed=7", "skewed:1,seed=8")
    shapes = {f"bytes=8,traffic={name}": name for name in traffics}
    rows = [
        row(name, 8, 1.0, name="all_to_all_v", op="", shape=shape) for name in ("direct", "library") for shape in shapes
    ]
    assert [found.title for found in winners.competitions(to_frame(rows))] == [
        "all_to_all_v float32, 4 ranks, traffic uniform",
        "all_to_all_v float32, 4 ranks, traffic skewed:1, seed 7",
        "all_to_all_v float32, 4 ranks, traffic skewed:1, seed 8",
    ]


def test_transports_of_one_algorithm_compete_and_kinds_of_buffers_do_not() -> None:
    registered = {"transport": "shared", "shape": "bytes=8,buffers=registered"}
    rows = [row("direct", 8, 2.0, transport="mpi"), row("direct", 8, 1.0, transport="staged"),
            row("direct", 8, 0.5, **registered), row("library", 8, 3.0, shape=registered["shape"])]  # fmt: skip
    apart = winners.competitions(to_frame(rows))
    assert [list(map(winners.series, found.by_size[8])) for found in apart] == [
        ["direct over staged", "direct"],
        ["direct over shared", "library"],
    ]
    assert [("registered buffers" in found.title) for found in apart] == [False, True]
    text = render_report([Run(run_id="r", started_at="2026-01-01T00:00:00+00:00")], to_frame(rows))
    assert "direct over staged" in text
    assert "registered buffers" in text
