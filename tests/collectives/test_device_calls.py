"""Collectives on buffers that compiled code cannot touch, over NumPy arrays in the place of a GPU's, on real ranks."""

from __future__ import annotations

from pathlib import Path

import mpi
import numpy as np
import pytest

from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import suitable
from clusterbench.collectives.transports.device_values import device_type, divide, reduction
from clusterbench.kernels.element_types import element_type

SCRIPT = Path(__file__).parents[1] / "support" / "device_ranks.py"


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_every_algorithm_and_the_library_are_right_on_device_buffers(ranks: int) -> None:
    finished = mpi.ranks(ranks, str(SCRIPT), timeout_s=240)
    assert finished.exit_code == 0, finished.stderr
    calls = [line.split() for line in finished.stdout.splitlines()]
    assert [call for call in calls if call[5:] != ["0", "True"]] == []
    ran = {(call[0], call[1]) for call in calls}
    assert ran == {(c.name, a) for c in COLLECTIVES.values() for a in ("library", *suitable(c, ranks))}
    assert {call[2] for call in calls} == {"float32", "float16", "int32", "uint8", "float64", "bfloat16"}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float32"])
def test_division_is_that_of_c(dtype: str) -> None:
    values = np.array([-7, -6, -1, 0, 1, 5, 7, 100] if dtype[0] != "u" else [0, 1, 5, 7, 200], dtype)
    summed = values.copy()
    divide(np, summed, np.dtype(dtype), 3)
    expected = values / np.float32(3) if dtype == "float32" else np.trunc(values / 3)
    np.testing.assert_array_equal(summed, expected.astype(dtype))
    if dtype != "float32":
        divide(np, summed, np.dtype(dtype), 1000 if dtype in ("int8", "uint8") else 10**8)
        assert not summed.any()


@pytest.mark.parametrize("op", ["sum", "prod", "min", "max", "avg"])
def test_bfloat16_is_computed_with_in_float32_and_rounded_once(op: str) -> None:
    kind = element_type("bfloat16")
    words = np.random.default_rng(7).integers(0, 2**16, (2, 200_000), np.uint16)
    first, second = words.view(kind).astype(np.float32)
    with np.errstate(all="ignore"):
        combined = {"prod": np.multiply, "min": np.fmin, "max": np.fmax}.get(op, np.add)(first, second).astype(kind)
        expected = (combined.astype(np.float32) / np.float32(3)).astype(kind) if op == "avg" else combined
        out = np.zeros(words.shape[1], device_type(kind))
        reduction(np, kind, op)(words[0], words[1], out)
        if op == "avg":
            divide(np, out, kind, 3)
    found = out.view(kind).astype(np.float32)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    bits = ~np.isnan(found)
    if op in ("min", "max"):  # the sign of a zero is left open by C's fmin and fmax
        bits &= found != 0
    np.testing.assert_array_equal(out[bits], expected.view(np.uint16)[bits])


@pytest.mark.mpi
def test_buffers_on_a_device_that_is_not_there_are_refused(tmp_path: Path) -> None:
    every = ("collectives", "run", "all_reduce", "-b", "8", "--journal", str(tmp_path))
    for finished in mpi.each(2, [(*every, "--buffers", "device"), (*every, "--transport", "nccl")]):
        assert finished.exit_code == 2
        assert finished.stderr.count("use --buffers host") == 1
        assert "Traceback" not in finished.stderr
