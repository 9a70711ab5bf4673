"""`make bench`: what a report of 10,000 rows over 30 runs costs: its size, its writing, and until it can be used."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import open_page

from clusterbench.results.columns import to_frame
from clusterbench.results.record import Measurement, Run
from clusterbench.results.report.page import write_report

RUNS = 30
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")
ALGORITHMS = ("library", "ring", "recursive_doubling", "halving_doubling", "tree")
SIZES = tuple(1 << power for power in range(3, 27, 3))
TIMED = """<script>addEventListener("load", () => {
  const navigation = performance.getEntriesByType("navigation")[0];
  document.body.dataset.took = `${performance.now()} of which parsed ${navigation.domInteractive}`;
});</script></body>"""


def many() -> tuple[list[Run], list[Measurement]]:
    """Runs of a night each: kernels, and four collectives by five algorithms, out of place and in place."""
    rng = np.random.default_rng(1)
    runs, rows = [], []
    for number in range(RUNS):
        run = Run(run_id=f"run-{number:02}", started_at=f"2026-01-{number + 1:02}T02:00:00+00:00")
        runs.append(run)
        base = Measurement(run_id=run.run_id, suite="collectives", name="", host=f"node-{number % 3}", device="GPU")
        for name in COLLECTIVES:
            for algorithm in ALGORITHMS:
                for placement in ("out_of_place", "in_place"):
                    for size in SIZES:
                        median_s = (2e-6 + size / 1e10) * (1 + 0.02 * rng.exponential())
                        times = {"median_s": median_s, "ci95_low_s": 0.99 * median_s, "ci95_high_s": 1.01 * median_s}
                        rates = {"algbw": size / median_s, "busbw": 1.75 * size / median_s}
                        bound = {"bound_s": size / 1.2e10, "bound_share": size / 1.2e10 / median_s, "bound_by": "link"}
                        what = {"name": name, "algorithm": algorithm, "placement": placement, "size_bytes": size}
                        how = {"dtype": "float32", "op": "sum", "ranks": 8, "n": 40, "verdict": "PASS", "wrong": 0}
                        rows.append(replace(base, **what, **how, **times, **rates, **bound))
        rows += [
            replace(base, suite="kernels", name="triad", dtype="float32", shape=f"n={n}", size_bytes=12 * n, n=40,
                    median_s=12 * n / 1e11, bytes_per_s=1e11, flop_per_s=1.6e10, verdict="PASS")
            for n in range(1000, 15000, 1000)
        ]  # fmt: skip
    return runs, rows


def test_a_report_of_ten_thousand_rows(benchmark: Any, show_line: Callable[[str], None], tmp_path: Path) -> None:
    runs, rows = many()
    frame, page = to_frame(rows), tmp_path / "report.html"
    assert len(frame) >= 10_000
    benchmark.group = "report"
    benchmark.pedantic(write_report, args=(page, runs, frame), rounds=3)
    took = until_it_can_be_used(page, tmp_path)
    benchmark.extra_info |= {"rows": len(frame), "MB": page.stat().st_size / 1e6, "usable": took}
    show_line(f"report of {len(frame)} rows, {RUNS} runs: {page.stat().st_size / 1e6:.1f} MB; in Chromium {took} ms")


def until_it_can_be_used(page: Path, folder: Path) -> str:
    """Milliseconds until scripts have set the page up, by the browser's own clock."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on the path (apt-get install chromium)")
    timed = folder / "timed.html"
    timed.write_text(page.read_text().replace("</body>", TIMED))
    dom, console = open_page(chromium, timed, folder / "profile", real_time=True)
    assert "data-ready" in dom
    assert console == []
    found = re.search(r'data-took="([^"]*)"', dom)
    assert found is not None
    return re.sub(r"\.\d+", "", found[1])
