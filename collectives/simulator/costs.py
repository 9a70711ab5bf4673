"""What a message and a reduction cost a rank, beside what the links cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.topology.graph import Floats, TopologyError


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Costs of the end points, and what single ranks suffer. All zero: links alone cost something.

    A message takes `alpha_s` before its first byte is on its way, beside the latencies of its links. A rank spends
    `overhead_s` on each message that it sends, one after the other (the o of LogP: D. Culler et al., "LogP: towards a
    realistic model of parallel computation", PPoPP 1993). It reduces what arrives at `gamma_s_per_byte`, one after the
    other. Of a link's bandwidth `share` is payload, the rest headers and encoding.
    """

    alpha_s: float = 0.0
    overhead_s: float = 0.0
    gamma_s_per_byte: float = 0.0
    share: float = 1.0
    late_s: Floats | None = None
    """By which each rank begins after the first; None: all begin at once."""
    slowdown: Floats | None = None
    """How many times as long each rank takes for its messages and reductions; None: once."""

    def __post_init__(self) -> None:
        for name in ("alpha_s", "overhead_s", "gamma_s_per_byte"):
            value = getattr(self, name)
            if not (0 <= value < 1e9):
                raise TopologyError(f"{name} {value}; expected a number of seconds from 0")
        if not 0 < self.share <= 1:
            raise TopologyError(f"share {self.share}; expected a part of the bandwidth, above 0 and at most 1")

    def late(self, ranks: int) -> Floats:
        """Of each rank, seconds."""
        return np.zeros(ranks) if self.late_s is None else self.late_s

    def slow(self, ranks: int) -> Floats:
        """Of each rank, a factor."""
        return np.ones(ranks) if self.slowdown is None else self.slowdown
