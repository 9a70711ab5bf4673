"""`clusterbench synthesize`: what is printed, written and refused."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clusterbench.bench.cli import cli
from clusterbench.collectives.proof import prove
from clusterbench.collectives.schedule_file import read_named_schedule

RACKS = "leaf-spine:racks=2,hosts=2,taper=2"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["synthesize", *arguments])


@pytest.mark.parametrize("collective", ["all_gather", "reduce_scatter", "all_reduce", "broadcast"])
def test_a_file_is_written_that_is_proven_and_rows_hold_the_exact_rate(collective: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    done = run("--topology", RACKS, "--collective", collective, "-b", "1M", "-e", "1M", "-o", str(path), "--json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert row["evidence"] == "simulated"
    assert Fraction(row["exact_rate_share"]) == 1
    assert row["bound_s"] <= row["time_s"]
    name, schedule = read_named_schedule(path)
    assert name.startswith("synthesized:leaf-spine:")
    assert schedule.collective.name == collective
    prove(schedule)


def test_the_table_says_how_near_to_the_bound_it_is() -> None:
    done = run("--topology", "teccl-ndv2:nodes=2", "-b", "1K")
    assert done.exit_code == 0, done.output
    assert "rate: 25 GB/s, all of the bound" in done.stdout
    assert "at most 1 of a root" in done.stdout
    assert "short" in done.stdout
    assert "trees" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--topology", RACKS, "--collective", "all_to_all"], "no trees for all_to_all; expected one of all_gather"),
        (["--topology", RACKS, "--collective", "all_shatter"], "all_shatter"),
        (["--topology", RACKS, "-r", "1"], "there is no root in all_gather"),
        (["--topology", "torus:dims=17x17"], "289 ranks"),
        (["--topology", RACKS, "--collective", "broadcast", "-r", "9"], "root 9 of broadcast; expected a rank"),
        (["--topology", RACKS, "--trees", "0"], "trees"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments: list[str], complaint: str) -> None:
    done = run(*arguments)
    assert done.exit_code != 0
    assert complaint in (done.output + str(done.exception))
