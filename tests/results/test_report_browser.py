"""The report in a real browser: every figure drawn, nothing on the console, sorting and theme work."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clusterbench.results.columns import to_frame
from clusterbench.results.report.page import write_report

pytestmark = pytest.mark.serial

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=30000",
)

ACTIONS = """<script>
window.addEventListener("load", async () => {
  const until = async (ready) => { while (!ready()) await new Promise((resolve) => setTimeout(resolve, 20)); };
  await until(() => document.body.dataset.drawn);
  const seen = {};
  const head = document.querySelectorAll("#run0-kernels thead th")[3];
  const column = () => [...document.querySelectorAll("#run0-kernels tbody tr")].map((row) => row.cells[3].dataset.sort);
  for (const direction of ["ascending", "descending"]) {
    head.querySelector("button").click();
    seen[direction] = { aria: head.getAttribute("aria-sort"), column: column().map(Number) };
  }
  const plot = document.querySelector(".plot");
  const ink = () => plot.layout.font.color;
  seen.before = [document.documentElement.dataset.theme ?? "", ink()];
  const first = ink();
  document.getElementById("theme").click();
  await until(() => ink() !== first);
  seen.after = [document.documentElement.dataset.theme, ink()];
  seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const isText = (e) => !e.closest("svg, script, style, sup") && e.checkVisibility() && e.textContent.trim();
  const isSmall = (e) => parseFloat(getComputedStyle(e).fontSize) < 15;
  const small = [...document.querySelectorAll("body *")].filter((e) => isText(e) && isSmall(e));
  seen.small = small.map((e) => e.outerHTML.slice(0, 80));
  const result = document.createElement("pre");
  result.id = "seen";
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
});
</script>"""


DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" class="steps" width="900" height="40"><title>t &lt; u</title>
<style>svg.steps .life { stroke: var(--ink, #000000); }</style>
<line class="life" x1="1" x2="1" y1="0" y2="40"/></svg>"""


def open_page(chromium: str, page: Path, profile: Path, *flags: str) -> tuple[str, list[str]]:
    """The document after its scripts have run, and the lines of the console."""
    command = [chromium, *FLAGS, *flags, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, synthetic: Callable[..., Any]) -> Path:
    maker = synthetic()
    path = tmp_path_factory.mktemp("report") / "report.html"
    rows = maker.kernels() + maker.collectives() + maker.messages()
    write_report(path, [maker.run(failures=("<b>skipped</b>",))], to_frame(row for row, _ in rows), {"ring": DRAWING})
    return path


def test_the_report_draws_every_figure_with_a_clean_console(chromium: str, report: Path, tmp_path: Path) -> None:
    dom, console = open_page(chromium, report, tmp_path / "profile")
    figures = len(re.findall(r'<script type="application/json" class="figure"', dom))
    assert figures == 5 + 3 + 2
    assert f'data-drawn="{figures}"' in dom
    assert len(re.findall(r'<svg class="main-svg"[^>]*>(?=<defs id="defs-)', dom)) >= figures
    assert len(re.findall(r'class="trace scatter', dom)) == 6 + 4 * 4 + 1 + 2 + 1
    assert len(re.findall(r'class="hm"', dom)) == 2
    assert "<title>t &lt; u</title>" in dom
    assert console == []


def test_a_broken_page_would_be_noticed(chromium: str, report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(report.read_text().replace('"type":"scatter"', '"type":"scatter"}', 1))
    dom, console = open_page(chromium, broken, tmp_path / "profile")
    assert "data-drawn" not in dom
    assert any("SyntaxError" in line for line in console)


def test_a_request_to_the_network_is_refused_by_the_page_itself(chromium: str, report: Path, tmp_path: Path) -> None:
    page = tmp_path / "fetching.html"
    page.write_text(report.read_text().replace("</body>", '<script>fetch("http://127.0.0.1:9/x")</script></body>'))
    _, console = open_page(chromium, page, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)


@pytest.mark.parametrize("width", [1280, 500])
def test_tables_sort_and_the_theme_changes(chromium: str, report: Path, tmp_path: Path, width: int) -> None:
    import json
    from html import unescape

    page = tmp_path / "acting.html"
    page.write_text(report.read_text().replace("</body>", f"{ACTIONS}</body>"))
    dom, console = open_page(chromium, page, tmp_path / "profile", f"--window-size={width},900")
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None
    seen = json.loads(unescape(found[1]))
    for direction, sign in (("ascending", 1), ("descending", -1)):
        assert seen[direction]["aria"] == direction
        assert seen[direction]["column"] == sorted(seen[direction]["column"], key=lambda value: sign * value)
        assert len(seen[direction]["column"]) == 12
    assert seen["before"] == ["", "#1c2329"]
    assert seen["after"] == ["dark", "#e7eaed"]
    assert seen["overflow"] <= 0, "the page must not scroll sideways"
    assert seen["small"] == []
    assert console == []
