"""An algorithm: a pure function from a call (collective, ranks, root, options) to a `Schedule`, with cost and paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from clusterbench.collectives.building.ordering import renumbered
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.topology.nearness import Nearness

LIBRARY = "library"
"""The MPI library's own collective, which stands beside the algorithms."""
ORDER, BY_RANK, BY_TOPOLOGY = "order", "rank", "topology"
"""The option that all algorithms have, and its values: which rank takes which place in the schedule."""
AUTO = "auto"
"""Value of the option `segments` that leaves the number to the size and the links."""


class UnsuitableAlgorithmError(ValueError):
    """An algorithm that cannot serve the call; the message says what can."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of an algorithm."""

    collective: Collective
    ranks: int
    root: int = -1
    """Of a rooted collective; −1 for the others."""
    host_ranks: int = 0
    """Ranks on each host, where ranks lie on hosts in blocks of one size; 0 where they do not, or it is unknown."""
    options: Mapping[str, str] = field(default_factory=dict)
    nearness: Callable[[], Nearness] | None = None
    """Finds which ranks are near each other; None where the network is not known."""

    def integer(self, name: str, low: int, high: int) -> int:
        """The value of an option that is a whole number. Raises `UnsuitableAlgorithmError`."""
        text = self.options[name]
        if not text.isdecimal() or len(text) > 18 or not low <= int(text) <= high:
            raise UnsuitableAlgorithmError(f"{name}={text[:40]}; expected a whole number from {low} to {high}")
        return int(text)

    def segments(self) -> int:
        """The option `segments`; 1 where it is left to the size, which this call does not have."""
        return 1 if self.options["segments"] == AUTO else self.integer("segments", 1, 4096)


@dataclass(frozen=True, slots=True)
class Option:
    """An option of an algorithm, as in `chain:segments=8`."""

    meaning: str
    default: str


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One collective algorithm.

    `cost` is its time in the α-β-γ model (n bytes of the vector, p ranks, α seconds a message, β seconds a byte, γ
    seconds a byte reduced), one formula for each collective that it serves.
    """

    name: str
    summary: str
    cost: dict[str, str]
    source: str
    build: Callable[[Call], Schedule]
    min_ranks: int = 1
    options: dict[str, Option] = field(default_factory=dict)
    """A pipeline has the option `segments`, by default `AUTO`: see `building/segments.py`."""

    @property
    def is_pipeline(self) -> bool:
        """Whether it cuts the vector into segments that follow one another."""
        return "segments" in self.options

    @property
    def collectives(self) -> tuple[str, ...]:
        """Names of the collectives that it serves."""
        return tuple(self.cost)

    def refusal(self, collective: Collective, ranks: int) -> str | None:
        """Why it cannot serve the collective over so many ranks, or None where it can."""
        if collective.name not in self.cost:
            return f"{self.name} does not serve {collective.name}; it serves {', '.join(self.cost)}"
        if ranks < self.min_ranks:
            return f"{self.name} needs at least {self.min_ranks} ranks; there are {ranks}"
        return None

    def schedule(self, call: Call) -> Schedule:
        """Its schedule for the call, with its own values for the options that the call leaves open.

        Raises `UnsuitableAlgorithmError` for a collective, number of ranks, or option that it cannot serve.
        """
        refusal = self.refusal(call.collective, call.ranks)
        if refusal is not None:
            raise UnsuitableAlgorithmError(refusal)
        for name in call.options:
            if name not in (*self.options, ORDER):
                raise UnsuitableAlgorithmError(
                    f"{self.name} has no option {name!r}; it has {', '.join((*self.options, ORDER))}"
                )
        options = {name: option.default for name, option in self.options.items()} | dict(call.options)
        order = options.pop(ORDER, BY_RANK)
        try:
            return _in_order(order, replace(call, options=options), self.build)
        except UnsuitableAlgorithmError as error:
            raise UnsuitableAlgorithmError(f"{self.name}: {error}") from None


def _in_order(order: str, call: Call, build: Callable[[Call], Schedule]) -> Schedule:
    """The schedule for ranks as they are numbered, or as the network has them near each other."""
    if order == BY_RANK:
        return build(call)
    if order != BY_TOPOLOGY:
        raise UnsuitableAlgorithmError(f"{ORDER}={order[:40]}; expected {BY_RANK} or {BY_TOPOLOGY}")
    if call.nearness is None:
        raise UnsuitableAlgorithmError(f"{ORDER}={BY_TOPOLOGY}, but what the ranks run on is not known: see --topology")
    near = call.nearness()
    if len(near.order) != call.ranks:
        raise UnsuitableAlgorithmError(
            f"{ORDER}={BY_TOPOLOGY}: the topology has {len(near.order)} ranks; expected {call.ranks}"
        )
    root = int(np.flatnonzero(near.order == call.root)[0]) if call.collective.is_rooted else call.root
    return renumbered(build(replace(call, root=root, host_ranks=near.together)), near.order)


@dataclass(frozen=True, slots=True)
class Spec:
    """An algorithm with options, as it is written: `two-level:dims=2x4,segments=4`."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        options = ",".join(f"{name}={value}" for name, value in self.options)
        return f"{self.name}:{options}" if options else self.name


def parse_specs(text: str) -> list[Spec]:
    """Algorithms with commas between, each with its options behind a colon, which commas part as well.

    `chain:segments=4,two-level:dims=2x4,segments=2,ring` are three; `library:ID` is kept as one name. Raises
    `UnsuitableAlgorithmError` where an option has no value, no algorithm, or two values.
    """
    specs: list[Spec] = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        name, colon, option = piece.partition(":")
        if not colon and "=" in piece:
            if not specs:
                raise UnsuitableAlgorithmError(f"{piece!r} stands before any algorithm; expected NAME:OPTION=VALUE")
            previous = specs.pop()
            name, value = _option(piece, piece)
            if name in dict(previous.options):
                raise UnsuitableAlgorithmError(f"{previous.name} is given {name} twice; expected it once")
            specs.append(replace(previous, options=(*previous.options, (name, value))))
            continue
        if name.lower() == LIBRARY and colon:
            specs.append(Spec(f"{LIBRARY}:{option.strip()}"))  # the ID is the library's own word
            continue
        specs.append(Spec(name.lower().replace("_", "-"), (_option(option, piece),) if colon else ()))
    return specs


def _option(text: str, piece: str) -> tuple[str, str]:
    name, equals, value = (part.strip().lower() for part in text.partition("="))
    if not (name and equals and value):
        raise UnsuitableAlgorithmError(f"{piece!r}: expected NAME:OPTION=VALUE")
    return name, value
