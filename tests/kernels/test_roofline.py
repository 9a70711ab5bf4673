"""The ceilings compute what they say, with the instructions they are meant to measure."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit

from clusterbench.kernels import device
from clusterbench.kernels.ceilings import cache_loops, roofline
from clusterbench.kernels.loops import streaming, vectors
from clusterbench.kernels.loops.vectors import LINE_BYTES


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_chains_return_to_their_start_and_their_flops_are_counted(dtype: str) -> None:
    kind = np.dtype(dtype).type
    out = np.zeros(3, dtype)
    roofline.fma(out, kind(-1), kind(20), kind(1), 1000)
    assert np.all(out == roofline.fma_expected(1, dtype))
    roofline.fma(out, kind(-1), kind(20), kind(1), 1001)
    assert np.all(out == vectors.lanes(dtype) * sum(20 - (1 + chain) for chain in range(roofline.CHAINS)))
    assert roofline.fma_flops(3, 1000, dtype) == 3 * 1000 * 2 * roofline.CHAINS * vectors.lanes(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_multiply_adds_are_vectors_in_registers(dtype: str) -> None:
    @njit
    def chains(a, b, start, steps):  # type: ignore[no-untyped-def] # compiled for one signature below
        return roofline._chain(a, b, start, steps)

    kind = np.dtype(dtype).type
    chains(kind(-1), kind(20), kind(1), 10)
    (assembly,) = chains.inspect_asm().values()
    if platform.machine() in ("x86_64", "AMD64"):
        suffix = "ps" if dtype == "float32" else "pd"
        register = {16: "xmm", 32: "ymm", 64: "zmm"}[vectors.vector_bytes()]
        fused = rf"vfmadd\d+{suffix}" if roofline.has_fused() else f"v?mul{suffix}"
        body = _innermost_loop(assembly, rf"{fused}\s.*{register}")
    else:
        body = _innermost_loop(assembly, r"fmla\s+v")
    counted = [line for line in body if re.search(r"fmadd|fmla|mul", line)]
    assert len(counted) % roofline.CHAINS == 0
    assert not any(re.search(r"\((%rsp|%rbp)|\[sp|-?\d+\(%r", line) for line in body), body  # nothing spilt


@pytest.mark.skipif(not roofline.has_half(), reason="this CPU does not compute in float16")
def test_chains_in_float16_are_as_long_and_end_where_they_began() -> None:
    out = np.zeros(2, np.float32)
    one = np.float32(1)
    roofline.fma_half(out, -one, np.float32(20), one, 1000)
    assert np.all(out == roofline.fma_expected(1, "float16"))
    assert vectors.lanes("float16") == 2 * vectors.lanes("float32")


@pytest.mark.parametrize("threads", [1, 3])
def test_every_core_passes_over_its_own_set_as_often_as_asked(threads: int) -> None:
    blocks = 5
    each = blocks * cache_loops.BLOCK
    source = np.arange(threads * each + 1, dtype=np.float64)
    sums = np.full(threads, np.nan)
    cache_loops.read_again(sums, source, blocks, 7)
    assert np.array_equal(sums, 7 * source[:-1].reshape(threads, each).sum(axis=1))
    cache_loops.read_alone(sums, source, blocks, 3)
    assert sums[0] == 3 * source[:each].sum()
    target = np.full_like(source, np.nan)
    cache_loops.copy_again(target, source, blocks, 2, threads)
    assert np.array_equal(target[:-1], source[:-1])
    assert np.isnan(target[-1])
    target[:] = np.nan
    cache_loops.copy_alone(target, source, blocks, 1)
    assert np.array_equal(target[:each], source[:each])
    assert np.all(np.isnan(target[each:]))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
def test_each_pass_over_a_cache_loads_all_of_its_vectors_again() -> None:
    @njit
    def passes(address, blocks, count):  # type: ignore[no-untyped-def] # compiled for one signature below
        return cache_loops._sum_again(address, blocks, count)

    x = np.ones(cache_loops.BLOCK)
    passes(x.ctypes.data, 1, 2)
    (assembly,) = passes.inspect_asm().values()
    body = _innermost_loop(assembly, r"addpd\s.*\(%r")
    assert sum(bool(re.search(r"addpd\s.*\(%r", line)) for line in body) % roofline.CHAINS == 0
    # The mark between two passes lies in a loop around that one.
    lines = assembly.splitlines()
    mark = next(i for i, line in enumerate(lines) if "#APP" in line)
    labels = [match[1] for line in lines[:mark] if (match := re.match(r"(\.L\w+):", line))]
    assert any(re.search(rf"\sj\w+\s+{re.escape(label)}$", line) for label in labels for line in lines[mark:])


def test_the_set_that_shows_a_level_is_twice_the_level_below_and_half_of_its_own() -> None:
    small, large = device.Level("L1", 64 << 10, 32 << 10), device.Level("L2", 4 << 20, 2 << 20)
    assert 8 * cache_loops.working_set(small, None) <= 16 << 10
    shown = 8 * cache_loops.working_set(large, small)
    assert 2 * small.share_bytes <= shown <= large.share_bytes // 2
    assert cache_loops.working_set(large, small) % cache_loops.BLOCK == 0
    assert cache_loops.working_set(device.Level("L3", 3 << 20, 3 << 19), device.Level("L2", 2 << 20, 1 << 20)) == 0


def _innermost_loop(assembly: str, instruction: str) -> list[str]:
    """The lines from a label to the jump back to it, for the loop that holds the instruction most often."""
    lines = assembly.splitlines()
    loops = []
    for start, line in enumerate(lines):
        label = re.match(r"(\.L\w+):", line)
        if not label:
            continue
        for end in range(start + 1, len(lines)):
            if re.search(rf"\s(j\w+|b\.?\w*|cbn?z.*)\s.*{re.escape(label[1])}$", lines[end]):
                loops.append(lines[start:end])
                break
            if re.match(r"\.L\w+:", lines[end]):
                break
    found = max(loops, key=lambda body: sum(bool(re.search(instruction, text)) for text in body), default=[])
    assert sum(bool(re.search(instruction, text)) for text in found) >= roofline.CHAINS, assembly
    return found


@pytest.mark.parametrize("size", [1, 7, roofline.PART - 1, roofline.PART, 2 * roofline.PART + 7])
@pytest.mark.parametrize("behind_a_line", range(0, LINE_BYTES // 8, 3))
@pytest.mark.parametrize("copy", roofline.COPIES, ids=lambda copy: copy.__name__)
def test_every_copy_reaches_every_element_and_no_other(copy: Any, size: int, behind_a_line: int) -> None:
    room, source = np.full(size + 16, -1.0), np.arange(size, dtype=np.float64)
    first = -room.ctypes.data // 8 % (LINE_BYTES // 8) + behind_a_line
    copy(room[first : first + size], source)
    assert np.array_equal(room[first : first + size], source)
    assert np.all(room[:first] == -1.0)
    assert np.all(room[first + size :] == -1.0)


def test_a_store_past_the_cache_is_one() -> None:
    @njit
    def stream(to, from_):  # type: ignore[no-untyped-def] # compiled for one signature below
        streaming.stream(to, from_)

    stream(np.zeros(8), np.zeros(8))
    (assembly,) = stream.inspect_asm().values()
    assert re.search(r"\sv?movnt|\sstnp", assembly)


@pytest.mark.parametrize("size", [1, roofline.PART - 1, roofline.PART, 2 * roofline.PART + 7])
def test_read_and_fill_reach_every_element(size: int) -> None:
    source = np.arange(size, dtype=np.float64)
    target = np.full(size, np.nan)
    for read in (roofline.read, cache_loops.read_ahead):
        sums = np.full(-(-size // roofline.PART), np.nan)
        read(sums, source)
        assert sums.sum() == size * (size - 1) / 2
    roofline.fill(target, 2.0)
    assert np.all(target == 2.0)


def _cache(cpus: Path, core: int, index: int, level: int, kind: str, size: str, shared: str) -> None:
    folder = cpus / f"cpu{core}" / "cache" / f"index{index}"
    folder.mkdir(parents=True)
    for name, text in (("level", str(level)), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
        (folder / name).write_text(text + "\n")


def test_last_level_caches_are_added_up_once_each(tmp_path: Path) -> None:
    for core in range(4):
        _cache(tmp_path, core, 0, 1, "Data", "32K", str(core))
        _cache(tmp_path, core, 1, 1, "Instruction", "64K", str(core))
        _cache(tmp_path, core, 2, 3, "Unified", "16M", "0-1" if core < 2 else "2-3")
    assert device.last_level_cache_bytes(tmp_path, [0, 1, 2, 3]) == 32 << 20
    assert device.last_level_cache_bytes(tmp_path, [1]) == 16 << 20
    assert device.last_level_cache_bytes(tmp_path, [9]) == 0


def test_levels_have_the_size_of_all_their_caches_and_what_a_core_has_of_it(tmp_path: Path) -> None:
    for core in range(4):
        _cache(tmp_path, core, 0, 1, "Data", "32K", str(core))
        _cache(tmp_path, core, 1, 1, "Instruction", "64K", str(core))
        _cache(tmp_path, core, 2, 3, "Unified", "16M", "0-3")
    assert device.cache_levels(tmp_path, [0, 1, 2, 3]) == (
        device.Level("L1", 128 << 10, 32 << 10),
        device.Level("L3", 16 << 20, 4 << 20),
    )
    assert device.cache_levels(tmp_path, [9]) == ()


def test_a_cache_table_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    _cache(tmp_path, 0, 0, 2, "Unified", "nonsense", "0")
    _cache(tmp_path, 0, 1, 1, "Data", "48K", "0")
    assert device.last_level_cache_bytes(tmp_path, [0]) == 48 << 10


def test_the_caches_of_a_core_are_listed_with_who_shares_them(tmp_path: Path) -> None:
    _cache(tmp_path, 0, 0, 1, "Data", "48K", "0")
    _cache(tmp_path, 0, 1, 3, "Unified", "32M", "0-7")
    _cache(tmp_path, 0, 2, 2, "Unified", "1M", "")
    assert device.caches(tmp_path, 0) == [
        device.Cache(1, "Data", 48 << 10, "0"),
        device.Cache(3, "Unified", 32 << 20, "0-7"),
    ]


def test_a_quota_below_the_affinity_decides_how_many_cores_are_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text("150000 100000\n")
    assert device.quota_cores(limit) == 1.5
    limit.write_text("max 100000\n")
    assert device.quota_cores(limit) is None
    assert device.quota_cores(tmp_path / "none") is None
    monkeypatch.setattr(device, "affinity", lambda: [0, 2, 4, 6])
    for quota, cores in ((None, 4), (2.0, 2), (0.1, 1), (64.0, 4)):
        monkeypatch.setattr(device, "quota_cores", lambda quota=quota: quota)
        assert device.usable_cores() == cores


def test_the_model_is_the_kernels_name_of_it(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel\t\t: 17\nmodel name\t: Some CPU @ 2 GHz \n")
    assert device.cpu_model(info) == "Some CPU @ 2 GHz"


def test_this_machine_has_cores_a_cache_and_memory() -> None:
    cpu = device.cpu()
    assert cpu.cores >= 1
    assert cpu.memory_bytes > cpu.cache_bytes > 0
    assert cpu.name
