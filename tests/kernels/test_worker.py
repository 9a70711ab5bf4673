"""The worker process: what it says, and what is said when it dies, hangs or talks nonsense."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clusterbench.kernels.discovery import discover
from clusterbench.kernels.judging import worker
from clusterbench.kernels.kernel import Kernel
from clusterbench.kernels.running.backends import Backend, detect

TEXT = """
import os, signal, time
from dataclasses import replace
from clusterbench.kernels.catalog.copy import KERNEL as COPY
from clusterbench.kernels.kernel import Implementation


def launch(a, b):
    {body}


KERNEL = replace(COPY, name="odd", implementations={{"triton": Implementation(launch, tile={{"n": 4}})}})
"""
TRITON = detect()["triton"]


def _odd(folder: Path, body: str) -> Kernel:
    (folder / "odd.py").write_text(TEXT.format(body=body), encoding="utf-8")
    return discover(folder)["odd"]


def test_a_worker_that_hangs_is_stopped_and_what_it_had_done_is_kept(tmp_path: Path) -> None:
    body = "a.array[:] = b.array\n    if a.array.size > 1: time.sleep(100)"
    outcome = worker.run_worker(TRITON, [_odd(tmp_path, body)], ["float32"], 1, 8)
    assert "stopped after 8 s, after odd at n=1" in outcome.error
    assert [check.passed for check in outcome.checks] == [True, True]


def test_a_worker_that_is_killed_says_by_which_signal(tmp_path: Path) -> None:
    kernel = _odd(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)")
    outcome = worker.run_worker(TRITON, [kernel], ["float32"], 1, 60)
    assert "triton worker failed" in outcome.error
    assert "ends after 0 checks" in outcome.error or "signal 11" in outcome.error


def test_a_kernel_that_raises_fails_its_check_and_not_the_worker(tmp_path: Path) -> None:
    kernel = _odd(tmp_path, "raise ZeroDivisionError('no such tile')")
    outcome = worker.run_worker(TRITON, [kernel], ["float32"], 1, 60)
    assert outcome.error == ""
    assert {check.error for check in outcome.checks} == {"ZeroDivisionError: no such tile"}


def test_what_a_kernel_prints_does_not_disturb_the_protocol(tmp_path: Path) -> None:
    body = "a.array[:] = b.array\n    print('hello')\n    os.write(1, b'raw')"
    outcome = worker.run_worker(TRITON, [_odd(tmp_path, body)], ["float32"], 1, 60)
    assert outcome.error == ""
    assert outcome.checks
    assert all(check.passed for check in outcome.checks)


def test_a_broken_catalogue_file_is_named_by_the_worker(tmp_path: Path) -> None:
    kernel = _odd(tmp_path, "a.array[:] = b.array")
    (tmp_path / "odd.py").write_text("KERNEL =", encoding="utf-8")
    outcome = worker.run_worker(TRITON, [kernel], ["float32"], 1, 60)
    assert outcome.checks == ()
    assert "odd.py, line 1: SyntaxError" in outcome.error


def test_a_worker_gets_the_variables_of_its_own_back_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        seen.update(options)
        return subprocess.CompletedProcess(command, 0, '{"end": 0}\n', "")

    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    monkeypatch.setattr(worker.subprocess, "run", run)
    assert worker.run_worker(Backend("triton", "interpreter", "", {"TRITON_INTERPRET": "1"}), [], [], 1, 1).error == ""
    environment = seen["env"]
    assert isinstance(environment, dict)
    assert environment["TRITON_INTERPRET"] == "1"
    assert "NUMBA_ENABLE_CUDASIM" not in environment


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ("", 0, "ends after 0 checks"),
        ('{"end": 3}\n', 0, "ends after 0 checks"),
        ("Segmentation fault\n", 139, "holds 'Segmentation fault'"),
        ('{"check": {"kernel": "x"}}\n', 0, "expected one JSON object a line"),
        ("[]\n", 0, "expected one JSON object a line"),
        ('{"error": "ImportError: no numba"}\n', 1, "ImportError: no numba"),
        ('{"end": 0}\n', 1, "exit code 1 (last words)"),
        ('{"end": 0}\n', -9, "signal 9"),
    ],
)
def test_nonsense_from_a_worker_is_an_error(
    monkeypatch: pytest.MonkeyPatch, output: str, code: int, message: str
) -> None:
    done = subprocess.CompletedProcess([], code, output, "last words\n")
    monkeypatch.setattr(worker.subprocess, "run", lambda *args, **options: done)
    outcome = worker.run_worker(TRITON, [], ["float32"], 1, 1)
    assert message in outcome.error
    assert "the triton worker failed" in outcome.error


def test_a_worker_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert "did not start" in worker.run_worker(TRITON, [], ["float32"], 1, 1).error


def test_a_job_that_is_no_job_ends_in_one_line_of_json() -> None:
    command = [sys.executable, "-m", "clusterbench.kernels.judging.worker"]
    done = subprocess.run(command, input="{}", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == '{"error": "KeyError: \'files\'"}\n'
