"""The report in a real browser: figures, tables, filters, theme, several runs; and nothing on the console."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import DRAW_ALL, act, open_page

from clusterbench.results.columns import to_frame
from clusterbench.results.report import units
from clusterbench.results.report.page import write_report

pytestmark = pytest.mark.serial

DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" class="steps" width="900" height="40"><title>t &lt; u</title>
<style>svg.steps .life { stroke: var(--ink, #000000); }</style>
<line class="life" x1="1" x2="1" y1="0" y2="40"/></svg>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, synthetic: Callable[..., Any]) -> Path:
    """Of one run."""
    maker = synthetic()
    path = tmp_path_factory.mktemp("report") / "report.html"
    rows = maker.kernels() + maker.collectives() + maker.messages()
    write_report(path, [maker.run(failures=("<b>skipped</b>",))], to_frame(row for row, _ in rows), {"ring": DRAWING})
    return path


def test_the_report_draws_every_figure_with_a_clean_console(chromium: str, report: Path, tmp_path: Path) -> None:
    page = tmp_path / "printed.html"
    printing = '<script>window.addEventListener("load", () => window.dispatchEvent(new Event("beforeprint")))</script>'
    page.write_text(report.read_text().replace("</body>", f"{printing}</body>"))
    dom, console = open_page(chromium, page, tmp_path / "profile")
    figures = len(re.findall(r'<script type="application/json" class="figure"', dom))
    assert figures == 5 + 3 + 2
    assert f'data-drawn="{figures}"' in dom
    assert len(re.findall(r'<svg class="main-svg"[^>]*>(?=<defs id="defs-)', dom)) >= figures
    # Three kernels and three ceilings, four algorithms in four figures, where two of these change, and messages.
    assert len(re.findall(r'class="trace scatter', dom)) == 6 + 4 * 4 + 2 + 1 + 2 + 1
    assert len(re.findall(r'class="hm"', dom)) == 2
    assert "<title>t &lt; u</title>" in dom
    assert console == []


def test_only_figures_in_view_are_drawn_at_first(chromium: str, report: Path, tmp_path: Path) -> None:
    dom, console = open_page(chromium, report, tmp_path / "profile")
    drawn = re.search(r'data-drawn="(\d+)"', dom)
    assert drawn is None or int(drawn[1]) < 10
    assert console == []


def test_a_broken_page_would_be_noticed(chromium: str, report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(report.read_text().replace('"type":"scatter"', '"type":"scatter"}', 1))
    dom, console = open_page(chromium, broken, tmp_path / "profile")
    assert "data-ready" not in dom
    assert any("SyntaxError" in line for line in console)


def test_a_request_to_the_network_is_refused_by_the_page_itself(chromium: str, report: Path, tmp_path: Path) -> None:
    page = tmp_path / "fetching.html"
    page.write_text(report.read_text().replace("</body>", '<script>fetch("http://127.0.0.1:9/x")</script></body>'))
    _, console = open_page(chromium, page, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)


SORT_AND_THEME = (
    DRAW_ALL
    + """
const seen = {};
const sorted = (host, number) => {
  const head = all(`${host} thead th`)[number], found = {};
  for (const direction of ["ascending", "descending"]) {
    head.querySelector("button").click();
    const column = all(`${host} tbody tr`).map((row) => row.cells[number]);
    found[direction] = { aria: head.getAttribute("aria-sort"), texts: column.map((cell) => cell.textContent) };
    found[direction].values = column.map((cell) => Number(cell.dataset.sort));
  }
  return found;
};
seen.still = sorted("#run0-kernels", 3);
seen.paged = sorted("#all-rows", 0);
const ink = () => one(".plot").layout.font.color;
seen.before = [document.documentElement.dataset.theme ?? "", ink()];
const first = ink();
one("#theme").click();
draw();
await until(() => ink() !== first);
seen.after = [document.documentElement.dataset.theme, ink()];
const isText = (e) => !e.closest("svg, script, style, sup") && e.checkVisibility() && e.textContent.trim();
const isSmall = (e) => parseFloat(getComputedStyle(e).fontSize) < 15;
seen.small = all("body *").filter((e) => isText(e) && isSmall(e)).map((e) => e.outerHTML.slice(0, 80));
one("#filters details").open = true;
seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
return seen;
"""
)


@pytest.mark.parametrize("width", [1280, 390])
def test_tables_sort_and_the_theme_changes(chromium: str, report: Path, tmp_path: Path, width: int) -> None:
    seen, console = act(chromium, report, tmp_path, SORT_AND_THEME, width)
    for direction, sign in (("ascending", 1), ("descending", -1)):
        assert seen["still"][direction]["aria"] == seen["paged"][direction]["aria"] == direction
        values = seen["still"][direction]["values"]
        assert values == sorted(values, key=lambda value: sign * value)
        assert len(values) == 12
        suites = seen["paged"][direction]["texts"]
        assert suites == sorted(suites, reverse=sign < 0)
        assert len(suites) == 50
    assert seen["before"] == ["", "#1c2329"]
    assert seen["after"] == ["dark", "#e7eaed"]
    assert seen["overflow"] <= 0, "the page must not scroll sideways"
    assert seen["small"] == []
    assert console == []


def test_filters_act_on_counts_tables_and_figures(chromium: str, report: Path, tmp_path: Path) -> None:
    actions = (
        DRAW_ALL
        + """
const state = () => ({
  said: one("#filter-state").textContent,
  counts: Object.fromEntries(all(".tile").map((tile) => [tile.dataset.verdict, +tile.firstChild.textContent])),
  figures: all("article figure:not([hidden]) h4").map((title) => title.textContent),
  series: (one("#run0-busbw-0").data ?? []).map((trace) => trace.name),
  kernels: all("#run0-kernels tbody tr:not([hidden])").length,
  winners: all("#run0-winners-0 tbody tr:not([hidden])").length,
  rows: one("#all-rows").hidden ? 0 : table("#all-rows").length,
  more: one("#all-rows .pages").hidden ? "" : one("#all-rows .pages span").textContent,
  problems: one("#problems").hidden ? [] : table("#problems").map((row) => row.Verdict),
});
const tick = (field, value) => one(`input[data-field="${field}"][value="${value}"]`).click();
const seen = { all: state() };
const series = () => one("#run0-busbw-0").data.length;
tick("algorithm", "ring");
draw();
await until(() => series() === 2);
seen.ring = state();
tick("suite", "kernels");
seen.nothing = state();
tick("algorithm", "ring");
seen.kernels = state();
one("#filter-reset").click();
draw();
await until(() => series() === 5);
seen.again = state();
return seen;
"""
    )
    seen, console = act(chromium, report, tmp_path, actions)
    every = seen["all"]
    assert every["said"] == f"{sum(every['counts'].values())} of {sum(every['counts'].values())} rows"
    assert every["counts"]["INVALID"] == len(every["problems"]) == 3
    assert every["more"].startswith("1–50 of ")
    assert len(every["figures"]) == 10
    ring = seen["ring"]
    assert ring["counts"]["PASS"] == ring["rows"] == 16
    assert ring["series"] == ["ring", "fastest changes"]
    assert ring["kernels"] == 0
    assert ring["winners"] == 8, "the ring competed at every size"
    assert ring["problems"] == []
    assert len(ring["figures"]) == 4
    assert seen["nothing"]["rows"] == sum(seen["nothing"]["counts"].values()) == 0
    assert seen["nothing"]["figures"] == []
    assert seen["kernels"]["kernels"] == every["kernels"]
    assert seen["kernels"]["figures"] == ["Roofline: Synthetic CPU, 4 cores"]
    assert seen["again"] == every
    assert console == []


def test_numbers_are_written_by_the_page_as_by_the_suite(chromium: str, tmp_path: Path) -> None:
    from importlib import resources

    rng = np.random.default_rng(5)
    values = [*(10 ** rng.uniform(-12, 12, 300)).tolist(), 0.0, 1.0, 1000.0, 999.6, 1e-9, 1e-5, 123456.0, -2.5e-4]
    sizes = [0, 1, 1000, 1023, 1024, 1536, 65536, 3 << 30, 1 << 60]
    script = resources.files("clusterbench.results.report").joinpath("units.js").read_text()
    page = tmp_path / "units.html"
    page.write_text(
        f"<!doctype html><title>units</title><body><pre id='seen'></pre><script>{script}"
        f"const values = {json.dumps(values)}, sizes = {json.dumps(sizes)};"
        "document.getElementById('seen').textContent = JSON.stringify({"
        "digits: values.map((v) => digits(v)), time: values.map(time), giga: values.map(giga), two: values.map((v) => "
        "digits(v, 2)), size: sizes.map(size), none: [digits(null), time(null), giga(null), share(null)],"
        "spread: [spread(1, 0.98, 1.03), spread(1, null, null)]});</script></body>"
    )
    dom, console = open_page(chromium, page, tmp_path / "profile")
    found = re.search(r"<pre id=\"seen\">(.*?)</pre>", dom, re.DOTALL)
    assert found is not None
    seen = json.loads(unescape(found[1]))
    assert seen["digits"] == [units.digits(value) for value in values]
    assert seen["two"] == [units.digits(value, 2) for value in values]
    assert seen["time"] == [units.time(value) for value in values]
    assert seen["giga"] == [units.giga(value) for value in values]
    assert seen["size"] == [units.size(value) for value in sizes]
    assert seen["none"] == [units.digits(None), units.time(None), units.giga(None), units.share(None)]
    assert seen["spread"] == ["± 3.0 %", ""]
    assert console == []
