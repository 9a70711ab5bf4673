"""Runs the programs of all ranks in one process, in a random order of steps, and moves bytes as late as MPI may.

MPI may read a send buffer, and write a receive buffer, at any time between the posting and the completion of a message.
Here a message moves at its first completion, and a receive buffer is filled with garbage when it is posted: a program
that touches a buffer too early, or forgets to wait, computes nonsense.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clusterbench.collectives.programs.program import SCRATCH, compile_programs, lower
from clusterbench.collectives.programs.steps import COPY, INPUT, OUTPUT, RECV, REDUCE, SEND, WAIT
from clusterbench.collectives.schedule import Count, Schedule, layout

GARBAGE = 0xAB


@dataclass
class Message:
    """One side of a message that is in flight."""

    memory: np.ndarray[Any, Any]
    receives: bool
    partner: Message | None = None
    moved: bool = False


@dataclass
class RankState:
    """One rank: its memory by region (with the byte that each region starts at), its steps, and its messages."""

    memory: dict[int, np.ndarray[Any, Any]]
    origin: dict[int, int]
    steps: np.ndarray[Any, Any]
    at: int = 0
    flight: dict[int, Message] = field(default_factory=dict)

    def bytes(self, region: int, start: int, length: int) -> np.ndarray[Any, Any]:
        """The bytes of an operand; an operand outside its region is an error."""
        start -= self.origin[region]
        if start < 0 or start + length > len(self.memory[region]):
            raise IndexError(f"bytes {start} to {start + length} of region {region}")
        return self.memory[region][start : start + length]


class StuckError(RuntimeError):
    """No rank can go on."""


def run_schedule(
    schedule: Schedule, inputs: list[np.ndarray[Any, Any]], count: Count, *, in_place: bool, seed: int = 0
) -> list[np.ndarray[Any, Any]]:
    """Compile a schedule and run it on `inputs` (one array a rank), adding what it reduces. Returns the outputs.

    `count` is as in `layout`. A rank that brings nothing has an empty input, one that must hold nothing gets an empty
    output. In place the smaller of the two lies inside the larger, at its place in the vector.
    """
    if in_place and schedule.collective.uneven:
        raise ValueError(f"{schedule.collective.name} has no in-place form: its parts lie elsewhere afterwards")
    dtype = inputs[0].dtype
    states, outputs = [], []
    for rank, program in enumerate(compile_programs(schedule, in_place)):
        places = layout(schedule, rank, count)
        takes = [int(places.taken[chunk]) * dtype.itemsize for chunk in schedule.takes(rank)]
        gives = [int(places.given[chunk]) * dtype.itemsize for chunk in schedule.gives(rank)]
        lowered = lower(program, count, dtype.itemsize)
        brought = inputs[rank].copy().view(np.uint8)
        if len(brought) != takes[1] - takes[0]:
            raise ValueError(f"rank {rank} brings {len(brought)} bytes; expected {takes[1] - takes[0]}")
        result = np.full(gives[1] - gives[0], GARBAGE, np.uint8)
        if not in_place or takes[0] == takes[1] or gives[0] == gives[1]:
            pass  # two memories, or one at most
        elif takes[0] <= gives[0] and gives[1] <= takes[1]:
            result = brought[gives[0] - takes[0] : gives[1] - takes[0]]
        else:
            result[takes[0] - gives[0] : takes[1] - gives[0]] = brought
            brought = result[takes[0] - gives[0] : takes[1] - gives[0]]
        scratch = np.full(lowered.scratch_bytes, GARBAGE, np.uint8)
        memory = {INPUT: brought, OUTPUT: result, SCRATCH: scratch}
        states.append(RankState(memory, {INPUT: takes[0], OUTPUT: gives[0], SCRATCH: 0}, lowered.steps))
        outputs.append(result)
    _run(states, dtype, random.Random(seed))
    return [output.view(dtype) for output in outputs]


def _run(states: list[RankState], dtype: np.dtype[Any], order: random.Random) -> None:
    sends: dict[tuple[int, int], deque[Message]] = defaultdict(deque)
    receives: dict[tuple[int, int], deque[Message]] = defaultdict(deque)
    while True:
        runnable = [r for r, state in enumerate(states) if _can_go_on(state)]
        if not runnable:
            if all(state.at == len(state.steps) for state in states):
                return
            raise StuckError(f"ranks are at steps {[state.at for state in states]}")
        rank = order.choice(runnable)
        state = states[rank]
        op, peer, to, to_byte, source, source_byte, operand, length, request = map(int, state.steps[state.at])
        state.at += 1
        if op == SEND:
            message = Message(state.bytes(source, source_byte, length), receives=False)
            state.flight[request] = message
            _match(message, sends[rank, peer], receives[rank, peer])
        elif op == RECV:
            target = state.bytes(to, to_byte, length)
            target[:] = GARBAGE
            message = Message(target, receives=True)
            state.flight[request] = message
            _match(message, receives[peer, rank], sends[peer, rank])
        elif op == WAIT:
            _move(state.flight.pop(request))
        elif op == COPY:
            state.bytes(to, to_byte, length)[:] = state.bytes(source, source_byte, length)
        elif op == REDUCE:
            first = state.bytes(operand, to_byte, length).view(dtype)
            state.bytes(to, to_byte, length).view(dtype)[:] = first + state.bytes(source, source_byte, length).view(
                dtype
            )
        else:
            raise ValueError(f"operation {op}")


def _can_go_on(state: RankState) -> bool:
    if state.at == len(state.steps):
        return False
    step = state.steps[state.at]
    return int(step[0]) != WAIT or state.flight[int(step[8])].partner is not None


def _match(message: Message, own: deque[Message], other: deque[Message]) -> None:
    if other:
        partner = other.popleft()
        if len(partner.memory) != len(message.memory):
            raise ValueError(f"a message of {len(message.memory)} bytes meets one of {len(partner.memory)}")
        message.partner, partner.partner = partner, message
    else:
        own.append(message)


def _move(message: Message) -> None:
    """Move the bytes of a message, unless its other side was completed before."""
    partner = message.partner
    if partner is None:
        raise StuckError("completed without a partner")
    if not message.moved:
        sender, receiver = (partner, message) if message.receives else (message, partner)
        receiver.memory[:] = sender.memory
        message.moved = partner.moved = True
