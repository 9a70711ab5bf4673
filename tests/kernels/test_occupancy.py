"""Occupancy and targets: against figures of the toolkit's own calculator, and what is refused."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import numpy as np
import pytest

from clusterbench.kernels.compiled.occupancy import occupancy
from clusterbench.kernels.compiled.targets import choose_targets, targets
from clusterbench.kernels.kernel import KernelError


@pytest.mark.parametrize(
    ("target", "threads", "registers", "shared", "blocks", "limited_by"),
    [
        # cuda_occupancy.h of CUDA 13 (blocks, and each limit that equals them) for the properties of these devices
        ("sm_90", 256, 115, 98304, 2, "registers, shared memory"),
        ("sm_90", 128, 26, 0, 16, "registers, warps"),
        ("sm_80", 128, 182, 0, 2, "registers"),
        ("sm_80", 64, 20, 0, 32, "warps, blocks"),
        ("sm_80", 1024, 65, 0, 0, "registers"),
        ("sm_100", 128, 32, 65536, 3, "shared memory"),
        # LLVM's occupancy for gfx90a and later, in waves a SIMD: 8 up to 64 registers, 4 up to 128, 2 up to 256
        ("gfx942", 256, 64, 0, 8, "registers, warps"),
        ("gfx942", 256, 128, 0, 4, "registers"),
        ("gfx942", 256, 256, 0, 2, "registers"),
        ("gfx942", 256, 128, 32768, 2, "shared memory"),
    ],
)
def test_blocks_and_what_limits_them(
    target: str, threads: int, registers: int, shared: int, blocks: int, limited_by: str
) -> None:
    found = occupancy(targets()[target], threads, registers, shared)
    assert (found.blocks, found.limited_by) == (blocks, limited_by)


def test_targets_are_named_with_commas_or_one_by_one() -> None:
    assert [target.name for target in choose_targets(["sm_90,gfx942", "sm_90"])] == ["sm_90", "gfx942"]
    assert [target.name for target in choose_targets([])] == ["sm_80", "sm_90", "sm_100", "gfx942"]
    assert choose_targets(["sm_100"])[0].capability == (10, 0)


def test_an_unknown_target_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(KernelError, match="unknown target 'sm_70'; expected one of sm_80, sm_90, sm_100, gfx942"):
        choose_targets(["sm_70"])


ORACLE = """
#include <climits>
#include <cstdio>
#include <cstddef>
#include "cuda_occupancy.h"

// Lines of: major minor threads registers shared, and of the device: registers, threads, shared, block's, reserved.
int main() {
    int major, minor, threads, registers, device_registers, device_threads;
    size_t shared, device_shared, block_shared, reserved;
    while (scanf("%d %d %d %d %zu %d %d %zu %zu %zu", &major, &minor, &threads, &registers, &shared, &device_registers,
                 &device_threads, &device_shared, &block_shared, &reserved) == 10) {
        cudaOccDeviceProp device;
        device.computeMajor = major; device.computeMinor = minor; device.warpSize = 32;
        device.maxThreadsPerBlock = 1024; device.maxThreadsPerMultiprocessor = device_threads;
        device.regsPerBlock = device_registers; device.regsPerMultiprocessor = device_registers;
        device.sharedMemPerBlock = 49152; device.sharedMemPerMultiprocessor = device_shared;
        device.sharedMemPerBlockOptin = block_shared; device.reservedSharedMemPerBlock = reserved; device.numSms = 100;
        cudaOccFuncAttributes function;
        function.maxThreadsPerBlock = 1024; function.numRegs = registers; function.numBlockBarriers = 1;
        function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN; function.maxDynamicSharedSizeBytes = block_shared;
        cudaOccDeviceState state;
        cudaOccResult result;
        int error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, threads, shared);
        printf("%d\\n", error ? -error : result.activeBlocksPerMultiprocessor);
    }
}
"""


@pytest.mark.slow
def test_blocks_are_those_of_the_toolkits_own_calculator(tmp_path: Path) -> None:
    spec = find_spec("nvidia")
    folders = (spec.submodule_search_locations if spec else None) or []
    headers = [header for folder in folders for header in Path(folder).glob("*/include/cuda_occupancy.h")]
    compiler = which("g++")
    if not headers or compiler is None:
        pytest.skip("no g++, or no CUDA runtime headers (extra `sim`)")
    (tmp_path / "oracle.cpp").write_text(ORACLE)
    program = tmp_path / "oracle"
    subprocess.run(
        [compiler, f"-I{headers[0].parent}", "-o", program, tmp_path / "oracle.cpp"], check=True, timeout=120
    )
    rng = np.random.default_rng(5)
    problems, lines = [], []
    for target in targets().values():
        for _ in range(500 if target.vendor == "nvidia" else 0):
            threads, registers = int(rng.integers(1, 33)) * 32, int(rng.integers(8, 256))
            shared = int(rng.integers(0, target.shared_a_block_bytes - target.shared_reserved_bytes))
            problems.append((target, threads, registers, shared))
            device = (target.registers, target.warps * 32, target.shared_bytes, target.shared_a_block_bytes)
            values = (*target.capability, threads, registers, shared, *device, target.shared_reserved_bytes)
            lines.append(" ".join(map(str, values)))
    done = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True, check=True, timeout=60)
    expected = [int(line) for line in done.stdout.split()]
    assert [occupancy(*problem).blocks for problem in problems] == expected
