"""The file that docs/sweeps.md shows is one, and the tables of keys are those that are read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from clusterbench.bench.sweeps import file as sweep_file

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text()


@pytest.mark.mpi
def test_the_file_that_is_shown_can_be_run(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    path = tmp_path / "night.toml"
    path.write_text(shown)
    command = [sys.executable, "-m", "clusterbench.bench", "sweep", str(path), "--out", str(tmp_path), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (head,) = re.findall(r"^(# \d+ launches, .*)$", TEXT, re.MULTILINE)
    assert done.stdout.splitlines()[0] == head


def test_every_key_is_documented() -> None:
    source = Path(sweep_file.__file__).read_text()
    keys = set(re.findall(r'\.take\("(\w+)"', source)) - {"launcher", "measure"}
    rows = [set(re.findall(r"`(\w+)`", row)) for row in re.findall(r"^\| (`[^|]*) \|", TEXT, re.MULTILINE)]
    assert keys == set().union(*rows)
