"""Element types on the command line: both spellings are taken, NumPy's name comes out."""

from __future__ import annotations

import click
import pytest

from clusterbench.bench.names import DTYPE, NCCL_NAMES
from clusterbench.kernels.element_types import DTYPES, element_type


@pytest.mark.parametrize(
    ("written", "name"),
    [("half", "float16"), ("float16", "float16"), ("FP16", "float16"), ("bfloat16", "bfloat16"), ("bf16", "bfloat16"),
     ("float", "float32"), ("double", "float64"), ("uint8", "uint8"), ("char", "int8"), ("int", "int32")],
)  # fmt: skip
def test_every_spelling_gives_numpys_name(written: str, name: str) -> None:
    assert DTYPE.convert(written, None, None) == name
    assert element_type(name).name == name


def test_every_type_that_collectives_run_with_has_a_name_in_nccl_tests_and_no_other_has() -> None:
    assert set(NCCL_NAMES) == set(DTYPES)
    assert [element_type(name).name for name in DTYPES] == list(DTYPES)


@pytest.mark.parametrize("written", ["f8e4m3", "all"])
def test_an_unknown_type_is_refused_with_the_known_ones(written: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        DTYPE.convert(written, None, None)
    known = refused.value.message.partition("expected one of ")[2].split(", ")
    assert {DTYPE.convert(name, None, None) for name in known} == set(DTYPES)
    assert {"char", "fp16", *NCCL_NAMES.values()} < set(known)
