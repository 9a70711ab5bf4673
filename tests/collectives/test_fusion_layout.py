"""Fused programs in bytes: every operand in its buffer or slot, pieces that cover all, and the same values as NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from collective_cases import count_for, named, numpy_results, schedule_of, some_inputs, variants
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.fusion.fuse import fuse
from clusterbench.collectives.fusion.layout import LINE_BYTES, FusedLayout, LoweredPass, Operand
from clusterbench.collectives.fusion.steps import INPUT, OUTPUT, STAGE, START, Finish, Pass, Wait
from clusterbench.collectives.schedule import Schedule

SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.cost]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Memory:
    """What all ranks have, as bytes; an operand outside its buffer, or in another's slot, fails the test."""

    def __init__(self, layout: FusedLayout, inputs: list[Any], lengths: list[int], in_place: bool, half: int) -> None:
        self.slot_bytes = layout.slot_bytes(half)
        self.stages = [np.full(half, 0xA5, np.uint8) for _ in inputs]
        self.buffers: dict[tuple[int, int], Bytes] = {}
        for rank, (brought, length) in enumerate(zip(inputs, lengths, strict=True)):
            send, receive = brought.copy().view(np.uint8), np.full(4 * length, 0xA5, np.uint8)
            if in_place:
                whole, part = (send, receive) if len(send) >= len(receive) else (receive, send)
                first = rank * len(part) if 0 < len(part) < len(whole) else 0
                mine = whole[first : first + len(part)]
                if whole is receive:
                    mine[:] = send
                    send = mine
                else:
                    receive = mine
            self.buffers[rank, INPUT], self.buffers[rank, OUTPUT] = send, receive

    def at(self, operand: Operand, start: int, length: int) -> Bytes:
        if operand.region == STAGE:
            assert operand.byte % LINE_BYTES == 0
            assert length <= self.slot_bytes
            found = self.stages[operand.rank][operand.byte : operand.byte + length]
        else:
            found = self.buffers[operand.rank, operand.region][operand.byte + start : operand.byte + start + length]
        assert len(found) == length
        return found

    def do(self, one: LoweredPass, piece: int, piece_bytes: int) -> None:
        start = piece * piece_bytes
        length = min(piece_bytes, one.length - start)
        if length <= 0:
            return
        value = self.at(one.sources[0], start, length).view(np.int32).copy()
        for source in one.sources[1:]:
            value += self.at(source, start, length).view(np.int32)
        for target in one.targets:
            self.at(target, start, length).view(np.int32)[:] = value


def run(layout: FusedLayout, memory: Memory, piece: int, piece_bytes: int, random: np.random.Generator) -> None:
    """One piece of all programs, the ranks' steps in a random order."""
    at, flags = [0] * len(layout.programs), {}
    while any(i < len(program.steps) for i, program in zip(at, layout.programs, strict=True)):
        rank = int(random.integers(len(at)))
        if at[rank] == len(layout.programs[rank].steps):
            continue
        step = layout.programs[rank].steps[at[rank]]
        if isinstance(step, Wait) and flags.get(step.rank, START - 1) < step.round:
            continue
        at[rank] += 1
        if isinstance(step, Finish):
            flags[rank] = step.round
        elif isinstance(step, Pass):
            for one in layout.lowered(step, memory.slot_bytes):
                memory.do(one, piece, piece_bytes)


def check(schedule: Schedule, count: Any, in_place: bool, staged: bool, slot_lines: int, seed: int) -> None:
    inputs = some_inputs(schedule.collective, schedule.ranks, count, schedule.root)
    expected = numpy_results(schedule.collective, inputs, count, schedule.root)
    layout = FusedLayout(tuple(fuse(schedule, in_place, staged)), count, 4, staged)
    half = layout.stage_bytes(layout.most_slots * slot_lines * LINE_BYTES)
    memory = Memory(layout, inputs, [len(one) for one in expected], in_place, half)
    pieces = max(1, -(-layout.longest_bytes // memory.slot_bytes)) if layout.staged and layout.most_slots else 1
    random = np.random.default_rng(seed)
    for piece in range(pieces):
        run(layout, memory, piece, memory.slot_bytes if pieces > 1 else 1 << 40, random)
    for rank, result in enumerate(expected):
        np.testing.assert_array_equal(memory.buffers[rank, OUTPUT].view(np.int32), result, f"rank {rank}")


@settings(max_examples=300)
@given(data=st.data())
def test_any_count_in_any_number_of_pieces_gives_what_numpy_does(data: st.DataObject) -> None:
    algorithm, what = data.draw(st.sampled_from(SERVED))
    ranks = data.draw(st.integers(algorithm.min_ranks, 7))
    root = data.draw(st.integers(0, ranks - 1)) if what.is_rooted else -1
    options = data.draw(st.sampled_from(variants(algorithm, ranks)))
    schedule = schedule_of(algorithm, what, ranks, root, options)
    count, seed = data.draw(st.integers(1, 300)), data.draw(st.integers(0, 1 << 32))
    in_place = not what.uneven and data.draw(st.booleans())
    staged, lines = data.draw(st.booleans()), data.draw(st.integers(1, 4))
    with named(algorithm=algorithm.name, what=what.name, ranks=ranks, root=root, count=count, options=options):
        check(schedule, count_for(what, ranks, count, seed), in_place, staged, lines, seed)


def layout_of(name: str, algorithm: str, ranks: int, count: int, staged: bool, in_place: bool = False) -> FusedLayout:
    schedule = schedule_of(algorithms()[algorithm], COLLECTIVES[name], ranks, -1, {})
    return FusedLayout(tuple(fuse(schedule, in_place, staged)), count, 4, staged)


def test_a_stage_is_as_small_as_its_limit_only_where_chunks_go_in_pieces() -> None:
    staged, registered = (layout_of("reduce_scatter", "ring", 4, 1 << 20, staged) for staged in (True, False))
    assert registered.most_slots > 0
    assert staged.stage_bytes(1 << 16) == 1 << 16
    assert registered.stage_bytes(1 << 16) == registered.most_slots * 4 << 20
    assert staged.stage_bytes(1 << 40) == staged.most_slots * 4 << 20
    assert staged.slot_bytes(1 << 16) % LINE_BYTES == 0
    assert staged.stage_bytes(0) == staged.most_slots * LINE_BYTES


def streamed(layout: FusedLayout) -> set[bool]:
    passes = (s for program in layout.programs for s in program.steps if isinstance(s, Pass))
    return {target.is_last for s in passes for one in layout.lowered(s, 1 << 30) for target in one.targets}


def test_what_is_read_again_is_not_taken_for_the_last_of_it() -> None:
    assert streamed(layout_of("all_reduce", "direct", 4, 64, staged=False)) == {True}
    assert streamed(layout_of("all_reduce", "direct", 4, 64, staged=False, in_place=True)) == {False}
    assert streamed(layout_of("all_gather", "ring", 4, 64, staged=False)) == {False, True}
    assert layout_of("all_reduce", "direct", 4, 64, staged=False).touched_bytes(range(4)) == 4 * 2 * 64 * 4
