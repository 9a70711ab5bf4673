"""A missing package marks its implementations as absent, with the reason, and breaks nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import clusterbench.kernels.catalog.copy  # noqa: F401 # before Triton is hidden
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.judging.verify import verify
from clusterbench.kernels.running import backends, lazy

TEXT = """
from clusterbench.kernels.running import lazy
from clusterbench.kernels.catalog.copy import KERNEL as COPY
from clusterbench.kernels.kernel import Implementation
from dataclasses import replace

triton = lazy.package("triton")
tl = lazy.package("triton.language")


@triton.autotune(configs=[triton.Config({"block": 64})], key=["n"])
@triton.jit
def kernel(a, b, n, block: tl.constexpr):
    pass


def launch(a, b):
    kernel[(1,)](a, b, a.shape[0], block=64)


implementations = {**COPY.implementations, "triton": Implementation(launch, tile={"n": 64})}
KERNEL = replace(COPY, name="without", implementations=implementations)
"""


@pytest.fixture
def no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m == "triton" or m.startswith("triton.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)  # an import then raises ModuleNotFoundError


def test_a_stand_in_takes_every_decorator_and_says_what_to_install(no_triton: None) -> None:
    triton = lazy.package("triton")
    assert isinstance(triton, lazy.StandIn)
    assert "extra `triton`" in triton.reason

    @triton.jit
    def plain() -> None: ...

    @triton.jit(do_not_specialize=["n"])
    def with_options() -> None: ...

    for kernel in (plain, with_options):
        with pytest.raises(lazy.AbsentError, match="triton is not installed"):
            kernel[(4,)](1, block=2)


def test_a_file_with_a_missing_package_loads_and_its_other_back_ends_run(no_triton: None, tmp_path: Path) -> None:
    (tmp_path / "without.py").write_text(TEXT, encoding="utf-8")
    kernel = discover(tmp_path)["without"]
    assert all(check.passed for check in verify(kernel, backends.detect()["numba"], ["float32"], 1))
    with pytest.raises(lazy.AbsentError):
        kernel.implementations["triton"].launch(np.zeros(1), np.zeros(1))


def test_a_package_that_is_broken_is_absent_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text("raise OSError('libcudart.so: no such file')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert "does not import: libcudart.so" in lazy.package("cupy").reason


def test_numbas_own_old_cuda_does_not_stand_for_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    assert "extra `sim`" in lazy.package("numba.cuda", needs="numba_cuda").reason


def test_a_package_that_is_there_is_itself() -> None:
    import json

    assert lazy.package("json") is json


@pytest.mark.parametrize(("package", "backend"), [("triton", "triton"), ("numba_cuda", "numba-cuda")])
def test_detection_says_absent_with_the_extra(monkeypatch: pytest.MonkeyPatch, package: str, backend: str) -> None:
    real = backends.find_spec
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == package else real(name))
    found = backends.detect()[backend]
    assert found.mode == "absent"
    assert "install clusterbench's extra `" in found.reason
    with pytest.raises(backends.KernelError, match="is absent"):
        backends.memory(found)


def test_with_a_gpu_all_sources_run_on_it_but_triton_stays_in_its_interpreter_without_cupy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends.device, "nvidia_gpus", lambda: 2)
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    assert {backend.mode for backend in backends.detect().values()} == {"native"}
    assert backends.detect()["triton"].environment == {}
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "cupy" else object())
    triton = backends.detect()["triton"]
    assert (triton.mode, triton.environment) == ("interpreter", {"TRITON_INTERPRET": "1"})
    assert "cupy is not installed" in triton.reason
