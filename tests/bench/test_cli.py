"""The command line as a whole: quick help, usage errors with code 2, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from called import clusterbench
from click import UsageError

from clusterbench.bench.cli import cli

COMMANDS = list(cli.lazy)  # type: ignore[attr-defined] # click types the decorated group as a plain Group
HEAVY = ("numpy", "pandas", "numba", "plotly", "triton", "scipy", "sqlalchemy", "mpi4py", "rich")


def process(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clusterbench.bench", *args],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **variables},
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from clusterbench.bench.cli import main\n"
        "try: main(['--help'])\n"
        f"finally: print('loaded:', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = clusterbench(command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: clusterbench")
    assert done.stderr == ""


@pytest.mark.parametrize("args", [["frobnicate"], ["--frobnicate"], *([name, "--frobnicate"] for name in COMMANDS)])
def test_unknown_words_are_refused_with_code_2(args: list[str]) -> None:
    done = clusterbench(*args)
    assert done.returncode == 2
    assert "frobnicate" in done.stderr
    assert done.stdout == ""


MACHINE = [
    ("doctor",),
    ("run",),
    ("kernels", "list"),
    ("kernels", "run"),
    ("collectives", "list"),
    ("collectives", "prove", "ring"),
    ("collectives", "run", "all_reduce"),
    ("topology", "show", "dgx-h100"),
    ("topology", "bound", "dgx-h100"),
    ("topology", "discover"),
    ("results", "list"),
    ("results", "compare", "a", "b"),
]


@pytest.mark.parametrize("command", MACHINE, ids=" ".join)
@pytest.mark.parametrize("both", [("--json", "--csv"), ("--csv", "--json")], ids=" ".join)
def test_json_and_csv_exclude_each_other_everywhere_in_the_same_words(
    command: tuple[str, ...], both: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError, match=r"^--json and --csv exclude each other$"):
        cli.main([*command, *both], standalone_mode=False)


def test_a_usage_error_ends_the_process_with_code_2() -> None:
    done = process("doctor", "--frobnicate")
    assert (done.returncode, done.stdout) == (2, "")
    assert "frobnicate" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_at_all_is_a_usage_error_with_the_help() -> None:
    done = process()
    assert done.returncode == 2
    assert "doctor" in done.stderr


def test_only_rank_0_prints_a_usage_error() -> None:
    done = process("--frobnicate", PMI_RANK="1", PMI_SIZE="2")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert version("clusterbench") in process("--version").stdout
