"""Reads the XML files of MSCCL, Microsoft's interpreter of collectives on GPUs, as plans.

An `algo` has one `gpu` for each rank, that its thread blocks (`tb`), and these their steps::

    <algo name="swap" proto="Simple" nchannels="1" nchunksperloop="2" ngpus="2" coll="allgather" inplace="0"
          outofplace="1">
      <gpu id="0" i_chunks="1" o_chunks="2" s_chunks="0">
        <tb id="0" send="1" recv="1" chan="0">
          <step s="0" type="s" srcbuf="i" srcoff="0" dstbuf="o" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>

What it means is what the parser and the interpreter of MSCCL do (microsoft/msccl, `src/graph/topo.cc` and
`src/collectives/device/msccl_interpreter.h` at b23e9cd): offsets and `cnt` are in chunks, of which the vector has
`nchunksperloop`; `depid` and `deps` name a thread block and a step of it that must have ended, −1 none; `hasdep` is 1
where others wait; a `nop` only waits, so that the step behind it waits for more than one. Of a send the interpreter
looks at the source alone, of a receive at the destination: the other buffer is a remark. `outofplace`, `minBytes` and
`maxBytes` may be missing, as in older files. A plan for `custom` collectives says nowhere what it computes, and is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clusterbench.collectives.collective import COLLECTIVES, Collective
from clusterbench.collectives.plans.plan import KINDS, Gpu, Place, Plan, PlanError, Step, ThreadBlock
from clusterbench.collectives.schedule import ScheduleError
from clusterbench.collectives.schedule_file import MOST_RANKS, check_size
from clusterbench.collectives.topology.graph import TopologyError
from clusterbench.collectives.topology.xml_tree import Element, read_xml

ROOT_TAG = "algo"
MOST_STEPS = 1 << 17
"""Of all GPUs together; the largest file of Azure's, for eight of them, has 5,000."""
MOST_BLOCKS = 1024
"""Thread blocks of a GPU; MSCCL itself takes 216."""
MOST_MOVES = 1 << 18
"""Chunks that all steps move together."""

NAMES = {
    "allreduce": "all_reduce", "allgather": "all_gather", "reduce_scatter": "reduce_scatter", "alltoall": "all_to_all",
    "broadcast": "broadcast", "reduce": "reduce",
}  # fmt: skip
"""The collectives of MSCCL, and what they are called here."""
PROTOCOLS = ("Simple", "LL", "LL128")
_BUFFERS = ("i", "o", "s")
_LARGEST = 32767
"""Offsets and numbers of steps are 16-bit integers in MSCCL."""


def read_plan(text: str, file: str) -> Plan:
    """The plan in a text. Raises `PlanError` for what is malformed or out of range."""
    try:
        return _plan(read_xml(text, file), file)
    except TopologyError as error:  # of the XML itself, or an attribute
        raise PlanError(str(error)) from None
    except PlanError:
        raise
    except ScheduleError as error:
        raise PlanError(f"{file}: {error}") from None


def _plan(root: Element, file: str) -> Plan:
    if root.tag != ROOT_TAG:
        raise _error(root, f"<{root.tag}>; expected <{ROOT_TAG}>, as MSCCL writes it")
    what = _collective(root)
    ranks = _whole(root, "ngpus", 1, MOST_RANKS)
    chunks = _whole(root, "nchunksperloop", 1, 1 << 24)
    protocol = _one_of(root, "proto", PROTOCOLS)
    in_place = bool(_whole(root, "inplace", 0, 1))
    out_of_place = bool(_whole(root, "outofplace", 0, 1)) if "outofplace" in root.attributes else not in_place
    if not (in_place or out_of_place):
        raise _error(root, "inplace and outofplace are both 0; expected one of them to be 1")
    if chunks % what.parts(ranks):
        raise _error(root, f"nchunksperloop is {chunks}; expected a multiple of ngpus, {ranks}, for {what.name}")
    check_size(ranks, chunks, 0)
    parts = ranks if what.takes == "part" else 1, ranks if what.gives == "part" else 1
    gpus = tuple(_gpu(each, ranks, chunks, parts) for each in _numbered(root, "gpu", ranks))
    check_size(ranks, chunks, max(gpu.scratch_chunks for gpu in gpus))
    steps = [step for gpu in gpus for block in gpu.blocks for step in block.steps]
    moves = sum(step.count for step in steps)
    if len(steps) > MOST_STEPS or moves > MOST_MOVES:
        raise _error(root, f"{len(steps)} steps that move {moves} chunks; at most {MOST_STEPS} and {MOST_MOVES} "
                           "can be handled")  # fmt: skip
    return Plan(file, _name(root, file), what, protocol, chunks, in_place, out_of_place, gpus)


def _name(root: Element, file: str) -> str:
    """The plan's name in the letters that names of schedules have."""
    given = root.attributes.get("name", "").strip() or Path(file).stem
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._:,=-") else "-" for c in given)
    return kept.lstrip("._:,=-")[:100] or "plan"


def _collective(root: Element) -> Collective:
    given = root.needed("coll")
    if given == "custom":
        raise _error(root, "coll is custom: the file does not say what it computes, so that nothing can be proven")
    if given not in NAMES:
        raise _error(root, f"coll is {given[:40]!r}; expected one of {', '.join(NAMES)}")
    return COLLECTIVES[NAMES[given]]


def _gpu(found: Element, ranks: int, chunks: int, parts: tuple[int, int]) -> Gpu:
    number = _whole(found, "id", 0, ranks - 1)
    sizes = [_whole(found, name, 0, 1 << 24) for name in ("i_chunks", "o_chunks", "s_chunks")]
    for name, size, part in zip(("i_chunks", "o_chunks"), sizes, parts, strict=False):
        if size and size * part != chunks:
            expected = f"0 or {chunks // part}, as nchunksperloop is {chunks}"
            raise _error(found, f"{name} of gpu {number} is {size}; expected {expected}")
    blocks = _numbered(found, "tb", None)
    if len(blocks) > MOST_BLOCKS:
        raise _error(found, f"gpu {number} has {len(blocks)} thread blocks; at most {MOST_BLOCKS} can be handled")
    made = tuple(_block(each, number, ranks, sizes) for each in blocks)
    return Gpu(sizes[0], sizes[1], sizes[2], made, found.line)


def _block(found: Element, gpu: int, ranks: int, sizes: list[int]) -> ThreadBlock:
    send, recv = (_whole(found, name, -1, ranks - 1) for name in ("send", "recv"))
    for name, peer in (("send", send), ("recv", recv)):
        if peer == gpu:
            raise _error(found, f"{name} is {peer}, the gpu itself; expected another, or -1")
    channel = _whole(found, "chan", 0 if max(send, recv) >= 0 else -1, _LARGEST)
    steps = []
    for number, each in enumerate(_children(found, "step")):
        if _whole(each, "s", 0, _LARGEST - 1) != number:
            raise _error(each, f"s is {each.attributes['s']}; expected {number}, as steps are numbered in order")
        steps.append(_step(each, send, recv, sizes))
    return ThreadBlock(send, recv, channel, tuple(steps), found.line)


def _step(found: Element, send: int, recv: int, sizes: list[int]) -> Step:
    kind = _one_of(found, "type", tuple(KINDS))
    does = KINDS[kind]
    for wanted, name, peer in ((does.sends, "send", send), (does.receives, "recv", recv)):
        if wanted and peer < 0:
            raise _error(found, f"type is {kind}, but the thread block has {name}=-1; expected a peer")
    depends, step = _whole(found, "depid", -1, _LARGEST), _whole(found, "deps", -1, _LARGEST)
    if depends >= 0 and step < 0:
        raise _error(found, f"depid is {depends}, but deps {step}; expected the number of a step")
    tells = bool(_whole(found, "hasdep", 0, 1))
    waits_for = (depends, step) if depends >= 0 else None
    if kind == "nop":
        return Step(kind, Place("i", 0), Place("i", 0), 0, waits_for, False, found.line)
    count = _whole(found, "cnt", 1, _LARGEST)
    source = _place(found, "src", count, sizes, does.reads_source)
    target = _place(found, "dst", count, sizes, does.stores)
    return Step(kind, source, target, count, waits_for, tells, found.line)


def _place(found: Element, end: str, count: int, sizes: list[int], used: bool) -> Place:
    """A place that is used must lie in its buffer; of one that is a remark nothing is asked."""
    if not used:
        return Place("i", 0)
    buffer = _one_of(found, f"{end}buf", _BUFFERS)
    offset = _whole(found, f"{end}off", 0, _LARGEST)
    size = sizes[_BUFFERS.index(buffer)]
    if offset + count > size:
        has = f"chunks 0 to {size - 1}" if size else "none, as the gpu has no such buffer"
        raise _error(found, f"{end}off is {offset} with cnt {count} in buffer {buffer}; expected {has}")
    return Place(buffer, offset)


def _numbered(found: Element, tag: str, expected: int | None) -> list[Element]:
    """The children of a tag by their ids, which run from 0 without a gap."""
    by_id: dict[int, Element] = {}
    for each in _children(found, tag):
        number = _whole(each, "id", 0, MOST_STEPS)
        if number in by_id:
            raise _error(each, f"a second {tag} {number}; the first is in line {by_id[number].line}")
        by_id[number] = each
    wanted = len(by_id) if expected is None else expected
    for number in range(wanted):
        if number not in by_id:
            raise _error(found, f"there is no {tag} {number}; expected {tag} 0 to {wanted - 1}")
    for number, each in by_id.items():
        if number >= wanted:
            raise _error(each, f"{tag} {number}; expected {tag} 0 to {wanted - 1}")
    return [by_id[number] for number in range(wanted)]


def _children(found: Element, tag: str) -> Iterable[Element]:
    for each in found.children:
        if each.tag != tag:
            raise _error(each, f"<{each.tag}> in <{found.tag}>; expected <{tag}>")
    return found.children


def _whole(found: Element, name: str, low: int, high: int) -> int:
    text = found.needed(name)
    digits = text.strip().removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10 and low <= int(text) <= high):
        raise _error(found, f"{name} is {text[:40]!r}; expected a whole number from {low} to {high}")
    return int(text)


def _one_of(found: Element, name: str, known: tuple[str, ...]) -> str:
    text = found.needed(name)
    if text not in known:
        raise _error(found, f"{name} is {text[:40]!r}; expected one of {', '.join(known)}")
    return text


def _error(found: Element, message: str) -> PlanError:
    return PlanError(f"{found.where}: {message}")
