"""`clusterbench report`: the schedules that ran are drawn, and what cannot be drawn is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from clusterbench.bench.commands.report import report
from clusterbench.bench.pictures import pictures
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import suitable
from clusterbench.results.columns import to_frame
from clusterbench.results.journal import Journal
from clusterbench.results.record import Measurement, Run
from clusterbench.results.report.drawings import drawings


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
    drawn = pictures(to_frame(rows))
    assert len(drawn) == len(rows)
    assert len(drawings(drawn, "x")) == len(rows)


def test_what_cannot_be_drawn_is_said_and_the_rest_is(capsys: pytest.CaptureFixture[str]) -> None:

    fields = {"run_id": "r", "suite": "collectives", "ranks": 64}
    rows = [
        Measurement(name="all_reduce", algorithm="ring", **fields),
        Measurement(name="all_reduce", algorithm="library", **fields),
        Measurement(name="all_reduce", algorithm="file:mine.json", **fields),
        Measurement(name="all_reduce", algorithm="gone-since", **fields),
        Measurement(name="moved", algorithm="ring", **fields),
    ]
    assert list(pictures(to_frame(rows))) == ["all_reduce by ring, 8 ranks"]
    said = capsys.readouterr().err
    assert "gone-since" in said
    assert "moved" in said


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
