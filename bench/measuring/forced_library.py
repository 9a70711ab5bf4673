"""Telling the MPI library which algorithm its collective is to use: `--algorithm library:ID`.

Open MPI's algorithms that work by segments take their bytes, too: `library:ID:segment=BYTES`.

Each library reads it from the environment when it is initialised, so a process can have one choice only. The ID is the
library's own: a number for Open MPI's `tuned` component (`ompi_info --param coll tuned -l 9` lists them) and for Intel
MPI (I_MPI_ADJUST_*), a name for MPICH (`mpivars` lists the values of MPIR_CVAR_*_INTRA_ALGORITHM).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from clusterbench.bench import exit_codes
from clusterbench.collectives.plans.tuned_rules import read_tuned_rules

_OPENMPI = {
    "all_reduce": "allreduce", "reduce_scatter": "reduce_scatter_block", "all_gather": "allgather",
    "broadcast": "bcast", "reduce": "reduce", "all_to_all": "alltoall", "all_to_all_v": "alltoallv",
    "scatter": "scatter", "gather": "gather",
}  # fmt: skip
"""Open MPI's name of a collective; those of the others are the same in capitals."""


FIXED, RULES = "fixed", "rules"
"""Identifiers of an Open MPI whose `tuned` component comes before all others, and chooses by the rules that it has
compiled in, or by a file."""
_SEGMENT = ":segment="
_TUNED_FIRST = {"OMPI_MCA_coll_tuned_priority": "100"}


class ForcedLibraryError(ValueError):
    """A choice that cannot be handed to a library."""

    exit_code: ClassVar[int] = exit_codes.USAGE


def forced_environment(collective: str, identifier: str) -> dict[str, str]:
    """The variables that make each library use its algorithm `identifier` for a collective.

    Open MPI: coll_tuned_use_dynamic_rules and coll_tuned_*_algorithm, with `tuned` put before other components; MPICH:
    MPIR_CVAR_*_INTRA_ALGORITHM, with the device's own collectives off; Intel MPI: I_MPI_ADJUST_*.
    Raises `ForcedLibraryError`.
    """
    if identifier == FIXED:
        return dict(_TUNED_FIRST)
    number, segment_bytes = number_and_segment(identifier)
    name = _OPENMPI[collective]
    by_segments = {f"OMPI_MCA_coll_tuned_{name}_algorithm_segmentsize": str(segment_bytes)} if segment_bytes else {}
    return {
        **_TUNED_FIRST,
        "OMPI_MCA_coll_tuned_use_dynamic_rules": "1",
        f"OMPI_MCA_coll_tuned_{name}_algorithm": number,
        **by_segments,
        "MPIR_CVAR_DEVICE_COLLECTIVES": "none",
        f"MPIR_CVAR_{name.upper()}_INTRA_ALGORITHM": number,
        f"I_MPI_ADJUST_{name.upper()}": number,
    }


def number_and_segment(identifier: str) -> tuple[str, int]:
    """An algorithm by the library's number or name, and the bytes of its segments; 0 for the library's own.

    Raises `ForcedLibraryError`.
    """
    found = re.fullmatch(rf"([A-Za-z0-9_]+)(?:{_SEGMENT}([1-9]\d{{0,9}}))?", identifier)
    if found is None or int(found[2] or 0) >= 2**31:
        raise ForcedLibraryError(
            f"library:{identifier[:80]}: expected a number or a name of the library's own, perhaps with {_SEGMENT}BYTES"
        )
    return found[1], int(found[2] or 0)


def by_segments(number: str, segment_bytes: int) -> str:
    """The identifier of an algorithm by segments of so many bytes."""
    return f"{number}{_SEGMENT}{segment_bytes}"


def rules_environment(path: Path) -> dict[str, str]:
    """The variables that make Open MPI's `tuned` component choose by a file; algorithm 0 leaves it to its own rules.

    Raises `RulesError` for a file that Open MPI would ignore, as it does so in silence.
    """
    read_tuned_rules(path)
    return {
        **_TUNED_FIRST,
        "OMPI_MCA_coll_tuned_use_dynamic_rules": "1",
        "OMPI_MCA_coll_tuned_dynamic_rules_filename": str(path.resolve()),
    }


def openmpi_name(collective: str) -> str:
    """Open MPI's name of a collective."""
    return _OPENMPI[collective]


def tuned_variable(collective: str) -> str:
    """The control variable of Open MPI by which its `tuned` component is told an algorithm of a collective."""
    return f"coll_tuned_{_OPENMPI[collective]}_algorithm"


def refuse_ignored(collective: str, identifier: str) -> None:
    """Raise `ForcedLibraryError` where the library does not hold the choice that it was given; empty for none.

    Open MPI passes over a number that it does not have, but says so when its variable is asked. MPICH ends by itself
    when MPI is initialised; where an algorithm that it has cannot serve a call, it takes another in silence
    (MPIR_CVAR_COLLECTIVE_FALLBACK; as an error it would fail inside MPI_Init). Intel MPI has nothing to be asked.
    """
    from clusterbench.bench.hosts.control_variables import control_variable

    if not identifier:
        return
    variable = control_variable(tuned_variable(collective))
    if identifier in (FIXED, RULES):
        if variable is None:
            raise ForcedLibraryError(f"library:{identifier}: the loaded MPI has no `tuned` component to be told")
        return
    number, segment_bytes = number_and_segment(identifier)
    if variable is None and segment_bytes:
        raise ForcedLibraryError(
            f"library:{identifier}: the loaded MPI has no `tuned` component to be told of segments"
        )
    if variable is None or number in (str(variable.value), variable.choices.get(variable.value)):
        return
    known = ", ".join(f"{value} ({name})" for value, name in variable.choices.items() if value)
    raise ForcedLibraryError(f"library:{identifier}: Open MPI's {collective} has {known}")
