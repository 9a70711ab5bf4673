"""Bytes and operations of a launch, counted by following every thread of it through its PTX.

Addresses, counters and predicates of a kernel come from its integers and the numbers of blocks and threads, which are
all known here, so that each thread's way can be followed without memory: what is loaded is unknown, and so is all that
comes of it. A branch, or a guarded access, that hangs on something unknown ends the walk: then nothing is said
(`NotFollowedError`), and nothing is guessed. All threads of all blocks walk side by side, as arrays; where they part,
those at the earliest block of code go first: as good an order as any, as none sees what another wrote.

The instructions are those of NVIDIA's "Parallel Thread Execution ISA", version 9.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from clusterbench.kernels.compiled.code import Code

STEPS = 100_000
"""Instructions, each for all threads that are at it, after which a walk is given up."""
THREADS = 1 << 17
"""Threads of a launch that are followed at most."""
WORK = 100_000_000
"""Instructions of all threads together after which a walk is given up: some seconds."""
WARP = 32
WARP_GROUP = 128

Value = Any
"""A register of all threads: an array of 64-bit integers, or one for all; None where it is not known."""


class NotFollowedError(Exception):
    """A walk that ended early; the message says at what."""


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


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, taken apart."""

    guard: str
    """The predicate that it hangs on; empty for none."""
    negated: bool
    parts: tuple[str, ...]
    """The words of its name: ("ld", "global", "v4", "b32")."""
    operands: tuple[str, ...]

    @property
    def name(self) -> str:
        """The instruction as it is written."""
        return ".".join(self.parts)

    @property
    def type(self) -> str:
        """The last type in its name, `s32`; empty where it has none."""
        return next((part for part in reversed(self.parts) if _TYPE.fullmatch(part)), "")


@dataclass(slots=True)
class Program:
    """A kernel as basic blocks: a branch ends one, a label begins one."""

    blocks: list[list[Instruction]] = field(default_factory=lambda: [[]])
    labels: dict[str, int] = field(default_factory=dict)


_TYPE = re.compile(r"(?:[subf]|bf)\d+(?:x\d)?|pred|tf32|e\dm\d(?:x\d)?")
_STATEMENT = re.compile(r"(?:@(!?)([%\w]+)\s+)?([a-z][\w.:]*)\s*(.*)", re.DOTALL)
_NAMES = re.compile(r"[%A-Za-z_$][\w$]*")
_LABEL = re.compile(r"([$\w]+):(?!:)\s*(.*)", re.DOTALL)
_NO_CODE = re.compile(r"^\s*\.(?:loc|file)\b.*$|//.*$", re.MULTILINE)
_MATRIX = re.compile(r"m(\d+)n(\d+)k(\d+)")


def parse(ptx: str) -> Program:
    """The one kernel of a PTX module. Raises `NotFollowedError` where there is none."""
    text = _NO_CODE.sub("", ptx)
    entry = text.find(".entry")
    begin = text.find("{", entry)
    if entry < 0 or begin < 0:
        raise NotFollowedError("no kernel in the PTX")
    depth, end = 0, begin
    for end in range(begin, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            break
    program = Program()
    for statement in text[begin + 1 : end].split(";"):
        rest = statement.strip()
        while True:
            rest = rest.lstrip("{} \n\t")  # scopes of their own, as inline assembly has them
            label = _LABEL.match(rest)
            if label is None:
                break
            _begin_block(program)
            program.labels[label[1]] = len(program.blocks) - 1
            rest = label[2]
        found = _STATEMENT.fullmatch(rest)
        if found is None:
            continue  # a declaration
        instruction = Instruction(found[2] or "", found[1] == "!", tuple(found[3].split(".")), _operands(found[4]))
        program.blocks[-1].append(instruction)
        if instruction.parts[0] in ("bra", "ret", "exit"):
            _begin_block(program)
    return program


def _begin_block(program: Program) -> None:
    if program.blocks[-1]:
        program.blocks.append([])


def _operands(text: str) -> tuple[str, ...]:
    found, depth, current = [], 0, ""
    for letter in text:
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and depth == 0:
            found.append(current.strip())
            current = ""
        else:
            current += letter
    return tuple([*found, current.strip()] if current.strip() else found)


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
            for register in _NAMES.findall(instruction.operands[0]):
                self.registers[register] = None

    def _compute(self, instruction: Instruction, here: Any, everyone: bool) -> None:
        doing = self._guarded(instruction, here)
        if not instruction.operands or instruction.operands[0].startswith("["):
            return
        try:
            results = None if doing is None else self._results(instruction, everyone)
        except (ZeroDivisionError, KeyError):
            results = None
        targets = _NAMES.findall(instruction.operands[0])
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
            return np.int64(_signed(int(operand, 0), 64))
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
            return None if value is None or kind[0] == "f" else (np.int64(_signed(value, 64)),)
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
            return _signed(value, 32), _signed(value >> 32, 32)
        if operation == "selp":
            first, second, chosen = (self._value(operand) for operand in operands[1:4])
            known = first is not None and second is not None and chosen is not None
            return (np.where(chosen != 0, first, second),) if known else None
        if operation in ("and", "or") and kind:
            short = _short_cut(operation, kind, [self._value(operand) for operand in operands[1:3]])
            if short is not None:
                return (short,)
        values = [self._value(operand) for operand in operands[1:]]
        compute = _INTEGER.get(operation)
        if compute is None or any(value is None for value in values) or not kind or kind[0] not in "subp":
            return None
        if kind.startswith("bf"):
            return None
        result = compute(instruction, values)
        return None if result is None else (result,)


_SPACES = ("global", "shared", "local", "param", "const")


def access_bytes(instruction: Instruction) -> int:
    """The bytes of a thread's load or store: its vector's length times its element's size."""
    length = next((int(part[1:]) for part in instruction.parts if re.fullmatch(r"v\d", part)), 1)
    return length * int(re.search(r"\d+", instruction.type)[0]) // 8  # type: ignore[index]  # every access has a type


def flops_of(instruction: Instruction) -> float | None:
    """Operations of one thread: a warp's matrix product is shared out; None where a matrix instruction does not say."""
    operation, parts, kind = instruction.parts[0], instruction.parts, instruction.type
    if operation in ("mma", "wgmma") and (operation == "mma" or "mma_async" in parts):
        size = _MATRIX.search(instruction.name)
        if size is None:
            return None
        m, n, k = (int(number) for number in size.groups())
        return 2 * m * n * k / (WARP if operation == "mma" else WARP_GROUP)
    if operation == "tcgen05" and "mma" in parts:
        return None  # its size is in a descriptor
    if not kind.startswith(("f", "bf")):
        return 0
    length = int(kind.split("x")[1]) if "x" in kind else 1
    return length * {"add": 1, "sub": 1, "mul": 1, "div": 1, "fma": 2, "mad": 2}.get(operation, 0)


def _bits(kind: str) -> int:
    return 1 if kind == "pred" else int(kind[1:])


def _signed(value: Any, bits: int) -> Any:
    """The low bits as a signed number."""
    if isinstance(value, int):
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value
    if bits >= 64:
        return value
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half if bits > 1 else value & 1


def _read(value: Any, kind: str) -> Any:
    """A register as a number of this type; 64 bits without a sign as NumPy's `uint64`."""
    bits = _bits(kind)
    if kind == "pred":
        return value & 1
    if kind[0] == "s":
        return _signed(value, bits)
    return np.asarray(value).astype(np.uint64) if bits == 64 else value & ((1 << bits) - 1)


def _wrap(value: Any, kind: str) -> Any:
    """A result as a register holds it."""
    return _signed(np.asarray(value).astype(np.int64), _bits(kind))


def _plain(compute: Callable[..., Any]) -> Callable[[Instruction, list[Any]], Any]:
    """An operation on two or more numbers of the instruction's type."""

    def run(instruction: Instruction, values: list[Any]) -> Any:
        kind = instruction.type
        return _wrap(compute(*(_read(value, kind) for value in values)), kind)

    return run


def _quotient(a: Any, b: Any) -> Any:
    """Division towards zero."""
    if np.any(b == 0):
        raise ZeroDivisionError
    exact = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -exact, exact) if np.asarray(a).dtype != np.uint64 else a // b


def _remainder(a: Any, b: Any) -> Any:
    return a - _quotient(a, b) * b


def _multiply(instruction: Instruction, values: list[Any]) -> Any:
    kind, parts = instruction.type, instruction.parts
    a, b = (_read(value, kind) for value in values[:2])
    if "hi" in parts:
        if _bits(kind) > 32:
            return None
        return _wrap((a * b) >> 32, kind)
    wide = f"{kind[0]}{2 * _bits(kind)}" if "wide" in parts else kind
    product = np.asarray(a).astype(np.int64) * np.asarray(b).astype(np.int64)
    return _wrap(product + values[2] if len(values) > 2 else product, wide)


def _convert(instruction: Instruction, values: list[Any]) -> Any:
    kinds = [part for part in instruction.parts if _TYPE.fullmatch(part)]
    if len(kinds) != 2 or any(kind[0] not in "sub" or kind.startswith("bf") for kind in kinds):
        return None
    return _wrap(_read(values[0], kinds[1]), kinds[0])


_COMPARED = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "lo": operator.lt, "ls": operator.le, "hi": operator.gt, "hs": operator.ge,
}  # fmt: skip
_JOINED: dict[str, Callable[[Any, Any], Any]] = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}


def _compare(instruction: Instruction, values: list[Any]) -> Any:
    kind = instruction.type
    a, b = (_read(value, kind) for value in values[:2])
    result = np.asarray(_COMPARED[instruction.parts[1]](a, b)).astype(np.int64)
    joined = next((part for part in instruction.parts[2:] if part in _JOINED), None)
    return _JOINED[joined](result, values[2]) if joined else result


def _shift_left(instruction: Instruction, values: list[Any]) -> Any:
    bits = _bits(instruction.type)
    by = _read(values[1], "u32")
    return _wrap(np.where(by < bits, values[0] << np.minimum(by, bits - 1), 0), instruction.type)


def _shift_right(instruction: Instruction, values: list[Any]) -> Any:
    kind = instruction.type
    by = np.minimum(_read(values[1], "u32"), 63)
    a = _read(values[0], kind)
    return _wrap(a >> by.astype(np.asarray(a).dtype), kind)


def _extract(instruction: Instruction, values: list[Any]) -> Any:
    if instruction.type != "u32":
        return None
    a, first, length = (_read(value, "u32") for value in values)
    return _wrap((a >> first) & ((np.int64(1) << length) - 1), "u32")


def _short_cut(operation: str, kind: str, values: list[Value]) -> Value:
    """false and x, true or x: known whatever x is."""
    if kind != "pred" or sum(value is None for value in values) != 1:
        return None
    (known,) = (value for value in values if value is not None)
    if operation == "and" and not np.any(known):
        return np.int64(0)
    return np.int64(1) if operation == "or" and np.all(known) else None


_INTEGER: dict[str, Callable[[Instruction, list[Any]], Any]] = {
    "mov": _plain(lambda a: a),
    "cvta": _plain(lambda a: a),
    "add": _plain(operator.add),
    "sub": _plain(operator.sub),
    "min": _plain(np.minimum),
    "max": _plain(np.maximum),
    "and": _plain(operator.and_),
    "or": _plain(operator.or_),
    "xor": _plain(operator.xor),
    "not": _plain(operator.invert),
    "neg": _plain(operator.neg),
    "abs": _plain(np.abs),
    "div": _plain(_quotient),
    "rem": _plain(_remainder),
    "mul": _multiply,
    "mad": _multiply,
    "cvt": _convert,
    "setp": _compare,
    "shl": _shift_left,
    "shr": _shift_right,
    "bfe": _extract,
}
