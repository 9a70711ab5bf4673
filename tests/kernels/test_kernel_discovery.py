"""Discovery: one file is one kernel, and a broken one is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clusterbench.bench import exit_codes
from clusterbench.kernels.discovery import CATALOGUE, CatalogueError, choose, choose_dtypes, discover
from clusterbench.kernels.judging.verify import verify
from clusterbench.kernels.judging.worker import run_worker
from clusterbench.kernels.kernel import KernelError
from clusterbench.kernels.running.backends import detect


def _dropped(folder: Path) -> Path:
    """A catalogue of one file: the triad under another name."""
    text = (CATALOGUE / "triad.py").read_text(encoding="utf-8")
    (folder / "fresh.py").write_text(text.replace('name="triad"', 'name="fresh"'), encoding="utf-8")
    return folder


def test_a_file_dropped_into_a_catalogue_is_found_and_verified_on_every_back_end(tmp_path: Path) -> None:
    kernel = discover(_dropped(tmp_path))["fresh"]
    for backend in detect().values():
        if backend.in_worker:
            outcome = run_worker(backend, [kernel], ["float32"], 1, 60)
            assert outcome.error == ""
            checks = list(outcome.checks)
        else:
            checks = list(verify(kernel, backend, ["float32"], 1))
        assert checks
        assert all(check.passed for check in checks)


def test_the_suites_catalogue_is_what_its_folder_lists() -> None:
    files = {path.stem for path in CATALOGUE.glob("*.py") if not path.stem.startswith("_")}
    assert set(discover()) == files >= {"copy", "scale", "add", "triad", "dot", "gemm"}


def test_two_catalogues_may_hold_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(CATALOGUE / "triad.py", tmp_path / "one")
    assert discover(tmp_path / "one")["triad"].file != discover()["triad"].file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:", r"bad\.py, line 1: SyntaxError"),
        ("x = 1\n\nimport no_such_package", r"bad\.py, line 3: ModuleNotFoundError"),
        ("import ast\nast.parse('1 +')", r"bad\.py, line 2: SyntaxError"),
        ("raise SystemExit('bye')", r"bad\.py, line 1: SystemExit while importing it: bye"),
        ("KERNEL = 3", "KERNEL is int"),
        ("", "KERNEL is NoneType"),
        ("from clusterbench.kernels.catalog.copy import KERNEL", "named 'copy'"),
        ("from clusterbench.kernels.formula import Formula\nFormula('n.__class__')", "holds Attribute"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.py").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError, match=message) as caught:
        discover(tmp_path)
    assert str(tmp_path / "bad.py") in str(caught.value)
    assert caught.value.exit_code == exit_codes.FAILED


def test_a_file_with_a_leading_underscore_is_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "_helper.py").write_text("raise ValueError", encoding="utf-8")
    shutil.copy(CATALOGUE / "copy.py", tmp_path)
    assert list(discover(tmp_path)) == ["copy"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no folder"):
        discover(tmp_path / "nowhere")


def test_an_unknown_kernel_or_dtype_names_the_nearest() -> None:
    kernels = discover()
    with pytest.raises(KernelError, match="did you mean 'triad'"):
        choose(kernels, ["traid"])
    with pytest.raises(KernelError, match=r"expected one of add, argmax, .*copy, "):
        choose(kernels, ["xyzzy"])
    with pytest.raises(KernelError, match="did you mean 'float32'"):
        choose_dtypes(list(kernels.values()), ["flot32"])


def test_both_spellings_of_a_dtype_are_taken() -> None:
    assert choose_dtypes(list(discover().values()), ["float", "float32", "double"]) == ["float32", "float64"]
