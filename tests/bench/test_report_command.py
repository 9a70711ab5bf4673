"""`clusterbench report`: the schedules that ran are drawn, and what cannot be drawn is said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from clusterbench.bench.commands.report import report
from clusterbench.bench.tables.pictures import pictures
from clusterbench.collectives.algorithm import Call
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms, suitable
from clusterbench.collectives.schedule_file import write_schedule
from clusterbench.results.columns import to_frame
from clusterbench.results.journal import Journal
from clusterbench.results.notes import ran_as
from clusterbench.results.record import Measurement, Run
from clusterbench.results.report.drawings import drawings
from clusterbench.results.store import Store, StoreError


def test_every_algorithm_can_be_drawn_into_a_page() -> None:

    rows = [
        Measurement(
            run_id="r",
            suite="collectives",
            name=what.name,
            algorithm=name,
            ranks=ranks,
            root=ranks - 1 if what.is_rooted else -1,
        )
        for what in COLLECTIVES.values()
        for ranks in (3, 4)
        for name in suitable(what, ranks)
    ]
    shown = pictures(to_frame(rows))
    assert shown.not_drawn == ()
    assert len(shown.drawn) == len(rows)
    assert len(drawings(shown.drawn, "x")) == len(rows)


def row(algorithm: str, name: str = "all_reduce", **fields: Any) -> Measurement:
    return Measurement(run_id="r", suite="collectives", name=name, algorithm=algorithm, **{"ranks": 64, **fields})


def test_what_cannot_be_drawn_is_said_and_the_rest_is() -> None:
    rows = [
        row("ring"),
        row("library"),
        row("library:2"),
        row("file:mine.json", ranks=3),
        row("gone-since", ranks=4),
        row("ring", "moved", ranks=4),
        row("two-level:dims=8x8"),
        row("two-level:dims=4x4", ranks=16),
    ]
    shown = pictures(to_frame(rows))
    assert list(shown.drawn) == ["all_reduce by ring, 8 ranks", "all_reduce by two-level:dims=4x4, 16 ranks"]
    said = "\n".join(shown.not_drawn)
    assert (
        "all_reduce by ring, 64 ranks: a picture of the steps of 64 ranks; expected at most 16; all_reduce by" in said
    )
    assert "all_reduce by two-level:dims=8x8, 8 ranks: two-level: dims=8x8; expected factors of 8" in said
    assert "file:mine.json, 3 ranks: the row does not say where the file was" in said
    assert "gone-since" in said
    assert "unknown collective 'moved'" in said
    assert len(shown.not_drawn) == 6


def test_a_pipeline_is_drawn_with_the_segments_that_ran_at_the_largest_size_that_can_be() -> None:
    sizes = {8: 1, 1 << 16: 4, 1 << 20: 16, 1 << 24: 64}
    rows = [
        row("chain", "broadcast", ranks=4, root=0, size_bytes=size, note=f"{ran_as(f'chain:segments={count}')}; x")
        for size, count in sizes.items()
    ]
    shown = pictures(to_frame(rows))
    assert list(shown.drawn) == ["broadcast by chain:segments=16, 4 ranks"]
    assert "16 chunks" in shown.drawn["broadcast by chain:segments=16, 4 ranks"]
    (said,) = shown.not_drawn
    assert said.startswith("broadcast by chain:segments=64, 4 ranks: ")
    assert said.endswith("broadcast by chain:segments=16, 4 ranks is drawn")


def test_the_schedule_of_a_file_is_drawn_while_it_is_what_ran(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    write_schedule(algorithms()["ring"].schedule(Call(COLLECTIVES["all_reduce"], 3)), path, "my-ring")
    ran = row("file:mine.json", ranks=3, note=ran_as(str(path)), started_at="2999-01-01T00:00:00+00:00")
    assert list(pictures(to_frame([ran])).drawn) == ["all_reduce by file:mine.json, 3 ranks"]
    for other, why in (
        (replace(ran, started_at="2000-01-01T00:00:00+00:00"), "was changed after the run"),
        (replace(ran, name="all_gather"), "is for all_reduce over 3 ranks by now"),
        (replace(ran, note=ran_as(str(tmp_path / "gone.json"))), "No such file"),
    ):
        shown = pictures(to_frame([other]))
        assert shown.drawn == {}
        assert why in shown.not_drawn[0]


def test_the_page_holds_the_steps_of_what_the_journal_names(tmp_path: Path) -> None:
    with Journal.create(tmp_path, Run(run_id="r", started_at="")) as journal:
        journal.append(Measurement(run_id="r", suite="collectives", name="all_reduce", algorithm="ring", ranks=3))
        journal.finish(0)
    output = tmp_path / "report.html"
    done = CliRunner().invoke(report, ["--output", str(output), "--journal", str(journal.path)], standalone_mode=False)
    assert done.exception is None, done.output
    page = output.read_text()
    assert "<summary>all_reduce by ring, 3 ranks</summary>" in page
    assert "ring: all_reduce over 3 ranks" in page
    assert "Not drawn" not in page
    with Journal.create(tmp_path, Run(run_id="s", started_at="")) as journal:
        journal.append(replace(row("<gone>", ranks=3), run_id="s"))
        journal.finish(0)
    done = CliRunner().invoke(report, ["--output", str(output), "--journal", str(journal.path)], standalone_mode=False)
    assert done.exception is None, done.output
    assert "<li>all_reduce by &lt;gone&gt;, 3 ranks: unknown algorithm" in output.read_text()


def stored(folder: Path, count: int) -> str:
    """A store of so many runs, the last one started last."""
    url = f"sqlite:///{folder / 'results.db'}"
    with Store.open(url) as store:
        for number in range(count):
            run = Run(run_id=f"run-{number}", started_at=f"2026-01-0{number + 1}T00:00:00+00:00")
            with Journal.create(folder, run) as journal:
                for size in (8, 64):
                    times = {"median_s": 1e-6, "busbw": 1e9, "size_bytes": size}
                    journal.append(replace(row("ring", ranks=3), run_id=run.run_id, **times))
                journal.finish(0)
            store.load(journal.path)
    return url


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(report, list(arguments), standalone_mode=False)


def test_the_last_runs_share_a_report(tmp_path: Path) -> None:
    url, output = stored(tmp_path, 3), tmp_path / "report.html"
    for arguments, expected in (((), ["run-2"]), (("--last", "2"), ["run-2", "run-1"]), (("--last", "9"), 3)):
        done = invoke("--store", url, "--output", str(output), *arguments)
        assert done.exception is None, done.output
        shown = re.findall(r"<dt>Run</dt><dd>(run-\d)</dd>", output.read_text())
        assert shown == expected if isinstance(expected, list) else len(shown) == expected


def test_figures_are_written_with_a_page_or_without(tmp_path: Path) -> None:
    url, folder = stored(tmp_path, 1), tmp_path / "figures"
    done = invoke("--store", url, "--figures", str(folder))
    assert done.exception is None, done.output
    assert done.output == f"figures: 4 files in {folder}\n"
    assert {path.suffix for path in folder.iterdir()} == {".png", ".svg"}
    output = tmp_path / "report.html"
    done = invoke("--store", url, "--figures", str(folder), "--output", str(output))
    assert done.output == f"report: {output}\nfigures: 4 files in {folder}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected --output FILE, --figures DIR, or both"),
        (("--output", "x.html", "--run", "latest", "--last", "2"), "exclude each other"),
        (("--output", "x.html", "--last", "0"), "0 is not in the range"),
    ],
)
def test_what_makes_no_report_is_refused(arguments: tuple[str, ...], said: str) -> None:
    done = invoke(*arguments)
    assert isinstance(done.exception, click.UsageError)
    assert said in done.exception.format_message()


def test_a_store_without_a_run_is_said(tmp_path: Path) -> None:
    done = invoke("--store", stored(tmp_path, 0), "--output", str(tmp_path / "x.html"))
    assert isinstance(done.exception, StoreError)
    assert "no latest run" in str(done.exception)
