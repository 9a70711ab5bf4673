"""`make bench`: kernels that compute a little on what they stream, beside a copy of as many bytes.

A kernel that reads and writes each element once can be as fast as memory copies. Both run in turns, so that what
changes on the machine meets both; what is printed is the share of the copy's rate that the kernel reaches, by medians,
with its interval. The copy is the suite's own, of the catalogue, which stores through the cache as the kernels do.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from clusterbench.bench.measuring.buffer_sets import placed
from clusterbench.bench.measuring.kernel_runs import stream_bytes
from clusterbench.bench.measuring.paired import run_paired
from clusterbench.kernels.ceilings.roofline import fill
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.element_types import element_type

KERNELS = discover()
SHARE = 0.8
"""Of the copy's rate, that softmax, RMSNorm and SwiGLU are meant to reach in float32."""
MEANT = ("softmax", "rmsnorm", "swiglu")
OTHERS = ("layernorm", "gelu", "rope", "dequantise_int8")
PAIRS = 30


def _arrays(kernel: Any, shape: Any, dtype: str) -> list[Any]:
    rng = np.random.default_rng(0)
    made = []
    for number, name in enumerate(kernel.arguments):
        kind = element_type(kernel.type_of(name, dtype))
        (array,) = placed(kernel.extent(name, shape), kind.name, 1, number)
        if kind.kind != "i" and name not in kernel.outputs:
            array.reshape(-1)[:] = np.resize(rng.uniform(-1, 1, 1 << 16).astype(kind), array.size)
        made.append(array)
    return made


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    def once() -> float:
        before = perf_counter()
        call()
        return perf_counter() - before

    return once


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", [*MEANT, *OTHERS])
def test_against_the_copy_roof(benchmark: Any, show_line: Callable[[str], None], name: str, dtype: str) -> None:
    kernel = KERNELS[name]
    if dtype not in kernel.dtypes:
        pytest.skip(f"{name} has no {dtype}")
    shape = kernel.shape_of(stream_bytes() // element_type(dtype).itemsize)
    arguments = _arrays(kernel, shape, dtype)
    moved = kernel.traffic_bytes(shape, dtype)
    source, target = (np.empty(moved // 8, np.float32) for _ in range(2))
    for array in (source, target):
        fill(array, np.float32(1))
    launch, copy = kernel.implementations["numba"].launch, KERNELS["copy"].implementations["numba"].launch

    def run() -> Any:
        return run_paired(
            _timed(lambda: launch(*arguments)), _timed(lambda: copy(target, source)), pairs=PAIRS, warmup_pairs=2
        )

    paired = benchmark.pedantic(run, rounds=1)
    share = paired.ratio
    rate = moved / np.median(paired.a_s) / 1e9
    spread = np.quantile(moved / paired.a_s / 1e9, (0.1, 0.9))
    interval = "" if share.low is None else f" [{share.low:.3f}, {share.high:.3f}]"
    show_line(
        f"{name} {dtype}: {share.value:.3f}{interval} of the copy's rate; {rate:.2f} GB/s "
        f"(10 to 90 %: {spread[0]:.2f} to {spread[1]:.2f}), copy {moved / np.median(paired.b_s) / 1e9:.2f} GB/s"
    )
    if name in MEANT and dtype == "float32":
        assert share.high is None or share.high >= SHARE
