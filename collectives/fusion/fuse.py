"""A schedule for ranks that see each other's memory: passes over chunks, and what each rank waits for.

Where memory is shared no message is needed. All reductions into a chunk in one round become one pass that reads every
operand where it lies, and where the result is then copied to others, the same pass stores it there too. A copy is a
pass of one operand. Every pass is done by one rank. What lies on another host comes by a message, in the same round.

Each write of a chunk makes a new *version* of it (`fusion/versions.py`), which gets a place where it disturbs nobody.
What is left to wait for follows from the places (`fusion/order.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from clusterbench.collectives.fusion.order import in_order
from clusterbench.collectives.fusion.steps import FusedProgram
from clusterbench.collectives.fusion.versions import drop_unread, give_places, store_on_the_way, versions_of
from clusterbench.collectives.schedule import Schedule


def fuse(
    schedule: Schedule, in_place: bool, staged: bool, host_of: Sequence[int] | None = None
) -> list[FusedProgram]:  # fmt: skip
    """The programs of all ranks.

    `staged`: input and output of a rank are out of the others' reach, and what they need of it goes through its stage
    and working copies, of which there are two, used in turn. Else all is in reach, and a rank returns only when nobody
    uses its memory any longer. `host_of` has a number for each rank; ranks share memory where theirs is the same, by
    default all do.
    """
    hosts = tuple(host_of) if host_of is not None else (0,) * schedule.ranks
    if len(hosts) != schedule.ranks:
        raise ValueError(f"host_of has {len(hosts)} entries; expected one for each of {schedule.ranks} ranks")
    versions, passes = versions_of(schedule)
    if not staged:
        store_on_the_way(versions, passes, hosts)
    drop_unread(schedule, versions, passes)
    give_places(schedule, versions, passes, in_place, staged, hosts)
    return in_order(schedule, versions, passes, staged, hosts)
