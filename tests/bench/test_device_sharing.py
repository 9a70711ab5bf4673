"""Two ranks on one GPU: who shares is said, by where the GPUs are."""

from __future__ import annotations

from clusterbench.bench.device_calls import shared_by


def test_ranks_with_gpus_of_their_own_share_none() -> None:
    assert shared_by([("a", "0000:01"), ("a", "0000:02"), ("b", "0000:01"), ("b", "0000:02")]) == ""


def test_ranks_on_one_gpu_are_named() -> None:
    assert shared_by([("a", "0000:01"), ("b", "0000:01"), ("b", "0000:01")]) == (
        "ranks 1, 2 share one GPU (0000:01 on b)"
    )
