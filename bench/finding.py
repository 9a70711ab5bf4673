"""What a command that looks at the machine has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: `state` is ok, info, warning or problem, or the mode of a back end."""

    part: str
    """`mpi`, `host`, `ranks`, `gpu` or `backend`."""
    name: str
    state: str
    found: str
    reason: str = ""
    """Why it is so, why it matters, or what to do."""
    mend: str = ""
    """The command that changes it, which is not executed."""
