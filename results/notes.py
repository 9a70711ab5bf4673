"""What notes say in fixed words: written into the `note` of a row by whoever measures, and found there by readers.

A note is a list of remarks with semicolons between. These few of them change how a row is to be read. They belong to
the row and not to its run, as rows of several numbers of ranks may share one run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

SHARED_CORES = "more ranks than cores"
"""Ranks shared cores, so the times are those of the scheduler, too."""
PAIR_CLASSES = ("same core", "same host", "other host")
"""What the two ranks of a pair share."""
ESTIMATE = "an estimate"
"""How `bound_by` ends where the bound is none that is proven, so that a row may beat it."""

_BETWEEN = "; "
_RAN_AS = "ran as "
_IN_NETWORK = "in-network: "
_EXPECTED_BY = "expected by "
_EMULATED = "emulated at 1:"
_FIRST_OF = re.compile(r"the first of (\d{1,9}) ranks")


def joined(parts: Iterable[str]) -> str:
    """A note of several remarks; empty ones are left out."""
    return _BETWEEN.join(filter(None, parts))


def remarks(note: str) -> list[str]:
    """The remarks of a note."""
    return note.split(_BETWEEN) if note else []


def figures(values: Mapping[str, object]) -> list[str]:
    """Remarks of figures that a row has no field for, `registers=26`; those that are None or empty are left out."""
    return [f"{name}={value}" for name, value in values.items() if value not in (None, "")]


def figures_of(note: str) -> dict[str, str]:
    """The figures of a note by name."""
    return dict(part.split("=", 1) for part in remarks(note) if "=" in part)


def shares_cores(note: str) -> bool:
    """Whether a row says `SHARED_CORES`."""
    return SHARED_CORES in remarks(note)


def pair_class(note: str) -> str:
    """Which of `PAIR_CLASSES` a row names, or nothing."""
    return next((remark for remark in remarks(note) if remark in PAIR_CLASSES), "")


def ran_as(spec: str) -> str:
    """The remark of what ran, where that is more than the row's `algorithm`: it with options, or a schedule's path."""
    return _RAN_AS + spec


def what_ran(algorithm: str, note: str) -> str:
    """What ran: the algorithm of a row, or what its note says of it."""
    return next((part.removeprefix(_RAN_AS) for part in remarks(note) if part.startswith(_RAN_AS)), algorithm)


def first_of(ranks: int) -> str:
    """The remark that a row's ranks are the first ones of so many, while the others waited."""
    return f"the first of {ranks} ranks"


def all_ranks(ranks: int, note: str) -> int:
    """How many ranks there were: those of a row, or what its note says of them."""
    found = next(filter(None, map(_FIRST_OF.fullmatch, remarks(note))), None)
    return ranks if found is None else int(found.group(1))


def in_network(share: float) -> str:
    """The remark that switches reduced or copied: a row has this share of what end points alone do by its routes."""
    return f"{_IN_NETWORK}{share:.0%} of what end points alone can do over the links that messages take"


def expected_by(model: str) -> str:
    """The remark of what a row's expected time is by, in words."""
    return _EXPECTED_BY + model


def expecting_model(note: str) -> str:
    """What a row's note says that its expected time is by, or nothing."""
    return next((part.removeprefix(_EXPECTED_BY) for part in remarks(note) if part.startswith(_EXPECTED_BY)), "")


def is_in_network(note: str) -> bool:
    """Whether a row says `in_network`."""
    return any(remark.startswith(_IN_NETWORK) for remark in remarks(note))


def emulated(scale: float, faults: Iterable[str]) -> str:
    """The remark that a row is of an emulated network: the scale of its rates, and its faults."""
    return ", ".join([f"{_EMULATED}{1 / scale:.6g} of its rates", *(f"fault {fault}" for fault in faults)])


def is_estimate(bound_by: str) -> bool:
    """Whether a bound is estimated from measurements."""
    return bound_by.endswith(ESTIMATE)
