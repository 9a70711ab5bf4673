"""Compiling for GPUs without one: real kernels through the real compilers, the cache, and what goes wrong alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clusterbench.kernels.compiled import cache, compiling, pool
from clusterbench.kernels.compiled.compiling import Compiled, compile_kernel, jobs
from clusterbench.kernels.compiled.gate import broken, read_rules
from clusterbench.kernels.compiled.machine import read as read_machine
from clusterbench.kernels.compiled.pool import compile_all
from clusterbench.kernels.compiled.recording import Address, record
from clusterbench.kernels.compiled.targets import choose_targets, targets
from clusterbench.kernels.compiled.triton_code import products
from clusterbench.kernels.device import usable_cores
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.kernel import KernelError

KERNELS = discover()
RULES = read_rules()

STREAM = """
from dataclasses import replace
import os
from clusterbench.kernels.catalog.copy import KERNEL as COPY
from clusterbench.kernels.kernel import Implementation
from clusterbench.kernels.running.lazy import tl, triton


@triton.jit
def odd_kernel(a_ptr, b_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    {body}


def launch(a, b):
    {before}
    odd_kernel[(triton.cdiv(a.shape[0], 1024),)](a, b, a.shape[0], block=1024)


MADE = {{"triton": Implementation(launch, tile={{"n": 4}})}}
KERNEL = replace(COPY, name="{name}", dtypes=("float32",), implementations=MADE)
"""
PLAIN = "tl.store(a_ptr + i, tl.load(b_ptr + i, mask=i < n), mask=i < n)"


def _write(folder: Path, name: str, body: str = PLAIN, before: str = "") -> None:
    (folder / f"{name}.py").write_text(STREAM.format(name=name, body=body, before=before), encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def triton_keeps_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


FEW = (
    ("triad", "triton", "sm_90"),
    ("triad", "triton", "gfx942"),
    ("triad", "numba-cuda", "sm_90"),
    ("sum", "triton", "sm_80"),
    ("gemm", "triton", "sm_80"),
    ("gemm", "triton", "gfx942"),
)


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str, str], Compiled]:
    """A few kernels, by kernel, back end and target."""
    return {key: compile_kernel(KERNELS[key[0]], key[1], "float32", targets()[key[2]]) for key in FEW}


def test_kernels_compile_for_targets_that_are_not_here_and_keep_the_rules(
    rows: dict[tuple[str, str, str], Compiled],
) -> None:
    assert {key: row.reason for key, row in rows.items() if row.status != "compiled"} == {}
    assert broken(rows.values(), RULES) == []


@pytest.mark.parametrize("backend", ["triton", "numba-cuda"])
def test_bytes_and_flops_of_a_stream_are_counted_as_the_model_has_them(
    rows: dict[tuple[str, str, str], Compiled], backend: str
) -> None:
    row = rows["triad", backend, "sm_90"]
    n = 1 << 14
    assert (row.counted_bytes, row.counted_flops, row.atomic_bytes) == (12 * n, 2 * n, 0)
    assert (row.model_bytes, row.model_flops) == (12 * n, 2 * n)


def test_machine_code_with_other_accesses_than_its_ptx_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "read", lambda code, target: replace(read_machine(code, target), loads={16: 3}))
    row = compile_kernel(KERNELS["triad"], "triton", "float32", targets()["sm_90"])
    assert row.counted_bytes is None
    assert row.not_followed == "the assembler changed the accesses"


def test_all_launches_of_an_implementation_are_counted_together(rows: dict[tuple[str, str, str], Compiled]) -> None:
    row = rows["sum", "triton", "sm_80"]
    assert row.functions == ("triton_zero", "triton_kernel")
    n, programs = 1 << 14, (1 << 14) // 1024
    assert row.counted_bytes is not None
    assert 4 * n < row.counted_bytes <= 4 * n + 4 * row.threads  # and zero, which at most every thread stores
    assert row.atomic_bytes == 4 * programs


def test_many_launches_are_compiled_once_for_each_kind_of_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(compiling, "read", lambda code, target: read.append(code.name) or read_machine(code, target))
    again = "odd_kernel[(1,)](a, b, {}, block=1024)"
    _write(tmp_path, "odd", before="; ".join(again.format(n) for n in (1024, 512, 512, 512, 7, 5, 3)))
    row = compile_kernel(discover(tmp_path)["odd"], "triton", "float32", targets()["sm_90"])
    assert read == ["odd_kernel", "odd_kernel"]  # for numbers that 16 divides, and for others
    assert row.functions == ("odd_kernel",)
    assert row.counted_bytes == 8 * (1024 + 3 * 512 + 7 + 5 + 3 + (1 << 14))


def test_loops_are_counted_by_their_trips(rows: dict[tuple[str, str, str], Compiled]) -> None:
    row = rows["gemm", "triton", "sm_80"]
    assert row.counted_flops == 2 * 128**3
    # A tile of 32 by 32 reads 32 rows and 32 columns of 128; each result is written once.
    assert row.counted_bytes == 4 * (16 * 2 * 32 * 128 + 128**2)
    assert row.products == ("f32",)


def test_amd_is_compiled_and_read_and_said_not_to_be_followed(rows: dict[tuple[str, str, str], Compiled]) -> None:
    row = rows["triad", "triton", "gfx942"]
    assert row.load_bytes == row.store_bytes == 16
    assert row.counted_bytes is None
    assert row.not_followed == "only PTX is followed"


def test_what_was_compiled_before_is_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []

    def once(todo: list[object], places: tuple[int, ...], workers: int) -> Iterator[tuple[int, dict[str, object]]]:
        rounds.append(len(places))
        return ((place, Compiled("triad", "triton", "float32", "sm_90", registers=place).as_row()) for place in places)

    monkeypatch.setattr(pool, "_round", once)
    todo = jobs([KERNELS["triad"]], ("triton",), choose_targets(["sm_80,sm_90"]), ("float32",))
    first = compile_all(todo[1:], 1, tmp_path)
    assert [row.registers for row in first] == [0]
    assert compile_all(todo, 1, tmp_path)[1] == first[0]
    assert rounds == [1, 1]
    compile_all(todo, 1)  # without the cache all again
    assert rounds == [1, 1, 2]


def test_a_damaged_entry_or_another_version_is_no_entry(tmp_path: Path) -> None:
    row = Compiled("triad", "triton", "float32", "sm_90", registers=26)
    cache.keep(tmp_path, "k", row)
    assert cache.load(tmp_path, "k") == row
    fields = row.as_row()
    for text in ("", "[]", "{", json.dumps({**fields, "later": 1}), json.dumps({"kernel": "triad"})):
        (tmp_path / "k.json").write_text(text, encoding="utf-8")
        assert cache.load(tmp_path, "k") is None
    cache.keep(tmp_path, "m", replace(row, status="missing"))
    assert cache.load(tmp_path, "m") is None
    cache.keep(Path("/proc/none"), "k", row)  # a folder that cannot be written to costs time only


def test_a_change_of_a_source_a_type_or_a_target_is_another_entry(tmp_path: Path) -> None:
    _write(tmp_path, "odd")
    kernel, (sm_90, gfx942) = discover(tmp_path)["odd"], choose_targets(["sm_90,gfx942"])
    first = cache.key(kernel, "triton", "float32", sm_90)
    assert first == cache.key(kernel, "triton", "float32", sm_90)
    assert first != cache.key(kernel, "triton", "float32", gfx942)
    assert first != cache.key(kernel, "triton", "float64", sm_90)
    _write(tmp_path, "odd", PLAIN + "  # changed")
    assert first != cache.key(kernel, "triton", "float32", sm_90)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (f"i = i * 2 % n\n    {PLAIN}", "load_bytes"),
        (PLAIN.replace("mask=i < n), mask", "mask=i < n) * tl.full((), 0.1, tl.float64), mask"), "fp64"),
        (f"{PLAIN}\n    tl.debug_barrier()\n    {PLAIN}", "bytes"),
        (PLAIN.replace("mask=i < n), mask", "mask=i < n) + 0.5, mask"), "flops"),
    ],
)
def test_a_stream_that_became_worse_is_found(tmp_path: Path, body: str, limit: str) -> None:
    _write(tmp_path, "odd", body)
    row = compile_kernel(discover(tmp_path)["odd"], "triton", "float32", targets()["sm_90"])
    assert row.status == "compiled", row.reason
    assert limit in {fault.limit for fault in broken([replace(row, kernel="copy")], RULES)}


def test_a_compiler_that_ends_its_process_costs_its_own_row(tmp_path: Path) -> None:
    _write(tmp_path, "fatal", before="os.abort()")
    _write(tmp_path, "works")
    todo = jobs(list(discover(tmp_path).values()), ("triton",), choose_targets(["sm_90"]))
    fatal, works = compile_all(todo, 1)
    assert (fatal.kernel, fatal.status, fatal.reason) == ("fatal", "failed", pool.DIED)
    assert (works.kernel, works.status) == ("works", "compiled")


@pytest.mark.parametrize(
    ("body", "before", "said"),
    [("tl.store(a_ptr + i, no_such_name)", "", "no_such_name"), (PLAIN, "a.no_such_method()", "no_such_method")],
)
def test_what_does_not_compile_or_launch_is_said(tmp_path: Path, body: str, before: str, said: str) -> None:
    _write(tmp_path, "wrong", body, before)
    row = compile_kernel(discover(tmp_path)["wrong"], "triton", "float32", targets()["sm_90"])
    assert row.status == "failed"
    assert said in row.reason


def test_a_missing_package_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    row = compile_kernel(KERNELS["copy"], "triton", "float32", targets()["sm_90"])
    assert (row.status, row.reason) == (
        "missing",
        "triton is not installed; install clusterbench's extra `triton`",
    )


def test_array_level_sources_have_nothing_to_compile() -> None:
    row = compile_kernel(KERNELS["copy"], "cupy", "float32", targets()["sm_90"])
    assert row.status == "nothing"
    assert "array-level" in row.reason


def test_a_back_end_for_the_cpu_is_refused() -> None:
    with pytest.raises(KernelError, match="'numba' is none for GPUs; expected one of triton, numba-cuda, cupy"):
        jobs([KERNELS["copy"]], ("numba",), [])


def test_a_launch_is_recorded_as_it_is_called() -> None:
    (launch,) = record(KERNELS["triad"], "triton", "float64")
    assert (launch.name, launch.grid) == ("triton_kernel", (16, 1, 1))
    addresses = [value for value in launch.arguments if isinstance(value, Address)]
    assert [(one.dtype.name, one.shape) for one in addresses] == [("float64", (1 << 14,))] * 3
    zero, partial = record(KERNELS["sum"], "numba-cuda", "float32")
    assert (zero.grid, zero.block) == ((1, 1, 1), (1, 1, 1))
    assert (partial.grid, partial.block) == ((128, 1, 1), (128, 1, 1))
    assert all(isinstance(value, np.ndarray) for value in partial.arguments)


@pytest.mark.parametrize(
    ("kind", "precision", "found"),
    [
        ("bf16", "", "bf16"),
        ("f32", ", inputPrecision = tf32", "tf32"),
        ("f32", "", "f32"),
        ("f8E4M3FN", "", "f8e4m3fn"),
    ],
)
def test_what_a_matrix_product_multiplies_is_read_from_the_source(kind: str, precision: str, found: str) -> None:
    tensor = f"tensor<32x32x{kind}>"
    line = f"%0 = tt.dot %a, %b, %c{precision} : {tensor} * {tensor} -> tensor<32x32xf32>"
    assert products(f"%1 = arith.addf %x, %y : tensor<32x32xf16>\n{line}\n") == (found,)
    assert products(line.replace("tt.dot", "arith.mulf")) == ()


@pytest.mark.slow
def test_the_whole_catalogue_keeps_the_rules_on_every_target(tmp_path: Path) -> None:
    todo = jobs(list(KERNELS.values()), ("triton", "numba-cuda"), choose_targets([]))
    made = compile_all(todo, usable_cores(), tmp_path)
    assert [str(fault) for fault in broken(made, RULES)] == []
