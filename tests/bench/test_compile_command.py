"""`clusterbench kernels compile`: what it prints, keeps and ends with, on rows that were compiled elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clusterbench.bench import exit_codes
from clusterbench.bench.cli import cli
from clusterbench.kernels.compiled import pool
from clusterbench.kernels.compiled.compiling import Compiled
from clusterbench.results.journal import read_journal

GOOD = Compiled(
    "triad", "triton", "float32", "sm_90", shape="n=16384", functions=("triton_kernel",), threads=128, registers=26,
    spills=0, shared_bytes=0, occupancy=1.0, limited_by="registers, warps", load_bytes=16, store_bytes=16, fp64=0,
    instructions=60, counted_bytes=1200, counted_flops=200, model_bytes=1200, model_flops=200,
)  # fmt: skip
ROWS = [
    GOOD,
    replace(GOOD, target="gfx942", counted_bytes=None, counted_flops=None, not_followed="only PTX is followed"),
    Compiled("triad", "numba-cuda", "float32", "sm_90", "missing", "numba_cuda is not installed; install `sim`"),
    Compiled("triad", "cupy", "float32", "sm_90", "nothing", "array-level source"),
]
SPILLS = replace(GOOD, target="sm_80", spills=7)
REFUSED = Compiled("triad", "triton", "float8_e5m2", "sm_80", "failed", "type fp8e5 not supported")


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended: its code, what it printed, and the error that it ended with."""

    exit_code: int
    stdout: str
    stderr: str
    error: str


def invoke(*arguments: str) -> Done:
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    if result.exception is None:
        return Done(result.return_value, result.stdout, result.stderr, "")
    code = getattr(result.exception, "exit_code", None)
    if code is None:
        raise result.exception
    return Done(code, result.stdout, result.stderr, str(result.exception))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Done]:
    """Runs the command in an empty folder, where compiling gives these rows."""
    monkeypatch.chdir(tmp_path)

    def run(rows: Sequence[Compiled], *arguments: str) -> Done:
        monkeypatch.setattr(pool, "compile_all", lambda *given: list(rows))
        return invoke("kernels", "compile", *arguments)

    return run


def test_the_table_says_what_was_compiled_and_what_was_not(compiled: Callable[..., Done]) -> None:
    done = compiled([*ROWS, REFUSED])
    assert done.exit_code == exit_codes.GOOD
    assert "triad   float32  triton    sm_90" in done.stdout
    assert "not compiled: triad float8_e5m2 triton sm_80: type fp8e5 not supported" in done.stdout
    assert "numba-cuda, 1 rows: numba_cuda is not installed; install `sim`" in done.stdout
    assert "cupy, 1 rows: array-level source" in done.stdout
    assert "not followed, 1 rows: only PTX is followed" in done.stdout


def test_a_broken_rule_ends_with_the_gates_code_and_names_all(compiled: Callable[..., Done]) -> None:
    done = compiled([*ROWS, SPILLS], "--check")
    assert done.exit_code == exit_codes.BELOW
    assert (
        "broken: triad float32 triton sm_80: spills is 7; expected at most 0: a register that is spilled" in done.stdout
    )
    assert "2 of 3 compiled rows keep every rule" in done.stdout
    assert compiled(ROWS, "--check").exit_code == exit_codes.GOOD


def test_what_was_written_as_a_baseline_is_a_baseline(compiled: Callable[..., Done], tmp_path: Path) -> None:
    assert compiled([GOOD], "--write", "found.toml").exit_code == exit_codes.GOOD
    assert compiled([GOOD], "--check", "found.toml").exit_code == exit_codes.GOOD
    done = compiled([replace(GOOD, registers=64)], "--check", "found.toml")
    assert done.exit_code == exit_codes.BELOW
    assert "registers is 64; expected at most 26: as found with triton" in done.stdout


def test_json_is_one_document_whatever_is_broken(compiled: Callable[..., Done]) -> None:
    done = compiled([*ROWS, SPILLS], "--check", "--json")
    assert done.exit_code == exit_codes.BELOW
    document: dict[str, Any] = json.loads(done.stdout)
    assert [row["status"] for row in document["rows"]] == ["compiled", "compiled", "missing", "nothing", "compiled"]
    assert "spills is 7" in done.stderr


def test_rows_are_kept_with_their_evidence_and_verdict(compiled: Callable[..., Done], tmp_path: Path) -> None:
    done = compiled([*ROWS, SPILLS, REFUSED], "--check", "--run-id", "r", "--store", "sqlite:///s.db")
    assert done.exit_code == exit_codes.BELOW
    (path,) = (tmp_path / "clusterbench-out" / "journals").glob("*.jsonl")
    contents = read_journal(path)
    assert [(row.device, row.verdict, row.evidence) for row in contents.measurements] == [
        ("H100 (sm_90)", "PASS", "compiled"),
        ("MI300X (gfx942)", "PASS", "compiled"),
        ("H100 (sm_90)", "INCONCLUSIVE", "compiled"),
        ("A100 (sm_80)", "FAIL", "compiled"),
        ("A100 (sm_80)", "INCONCLUSIVE", "compiled"),
    ]
    first = contents.measurements[0]
    assert first.median_s is None
    assert "registers=26; spills=0; shared_bytes=0; occupancy=1; limited_by=registers, warps" in first.note
    assert contents.run.exit_code == exit_codes.BELOW
    listed = invoke("results", "list", "--where", "run_id=r", "--store", "sqlite:///s.db")
    assert listed.exit_code == exit_codes.GOOD
    assert "compiled" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "sm_70"], "unknown target 'sm_70'; expected one of sm_80, sm_90, sm_100, gfx942"),
        (["--kernel", "traid"], "unknown kernel 'traid'; did you mean 'triad'?"),
        (["--backend", "numba"], "'numba' is none for GPUs"),
        (["--dtype", "float31"], "unknown dtype 'float31'"),
        (["--check", "none.toml"], "none.toml: cannot read it"),
    ],
)
def test_what_is_asked_wrongly_is_refused_before_anything_is_compiled(
    compiled: Callable[..., Done], arguments: list[str], said: str
) -> None:
    done = compiled([], *arguments)
    assert done.exit_code == exit_codes.USAGE
    assert said in done.error
