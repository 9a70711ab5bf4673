"""A plan of thread blocks, as GPU libraries run one: what each of them sends, receives, copies and reduces, in order.

The steps of a thread block run one after the other. What a step sends goes first in, first out to the thread block of
the peer that receives on the same channel; a step may wait for a step of another thread block of its GPU. Nothing else
orders anything, so that a plan can deadlock, race, or pair the wrong messages (`plans/order.py`, `plans/memory.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from clusterbench.collectives.collective import Collective
from clusterbench.collectives.schedule_file import ScheduleFileError


class PlanError(ScheduleFileError):
    """A plan that is malformed, cannot end, or races: the message names file, line, GPU, thread block and step."""


class Kind(NamedTuple):
    """What a step does: it may receive, reduce what it received with its source, store the result, and send it."""

    receives: bool = False
    reduces: bool = False
    stores: bool = False
    sends: bool = False

    @property
    def is_local(self) -> bool:
        """Whether it copies or reduces inside its GPU."""
        return self.stores and not (self.receives or self.sends)

    @property
    def reads_source(self) -> bool:
        """Whether it reads its source buffer; one that passes on what it received does not."""
        return self.reduces or (self.sends and not self.receives) or self.is_local


KINDS = {
    "s": Kind(sends=True),
    "r": Kind(receives=True, stores=True),
    "rcs": Kind(receives=True, stores=True, sends=True),
    "rrc": Kind(receives=True, reduces=True, stores=True),
    "rrs": Kind(receives=True, reduces=True, sends=True),
    "rrcs": Kind(receives=True, reduces=True, stores=True, sends=True),
    "cpy": Kind(stores=True),
    "re": Kind(reduces=True, stores=True),
    "nop": Kind(),
}
"""The types of steps, by the names that MSCCL has for them."""


class Place(NamedTuple):
    """A chunk of a buffer of a GPU: `i`, `o` or `s` (input, output, scratch)."""

    buffer: str
    offset: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a thread block: `count` neighbouring chunks from `source`, to `target`, or both."""

    type: str
    source: Place
    target: Place
    count: int
    waits_for: tuple[int, int] | None
    """The thread block and its step that must have ended before."""
    tells: bool
    """Whether others learn that it ended."""
    line: int

    @property
    def kind(self) -> Kind:
        """What its type means."""
        return KINDS[self.type]


@dataclass(frozen=True, slots=True)
class ThreadBlock:
    """Steps in order, with the one peer to send to and the one to receive from on a channel; −1 for none."""

    send: int
    recv: int
    channel: int
    steps: tuple[Step, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """What one rank does: the chunks of its buffers and its thread blocks."""

    input_chunks: int
    output_chunks: int
    scratch_chunks: int
    blocks: tuple[ThreadBlock, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A collective by thread blocks, its vector cut into `chunks` chunks."""

    file: str
    name: str
    collective: Collective
    protocol: str
    chunks: int
    in_place: bool
    """Whether it may run with its input where its output is."""
    out_of_place: bool
    gpus: tuple[Gpu, ...]

    def where(self, gpu: int, block: int, step: int) -> str:
        """File, line and step, for messages."""
        line = self.gpus[gpu].blocks[block].steps[step].line
        return f"{self.file}, line {line}: gpu {gpu}, tb {block}, step {step}"

    def position(self, gpu: int, place: Place) -> int:
        """The chunk of the collective's vector that a chunk of an input or output buffer stands for."""
        what, ranks = self.collective, len(self.gpus)
        has_part = (what.takes if place.buffer == "i" else what.gives) == "part"
        return place.offset + (gpu * (self.chunks // ranks) if has_part else 0)
