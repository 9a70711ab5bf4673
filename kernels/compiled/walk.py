"""Bytes and operations of a launch, counted by following every thread of it through its PTX.

Addresses, counters and predicates of a kernel come from its integers and the numbers of blocks and threads, which are
all known here, so that each thread's way can be followed without memory: what is loaded is unknown, and so is all that
comes of it. A branch, or a guarded access, that hangs on something unknown ends the walk: then nothing is said
(`NotFollowedError`), and nothing is guessed. All threads of all blocks walk side by side, as arrays; where they part,
those at the earliest block of code go first: as good an order as any, as none sees what another wrote.

The instructions are those of NVIDIA's "Parallel Thread Execution ISA", version 9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clusterbench.kernels.compiled.code import Code
from clusterbench.kernels.compiled.integers import INTEGER, Value, short_cut, signed
from clusterbench.kernels.compiled.ptx import (
    NAMES,
    WARP,
    Instruction,
    NotFollowedError,
    Program,
    access_bytes,
    flops_of,
    parse,
)

STEPS = 100_000
"""Instructions, each for all threads that are at it, after which a walk is given up."""
THREADS = 1 << 17
"""Threads of a launch that are followed at most."""
WORK = 100_000_000
"""Instructions of all threads together after which a walk is given up: some seconds."""
_SPACES = ("global", "shared", "local", "param", "const")


@dataclass(frozen=True, slots=True)
class Counts:
    """What all threads of a launch do together."""

    loaded_bytes: int = 0
    """From global memory, by every thread that loads: what several threads load alike counts for each."""
    stored_bytes: int = 0
    atomic_bytes: int | None = 0
    """Read, changed and written in one instruction; each counts once. None where that hangs on data."""
    flops: int | None = 0
    """Floating-point additions, subtractions, multiplications and divisions, a fused one as two; None where a matrix
    instruction does not say its size."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.loaded_bytes + other.loaded_bytes,
            self.stored_bytes + other.stored_bytes,
            _sum(self.atomic_bytes, other.atomic_bytes),
            _sum(self.flops, other.flops),
        )

    def times(self, number: int) -> Counts:
        """What so many launches do."""
        return Counts(
            self.loaded_bytes * number,
            self.stored_bytes * number,
            None if self.atomic_bytes is None else self.atomic_bytes * number,
            None if self.flops is None else self.flops * number,
        )


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def follow(code: Code) -> Counts:
    """Count a launch, as often as it is made. Raises `NotFollowedError` where a thread's way is not known."""
    blocks = code.grid[0] * code.grid[1] * code.grid[2]
    if blocks * code.threads > THREADS:
        raise NotFollowedError(f"{blocks * code.threads} threads; at most {THREADS} are followed")
    with np.errstate(over="ignore"):
        return _Walk(parse(code.assembly), code).run().times(code.times)


def straight_accesses(ptx: str) -> tuple[int, int] | None:
    """Bytes of all loads from, and all stores to, global memory in the text, each taken once; None with a loop."""
    program = parse(ptx)
    if _loops(program):
        return None
    loaded = stored = 0
    for block in program.blocks:
        for instruction in block:
            parts = instruction.parts
            if parts[0] in ("ld", "st") and "global" in parts:
                loaded += access_bytes(instruction) * (parts[0] == "ld")
                stored += access_bytes(instruction) * (parts[0] == "st")
            elif parts[:2] == ("cp", "async") and "global" in [part.split("::")[0] for part in parts]:
                loaded += int(instruction.operands[2], 0)
    return loaded, stored


def _loops(program: Program) -> bool:
    """Whether a block can come again: some are left when those that nothing leads to are taken away in turn."""
    following: dict[int, set[int]] = {}
    for place, block in enumerate(program.blocks):
        ends = next((one for one in block if one.parts[0] in ("bra", "ret", "exit")), None)
        leaves = ends is not None and not ends.guard
        following[place] = set() if leaves else {place + 1} & set(range(len(program.blocks)))
        if ends is not None and ends.parts[0] == "bra":
            following[place].add(program.labels.get(ends.operands[-1], place))  # one that is not there: as a loop
    while following:
        led_to = set().union(*following.values())
        first = [place for place in following if place not in led_to]
        if not first:
            return True
        for place in first:
            del following[place]
    return False


class _Walk:
    """The registers of all threads, and where each of them is."""

    def __init__(self, program: Program, code: Code) -> None:
        self.program = program
        self.parameters = code.parameters
        self.registers: dict[str, Value] = {}
        self.counts = Counts()
        self.steps = 0
        blocks = int(np.prod(code.grid))
        self.lanes = blocks * code.threads
        self.whole_warps = code.threads % WARP == 0
        number, block = np.arange(self.lanes) % code.threads, np.arange(self.lanes) // code.threads
        self.number = number
        for place, axis in enumerate("xyz"):
            before, across = int(np.prod(code.block[:place])), int(np.prod(code.grid[:place]))
            self.registers[f"%tid.{axis}"] = number // before % code.block[place]
            self.registers[f"%ctaid.{axis}"] = block // across % code.grid[place]
            self.registers[f"%ntid.{axis}"] = np.int64(code.block[place])
            self.registers[f"%nctaid.{axis}"] = np.int64(code.grid[place])
        self.registers["%laneid"] = number % WARP
        self.registers["%warpid"] = number // WARP

    def run(self) -> Counts:
        """Walk until every thread has ended."""
        last = len(self.program.blocks)
        at = np.zeros(self.lanes, np.int64)
        while True:
            place = int(at.min())
            if place >= last:
                return self.counts
            here = at == place
            self._block(place, here, at)

    def _block(self, place: int, here: Any, at: Any) -> None:
        """Run one block for the threads that are at it, and move them on."""
        everyone = bool(here.all())
        at[here] = place + 1
        for instruction in self.program.blocks[place]:
            self.steps += 1
            if self.steps > min(STEPS, WORK // self.lanes):
                raise NotFollowedError(
                    f"more than {min(STEPS, WORK // self.lanes)} instructions of {self.lanes} threads"
                )
            operation = instruction.parts[0]
            if operation in ("bra", "ret", "exit"):
                taken = self._guarded(instruction, here)
                if taken is None:
                    raise NotFollowedError("a branch hangs on data")
                target = len(self.program.blocks)
                if operation == "bra":
                    target = self.program.labels.get(instruction.operands[-1], -1)
                    if target < 0:
                        raise NotFollowedError(f"a branch to {instruction.operands[-1]}")
                at[taken] = target
                continue
            if not self._count(instruction, here):
                self._compute(instruction, here, everyone)

    def _guarded(self, instruction: Instruction, here: Any) -> Any:
        """The threads of `here` that do it; None where that is not known."""
        if not instruction.guard:
            return here
        value = self.registers.get(instruction.guard)
        if value is None:
            return None
        return here & ((value == 0) if instruction.negated else (value != 0))

    def _count(self, instruction: Instruction, here: Any) -> bool:
        """Count what counts; whether that is all there is to do."""
        operation, parts = instruction.parts[0], instruction.parts
        if operation in ("call", "brx"):
            raise NotFollowedError(f"{operation}: a way that is chosen at run time")
        if operation in ("ld", "st", "atom", "red"):
            return self._count_access(instruction, here)
        if operation == "cp" and "async" in parts:
            return self._count_copy(instruction, here)
        flops = flops_of(instruction)
        if flops == 0:
            return False
        doing = self._guarded(instruction, here)
        done = None if flops is None or doing is None else round(flops * int(doing.sum()))
        self._add(flops=_sum(self.counts.flops, done))
        self._forget(instruction)
        return True

    def _add(self, **counts: int | None) -> None:
        self.counts = replace(self.counts, **counts)  # type: ignore[arg-type]  # the names say which may be None

    def _count_access(self, instruction: Instruction, here: Any) -> bool:
        parts, counts = instruction.parts, self.counts
        space = next((part.split("::")[0] for part in parts if part.split("::")[0] in _SPACES), "")
        if not space:
            raise NotFollowedError(f"{instruction.name} names no memory")
        if space == "global":
            doing = self._guarded(instruction, here)
            if doing is None and parts[0] in ("ld", "st"):
                raise NotFollowedError(f"{instruction.name} hangs on data")
            times = None if doing is None else int(doing.sum())
            done = None if times is None else times * access_bytes(instruction)
            if parts[0] == "ld":
                self._add(loaded_bytes=_sum(counts.loaded_bytes, done))
            elif parts[0] == "st":
                self._add(stored_bytes=_sum(counts.stored_bytes, done))
            else:
                adds = "add" in parts and instruction.type.startswith(("f", "bf"))
                flops = _sum(counts.flops, times) if adds else counts.flops
                self._add(atomic_bytes=_sum(counts.atomic_bytes, done), flops=flops)
        if parts[0] == "ld" and space == "param":
            return False
        self._forget(instruction)
        return True

    def _count_copy(self, instruction: Instruction, here: Any) -> bool:
        """A copy from global to shared memory, of as many bytes as its last operand says; none for what is masked."""
        if "bulk" in instruction.parts:
            raise NotFollowedError(f"{instruction.name}: its size is in a descriptor")
        if "global" not in [part.split("::")[0] for part in instruction.parts]:
            return True  # commit_group, wait_group
        doing = self._guarded(instruction, here)
        size = self._value(instruction.operands[-1])
        if doing is None or size is None:
            raise NotFollowedError(f"{instruction.name} hangs on data")
        done = int(np.where(doing, size, 0).sum())
        self._add(loaded_bytes=self.counts.loaded_bytes + done)
        return True

    def _forget(self, instruction: Instruction) -> None:
        """What it writes is not known from here on."""
        if instruction.operands and not instruction.operands[0].startswith("["):
            for register in NAMES.findall(instruction.operands[0]):
                self.registers[register] = None

    def _compute(self, instruction: Instruction, here: Any, everyone: bool) -> None:
        doing = self._guarded(instruction, here)
        if not instruction.operands or instruction.operands[0].startswith("["):
            return
        try:
            results = None if doing is None else self._results(instruction, everyone)
        except (ZeroDivisionError, KeyError):
            results = None
        targets = NAMES.findall(instruction.operands[0])
        for place, register in enumerate(targets):
            value = None if results is None or place >= len(results) else results[place]
            if register not in self.registers or value is None or (everyone and not instruction.guard):
                self.registers[register] = value
            elif self.registers[register] is not None:
                self.registers[register] = np.where(doing, value, self.registers[register])

    def _value(self, operand: str) -> Value:
        if operand in self.registers:
            return self.registers[operand]
        try:
            return np.int64(signed(int(operand, 0), 64))
        except ValueError:
            return None  # a name, or a floating-point number

    def _results(self, instruction: Instruction, everyone: bool) -> tuple[Value, ...] | None:
        """What it writes, for all threads; `everyone`: all of them are at it."""
        parts, operands, kind = instruction.parts, instruction.operands, instruction.type
        operation = parts[0]
        if operation == "ld":
            found = re.search(r"_param_(\d+)\s*\]", operands[1])
            place = int(found[1]) if found else len(self.parameters)
            value = self.parameters[place] if place < len(self.parameters) else None
            return None if value is None or kind[0] == "f" else (np.int64(signed(value, 64)),)
        if operation == "elect":
            return None, np.int64(1) * (self.number % WARP == 0)
        if operation == "shfl":
            value, lane = (self._value(operand) for operand in operands[1:3])
            whole = everyone and parts[1:3] == ("sync", "idx") and operands[3:] == ("31", "-1")
            if not whole or value is None or lane is None or np.size(lane) != 1:
                return None
            first = np.arange(self.lanes) // WARP * WARP  # of each thread's warp: a block is a whole number of warps
            return (np.broadcast_to(value, self.lanes)[first + int(lane) % WARP],) if self.whole_warps else None
        if operation == "mbarrier" and parts[1] in ("try_wait", "test_wait"):
            return (np.int64(1),)  # at some time the wait is over, and only then it goes on
        if operation == "mov" and operands[1].startswith("{"):
            low, high = (self._value(part) for part in re.findall(r"[^{},\s]+", operands[1])[:2])
            whole = kind == "b64" and operands[1].count(",") == 1 and low is not None and high is not None
            return ((high << 32) | (low & 0xFFFFFFFF),) if whole else None
        if operation == "mov" and operands[0].startswith("{"):
            value = self._value(operands[1])
            if kind != "b64" or operands[0].count(",") != 1 or value is None:
                return None
            return signed(value, 32), signed(value >> 32, 32)
        if operation == "selp":
            first, second, chosen = (self._value(operand) for operand in operands[1:4])
            known = first is not None and second is not None and chosen is not None
            return (np.where(chosen != 0, first, second),) if known else None
        if operation in ("and", "or") and kind:
            short = short_cut(operation, kind, [self._value(operand) for operand in operands[1:3]])
            if short is not None:
                return (short,)
        values = [self._value(operand) for operand in operands[1:]]
        compute = INTEGER.get(operation)
        if compute is None or any(value is None for value in values) or not kind or kind[0] not in "subp":
            return None
        if kind.startswith("bf"):
            return None
        result = compute(instruction, values)
        return None if result is None else (result,)
