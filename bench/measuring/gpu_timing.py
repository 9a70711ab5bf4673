"""Times what runs on a GPU: by its own events, with the state of the GPU beside every sample.

A sample is either so many calls in a row between two events, or one replay of a graph that holds them, so that what the
host needs to start each does not count. The state is asked for right after each sample; one during which the GPU was
slowed down, by heat or by its power limit, is marked and stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any, ClassVar

import numpy as np

from clusterbench.bench import exit_codes
from clusterbench.bench.hosts.gpu_state import GpuCondition, gpu_conditions
from clusterbench.bench.hosts.nvml import busid
from clusterbench.bench.measuring.sampling import Block

SLOWED = "slowed by"
NO_GRAPH = "no graph"
"""What the remarks of rows say."""
EVENT_S = 0.5e-6
"""Resolution of an event (CUDA Runtime API, cudaEventElapsedTime)."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that is measured."""

    name: str
    cache_bytes: int
    """Of its last-level cache."""


class NoGraphError(RuntimeError):
    """Calls that a graph cannot hold; the message says what the driver said."""

    exit_code: ClassVar[int] = exit_codes.FAILED


def gpu_at_hand(cupy: Any) -> Gpu:
    """The first GPU, by CuPy."""
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    name = properties["name"]
    return Gpu(name.decode() if isinstance(name, bytes) else str(name), int(properties["l2CacheSize"]))


def condition(bus: str) -> GpuCondition | None:
    """The state of the GPU at this PCI address, or None where NVML does not say.

    NVML numbers all GPUs, and CUDA those only that CUDA_VISIBLE_DEVICES leaves, so that a number would name another.
    """
    return next((state for state in gpu_conditions() if state.pci_id == bus), None)


class GpuTimer:
    """The samples of one row. `cupy` is CuPy; `ask` tells the state of the GPU, by NVML where it is None."""

    def __init__(self, cupy: Any, ask: Callable[[], GpuCondition | None] | None = None) -> None:
        self._cupy = cupy
        self._ask = ask or partial(condition, busid(cupy.cuda.runtime.deviceGetPCIBusId(0)))
        self._graphs: dict[int, Any] = {}
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.states: list[GpuCondition | None] = []
        """After each sample, the warm-up's too, in the order taken."""

    def settle(self) -> None:
        """Wait for everything on the GPU, whatever its stream."""
        self._cupy.cuda.runtime.deviceSynchronize()

    def block(self, call: Callable[[], object], *, graph: bool = False) -> Callable[[int, int], Block]:
        """A block for `sampling.sample` of calls that put their work on `stream`.

        With `graph` it raises `NoGraphError` where they do what a stream cannot capture, as waiting for a result.
        """

        def measure(samples: int, batch: int) -> Block:
            seconds = np.empty(samples)
            begin = perf_counter_ns()
            with self.stream:
                run = self._replay(call, batch) if graph else lambda: [call() for _ in range(batch)]
                for i in range(samples):
                    start, stop = (self._cupy.cuda.Event() for _ in range(2))
                    start.record(self.stream)
                    run()
                    stop.record(self.stream)
                    stop.synchronize()
                    seconds[i] = 1e-3 * self._cupy.cuda.get_elapsed_time(start, stop) / batch
                    self.states.append(self._ask())
            return Block(np.maximum(seconds, 1e-9), (perf_counter_ns() - begin) * 1e-9)

        return measure

    def _replay(self, call: Callable[[], object], batch: int) -> Callable[[], object]:
        if batch not in self._graphs:
            self._graphs[batch] = self._captured(call, batch)
        graph = self._graphs[batch]
        return lambda: graph.launch(self.stream)

    def _captured(self, call: Callable[[], object], batch: int) -> Any:
        self.stream.begin_capture()
        try:
            for _ in range(batch):
                call()
        except Exception as error:  # whatever the call's library raises
            with suppress(Exception):  # the stream must not stay in capture; what was captured is lost already
                self.stream.end_capture()
            raise NoGraphError(_first_line(error)) from None
        try:
            return self.stream.end_capture()
        except Exception as error:  # CuPy's error of its runtime, which may not be imported here
            raise NoGraphError(_first_line(error)) from None

    def remark(self, count: int) -> str:
        """What is to be said of the last `count` samples: clock and power, and how many were slowed down by what."""
        states = [state for state in self.states[-count:] if state is not None]
        if not states:
            return "NVML does not say how the GPU ran"
        clocks = [state.sm_mhz for state in states if state.sm_mhz is not None]
        watts = [state.power_watts for state in states if state.power_watts is not None]
        found = [f"SM clock {min(clocks)} to {max(clocks)} MHz"] if clocks else []
        found += [f"{min(watts):.0f} to {max(watts):.0f} W"] if watts else []
        slowed = Counter(reason for state in states for reason in state.slowed_by)
        found += [f"{number} of {count} samples {SLOWED} {reason}" for reason, number in slowed.items()]
        return ", ".join(found)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
