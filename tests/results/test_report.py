"""The report: one file that loads nothing, hides nothing, and lets nothing from outside act."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.results.columns import to_frame
from clusterbench.results.export import ExportError
from clusterbench.results.record import Measurement, Run
from clusterbench.results.report import figures, machine, tables, units, winners
from clusterbench.results.report.page import render_report, script_json, write_report

HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert(2)"> & ' " <b>bold</b> {{ 7 * 7 }} \u2028"""


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, the text, and the scripts apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.figures: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
            anchor = self.tags[-1][1].get("data-for")
            if anchor:
                self.figures[anchor] = json.loads(data)
            if self.tags[-1][1].get("id") == "data":
                self.data = json.loads(data)
        elif self._inside != "style":
            self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(runs: list[Run], rows: list[Any]) -> Page:
    return Page(render_report(runs, to_frame(row for row, _ in rows)))


@pytest.fixture(scope="module")
def page(synthetic: Callable[..., Any]) -> Page:
    maker = synthetic()
    run = maker.run(status="finished", exit_code=1, failures=("all_gather: mpiexec ended with 9",))
    return page_of([run], maker.kernels() + maker.collectives())


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "srcset", "action", "poster"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, (tag, value)
    assert {attributes.get("rel") for attributes in page.named("link")} == {"icon"}
    policy = next(a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    text = "".join(page.scripts)
    assert "Plotly" in text
    assert "cdn.plot.ly" not in text
    assert "cdn.jsdelivr.net" not in text


def test_every_figure_of_the_run_is_there(page: Page) -> None:
    assert list(page.figures) == [
        "run0-roofline-0",
        "run0-busbw-0",
        "run0-latency-0",
        "run0-busbw-1",
        "run0-latency-1",
    ]
    busbw = page.figures["run0-busbw-0"]["data"]
    names = ["library", "halving_doubling", "recursive_doubling", "ring", "fastest changes"]
    assert [trace["name"] for trace in busbw] == names
    assert all(max(trace["error_y"]["array"]) > 0 for trace in busbw[:-1])
    assert {attributes["id"] for attributes in page.named("div") if attributes.get("class") == "plot"} == set(
        page.figures
    )


def test_the_roofline_has_its_ceilings_and_its_kernels(page: Page) -> None:
    traces = {trace["name"]: trace for trace in page.figures["run0-roofline-0"]["data"]}
    assert set(traces) == {
        "copy bandwidth 14.2 GB/s",
        "multiply-add peak float32 96.0 GFLOP/s",
        "multiply-add peak float64 48.5 GFLOP/s",
        "triad",
        "dot",
        "gemm",
    }
    for x, y in zip(traces["triad"]["x"], traces["triad"]["y"], strict=True):
        assert x == pytest.approx(1 / 12)
        assert y < x * 14.2
    ceiling = traces["copy bandwidth 14.2 GB/s"]
    assert ceiling["y"][1] / ceiling["x"][1] == pytest.approx(14.2)


def test_tables_can_be_read_and_sorted_without_a_mouse(page: Page) -> None:
    count = len(page.named("table"))
    assert count >= 7
    assert len(page.named("caption")) == count
    heads = [attributes for attributes in page.named("th") if attributes.get("scope") == "col"]
    assert heads
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.named("th"))
    regions = [a for a in page.named("div") if a.get("role") == "region"]
    assert len(regions) == count
    assert all(a.get("tabindex") == "0" for a in regions)
    captions = {a["id"] for a in page.named("caption")}
    assert {a["aria-labelledby"] for a in regions} == captions


def test_what_failed_and_what_was_simulated_is_said(page: Page) -> None:
    text = " ".join(page.text)
    for said in (
        "all_gather: mpiexec ended with 9",
        "faster than the measured roof permits",
        "Triton's interpreter: no GPU",
        "cupy is not installed",
        "exit code 1",
        "one call, the slowest rank",
        "none (no NVML, nvidia-smi or rocm-smi)",
    ):
        assert said in text, said


def test_text_from_outside_is_shown_and_never_acts(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    texts = ("name", "algorithm", "backend", "dtype", "device", "host", "note", "reason", "culprit", "placement", "op")
    rows = []
    for row, samples in maker.kernels() + maker.collectives():
        spoiled = {name: HOSTILE for name in texts if name != "name" or row.suite != "roof"}
        rows.append((replace(row, **spoiled, sample_unit=HOSTILE, verdict="FAIL"), samples))
    environment = {"host": {"name": HOSTILE}, HOSTILE: {HOSTILE: [HOSTILE]}, "backends": [{"backend": HOSTILE}]}
    run = maker.run(command=HOSTILE, environment=environment, failures=(HOSTILE,), status=HOSTILE, started_at=HOSTILE)
    spoiled_page = page_of([run], rows)
    plain_page = page_of([maker.run(failures=("x",))], maker.kernels() + maker.collectives())
    assert {tag for tag, _ in spoiled_page.tags} <= {tag for tag, _ in plain_page.tags}
    assert not any(name.startswith("on") for _, attributes in spoiled_page.tags for name in attributes)
    assert len(spoiled_page.scripts) == 3 + len(spoiled_page.figures)
    assert "alert(1)" in "".join(spoiled_page.text)
    assert "{{ 7 * 7 }}" in "".join(spoiled_page.text)
    for figure in spoiled_page.figures.values():
        for trace in figure["data"]:
            assert "<script" not in json.dumps([trace["name"], trace.get("text")])


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_in_a_script_says_the_same_and_cannot_end_it(value: Any) -> None:
    text = script_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


@pytest.mark.parametrize(("evidence", "origin"), [("simulated", "own"), ("emulated", "own"), ("measured", "imported")])
def test_a_number_not_measured_here_never_looks_measured(
    synthetic: Callable[..., Any], evidence: Any, origin: Any
) -> None:
    maker = synthetic()
    rows = maker.collectives()
    other = [(replace(row, evidence=evidence, origin=origin), samples) for row, samples in rows]
    frame = to_frame(row for row, _ in rows + other)
    mark = evidence if origin == "own" else origin
    for picture in figures.collectives(frame, "x"):
        names = [trace["name"] for trace in picture.figure["data"] if "meta" in trace]
        assert sum(mark in name for name in names) == len(names) / 2
        if evidence != "measured":
            looks = {
                (trace["line"]["dash"], trace["marker"]["symbol"].endswith("-open"))
                for trace in picture.figure["data"]
                if mark in trace["name"]
            }
            assert looks == {("dash", True)}
    competitions = [mark in table.caption for table in winners.winners(frame, "x")]
    assert sorted(competitions) == [False, False, True, True]
    listed = tables.not_measured(frame, "x")
    assert listed is not None
    assert {cell.mark for row in listed.rows for cell in row if cell.text.startswith((evidence, origin))} == {mark}


def test_compiled_kernels_have_a_table_of_what_their_machine_code_says() -> None:
    base = Measurement(
        run_id="r", suite="kernels", name="triad", dtype="float32", backend="triton", evidence="compiled"
    )
    said = "registers=26; spills=0; occupancy=0.5; limited_by=registers, warps; load_bytes=16; matrix=HMMA.16816.F32"
    rows = [
        replace(base, device="A100 (sm_80)", note=said, verdict="PASS"),
        replace(base, device="H100 (sm_90)", note="registers=200; spills=7", verdict="FAIL", reason="spills is 7 <b>"),
    ]
    frame = to_frame(rows)
    table = tables.compiled(frame, "x")
    assert table is not None
    names = [head.text for head in table.heads]
    first = dict(zip(names, table.rows[0], strict=True))
    assert (first["Registers"].sort, first["Occupancy"].text, first["Limited by"].text) == (
        26,
        "0.5",
        "registers, warps",
    )
    assert first["Matrix instruction"].text == "HMMA.16816.F32"
    assert "fp64" not in names  # of which no row says anything
    assert [row[names.index("Evidence")].mark for row in table.rows] == ["compiled", "compiled"]
    assert table.behind == ((0,), (1,))
    assert tables.not_measured(frame, "x") is None
    page = render_report([Run(run_id="r", started_at="")], frame)
    assert "what the machine code of each target says" in page
    assert "spills is 7 &lt;b&gt;" in page
    assert "every row was measured or compiled on this machine" in page


@pytest.mark.parametrize("rows", [[], [Measurement(run_id="r", suite="kernels", name="copy")]])
def test_a_run_with_little_in_it_still_has_a_report(rows: list[Measurement]) -> None:
    page = Page(render_report([Run(run_id="r", started_at="")], to_frame(rows)))
    assert page.figures == {}
    assert "The run recorded no environment." in " ".join(page.text)


def test_no_run_at_all_is_said() -> None:
    assert "There is no run to report on." in " ".join(Page(render_report([], to_frame([]))).text)


@pytest.mark.parametrize(("count", "heading"), [(4, "h0, h1, h2, h3"), (100, "h0, h1, h2, h3 and 96 more hosts")])
def test_the_heading_names_a_few_hosts_of_many(count: int, heading: str) -> None:
    runs = [Run(run_id=f"r{i}", started_at="") for i in range(count)]
    rows = [Measurement(run_id=f"r{i}", suite="roof", name="copy", host=f"h{i}", bytes_per_s=1e9) for i in range(count)]
    page = render_report(runs, to_frame(rows))
    assert f"<h1>{heading}</h1>" in page
    assert f"<title>clusterbench: {heading}</title>" in page


def test_imported_rows_are_counted_as_such_and_have_no_intervals_in_captions() -> None:
    row = Measurement(
        run_id="r", suite="collectives", name="all_reduce", algorithm="library", dtype="float32", op="sum", ranks=8,
        size_bytes=1 << 20, median_s=1e-3, busbw=2e9, origin="imported",
        sample_unit="the mean of `batch` calls in a row",
    )  # fmt: skip
    page = render_report([Run(run_id="r", started_at="")], to_frame([row, replace(row, size_bytes=1 << 21)]))
    assert "<dt>Evidence</dt><dd>2 imported</dd>" in page
    assert "Bars are 95" not in page
    assert "the mean of several calls in a row" in page
    assert "Bars are 95" in render_report([Run(run_id="r", started_at="")], to_frame([replace(row, ci95_low_s=9e-4)]))


def test_two_runs_share_one_page_without_mixing(synthetic: Callable[..., Any]) -> None:
    a, b = synthetic("first"), synthetic("second", 2)
    page = page_of([a.run(), b.run()], a.kernels() + b.collectives())
    assert list(page.figures) == ["run0-roofline-0", "run1-busbw-0", "run1-latency-0", "run1-busbw-1", "run1-latency-1"]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"file/report\.html"):
        write_report(tmp_path / "file" / "report.html", [], to_frame([]))


def test_the_note_of_a_row_stands_in_the_table_and_at_its_point(synthetic: Callable[..., Any]) -> None:
    maker = synthetic()
    note = "ran as chain:segments=4; results of rank 1 differ in bits from rank 0's"
    rows = [(replace(row, note=note), samples) for row, samples in maker.collectives()[:2]]
    page = page_of([maker.run()], rows)
    assert note in page.data["rows"]["note"]["values"]
    (trace,) = page.figures["run0-busbw-0"]["data"]
    assert trace["text"][0].endswith("ran as chain:segments=4<br>results of rank 1 differ in bits from rank 0's")


@pytest.mark.parametrize("topology", ["", "dgx-h100"])
def test_a_bound_and_the_expectation_are_lines_of_the_figure(synthetic: Callable[..., Any], topology: str) -> None:
    made = synthetic()
    rows = []
    for row, samples in made.collectives(ranks=2):
        times = {"bound_s": row.median_s / 2, "expected_s": row.median_s / 1.5}
        rows.append((replace(row, bound_by="links <b>out</b>", topology=topology, **times), samples))
    page = page_of([made.run()], rows)
    traces = page.figures["run0-busbw-0"]["data"]
    bound, expected = traces[-2:]
    traces = [trace for trace in traces if trace["name"] != "fastest changes"]
    assert [bound["name"], expected["name"]] == ["bound", "expected of the fastest"]
    assert bound["mode"] == expected["mode"] == "lines"
    fastest = {}
    for trace in traces[:-2]:
        for size, rate in zip(trace["x"], trace["y"], strict=True):
            fastest[size] = max(rate, fastest.get(size, 0.0))
    assert dict(zip(bound["x"], bound["y"], strict=True)) == pytest.approx({s: 2 * rate for s, rate in fastest.items()})
    assert dict(zip(expected["x"], expected["y"], strict=True)) == pytest.approx(
        {size: 1.5 * rate for size, rate in fastest.items()}
    )
    assert "links &lt;b&gt;out" in bound["text"][0]
    assert any((topology or "messages timed when the run began") in text for text in page.text)


def test_a_bound_and_the_expectation_of_one_size_are_seen(synthetic: Callable[..., Any]) -> None:
    made = synthetic()
    row, samples = made.collectives(ranks=2)[0]
    held = replace(row, bound_s=row.median_s / 2, expected_s=row.median_s / 1.5)
    page = page_of([made.run()], [(held, samples)])
    bound, expected = page.figures["run0-busbw-0"]["data"][-2:]
    assert bound["mode"] == expected["mode"] == "markers"  # a line of one point is not drawn
    assert bound["marker"] != expected["marker"]
    assert any("Thin: the bound" in text and "Thick: the expected" in text for text in page.text)


def test_sixteen_algorithms_and_the_library_look_different() -> None:
    looks = [figures.look(number) for number in range(24)]
    assert len(set(looks)) == 24
    assert len({(look.colour, look.dash) for look in looks}) == 24
    assert len({(look.colour, look.symbol) for look in looks}) == 24
    assert "dash" not in {look.dash for look in looks}, "dashed is what was not measured"


def test_unknown_parts_of_an_environment_are_shown_too() -> None:
    environment = {
        "weather": {"sky": {"colour": "grey"}},
        "loose": 3,
        "cpu": {"affinity": [0, 1, 2, 5], "boost": True},
        "network": {"tcp": {"send_buffer_bytes": [4096, 16384, 4194304]}},
    }
    cards = {
        card.title: dict(card.entries)
        for card in machine.cards(Run(run_id="r", started_at="", environment=environment))
    }
    assert cards["Weather"] == {"sky colour": "grey"}
    assert cards["Other"] == {"loose": "3"}
    assert cards["Processor"] == {"affinity": "0-2, 5", "boost": "yes"}
    assert cards["Network"] == {"tcp send buffer": "4 KiB, 16 KiB, 4 MiB"}
    assert cards["GPUs"] == {"present": "none"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (units.time(1.234e-6), "1.23 µs"),
        (units.time(0.9999), "1,000 ms"),
        (units.time(75e-12), "0.0750 ns"),
        (units.time(None), "–"),
        (units.size(65536), "64 KiB"),
        (units.size(1000), "1000 B"),
        (units.size(1536), "1.50 KiB"),
        (units.giga(14.2e9), "14.2"),
        (units.giga(float("nan")), "–"),
        (units.digits(123456), "123,000"),
        (units.share(0.873), "87 %"),
        (units.spread(1.0, 0.98, 1.03), "± 3.0 %"),
    ],
)
def test_numbers_are_written_with_three_digits_and_their_unit(written: str, expected: str) -> None:
    assert written == expected


def test_the_style_sheet_gives_every_colour_that_the_figures_use(page: Page) -> None:
    from importlib import resources

    style = resources.files("clusterbench.results.report").joinpath("style.css").read_text()
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", json.dumps(page.figures)))
    assert used
    for block in re.findall(r":root[^{]*\{([^}]*)\}", style):
        defined = set(re.findall(r"(--[a-z0-9-]+):", block))
        assert used - {"--clear"} <= defined
