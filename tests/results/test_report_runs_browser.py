"""A report of several runs in a real browser: which is shown, comparison, history, what changed; keyboard and names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import act

from clusterbench.results.columns import to_frame
from clusterbench.results.record import Measurement, Run
from clusterbench.results.report import units
from clusterbench.results.report.page import write_report
from clusterbench.results.statistics import RESAMPLES, Ratio, bootstrap_ratio

pytestmark = pytest.mark.serial

SLOWER = 1.05


@pytest.fixture(scope="module")
def runs(synthetic: Callable[..., Any]) -> tuple[list[Run], list[Measurement]]:
    """Three runs; all times of the third are longer, and its governor is another."""
    makers = [synthetic("first", 1), synthetic("second", 2), synthetic("third", 3, SLOWER)]
    records = [maker.run() for maker in makers]
    environment = {**records[2].environment, "cpu": {**records[2].environment["cpu"], "governor": "powersave"}}
    records[2] = replace(records[2], environment=environment)
    return records, [row for maker in makers for row, _ in maker.kernels() + maker.collectives()]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, runs: tuple[list[Run], list[Measurement]]) -> Path:
    """Of three runs."""
    path = tmp_path_factory.mktemp("several") / "report.html"
    write_report(path, runs[0], to_frame(runs[1]))
    return path


def test_any_run_is_shown_by_choice_and_by_link(chromium: str, several: Path, tmp_path: Path) -> None:
    actions = """
const shown = () => all("article:not([hidden])").map((article) => article.id).join();
const seen = [shown()];
choose("#run", "0");
seen.push(shown());
all("#runs-table tbody a").find((link) => link.textContent === "second").click();
await until(() => shown() === "run1");
seen.push(one("#run").value);
draw();
await until(() => one("#run1 .main-svg"));
return seen;
"""
    seen, console = act(chromium, several, tmp_path, actions)
    assert seen == ["run2", "run0", "1"]
    assert console == []


COMPARE = """
draw();
await until(() => one("#compare-plot .main-svg"));
const rows = () => {
  const found = table("#compare-table");
  while (!all("#compare-table .pages button")[1].disabled) {
    all("#compare-table .pages button")[1].click();
    found.push(...table("#compare-table"));
  }
  return found;
};
const state = () => draw() && ({
  said: one("#compare-counts").textContent, rows: rows(),
  points: one("#compare-plot").data.reduce((sum, trace) => sum + trace.x.length, 0),
  environment: one("#compare-environment").hidden ? [] : table("#compare-environment"),
});
"""


def test_two_runs_are_compared_as_chosen(
    chromium: str, several: Path, runs: tuple[list[Run], list[Measurement]], tmp_path: Path
) -> None:
    actions = (
        COMPARE
        + """
const seen = { last: state() };
choose("#compare-b", "0");
choose("#compare-a", "1");
seen.alike = state();
choose("#tolerance", "10");
seen.wide = state();
return seen;
"""
    )
    seen, console = act(chromium, several, tmp_path, actions)
    assert console == []
    by_run = {run.run_id: to_frame(row for row in runs[1] if row.run_id == run.run_id) for run in runs[0]}
    for state, names, tolerance in (
        (seen["last"], ("second", "third"), 0.02),
        (seen["alike"], ("second", "first"), 0.02),
        (seen["wide"], ("second", "first"), 0.10),
    ):
        expected = expected_comparison(*(by_run[name] for name in names))
        timed = [row for row in state["rows"] if row["B / A"] != "–"]
        assert len(timed) == 12 + 64 == state["points"]
        for row in timed:
            ratio = Ratio(float(row["B / A"]), *map(float, row["95 %"].split(" .. ")))
            key = (row["Time A"], row["Time B"], row["B / A"])
            assert key in expected
            low, high = expected[key]
            assert ratio.low == pytest.approx(low, abs=4e-3)
            assert ratio.high == pytest.approx(high, abs=4e-3)
            assert row["Change"] == ratio.change(tolerance)
        verified = [row for row in state["rows"] if row["B / A"] == "–"]
        assert {(row["Change"], row["Why"]) for row in verified} == {("same", "verdict PASS, then PASS; no times")}
    assert {row["Change"] for row in seen["last"]["rows"]} >= {"worse", "same"}
    assert re.match(r"\d+ worse, 0 better, ", seen["last"]["said"])
    assert seen["last"]["environment"] == [{"Setting": "Processor: governor", "A": "performance", "B": "powersave"}]
    assert seen["alike"]["environment"] == []
    assert "worse" not in {row["Change"] for row in seen["wide"]["rows"]}


def expected_comparison(a: Any, b: Any) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Intervals of the ratio by what the table shows of a point: a bootstrap of log-normal medians, an oracle."""
    rng = np.random.default_rng(7)
    on = ["suite", "name", "algorithm", "dtype", "placement", "size_bytes", "backend"]
    timed = a[a["median_s"] > 0].merge(b[b["median_s"] > 0], on=on, suffixes=("_a", "_b"))
    found = {}
    for row in timed.itertuples():
        drawn = []
        for median_s, low_s, high_s in (
            (row.median_s_a, row.ci95_low_s_a, row.ci95_high_s_a),
            (row.median_s_b, row.ci95_low_s_b, row.ci95_high_s_b),
        ):
            drawn.append(median_s * np.exp(np.log(high_s / low_s) / 3.92 * rng.normal(size=RESAMPLES)))
        value = row.median_s_b / row.median_s_a
        ratio = bootstrap_ratio(*drawn, value)
        assert ratio.low is not None
        assert ratio.high is not None
        found[units.time(row.median_s_a), units.time(row.median_s_b), f"{value:.3f}"] = (ratio.low, ratio.high)
    return found


def test_launches_are_the_unit_of_a_comparison(chromium: str, tmp_path: Path) -> None:
    """Medians of launches decide, however narrow the interval within each; two against two cannot be told."""

    def launches(run_id: str, algorithm: str, times: list[float]) -> list[Measurement]:
        what: dict[str, Any] = {"suite": "collectives", "name": "all_reduce", "size_bytes": 1024, "ranks": 2}
        return [
            Measurement(
                run_id=run_id, algorithm=algorithm, median_s=t, ci95_low_s=t * 0.999, ci95_high_s=t * 1.001, **what
            )
            for t in times
        ]

    rows = []
    for run_id, factor in (("a", 1.0), ("b", 1.1)):
        rows += launches(run_id, "ring", [factor * t * 1e-6 for t in (1.0, 1.01, 0.99, 1.005, 0.995)])
        rows += launches(run_id, "chain", [factor * t * 1e-6 for t in (1.0, 1.5, 0.7, 1.3)])
        rows += launches(run_id, "binomial", [factor * 1e-6] * 2)
    page = tmp_path / "launches.html"
    records = [Run(run_id=name, started_at=f"2026-01-0{i}T00:00:00+00:00") for i, name in ((1, "a"), (2, "b"))]
    write_report(page, records, to_frame(rows))
    seen, console = act(chromium, page, tmp_path, f"{COMPARE} return state();")
    found = {row["What"].split()[1]: row for row in seen["rows"]}
    assert {name: (row["Change"], row["Launches"]) for name, row in found.items()} == {
        "ring": ("worse", "5 / 5"),
        "chain": ("cannot tell", "4 / 4"),
        "binomial": ("cannot tell", "2 / 2"),
    }
    assert found["ring"]["B / A"] == "1.100"
    low, high = map(float, found["ring"]["95 %"].split(" .. "))
    assert 1.07 < low < 1.1 < high < 1.13
    assert found["binomial"]["Why"] == "2 launches against 2, fewer than 4 a side"
    assert console == []


def test_the_history_of_a_point_follows_the_search(
    chromium: str, several: Path, runs: tuple[list[Run], list[Measurement]], tmp_path: Path
) -> None:
    actions = """
const points = () => all("#history-point option").map((option) => option.textContent);
const seen = { all: points().length, said: one("#history-state").textContent };
one("#history-search").value = "RING 16 mib out";
one("#history-search").dispatchEvent(new Event("input"));
seen.found = points();
draw();
await until(() => one("#history-plot .main-svg"));
const drawn = () => { const [{ x, y, error_y: bars }] = one("#history-plot").data; return { x, y, up: bars.array }; };
seen.time = drawn();
choose("#history-quantity", "rate");
draw();
await until(() => one("#history-plot").layout.yaxis.title.text === "GB/s");
seen.rate = drawn();
seen.table = table("#history-table");
one("#history-search").value = "nowhere";
one("#history-search").dispatchEvent(new Event("input"));
seen.nowhere = [points(), one("#history-plot").closest("figure").hidden, one("#history-table").hidden];
return seen;
"""
    seen, console = act(chromium, several, tmp_path, actions)
    assert seen["all"] == 12 + 64
    assert seen["said"] == "76 points that at least two runs have."
    assert seen["found"] == ["all_reduce ring float32 sum out of place, 16 MiB, 4 ranks"]
    rows = [
        next(
            row
            for row in runs[1]
            if (row.run_id, row.algorithm, row.placement, row.size_bytes)
            == (run.run_id, "ring", "out_of_place", 1 << 24)
        )
        for run in runs[0]
    ]
    assert seen["time"]["x"] == [f"2026-01-0{day}T10:00:00" for day in (1, 2, 3)]
    assert seen["time"]["y"] == pytest.approx([row.median_s * 1e6 for row in rows if row.median_s], rel=1e-5)
    assert all(reach > 0 for reach in seen["time"]["up"])
    assert seen["rate"]["y"] == pytest.approx([row.busbw / 1e9 for row in rows if row.busbw], rel=1e-5)
    assert [row["Run"] for row in seen["table"]] == ["third", "second", "first"]
    assert float(seen["table"][0]["Time / the run before"]) == pytest.approx(SLOWER, abs=0.02)
    assert seen["nowhere"] == [[], True, True]
    assert console == []


def test_what_changed_between_runs_is_listed(chromium: str, several: Path, tmp_path: Path) -> None:
    seen, console = act(chromium, several, tmp_path, 'return table("#environment-table");')
    assert [(row["Run"], row["Setting"], row["Before"], row["Now"]) for row in seen] == [
        ("third", "Processor: governor", "performance", "powersave")
    ]
    assert console == []


def test_everything_that_acts_has_a_name_and_can_be_reached_by_keyboard(
    chromium: str, several: Path, tmp_path: Path
) -> None:
    actions = """
const controls = all("button, select, input, summary, a[href]").filter((control) => control.checkVisibility());
const named = (control) => control.textContent.trim() || control.getAttribute("aria-label") || control.labels?.length;
const levels = all("h1, h2, h3, h4").filter((head) => head.checkVisibility()).map((head) => Number(head.tagName[1]));
return {
  count: controls.length,
  nameless: controls.filter((control) => !named(control)).map((control) => control.outerHTML.slice(0, 80)),
  unreachable: controls.filter((control) => control.tabIndex < 0).map((control) => control.outerHTML.slice(0, 80)),
  jumps: levels.filter((level, i) => i && level > levels[i - 1] + 1),
  captions: all("table").filter((found) => !found.caption?.textContent).length,
  regions: all("[role=region]").filter((region) => !one(`#${region.getAttribute("aria-labelledby")}`)).length,
  pictures: all("[role=img]").filter((picture) => !picture.getAttribute("aria-label")).length,
};
"""
    seen, console = act(chromium, several, tmp_path, actions)
    assert seen.pop("count") > 50
    assert seen == {"nameless": [], "unreachable": [], "jumps": [], "captions": 0, "regions": 0, "pictures": 0}
    assert console == []


HOSTILE = """</script><img src=x onerror="window.acted = true"><b>bold</b> & ' " {{ 7 * 7 }}"""


def test_text_from_outside_is_only_shown(chromium: str, synthetic: Callable[..., Any], tmp_path: Path) -> None:
    records, rows = [], []
    for maker in (synthetic("a", 1), synthetic("b", 2)):
        name = maker.run_id + HOSTILE
        environment = {"host": {"name": HOSTILE}, HOSTILE: {HOSTILE: name}}
        records.append(maker.run(run_id=name, command=HOSTILE, environment=environment, failures=(HOSTILE,)))
        texts = ("name", "algorithm", "backend", "dtype", "device", "host", "note", "reason", "culprit", "op")
        spoiled = dict.fromkeys(texts, HOSTILE)
        rows += [replace(row, **{**spoiled, "run_id": name, "verdict": "FAIL"}) for row, _ in maker.collectives()[:8]]
    page = tmp_path / "hostile.html"
    write_report(page, records, to_frame(rows))
    actions = """
for (const box of all("#filter-fields input").slice(0, 1)) box.click();
draw();
await until(() => one("#compare-plot .main-svg"));
draw();
await until(() => one("#history-plot .main-svg"));
return {
  acted: Boolean(window.acted), images: all("img, b:not(svg b)").length, compared: table("#compare-table")[0].What,
  changed: table("#environment-table").map((row) => row.Now), point: one("#history-point option").textContent,
};
"""
    seen, console = act(chromium, page, tmp_path, actions)
    assert not seen["acted"]
    assert seen["images"] == 0
    assert HOSTILE in seen["compared"]
    assert HOSTILE in seen["point"]
    assert [f"b{HOSTILE}"] == seen["changed"]
    assert console == []
