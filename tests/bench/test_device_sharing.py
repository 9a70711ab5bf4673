"""The GPU of a rank: it is in the page that a supervisor reads, and who shares one is said, by where the GPUs are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clusterbench.bench.measuring import device_calls
from clusterbench.bench.measuring.device_calls import DeviceCalls, shared_by
from clusterbench.bench.worlds.status_page import StatusPage, read_pages
from clusterbench.collectives.checking.data import Problem
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.transports.gpu import ArrayModule


def test_ranks_with_gpus_of_their_own_share_none() -> None:
    assert shared_by([("a", "0000:01"), ("a", "0000:02"), ("b", "0000:01"), ("b", "0000:02")]) == ""


def test_ranks_on_one_gpu_are_named() -> None:
    assert shared_by([("a", "0000:01"), ("b", "0000:01"), ("b", "0000:01")]) == (
        "ranks 1, 2 share one GPU (0000:01 on b)"
    )


def test_a_rank_on_a_gpu_is_known_to_its_supervisor_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = ArrayModule(np, lambda: None, np.asarray, "NVIDIA H100 80GB HBM3", "0000:17:00.0")
    monkeypatch.setattr(device_calls, "cupy_module", lambda local_rank: gpu)
    monkeypatch.setattr(device_calls, "refuse_unaware", lambda mpi: None)
    monkeypatch.setattr(device_calls, "_refuse_too_large", lambda module, needed: None)
    page = StatusPage.create(tmp_path)
    page.join(0, 1, "core 3")
    comm = SimpleNamespace(allgather=lambda value: [value])
    world: Any = SimpleNamespace(rank=0, size=1, page=page, comm=comm, places=[SimpleNamespace(host="a", local_rank=0)])
    native: Any = None
    problem = Problem(COLLECTIVES["all_reduce"], 1, -1, 8, np.dtype("float32"), "sum", 1)
    DeviceCalls(world, native, "mpi", [problem], ["out_of_place"], False)
    assert read_pages(tmp_path)[0].device == "NVIDIA H100 80GB HBM3, 0000:17:00.0"
