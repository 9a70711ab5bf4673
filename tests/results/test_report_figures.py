"""The figures as plotly takes them, and as files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from plotly import graph_objects as go

from clusterbench.results.columns import to_frame
from clusterbench.results.export import ExportError
from clusterbench.results.record import Measurement
from clusterbench.results.report import figure_files, figures, messages, roofline, winners
from clusterbench.results.report.figures import Picture


@pytest.fixture(scope="module")
def rows(synthetic: Callable[..., Any]) -> list[Measurement]:
    maker = synthetic()
    found = []
    for row, _ in maker.kernels() + maker.collectives() + maker.messages():
        held = {}
        if row.suite == "collectives":
            held = {"bound_s": row.median_s / 2, "bound_share": 0.5, "bound_by": "the link", "topology": "dgx-h100"}
        found.append(replace(row, **held))
    return found


@pytest.fixture(scope="module")
def pictures(rows: list[Measurement]) -> list[Picture]:
    frame = to_frame(rows)
    return [
        *roofline.roofline(frame, "x"),
        *figures.collectives(frame, "x", winners.crossings(frame)),
        *messages.messages(frame, "y"),
        *messages.heat_maps(frame, "z"),
    ]


def test_plotly_knows_every_property_of_every_figure(pictures: list[Picture]) -> None:
    assert len(pictures) == 1 + 6 + 3 + 2
    for picture in pictures:
        without_names = re.sub(r"var\(--[a-z0-9-]+\)", "#000000", json.dumps(picture.figure))
        go.Figure(json.loads(without_names))  # raises for a property that plotly does not have


def test_points_name_the_rows_behind_them(pictures: list[Picture], rows: list[Measurement]) -> None:
    for picture in pictures:
        for trace in picture.figure["data"]:
            if trace["type"] == "scatter" and "meta" in trace:
                assert len(trace["meta"]) == len(trace["x"])
    (ring,) = (t for t in pictures[1].figure["data"] if t["name"] == "ring")
    assert [(rows[i].algorithm, rows[i].size_bytes) for i in ring["meta"]] == [("ring", size) for size in ring["x"]]


def test_the_share_of_the_bound_has_its_figure(pictures: list[Picture]) -> None:
    shares = [picture for picture in pictures if picture.title.endswith("share of the bound")]
    assert len(shares) == 2
    for picture in shares:
        assert "The bound is by dgx-h100." in picture.caption
        for trace in picture.figure["data"]:
            assert trace["y"] == [50.0] * 8
            assert "50 % of the bound: the link" in trace["text"][0]
            assert all(up > 0 for up in trace["error_y"]["array"])


def test_the_roofline_has_a_line_for_each_level_and_a_series_for_cold_calls(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    rows = [row for row, _ in maker.kernels()]
    ceiling = replace(rows[0], name="read L2", bytes_per_s=90e9, shape="level=L2,cores=4,set=524288")
    (triad,) = (row for row in rows if row.name == "triad" and row.size_bytes == 1 << 20)
    cold = replace(triad, shape=f"{triad.shape},cache=cold", flop_per_s=1e9)
    (picture,) = roofline.roofline(to_frame([*rows, ceiling, cold]), "x")
    traces = {trace["name"]: trace for trace in picture.figure["data"]}
    assert traces["read L2 bandwidth 90.0 GB/s"]["line"]["dash"] == "dot"
    assert traces["triad, cold"]["y"] == [1.0]
    assert len(traces["triad"]["y"]) == 3


def test_vendors_figures_stand_beside_the_measured_roof_as_bounds(synthetic: Callable[..., Any]) -> None:
    frame = to_frame([row for row, _ in synthetic().kernels()])
    vendor = roofline.VendorRoof("Some GPU", 2e12, {"float32": 20e12, "float16": 300e12}, ((0.5, 1e12),))
    picture = roofline.roofline_beside(frame, [vendor])
    traces = {trace["name"]: trace for trace in picture.figure["data"]}
    line = traces["Some GPU, vendor's figures"]
    assert line["line"]["dash"] == "dash"
    assert line["x"][1] == pytest.approx(300e12 / 2e12)
    assert {y for y in line["y"] if y} >= {20e3, 300e3}
    assert traces["Some GPU, upper bounds of kernels"]["y"] == [1000.0]
    assert "upper bounds: nothing of it ran" in picture.caption
    assert 10 ** picture.figure["layout"]["yaxis"]["range"][1] >= 300e3


def test_a_crossover_is_a_line_where_the_table_has_it(rows: list[Measurement], pictures: list[Picture]) -> None:
    frame = to_frame(rows)
    expected = [
        winners.crossing_bytes(found, *parts)
        for found in winners.competitions(frame)[:1]
        for parts in zip(winners.stretches(found), winners.stretches(found)[1:], strict=False)
    ]
    (line,) = (trace for trace in pictures[1].figure["data"] if trace["name"] == "fastest changes")
    assert [x for x in line["x"] if x is not None][::2] == expected
    assert line["text"][0].startswith("recursive_doubling, then ")


def test_figures_become_files_named_by_their_titles(
    tmp_path: Path, synthetic: Callable[..., Any], rows: list[Measurement]
) -> None:
    chosen = [row for row in rows if row.suite in ("roof", "kernels", "pairs") or row.placement == "in_place"]
    written = figure_files.write_figures(tmp_path / "new", [synthetic().run()], to_frame(chosen))
    assert sorted(path.name for path in written) == sorted(path.name for path in (tmp_path / "new").iterdir())
    names = {path.stem for path in written}
    assert names == {
        "Roofline-Synthetic-CPU-4-cores",
        "all_reduce-sum-float32-in-place-4-ranks-bus-bandwidth",
        "all_reduce-sum-float32-in-place-4-ranks-time-of-small-messages",
        "all_reduce-sum-float32-in-place-4-ranks-share-of-the-bound",
        "All-pairs-latency-at-8-B-4-ranks",
        "All-pairs-bandwidth-at-1-MiB-4-ranks",
    }
    assert len(written) == 2 * len(names)
    for path in written:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    drawn = (tmp_path / "new" / "all_reduce-sum-float32-in-place-4-ranks-bus-bandwidth.svg").read_text()
    ElementTree.fromstring(drawn)
    for said in ("recursive_doubling", "halving_doubling", "ring", "bus bandwidth, GB/s", "32 KiB", "fastest changes"):
        assert f">{said}<" in drawn, said
    assert "#586efb" in drawn, "the first series has the page's colour"


def test_runs_have_a_folder_each(tmp_path: Path, synthetic: Callable[..., Any]) -> None:
    makers = [synthetic("a/../b", 1), synthetic("c", 2)]
    rows = [row for maker in makers for row, _ in maker.kernels()]
    written = figure_files.write_figures(tmp_path, [maker.run() for maker in makers], to_frame(rows))
    assert {path.parent.name for path in written} == {"a-b", "c"}
    assert all(path.resolve().is_relative_to(tmp_path.resolve()) for path in written)


def test_titles_alike_do_not_overwrite_each_other(tmp_path: Path, synthetic: Callable[..., Any]) -> None:
    rows = [replace(row, device=device) for device in ("cpu 0", "cpu/0") for row, _ in synthetic().kernels()]
    written = figure_files.write_figures(tmp_path, [synthetic().run()], to_frame(rows))
    assert {path.name for path in written if path.suffix == ".svg"} == {"Roofline-cpu-0.svg", "Roofline-cpu-0-2.svg"}


HOSTILE = "</svg><script>alert(1)</script>$\\frac{1}{$ _x <b>&amp;"


def test_text_from_outside_is_only_text_in_a_figure(tmp_path: Path, synthetic: Callable[..., Any]) -> None:
    rows = [
        replace(row, algorithm=f"_{row.algorithm}{HOSTILE}", device=HOSTILE, dtype=HOSTILE)
        for row, _ in synthetic().collectives()[:8] + synthetic().kernels()
    ]
    for path in figure_files.write_figures(tmp_path, [synthetic().run()], to_frame(rows)):
        if path.suffix == ".svg":
            root = ElementTree.fromstring(path.read_text())
            assert not [element for element in root.iter() if element.tag.endswith("script")]
    shown = (tmp_path / next(path.name for path in tmp_path.glob("all_reduce*bandwidth.svg"))).read_text()
    assert "_library" in shown, "a name with _ in front is in the legend all the same"


def test_figures_that_cannot_be_written_are_named(tmp_path: Path, synthetic: Callable[..., Any]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file/Roofline"):
        figure_files.write_figures(
            tmp_path / "file", [synthetic().run()], to_frame(row for row, _ in synthetic().kernels())
        )
