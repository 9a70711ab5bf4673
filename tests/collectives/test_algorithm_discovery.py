"""An algorithm is one file: once it lies in the folder it is listed, runs, and is under the contract."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clusterbench import collectives
from clusterbench.bench.launching.launch import find_mpiexec
from clusterbench.collectives.algorithm import UnsuitableAlgorithmError
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithm, algorithms, suitable

TREE = Path(collectives.__path__[0]).parent
STAR = '''
"""Star: rank 0 collects everything, reduces it, and hands it out again."""

import numpy as np

from clusterbench.collectives.algorithm import Algorithm
from clusterbench.collectives.schedule import Schedule, phase


def _build(call):
    others = np.arange(1, call.ranks)[{kept}]
    collected = phase(src=others, dst=0, chunk=0, reduce=True, modulus=1)
    handed_out = phase(src=0, dst=np.arange(1, call.ranks), chunk=0, modulus=1)
    return Schedule(call.collective, call.ranks, 1, lambda: [collected, handed_out] if call.ranks > 1 else [])


ALGORITHM = Algorithm("star", "all through rank 0", {{"all_reduce": "2(p−1)(α + nβ) + (p−1)nγ"}}, "doi none", _build)
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the collectives, with the other floors beside it, in the place of the installed ones."""
    root = tmp_path / "clusterbench"
    root.mkdir()
    shutil.copytree(TREE / "collectives", root / "collectives")
    for floor in ("kernels", "bench", "results"):
        (root / floor).symlink_to(TREE / floor)
    return tmp_path


def in_tree(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip


def contract(tree: Path, which: str) -> subprocess.CompletedProcess[str]:
    return in_tree(
        tree, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(TREE / "pyproject.toml"),
        str(TREE / "tests" / "collectives" / "test_collective_contract.py"), "-k", which,
    )  # fmt: skip


def test_a_new_file_is_listed_runs_and_is_under_the_contract(tree: Path) -> None:
    (tree / "clusterbench/collectives/algorithms/star.py").write_text(STAR.format(kept=":"))
    listed = in_tree(tree, sys.executable, "-m", "clusterbench.bench", "collectives", "list", "--json")
    rows = json.loads(listed.stdout)["rows"]
    assert [row["collective"] for row in rows if row["algorithm"] == "star"] == ["all_reduce"]
    mpiexec = find_mpiexec()
    assert mpiexec is not None
    ran = in_tree(
        tree, mpiexec, "-n", "2", sys.executable, "-m", "clusterbench.bench", "collectives", "run", "all_reduce",
        "-b", "4", "-e", "400", "-f", "100", "-n", "6", "--algorithm", "star", "--json",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert [(row["algorithm"], row["wrong"]) for row in json.loads(ran.stdout)["rows"]] == [("star", 0)] * 4
    checked = contract(tree, "star")
    assert checked.returncode == 0, checked.stdout
    assert "passed" in checked.stdout


@pytest.mark.parametrize("kept", ["1:", ":-1"])
def test_a_new_file_that_forgets_a_rank_fails_the_contract(tree: Path, kept: str) -> None:
    (tree / "clusterbench/collectives/algorithms/star.py").write_text(STAR.format(kept=kept))
    checked = contract(tree, "star and proven")
    assert checked.returncode == 1, checked.stdout
    assert "lacks the contribution of rank" in checked.stdout


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1\n", "expected a constant ALGORITHM of type Algorithm"),
        (STAR.format(kept=":").replace('"star"', '"stern"'), "its algorithm is named 'stern', unlike the file"),
        ("def _build(:\n", "SyntaxError: invalid syntax (star.py, line 1)"),
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
    ],
)
def test_a_file_that_is_no_algorithm_is_named(tree: Path, text: str, complaint: str) -> None:
    (tree / "clusterbench/collectives/algorithms/star.py").write_text(text)
    listed = in_tree(tree, sys.executable, "-m", "clusterbench.bench", "collectives", "list")
    assert listed.returncode == 1
    assert complaint in listed.stderr
    assert "star.py" in listed.stderr
    assert "Traceback" not in listed.stderr


def test_a_file_that_begins_with_an_underscore_is_a_helper_and_no_algorithm(tree: Path) -> None:
    (tree / "clusterbench/collectives/algorithms/_helper.py").write_text("x = 1\n")
    listed = in_tree(tree, sys.executable, "-m", "clusterbench.bench", "collectives", "list")
    assert listed.returncode == 0, listed.stderr


def test_every_file_of_the_folder_is_found() -> None:
    files = {path.stem.replace("_", "-") for path in (TREE / "collectives" / "algorithms").glob("[!_]*.py")}
    assert set(algorithms()) == files
    assert {"ring", "recursive-doubling", "halving-doubling", "bruck", "pairwise"} <= files


def test_every_collective_is_served_at_any_number_of_ranks() -> None:
    for what in COLLECTIVES.values():
        for ranks in (1, 2, 3, 7, 16):
            assert suitable(what, ranks), f"{what.name} over {ranks} ranks"


def test_a_refusal_says_what_can_serve_the_call() -> None:
    what = COLLECTIVES["all_reduce"]
    assert algorithm("Recursive_Doubling", what, 4).name == "recursive-doubling"
    with pytest.raises(UnsuitableAlgorithmError, match=r"unknown algorithm 'tree'.* is served by library, ") as refused:
        algorithm("tree", what, 4)
    assert all(name in str(refused.value) for name in suitable(what, 4))
