"""Four floors, and the folders of three: imports run downwards only, and nothing is imported under a bare name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BELOW = {
    "results": set(),
    "kernels": set(),
    "collectives": {"kernels"},
    "bench": {"kernels", "collectives", "results"},
}

FOLDERS = {
    "kernels": ("loops", "running", "ceilings", "compiled", "judging"),
    "collectives": ("building", "checking", "drawing", "programs", "fusion", "topology", "plans", "bounds",
                    "simulator", "synthesis", "predictors", "transports"),
    "bench": ("launching", "emulation", "hosts", "worlds", "measuring", "pairs", "tables", "stored", "jobs", "sweeps",
              "tuning", "disturbances", "commands", "pytest_plugin"),
}  # fmt: skip
"""The folders of a floor, each of which imports only those before it."""
CATALOGUES = {"kernels": {"catalog"}, "collectives": {"algorithms", "fabrics", "formats", "nodes"}, "bench": set()}
"""Folders whose files are found by looking there."""


def imported_modules(path: Path) -> list[tuple[int, str]]:
    """Line and full name of everything a file imports, wherever in the file, `import_module("...")` included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found += [(node.lineno, f"{base}.{alias.name}" if base == "clusterbench" else base) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("clusterbench."):
            # A module's name as text: import_module, `python -m`, a lazy command.
            found.append((node.lineno, node.value.split(":")[0]))
    return found


def offences(floor: str, path: Path) -> list[str]:
    allowed = {floor, *BELOW[floor]}
    found = []
    for line, module in imported_modules(path):
        parts = module.split(".")
        if module.startswith("."):
            found.append(f"{path.name}:{line} imports {module} relatively")
        elif parts[0] in BELOW:
            found.append(f"{path.name}:{line} imports {module} by its bare name")
        elif parts[0] == "clusterbench" and parts[1] in BELOW and parts[1] not in allowed:
            found.append(f"{path.name}:{line} imports {module}")
    return found


@pytest.mark.parametrize("floor", sorted(BELOW))
def test_a_floor_imports_only_floors_below_it(floor: str) -> None:
    files = sorted((ROOT / floor).rglob("*.py"))
    assert files
    assert [offence for path in files for offence in offences(floor, path)] == []


@pytest.mark.parametrize("floor", sorted(FOLDERS))
def test_a_folder_imports_only_those_before_it(floor: str) -> None:
    order = FOLDERS[floor]
    folders = {path.name for path in (ROOT / floor).iterdir() if (path / "__init__.py").exists()}
    assert {*order, *CATALOGUES[floor]} == folders
    found = []
    for place, folder in enumerate(order):
        for path in sorted((ROOT / floor / folder).rglob("*.py")):
            for line, module in imported_modules(path):
                parts = module.split(".")
                if parts[:2] == ["clusterbench", floor] and len(parts) > 2 and parts[2] in order[place + 1 :]:
                    found.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "from clusterbench.bench.cli import main",
        "import clusterbench.results.record",
        "from clusterbench import bench",
        "from kernels.clock import now",
        "from . import clock",
        "def f():\n    import_module('clusterbench.collectives.schedule')",
    ],
)
def test_an_upward_import_is_noticed(line: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(line + "\n")
    assert offences("kernels", path)


def test_no_floor_is_importable_or_imported_by_its_bare_name() -> None:
    names = sorted(BELOW)
    code = f"""
import importlib, pkgutil, sys
for floor in {names}:
    package = importlib.import_module(f"clusterbench.{{floor}}")
    for found in pkgutil.iter_modules(package.__path__):
        if not found.name.startswith("__"):
            importlib.import_module(f"{{package.__name__}}.{{found.name}}")
print([name for name in {names} if name in sys.modules])
"""
    # In an empty folder: from the repository's root the folders themselves could be imported.
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_test_process_itself_has_no_bare_floor() -> None:
    found = [name for name in BELOW if name in sys.modules and Path(sys.modules[name].__path__[0]).parent == ROOT]
    assert found == []
