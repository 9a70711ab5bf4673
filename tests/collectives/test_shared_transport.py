"""Collectives over shared memory on real ranks: right in every way, late ranks are waited for, refusals are alike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mpi
import pytest

from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import suitable
from clusterbench.collectives.transports import shared_window
from clusterbench.collectives.transports.shared_window import NoSharedMemoryError, open_window
from clusterbench.kernels.element_types import DTYPES

SCRIPT = Path(__file__).parents[1] / "support" / "shared_ranks.py"


def lines(ranks: int, *arguments: str, timeout_s: float = 300) -> list[list[str]]:
    finished = mpi.ranks(ranks, str(SCRIPT), *arguments, timeout_s=timeout_s)
    assert finished.exit_code == 0, finished.stderr
    return [line.split() for line in finished.stdout.splitlines()]


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, *(pytest.param(ranks, marks=pytest.mark.slow) for ranks in (3, 4, 5))])
def test_every_algorithm_is_right_on_all_buffers_and_to_the_bit_as_over_messages(ranks: int) -> None:
    calls = lines(ranks, "contract", timeout_s=900)
    assert [call for call in calls if call[-2:] != ["0", "0"]] == []
    assert {tuple(call[:4]) for call in calls} == {
        (what.name, algorithm, in_place, staged)
        for what in COLLECTIVES.values()
        for algorithm in suitable(what, ranks)
        for in_place in ("0" if what.uneven else "01")
        for staged in "01"
    }
    assert any(int(call[7]) > 3 for call in calls if call[3] == "1")  # several pieces, so both halves are used again
    assert {call[7] for call in calls if call[3] == "0"} == {"1"}


@pytest.mark.mpi
def test_every_type_and_operation_is_right() -> None:
    calls = lines(2, "types")
    assert [call for call in calls if call[-2:] != ["0", "0"]] == []
    assert {(call[5], call[6]) for call in calls} == {
        (dtype, op) for dtype in DTYPES for op in ("sum", "prod", "min", "max", "avg")
    }


@pytest.mark.mpi
def test_a_million_small_all_reduces_with_random_delays_are_right() -> None:
    done = lines(2, "stress", "250000")  # in each of four ways
    assert {tuple(call) for call in done} == {
        (algorithm, staged, "0") for algorithm in ("direct", "recursive-doubling") for staged in "01"
    }


@pytest.mark.mpi
def test_no_wait_can_be_missed_where_the_other_rank_is_late() -> None:
    tried = lines(2, "waits")
    assert len(tried) >= 10
    for *_, right, wrong in tried:
        assert right == "0"
        assert int(wrong) > 0


@pytest.mark.mpi
@pytest.mark.parametrize(("ranks", "part"), [(2, "turns"), (3, "programs")])
def test_a_stage_is_not_filled_again_before_a_late_reader_has_read_it(ranks: int, part: str) -> None:
    whole, without = lines(ranks, part)
    assert whole == ["whole", "0"]
    assert without[0] == "without"
    assert int(without[1]) > 0


def alone(**how: Any) -> Any:
    """A communicator of one rank, as far as opening a window uses it."""
    local = SimpleNamespace(size=how.get("local", 1), Free=lambda: None)
    return SimpleNamespace(
        rank=0, size=how.get("size", 1), Split_type=lambda kind: local, allreduce=lambda value, op: value,
        bcast=lambda value: value, allgather=lambda value: [value], Barrier=lambda: None,
    )  # fmt: skip


def test_ranks_of_several_hosts_are_refused() -> None:
    with pytest.raises(NoSharedMemoryError, match=r"the 4 ranks are on several hosts.*use --transport hybrid or mpi"):
        open_window(alone(size=4, local=2), 4096, 0)


def test_too_little_shared_memory_is_refused_with_what_is_needed_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_window, "_free_bytes", lambda folder: 64 << 20)
    expected = (
        rf"^2 ranks need 65 MiB of shared memory, and {tmp_path} has 64 MiB free; .*--shm-size=129m.*transport mpi"
    )
    with pytest.raises(NoSharedMemoryError, match=expected):
        open_window(alone(size=2, local=2), 0, 32 << 20, tmp_path)


def test_a_window_larger_than_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSharedMemoryError, match=r"the host has \d+ MiB of memory free; choose smaller sizes \(-e\)"):
        open_window(alone(), 0, 1 << 50, tmp_path)


def test_a_place_for_shared_memory_that_is_not_there_is_left_to_the_library(tmp_path: Path) -> None:
    assert shared_window._free_bytes(tmp_path / "missing") is None
    assert (shared_window._free_bytes(tmp_path) or 0) > 0


def test_what_mpi_refuses_to_one_rank_is_refused_to_all() -> None:
    comm = alone()
    comm.allgather = lambda refusal: [refusal, "out of memory"]
    with pytest.raises(NoSharedMemoryError, match="MPI gives 1 ranks no shared window of 1 MiB each: out of memory"):
        shared_window._refuse_unless_all(comm, object(), "", 4096)
