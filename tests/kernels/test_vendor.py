"""Vendors' figures: every file is whole, and a bound by them is the lower of peak and intensity times bandwidth."""

from __future__ import annotations

from typing import Any

import pytest

from clusterbench.kernels.ceilings import vendor
from clusterbench.kernels.ceilings.vendor import VendorError, ceiling, gpu, gpu_names
from clusterbench.kernels.discovery import discover

KERNELS = discover()


def test_the_targets_that_kernels_are_compiled_for_have_their_figures() -> None:
    assert {gpu(name).target for name in gpu_names()} >= {"sm_80", "sm_90", "sm_100", "gfx942"}


@pytest.mark.parametrize("name", gpu_names())
def test_a_file_names_the_source_of_every_figure_and_matrix_units_are_no_slower(name: str) -> None:
    found = gpu(name)
    for figure in (found.memory, *found.peaks):
        assert figure.source.url.startswith("https://")
        assert figure.source.document
        assert figure.source.date
    vectors = {peak.dtype: peak.rate for peak in found.peaks if peak.unit == "vector"}
    for peak in found.peaks:
        assert peak.rate >= vectors.get(peak.dtype, 0)
    assert {"float64", "float32", "tf32", "float16", "bfloat16"} <= {peak.dtype for peak in found.peaks}
    assert found.memory.rate < vectors["float64"]


def test_a_stream_is_bound_by_memory_and_a_matrix_product_by_arithmetic() -> None:
    h100 = gpu("h100")
    triad = ceiling(h100, KERNELS["triad"], {"n": 1 << 20}, "float32")
    assert triad is not None
    assert (triad.bytes_per_s, triad.by) == (pytest.approx(3.35e12), "memory")
    assert triad.flop_per_s == pytest.approx(3.35e12 / 6)
    gemm = ceiling(h100, KERNELS["gemm"], {"m": 4096, "k": 4096, "n": 4096}, "float64")
    assert gemm is not None
    assert (gemm.flop_per_s, gemm.by) == (pytest.approx(66.9e12), "matrix peak of float64")
    copy = ceiling(h100, KERNELS["copy"], {"n": 1 << 20}, "float64")
    assert copy is not None
    assert copy.flop_per_s is None


def test_a_type_that_the_vendor_does_not_name_has_no_bound_where_there_is_arithmetic_in_it() -> None:
    assert gpu("a100").peak("float8_e5m2") is None
    assert gpu("h100").peak("float8_e5m2") == gpu("h100").peak("float8_e4m3fn")
    assert ceiling(gpu("h100"), KERNELS["triad"], {"n": 8}, "int64") is None


_WHOLE: dict[str, Any] = {
    "name": "X",
    "target": "sm_90",
    "sources": {"s": {"document": "d", "url": "https://x", "date": "2026"}},
    "memory": {"bytes_per_s": 1e12, "source": "s"},
    "peaks": [{"dtype": "float32", "unit": "vector", "flop_per_s": 1e12, "source": "s"}],
}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"memory": {"bytes_per_s": 0, "source": "s"}}, "more than 0"),
        ({"memory": {"bytes_per_s": 1e12, "source": "t"}}, "'t'"),
        ({"peaks": [{"dtype": "float32", "unit": "tensor", "flop_per_s": 1, "source": "s"}]}, "vector or matrix"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(
    change: dict[str, Any], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor.tomllib, "loads", lambda text: {**_WHOLE, **change})
    with pytest.raises(VendorError, match=rf"h100\.toml: .*{error}"):
        gpu("h100")


def test_an_unknown_gpu_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(VendorError, match="expected one of a100, b200, h100, mi300x"):
        gpu("h1000")
