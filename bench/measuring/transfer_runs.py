"""Copies between a host and its GPUs: to the device, back, and from one device to another.

From memory that the driver has pinned a copy is the bus's; from pageable memory the driver copies once more on its way.
The bytes are random ones by a seed, other ones for each copy, and are compared after the last.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench.judge import NO_BOUND, judge_time
from clusterbench.bench.measuring.gpu_timing import EVENT_S, GpuTimer, gpu_at_hand
from clusterbench.bench.measuring.sampling import Rules, sample, with_samples
from clusterbench.kernels import device
from clusterbench.kernels.kernel import Array
from clusterbench.kernels.running.lazy import EXTRAS
from clusterbench.results.journal import now_iso
from clusterbench.results.notes import joined
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import summarise

Place = Literal["pageable", "pinned", "device", "peer"]
SAMPLE_UNIT = "one copy, between two events on the GPU; the mean of a batch where the row has one"
SIZES = (1 << 16, 1 << 20, 1 << 24, 1 << 28)

Append = Callable[[Measurement, "NDArray[np.float64] | None"], None]


@dataclass(frozen=True, slots=True)
class Transfer:
    """A way to copy: from where, and to where."""

    name: str
    source: Place
    target: Place

    @property
    def gpus(self) -> int:
        """How many it needs."""
        return 2 if "peer" in (self.source, self.target) else 1

    @property
    def host_memory(self) -> str:
        """`pinned` or `pageable` where one end is the host."""
        return next((place for place in (self.source, self.target) if place in ("pageable", "pinned")), "")


TRANSFERS = (
    Transfer("host_to_device", "pageable", "device"),
    Transfer("host_to_device", "pinned", "device"),
    Transfer("device_to_host", "device", "pageable"),
    Transfer("device_to_host", "device", "pinned"),
    Transfer("peer_copy", "device", "peer"),
)


def missing(transfer: Transfer) -> str:
    """What is not here that a copy needs, in words; empty where it can run."""
    gpus = device.nvidia_gpus()
    if gpus < transfer.gpus:
        return f"it needs {transfer.gpus} NVIDIA GPU(s) with their driver; {gpus} here"
    if find_spec("cupy") is None:
        return f"cupy is not installed; install clusterbench's extra `{EXTRAS['cupy']}`"
    return ""


def run_transfers(
    sizes: Sequence[int], rules: Rules, seed: int, run_id: str, append: Append, cupy: Any = None
) -> list[Measurement]:
    """Measure every copy at every size; what cannot run is one row that says what is missing.

    `cupy` is CuPy, imported where it is None. Every row goes to `append` with its samples.
    """
    rows: list[tuple[Measurement, NDArray[np.float64] | None]] = []
    for transfer in TRANSFERS:
        lacks = missing(transfer) if cupy is None else ""
        base = Measurement(
            run_id=run_id, suite="kernels", name=transfer.name, backend="cupy", dtype="uint8",
            host=socket.gethostname(), shape=_shape(transfer, 0), started_at=now_iso(),
        )  # fmt: skip
        if lacks:
            rows.append((replace(base, verdict="INCONCLUSIVE", reason=f"not run: {lacks}"), None))
            append(*rows[-1])
            continue
        if cupy is None:
            import cupy as imported

            cupy = imported
        for size_bytes in sizes:
            rows.append(_measured(transfer, size_bytes, rules, seed, base, cupy))
            append(*rows[-1])
    return [row for row, _ in rows]


def _shape(transfer: Transfer, size_bytes: int) -> str:
    parts = [f"n={size_bytes}"] if size_bytes else []
    return ",".join([*parts, *([f"memory={transfer.host_memory}"] if transfer.host_memory else [])])


def _measured(
    transfer: Transfer, size_bytes: int, rules: Rules, seed: int, base: Measurement, cupy: Any
) -> tuple[Measurement, NDArray[np.float64]]:
    content = np.random.default_rng([seed, size_bytes]).integers(0, 256, size_bytes, np.uint8)
    timer = GpuTimer(cupy)
    source, target = (_placed(cupy, place, size_bytes) for place in (transfer.source, transfer.target))
    _write(source, content)
    for number in range(transfer.gpus):  # what cleared the memory ran on another stream
        with cupy.cuda.Device(number):
            cupy.cuda.runtime.deviceSynchronize()
    samples = sample(timer.block(_copy(source, target, size_bytes, timer.stream)), rules, EVENT_S)
    summary = summarise(samples.seconds)
    wrong = int(np.count_nonzero(_read(cupy, target) != content))
    verdict, reason = judge_time(NO_BOUND, summary)
    if wrong:
        verdict, reason = "FAIL", f"{wrong} of {size_bytes} bytes wrong after the last copy"
    row = replace(
        with_samples(base, samples, summary, SAMPLE_UNIT),
        count=size_bytes,
        size_bytes=size_bytes,
        shape=_shape(transfer, size_bytes),
        bytes_per_s=size_bytes / summary.median_s,
        device=gpu_at_hand(cupy).name,
        wrong=wrong,
        verdict=verdict,
        reason=reason,
        note=joined([timer.remark(len(samples.seconds))]),
    )
    return row, samples.seconds


def _placed(cupy: Any, place: Place, size_bytes: int) -> Any:
    if place == "pageable":
        return np.zeros(size_bytes, np.uint8)
    if place == "pinned":
        memory = cupy.cuda.alloc_pinned_memory(size_bytes)
        return np.frombuffer(memory, np.uint8, size_bytes)
    with cupy.cuda.Device(1 if place == "peer" else 0):
        return cupy.zeros(size_bytes, np.uint8)


def _write(array: Any, content: Array) -> None:
    if isinstance(array, np.ndarray):
        array[...] = content
    else:
        array.set(content)


def _read(cupy: Any, array: Any) -> Array:
    return array if isinstance(array, np.ndarray) else np.asarray(cupy.asnumpy(array))


def _copy(source: Any, target: Any, size_bytes: int, stream: Any) -> Callable[[], object]:
    """One copy on the stream; back to pageable memory the driver returns when it is done."""
    if isinstance(source, np.ndarray):
        return lambda: target.data.copy_from_host_async(source.ctypes.data, size_bytes, stream)
    if isinstance(target, np.ndarray):
        return lambda: source.data.copy_to_host_async(target.ctypes.data, size_bytes, stream)
    return lambda: target.data.copy_from_device_async(source.data, size_bytes, stream)
