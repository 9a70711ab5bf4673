"""`make bench`: how long the command line takes to answer."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest


@pytest.mark.parametrize("arguments", [("--help",), ("collectives", "--help"), ("collectives", "list")])
def test_start_up(benchmark: Any, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "clusterbench.bench", *arguments]
    benchmark.group = "start-up"
    done = benchmark.pedantic(
        subprocess.run, args=(command,), kwargs={"capture_output": True, "check": True}, rounds=11, warmup_rounds=1
    )
    assert done.stdout
