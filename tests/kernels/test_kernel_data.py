"""The data that kernels are checked with hold what their classes promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterbench.kernels.bounds import significand_bits
from clusterbench.kernels.catalog import copy, dot, gemm, triad
from clusterbench.kernels.judging.data import cases, make_inputs, shapes_around
from clusterbench.kernels.judging.verify import Check, check, compare
from clusterbench.kernels.kernel import DATA, DataClass, Kernel, KernelError
from clusterbench.kernels.running.backends import Backend, models

N = 4096


def made(data: DataClass, dtype: str = "float32", kernel: Kernel = dot.KERNEL) -> NDArray[np.float64]:
    wide = replace(kernel, dtypes=(dtype,))
    x = make_inputs(wide, {"n": N}, dtype, data, np.random.default_rng(5))["x"]
    return x.astype(np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "tf32", "float8_e5m2"])
def test_a_class_holds_what_it_promises_in_every_type(dtype: str) -> None:
    exact, hard, offset, special = (made(data, dtype) for data in ("exact", "hard", "offset", "special"))
    np.testing.assert_array_equal(exact, np.round(exact))
    # The partial sums of exact data are numbers of the type that sums are kept in, in any order.
    assert np.abs(exact * exact).sum() <= 2.0 ** significand_bits(dtype)
    assert (hard == 0).any()
    assert np.isfinite(hard).all()
    assert np.abs(hard).max() >= 1.5 * np.abs(hard[hard != 0]).min()
    cancelled = np.abs(hard[0::2] + hard[1::2]) <= np.abs(hard[0::2]) / 4
    assert cancelled.mean() > (0.5 if significand_bits(dtype) > 4 else 0.3)
    assert offset.mean() > 1.5 * offset.std() or dtype == "float8_e5m2"
    assert np.isnan(special).sum() == 1
    assert np.isposinf(special).sum() == np.isneginf(special).sum() == 1


def test_exact_data_of_a_narrow_type_use_the_room_of_the_type_that_sums_are_kept_in() -> None:
    kernel = replace(dot.KERNEL, dtypes=("bfloat16",), types={"d": "wide"})
    exact = made("exact", "bfloat16", kernel)
    assert np.abs(exact).max() > 2.0**5
    assert 2.0**8 < np.abs(exact * exact).sum() <= 2.0**24


def test_subnormals_are_among_hard_data() -> None:
    x = np.abs(made("hard"))
    assert ((x > 0) & (x < np.finfo(np.float32).tiny)).any()


def test_every_shape_is_tried_with_exact_and_rounding_data_and_two_with_all_others() -> None:
    for kernel, backend in ((triad.KERNEL, "triton"), (gemm.KERNEL, "numba-cuda")):
        tried = cases(kernel, backend)
        shapes = shapes_around(kernel.implementations[backend].tile)
        assert [shape for shape, data in tried if data == "exact"] == shapes
        assert [shape for shape, data in tried if data == "rounding"] == shapes
        for data in DATA[2:]:
            assert [shape for shape, found in tried if found == data] == [shapes[1], shapes[-1]]


def test_what_a_kernel_says_of_its_arrays_is_looked_at() -> None:
    with pytest.raises(KernelError, match="types names 'z', which is none of its arrays"):
        replace(triad.KERNEL, types={"z": "int32"})
    with pytest.raises(KernelError, match="dtype 'int33' is no type"):
        replace(triad.KERNEL, types={"a": "int33"})
    with pytest.raises(KernelError, match="'d' updates 'x', which has not its extents"):
        replace(dot.KERNEL, updates={"d": "x"})
    numba = replace(triad.KERNEL.implementations["numba"], dtypes=("float16",))
    with pytest.raises(KernelError, match="numba: dtype 'float16', which the kernel has not"):
        replace(triad.KERNEL, implementations={"numba": numba})


def test_what_is_updated_in_place_is_not_passed_twice_and_starts_as_the_input() -> None:
    def update(a: NDArray[np.float32], b: NDArray[np.float32], k: float, xp: object) -> None:
        a += b * np.float32(k)

    kernel = replace(
        triad.KERNEL,
        inputs={"start": ("n",), "c": ("n",)},
        updates={"a": "start"},
        implementations={"cupy": replace(triad.KERNEL.implementations["cupy"], launch=update)},
    )
    assert kernel.arguments == ("a", "c")
    assert kernel.footprint_bytes({"n": 10}, "float32") == 80
    backend = Backend("cupy", "simulator", "")
    for data in DATA:
        found = check(kernel, backend, "float32", {"n": 1000}, data, 3)
        assert found.reason == ""


def test_types_that_the_interpreter_gets_wrong_are_modelled_there_and_nowhere_else() -> None:
    interpreter = Backend("triton", "interpreter", "")
    assert [models(interpreter, dtype) for dtype in ("float32", "float16", "bfloat16", "tf32", "float8_e4m3fn")] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert not models(Backend("triton", "native", ""), "bfloat16")
    assert not models(Backend("numba", "native", ""), "bfloat16")


def test_what_is_only_moved_must_come_out_bit_for_bit_also_where_it_is_smallest() -> None:
    least = np.float32(np.finfo(np.float32).smallest_subnormal)
    inputs = {"b": np.array([least, 1, -least], np.float32)}
    base = Check("copy", "numba", "float32", "n=3", "hard")
    assert compare(copy.KERNEL, base, {"n": 3}, inputs, [inputs["b"].copy()]).passed
    flushed = compare(copy.KERNEL, base, {"n": 3}, inputs, [np.array([least, 1, 0], np.float32)])
    assert (flushed.wrong, flushed.passed) == (1, False)


def test_a_product_may_be_off_by_what_underflow_takes() -> None:
    least = np.float32(np.finfo(np.float32).smallest_subnormal)
    inputs = {"x": np.array([least], np.float32), "y": np.array([0.75], np.float32)}
    base = Check("dot", "numba", "float32", "n=1", "hard")
    for result in (least, np.float32(0)):
        assert compare(dot.KERNEL, base, {"n": 1}, inputs, [np.array([result], np.float32)]).passed
