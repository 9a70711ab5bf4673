"""The MPI library's own collectives: right in every type, and what carries a type that it lacks is told."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import mpi
import numpy as np
import pytest

from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.transports import library, library_types
from clusterbench.kernels.element_types import DTYPES, SHORT_FLOATS

RUNNER = str(Path(__file__).parent.parent / "support" / "library_runner.py")


@cache
def ran(ranks: int, *arguments: str) -> dict[str, Any]:
    return mpi.document(mpi.ranks(ranks, RUNNER, *arguments))


@pytest.mark.mpi
def test_every_collective_is_right_in_every_type_and_operation_in_place_and_not() -> None:
    document = ran(2, ",".join(DTYPES))
    assert document["faults"] == []
    assert document["tried"] > 2000
    assert 0 < document["worst"] <= 1


@pytest.mark.mpi
def test_roots_and_uneven_parts_are_right_on_three_ranks() -> None:
    document = ran(3, "bfloat16,float32")
    assert document["faults"] == []


@pytest.mark.mpi
def test_our_own_operation_is_right_where_the_library_has_no_type() -> None:
    document = ran(2, ",".join(SHORT_FLOATS), "own")
    assert document["faults"] == []
    assert 0 < document["worst"] <= 1
    reducing = {key: note for key, note in document["markings"].items() if not key.endswith(" ")}
    assert all("user operation" in note for note in reducing.values())


@pytest.mark.mpi
def test_counts_of_64_bits_go_through_mpi_4s_functions_or_are_refused_by_name() -> None:
    vendor = ran(2, ",".join(DTYPES))["vendor"]
    finished = mpi.ranks(2, RUNNER, "float32,bfloat16", "large", "own")
    if vendor == "Open MPI":  # version 5 has none of them
        assert "has no function MPI_Allreduce_c" in finished.stderr
        return
    assert mpi.document(finished)["faults"] == []


@pytest.mark.mpi
def test_rows_say_what_the_library_lacks() -> None:
    markings = ran(2, ",".join(DTYPES))["markings"]
    for name in DTYPES:
        assert markings[f"{name} "] == ""
        for op in ("sum", "prod", "min", "max", "avg"):
            note = markings[f"{name} {op}"]
            assert (f"{name} by" in note) == (name in SHORT_FLOATS)
            assert ("user operation" in note) != ("extension type MPIX_" in note) or name not in SHORT_FLOATS
            assert ("MPI has no average" in note) == (op == "avg")


@pytest.mark.mpi
def test_mpich_is_never_asked_for_an_operation_that_would_end_the_process() -> None:
    document = ran(2, ",".join(DTYPES))
    if document["vendor"] == "MPICH":
        for name in SHORT_FLOATS:
            assert "extension type" in document["markings"][f"{name} sum"]
            for op in ("prod", "min", "max"):
                assert "user operation" in document["markings"][f"{name} {op}"]


def test_extension_types_are_read_from_the_header_beside_the_library(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "mpi.h").write_text(
        "#define MPI_FLOAT ((MPI_Datatype)0x4c00040a)\n"
        "#define MPIX_C_FLOAT16    ((MPI_Datatype)0x4c000246)\n"
        "#define MPIX_BFLOAT16     MPI_DATATYPE_NULL\n"
    )
    for place in ("lib", "lib/release"):
        assert library_types._header_numbers(tmp_path / place / "libmpi.so.12") == {"MPIX_C_FLOAT16": 0x4C000246}
    assert library_types._header_numbers(tmp_path / "lib" / "libmpi_abi.so.1") == {}


def test_more_elements_than_an_int_counts_take_the_large_function() -> None:
    most = 2**31 - 1
    for name, function in (("all_reduce", "MPI_Allreduce"), ("scatter", "MPI_Scatter")):
        assert library.function_name(COLLECTIVES[name], most) == function
        assert library.function_name(COLLECTIVES[name], most + 1) == function + "_c"
    uneven = COLLECTIVES["all_to_all_v"]
    assert library.function_name(uneven, np.array([[1, most - 1], [1, 0]])) == "MPI_Alltoallv"
    assert library.function_name(uneven, np.array([[1, most], [1, 0]])) == "MPI_Alltoallv_c"
    assert library.function_name(uneven, np.array([[0, most], [0, 1]])) == "MPI_Alltoallv_c"
