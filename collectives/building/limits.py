"""How large a round may be: a round is held whole, as arrays, however lazy the schedule is."""

from __future__ import annotations

from clusterbench.collectives.algorithm import Call, UnsuitableAlgorithmError

MOST_TRANSFERS = 1 << 24
"""Transfers in a round at most, of 65 bytes each (the columns of a `Phase`): about 1 GiB."""


def refuse_large_rounds(call: Call, transfers: int) -> None:
    """Refuse a schedule whose largest round has so many transfers, if they are too many.

    Raises `UnsuitableAlgorithmError`.
    """
    if transfers > MOST_TRANSFERS:
        raise UnsuitableAlgorithmError(
            f"{call.collective.name} over {call.ranks} ranks has {transfers} transfers in a round; "
            f"expected at most {MOST_TRANSFERS}"
        )
