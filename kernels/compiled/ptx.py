"""PTX as instructions in basic blocks, and what one instruction moves and computes.

The instructions are those of NVIDIA's "Parallel Thread Execution ISA", version 9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

WARP = 32
WARP_GROUP = 128


class NotFollowedError(Exception):
    """A walk that ended early; the message says at what."""


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
        return next((part for part in reversed(self.parts) if TYPE.fullmatch(part)), "")


@dataclass(slots=True)
class Program:
    """A kernel as basic blocks: a branch ends one, a label begins one."""

    blocks: list[list[Instruction]] = field(default_factory=lambda: [[]])
    labels: dict[str, int] = field(default_factory=dict)


TYPE = re.compile(r"(?:[subf]|bf)\d+(?:x\d)?|pred|tf32|e\dm\d(?:x\d)?")
_STATEMENT = re.compile(r"(?:@(!?)([%\w]+)\s+)?([a-z][\w.:]*)\s*(.*)", re.DOTALL)
NAMES = re.compile(r"[%A-Za-z_$][\w$]*")
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
