"""What a simulation says: the time, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted time, in parts that add up to it, and where it is spent.

    The parts are those of the critical path: of the transfer that ends each round last (phases), or of the chain of
    transfers that ends last (events).
    """

    time_s: float
    latency_s: float
    """Before first bytes: latencies of links, costs of messages."""
    bandwidth_s: float
    """While bytes are on their way."""
    reduction_s: float
    waiting_s: float
    """For ranks that are late."""
    bottleneck: str
    """The link that bytes of the critical path waited for longest, `A → B`; empty where none did."""
    bottleneck_s: float
    """How long they did."""
    sharing: int
    """How many transfers shared that link at most."""
    mode: str
    """`closed`, `phases` or `events`."""
    rounds: int = 0
    patterns: int = 0
    """Distinct traffic patterns that were priced."""
    late_rank: int = -1
    """The rank that the critical path waited for; −1 where it waited for none."""

    @property
    def explanation(self) -> str:
        """In words: what the time is made of, and which link limits it."""
        if self.time_s <= 0:
            return "nothing to send"
        named = (
            ("latency", self.latency_s),
            ("bandwidth", self.bandwidth_s),
            ("reduction", self.reduction_s),
            ("waiting for late ranks", self.waiting_s),
        )
        parts = [f"{part / self.time_s:.0%} {name}" for name, part in named if part > 0.0005 * self.time_s]
        words = ", ".join(parts)
        if self.bottleneck_s > 0.0005 * self.time_s:
            shared = f", {self.sharing} transfers at once" if self.sharing > 1 else ""
            words += f"; {self.bottleneck_s / self.time_s:.0%} on {self.bottleneck}{shared}"
        if self.late_rank >= 0:
            words += f"; rank {self.late_rank} is late"
        return words
