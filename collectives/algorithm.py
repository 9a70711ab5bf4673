"""An algorithm: a pure function from a collective and a number of ranks to a `Schedule`, with its cost and paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from clusterbench.collectives.collective import Collective
from clusterbench.collectives.schedule import Schedule


class UnsuitableAlgorithmError(ValueError):
    """An algorithm that cannot serve the call; the message says what can."""

    exit_code: ClassVar[int] = 2


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
    build: Callable[[Collective, int], Schedule]
    min_ranks: int = 1

    @property
    def collectives(self) -> tuple[str, ...]:
        """Names of the collectives that it serves."""
        return tuple(self.cost)

    def refusal(self, collective: Collective, ranks: int) -> str | None:
        """Why it cannot serve the call, or None where it can."""
        if collective.name not in self.cost:
            return f"{self.name} does not serve {collective.name}; it serves {', '.join(self.cost)}"
        if ranks < self.min_ranks:
            return f"{self.name} needs at least {self.min_ranks} ranks; there are {ranks}"
        return None

    def schedule(self, collective: Collective, ranks: int) -> Schedule:
        """Its schedule for the collective over `ranks` ranks. Raises `UnsuitableAlgorithmError`."""
        refusal = self.refusal(collective, ranks)
        if refusal is not None:
            raise UnsuitableAlgorithmError(refusal)
        return self.build(collective, ranks)
