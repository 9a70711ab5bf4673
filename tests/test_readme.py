"""Every command that the documentation shows in a `console` block is run, in its order, and must end with 0.

Blocks in `text` are for clusters (srun, several hosts) and are not run here. Schedules in `json` blocks are proven, and
the table of algorithms is that of the catalogue.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(document: Path) -> list[str]:
    """The lines that begin with `$ `, a backslash at the end taking the next line too."""
    lines = "\n".join(blocks(document.read_text(), "console")).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


WITH_COMMANDS = [document for document in DOCUMENTS if commands(document)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree whose .venv is this environment, already installed, so that `make run` installs nothing."""
    folder = tmp_path_factory.mktemp("clone") / "clusterbench"
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", "__pycache__", "build", "clusterbench-out", ".*_cache", "*.egg-info"
    )
    shutil.copytree(ROOT, folder, ignore=ignored)
    environment = folder / ".venv"
    environment.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith(".installed"):
            (environment / entry.name).symlink_to(entry)
    for stamp in (".installed-run", ".installed-dev"):
        (environment / stamp).touch()
    return folder


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: path.name)
def test_the_documented_commands_work(document: Path, clone: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}",
        # `make run` is documented with its own preset, which takes minutes.
        "PRESET": "smoke",
        # No document runs by the choices that another, or the user, calibrated.
        "XDG_CACHE_HOME": str(tmp_path),
    }
    for command in commands(document):
        done = subprocess.run(
            ["bash", "-c", command], cwd=clone, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_the_readme_shows_its_two_commands_and_runs_them() -> None:
    found = commands(ROOT / "README.md")
    assert "make run" in found
    assert any(command.startswith("mpiexec -n ") for command in found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_shown_is_either_run_or_named_as_text(document: Path) -> None:
    languages = set(re.findall(r"^```(\w*)$", document.read_text(), re.MULTILINE)) - {""}
    assert languages <= {"console", "text", "yaml", "toml", "python", "json"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_of_the_repository_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert broken == []


def test_the_schedules_that_are_shown_are_proven(tmp_path: Path) -> None:
    from clusterbench.collectives.proof import prove
    from clusterbench.collectives.schedule_file import read_schedule

    shown = [block for document in DOCUMENTS for block in blocks(document.read_text(), "json")]
    assert shown
    for block in shown:
        path = tmp_path / "shown.json"
        path.write_text(block)
        assert prove(read_schedule(path)).transfers > 0


def test_the_table_of_algorithms_is_that_of_the_catalogue() -> None:
    from clusterbench.collectives.collective import COLLECTIVES
    from clusterbench.collectives.discovery import algorithms

    text = (ROOT / "docs" / "collectives.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| ?(.*?) ?\| (.*?, doi .*?) \|$", text, re.MULTILINE)
    shown = {
        name: ("all nine" if served == "all nine" else sorted(re.findall(r"`(\w+)`", served)), options, source)
        for name, served, options, source in rows
    }
    assert shown == {
        a.name: (
            "all nine" if set(a.cost) == set(COLLECTIVES) else sorted(a.cost),
            ", ".join(f"`{option}` ({o.default})" for option, o in a.options.items()),
            a.source,
        )
        for a in algorithms().values()
    }


def test_the_table_of_kernels_names_the_catalogue_with_its_back_ends() -> None:
    from clusterbench.kernels.discovery import discover

    shown = {}
    for line in (ROOT / "docs" / "kernels.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            backends = set(re.findall(r"numba-cuda|numba|triton|cupy", cells[-1]))
            shown.update(dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), backends))
    assert shown == {kernel.name: set(kernel.implementations) for kernel in discover().values()}


def test_every_collective_option_and_type_is_explained() -> None:
    from clusterbench.collectives.collective import COLLECTIVES
    from clusterbench.collectives.discovery import algorithms
    from clusterbench.kernels.element_types import DTYPES

    text = (ROOT / "docs" / "collectives.md").read_text()
    options = {option for a in algorithms().values() for option in a.options}
    assert [name for name in (*COLLECTIVES, *options) if f"\n| `{name}`" not in text] == []
    assert [name for name in DTYPES if f"`{name}`" not in text] == []


def test_every_command_of_the_suite_is_in_the_readme() -> None:
    from clusterbench.bench.cli import cli

    text = (ROOT / "README.md").read_text()
    assert [name for name in cli.lazy if f"clusterbench {name}" not in text] == []  # type: ignore[attr-defined] # a LazyGroup
