"""What a plan of thread blocks orders: which step comes after which, or why it can never end.

A step comes after the one before it in its thread block, after the step that it waits for, and, where it receives,
after the step that sends what it receives: the k-th step that sends from one GPU to another on a channel is paired
with the k-th that receives there. A send does not wait for its receiver, as the channel keeps what is under way. A
step that waits is let go by the first step from the named one on that tells that it ended, as the flag of a thread
block only grows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.plans.plan import Plan, PlanError


@dataclass(frozen=True, slots=True)
class Order:
    """The steps of all thread blocks as numbered nodes, and what comes before what."""

    steps: list[tuple[int, int, int]]
    """GPU, thread block and step of each node."""
    sender: dict[int, int]
    """The node that sends what a node receives."""
    sorted: list[int]
    """All nodes, each behind those that it comes after; those of one level by GPU, thread block and step."""
    places: NDArray[np.int64]
    """The same as `steps`, of shape (nodes, 3)."""
    before: tuple[NDArray[np.int64], NDArray[np.int64]]
    """The nodes that each node comes right after: where those of a node begin in a list, and the list."""

    def clocks(self, gpu: int) -> NDArray[np.int16]:
        """How many steps of each thread block of a GPU come before or are each node; shape (nodes, thread blocks)."""
        own = np.where(self.places[:, 0] == gpu, self.places[:, 1], -1)
        order = np.array(self.sorted, np.int64)
        made: NDArray[np.int16] = _clocks(order, *self.before, own, self.places[:, 2], int(own.max(initial=-1)) + 1)
        return made


def order_of(plan: Plan, slots: int | None = None) -> Order:
    """Order the steps of a plan, whose channels keep up to `slots` messages, or any number of them.

    Raises `PlanError` where a send or a receive has no partner, two thread blocks share a channel to one peer, sizes do
    not fit, a wait is for what does not exist or tells nobody, or steps wait for one another round a circle.
    """
    steps = [
        (g, b, s)
        for g, gpu in enumerate(plan.gpus)
        for b, block in enumerate(gpu.blocks)
        for s in range(len(block.steps))
    ]
    node = {place: number for number, place in enumerate(steps)}
    before: list[list[int]] = [[node[g, b, s - 1]] if s else [] for g, b, s in steps]
    sender = _paired(plan, node)
    for (g, b, s), number in node.items():
        waits_for = plan.gpus[g].blocks[b].steps[s].waits_for
        if waits_for is not None:
            before[number].append(node[g, waits_for[0], _told(plan, (g, b, s), waits_for)])
        if number in sender:
            before[number].append(sender[number])
    if slots is not None:
        for sends, receives in _channels(sender, steps).values():
            for taken, sent in zip(receives, sends[slots:], strict=False):
                before[sent].append(taken)
    starts = np.cumsum([0, *map(len, before)])
    flat = np.array([each for nodes in before for each in nodes], np.int64)
    places = np.array(steps, np.int64).reshape(-1, 3)
    return Order(steps, sender, _sorted(plan, steps, before), places, (starts, flat))


def _channels(
    sender: dict[int, int], steps: list[tuple[int, int, int]]
) -> dict[tuple[int, int], tuple[list[int], list[int]]]:
    """The nodes that send and those that receive on each channel, in order, by the thread block that sends."""
    found: dict[tuple[int, int], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for receives, sends in sorted(sender.items()):
        ends = found[steps[sends][:2]]
        ends[0].append(sends)
        ends[1].append(receives)
    return found


def _told(plan: Plan, waiting: tuple[int, int, int], waits_for: tuple[int, int]) -> int:
    """The step by which one that waits is let go."""
    gpu, (block, first) = waiting[0], waits_for
    blocks = plan.gpus[gpu].blocks
    if block >= len(blocks) or first >= len(blocks[block].steps):
        has = f"tb {block} has {len(blocks[block].steps)} steps" if block < len(blocks) else f"{len(blocks)} tbs"
        raise PlanError(f"{plan.where(*waiting)} waits for tb {block}, step {first}; gpu {gpu} has none ({has})")
    for number in range(first, len(blocks[block].steps)):
        if blocks[block].steps[number].tells:
            return number
    raise PlanError(
        f"{plan.where(*waiting)} waits for tb {block}, step {first}, which never tells that it ended: deadlock; "
        "expected hasdep=1 there or behind it"
    )


def _paired(plan: Plan, node: dict[tuple[int, int, int], int]) -> dict[int, int]:
    """The sender of each node that receives."""
    ends: dict[tuple[int, int, int], list[tuple[int, int] | None]] = defaultdict(lambda: [None, None])
    for g, gpu in enumerate(plan.gpus):
        for b, block in enumerate(gpu.blocks):
            for end, peer in ((0, block.send), (1, block.recv)):
                if peer < 0:
                    continue
                both = ends[(g, peer, block.channel) if end == 0 else (peer, g, block.channel)]
                earlier = both[end]
                if earlier is not None:
                    verb = ("sends to", "receives from")[end]
                    raise PlanError(f"{plan.file}, line {block.line}: tb {b} of gpu {g} {verb} gpu {peer} on channel "
                                    f"{block.channel}, as tb {earlier[1]} does; expected one alone")  # fmt: skip
                both[end] = g, b
    sender = {}
    for (source, target, channel), (sending, receiving) in ends.items():
        sent, received = _those(plan, sending, "sends"), _those(plan, receiving, "receives")
        between = f"from gpu {source} to gpu {target} on channel {channel}"
        for sends, receives in zip(sent, received, strict=False):
            counts = [plan.gpus[g].blocks[b].steps[s].count for g, b, s in (sends, receives)]
            if counts[0] != counts[1]:
                raise PlanError(f"{plan.where(*receives)} receives {counts[1]} chunks {between}, where step {sends[2]} "
                                f"of tb {sends[1]} of gpu {source} sends {counts[0]}")  # fmt: skip
            sender[node[receives]] = node[sends]
        if len(sent) != len(received):
            more, verb = (sent, "sends") if len(sent) > len(received) else (received, "receives")
            alone = more[min(len(sent), len(received))]
            raise PlanError(f"{plan.where(*alone)} {verb} what has no partner: {len(sent)} sends and {len(received)} "
                            f"receives {between}")  # fmt: skip
    return sender


def _those(plan: Plan, block: tuple[int, int] | None, which: str) -> list[tuple[int, int, int]]:
    if block is None:
        return []
    g, b = block
    return [(g, b, s) for s, step in enumerate(plan.gpus[g].blocks[b].steps) if getattr(step.kind, which)]


def _sorted(plan: Plan, steps: list[tuple[int, int, int]], before: list[list[int]]) -> list[int]:
    after: list[list[int]] = [[] for _ in steps]
    missing = [len(nodes) for nodes in before]
    for number, nodes in enumerate(before):
        for each in nodes:
            after[each].append(number)
    level = [number for number, count in enumerate(missing) if not count]
    found: list[int] = []
    while level:
        found += level
        free = []
        for number in level:
            for each in after[number]:
                missing[each] -= 1
                if not missing[each]:
                    free.append(each)
        level = sorted(free)
    if len(found) < len(steps):
        raise PlanError(f"{plan.file}: deadlock: {_circle(plan, steps, before, missing)}")
    return found


def _circle(plan: Plan, steps: list[tuple[int, int, int]], before: list[list[int]], missing: list[int]) -> str:
    """A circle of steps that wait for one another, in words: any step that never runs waits for another such."""
    at = next(number for number, count in enumerate(missing) if count)
    seen: dict[int, int] = {}
    path: list[int] = []
    while at not in seen:
        seen[at] = len(path)
        path.append(at)
        at = next(each for each in before[at] if missing[each])
    circle = path[seen[at] :]
    shown = [
        f"gpu {g}, tb {b}, step {s} (line {plan.gpus[g].blocks[b].steps[s].line})"
        for g, b, s in (steps[each] for each in [*circle[:8], circle[0]])
    ]
    if len(circle) > 8:
        shown.insert(8, f"{len(circle) - 8} more")
    return " waits for ".join(shown)


@njit(cache=True, nogil=True)
def _clocks(order: Any, starts: Any, before: Any, own: Any, number: Any, blocks: int) -> Any:
    clocks = np.zeros((len(order), blocks), np.int16)
    for node in order:
        for each in before[starts[node] : starts[node + 1]]:
            for block in range(blocks):
                clocks[node, block] = max(clocks[node, block], clocks[each, block])
        if own[node] >= 0:
            clocks[node, own[node]] = number[node] + 1
    return clocks
