"""Checks compiled programs: they match message for message, cannot deadlock, do not race, and stay in their buffers.

No receive takes a message from just anybody, and no message overtakes another of the same pair, so the messages of a
set of programs match in one way only, and one execution stands for all: if the programs run to their end when a send
completes no sooner than its receive is posted, no other timing and no other amount of buffering can block them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from clusterbench.collectives.compiler import (
    COUNT,
    DCHUNK,
    DREG,
    EXTRA,
    GROW,
    INPUT,
    OP,
    OPEN,
    OUTPUT,
    PEER,
    RECV,
    REQ,
    SCHUNK,
    SEND,
    STAGING,
    WAIT,
    WORK,
)  # fmt: skip
from clusterbench.collectives.program import Program
from clusterbench.collectives.schedule import Ints, Schedule

_REGION_NAMES = {INPUT: "input", OUTPUT: "output", WORK: "working copy", EXTRA: "scratch", STAGING: "staging area"}
_FINE, _OUTSIDE, _RACE, _WRITES_INPUT = range(4)


def check_programs(schedule: Schedule, programs: list[Program]) -> str | None:
    """Check the programs of all ranks, in the order of ranks. Returns what is wrong, or None."""
    for program in programs:
        problem = _check_buffers(schedule, program)
        if problem is not None:
            return problem
    starts = np.cumsum([0, *(len(program) for program in programs)])
    steps = np.concatenate([program.steps for program in programs])
    problem = _check_matching(starts, steps)
    if problem is not None:
        return problem
    stuck = _run_to_end(starts, steps, max(program.requests for program in programs) + 1)
    blocked = np.flatnonzero(stuck >= 0)
    if len(blocked):
        rank = int(blocked[0])
        return f"deadlock: {len(blocked)} ranks wait for ever, rank {rank} at step {int(stuck[rank])} of its program"
    return None


def _check_buffers(schedule: Schedule, program: Program) -> str | None:
    what, rank = schedule.collective, program.rank
    bounds = np.zeros((5, 2), np.int64)
    bounds[INPUT] = what.owned(what.takes, rank, schedule.ranks, schedule.chunks)
    bounds[OUTPUT] = what.owned(what.gives, rank, schedule.ranks, schedule.chunks)
    bounds[WORK] = (0, schedule.chunks)
    bounds[EXTRA] = (schedule.chunks, schedule.chunks + schedule.scratch_chunks)
    bounds[STAGING] = (0, program.staging_chunks)
    fault, step, region = _walk(program.steps, bounds, program.in_place, program.requests)
    where = f"rank {rank}, step {step} of its program"
    if fault == _OUTSIDE:
        low, high = bounds[region]
        chunk = int(program.steps[step, DCHUNK if program.steps[step, DREG] == region else SCHUNK])
        return f"{where}: chunk {chunk} lies outside the {_REGION_NAMES[region]}, which holds {low} to {high - 1}"
    if fault == _RACE:
        return f"{where}: touches the {_REGION_NAMES[region]} while a message that uses it is in flight"
    if fault == _WRITES_INPUT:
        return f"{where}: writes to the input"
    return None


@njit(cache=True)
def _walk(steps: Any, bounds: Any, in_place: bool, requests: int) -> tuple[int, int, int]:
    """Walk a program with the ranges that its messages in flight use. Returns the fault, its step and region."""
    # Per request: region, first chunk, end, 1 if it is written. Region −1: not in flight.
    flight = np.full((requests, 4), -1, np.int64)
    staged = np.zeros(bounds[STAGING, 1] + 1, np.int64)  # chunks of the message in a staging area
    for s in range(len(steps)):
        op = steps[s, OP]
        if op == WAIT:
            flight[steps[s, REQ], 0] = -1
            continue
        if op in (OPEN, GROW):
            area = steps[s, DCHUNK]
            staged[area] = 0 if op == OPEN else staged[area] + steps[s, COUNT]
            if staged[area] + area > bounds[STAGING, 1]:
                return _OUTSIDE, s, STAGING
            continue
        for side in range(2):
            writes = side == 0
            if (op == SEND and writes) or (op == RECV and not writes):
                continue
            region, low = steps[s, DREG + 2 * side], steps[s, DCHUNK + 2 * side]
            high = low + steps[s, COUNT]
            if region == INPUT and writes:
                return _WRITES_INPUT, s, region
            if low < bounds[region, 0] or high > bounds[region, 1]:
                return _OUTSIDE, s, region
            if in_place and region == INPUT and bounds[OUTPUT, 0] <= low and high <= bounds[OUTPUT, 1]:
                region = OUTPUT  # the same memory
            for r in range(requests):
                touches = flight[r, 0] == region and flight[r, 1] < high and low < flight[r, 2]
                if touches and (writes or flight[r, 3] == 1):
                    return _RACE, s, region
            if op in (SEND, RECV):
                flight[steps[s, REQ]] = np.array([region, low, high, 1 if writes else 0])
    return _FINE, 0, 0


def _check_matching(starts: Ints, steps: Ints) -> str | None:
    """The k-th message from one rank to another is sent with as many chunks as it is received with."""
    rank = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    sides = []
    for op in (SEND, RECV):
        mine = np.flatnonzero(steps[:, OP] == op)
        own, peer = rank[mine], steps[mine, PEER]
        pair = np.stack([own, peer] if op == SEND else [peer, own])
        order = np.lexsort((pair[1], pair[0]))  # stable: a pair's messages stay in their order
        sides.append(np.concatenate([pair[:, order], steps[mine[order], COUNT][None]]))
    sent, received = sides
    if sent.shape != received.shape:
        return f"{sent.shape[1]} messages are sent and {received.shape[1]} received"
    differs = np.flatnonzero((sent != received).any(axis=0))
    if len(differs):
        first = differs[0]
        src, dst, chunks = (int(value) for value in sent[:, first])
        return (
            f"rank {src} sends {chunks} chunks to rank {dst}, "
            f"where rank {received[1, first]} receives {received[2, first]}"
        )
    return None


@njit(cache=True)
def _run_to_end(starts: Any, steps: Any, requests: int) -> Any:
    """Run all programs with sends that complete only if matched. Returns the step where each is stuck, or −1."""
    ranks = len(starts) - 1
    at = starts[:-1].copy()
    sends = np.zeros((ranks, ranks), np.int32)  # messages that [src, dst] has posted
    receives = np.zeros((ranks, ranks), np.int32)
    flight = np.zeros((ranks, requests, 3), np.int64)  # is a send, peer, number of the message in its pair
    moved = True
    while moved:
        moved = False
        for rank in range(ranks):
            while at[rank] < starts[rank + 1]:
                step = steps[at[rank]]
                op, peer = step[OP], step[PEER]
                if op == SEND:
                    flight[rank, step[REQ]] = np.array([1, peer, sends[rank, peer]])
                    sends[rank, peer] += 1
                elif op == RECV:
                    flight[rank, step[REQ]] = np.array([0, peer, receives[peer, rank]])
                    receives[peer, rank] += 1
                elif op == WAIT:
                    is_send, other, number = flight[rank, step[REQ]]
                    matched = receives[rank, other] if is_send == 1 else sends[other, rank]
                    if matched <= number:
                        break
                at[rank] += 1
                moved = True
    return np.where(at < starts[1:], at - starts[:-1], -1)
