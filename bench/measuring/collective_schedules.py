"""The schedules of one request on this rank: read or built, with segments chosen, proven, and compiled.

All ranks make theirs alike. Rank 0 proves for all, before anything is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from clusterbench.bench.output import note
from clusterbench.bench.worlds.world import AgreedError, World, agreed, alike
from clusterbench.collectives import discovery
from clusterbench.collectives.algorithm import AUTO, Call, Spec, UnsuitableAlgorithmError
from clusterbench.collectives.building.segments import Links, choose_segments
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.programs.program import Program, compile_program
from clusterbench.collectives.proof import Proof, prove
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.transports.link import measure_links
from clusterbench.collectives.transports.native import NativeMpi
from clusterbench.results import notes

PROVEN_RANKS = 256
"""Ranks up to which a schedule of the catalogue is proven before it is run, which takes some seconds at most.
`collectives prove` does it for more; a schedule that was read from a file is always proven."""

PROOF_S_A_WORD = 5e-6
"""About three times what rings of 1,024 and 2,048 ranks took on two busy cores."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A schedule that may be run."""

    schedule: Schedule
    proof: Proof | None
    """None for a schedule of the catalogue over more ranks than are proven."""
    note: str
    """What a row says of it."""


class Schedules:
    """What a request needs, by algorithm and size."""

    def __init__(
        self,
        world: World,
        native: NativeMpi,
        call: Call,
        sizes: Mapping[Spec, tuple[int, ...]],
        read: Mapping[str, Schedule],
    ) -> None:
        """Make ready the algorithms of `sizes` for the sizes in bytes that each is to be run with.

        `read` has the schedules that came from files, by the name that their spec has. Raises `AgreedError` on every
        rank where a schedule fails its proof or an option is refused.
        """
        self._world = world
        self._native = native
        self._call = call
        self._read = read
        self._links: Links | None = None
        self._ready: dict[Spec, Ready] = {}
        self._programs: dict[tuple[Spec, bool], Program] = {}
        self._chosen = {
            (spec, size): alike(partial(self._resolved, spec, size)) for spec, of in sizes.items() for size in of
        }
        for spec in dict.fromkeys(self._chosen.values()):
            self._ready[spec] = self._prepared(spec)

    def resolved(self, spec: Spec, size_bytes: int) -> Spec:
        """The algorithm with the segments that were chosen for a size that was announced."""
        return self._chosen[spec, size_bytes]

    def ready(self, spec: Spec, size_bytes: int) -> Ready:
        """The schedule of an algorithm for such a size."""
        return self._ready[self._chosen[spec, size_bytes]]

    def program(self, spec: Spec, size_bytes: int, in_place: bool) -> Program:
        """This rank's program; compiled at its first use."""
        key = self._chosen[spec, size_bytes], in_place
        if key not in self._programs:
            self._programs[key] = compile_program(self._ready[key[0]].schedule, self._world.rank, in_place)
        return self._programs[key]

    def links(self) -> Links:
        """What messages cost; measured when they are first asked for, which all ranks do together."""
        if self._links is None:
            self._world.begin("measuring links")
            self._links = measure_links(self._native, self._call.host_ranks)
        return self._links

    def _resolved(self, spec: Spec, size_bytes: int) -> Spec:
        """The spec with the number of segments that the formula gives, where it is left to the formula."""
        if spec.name in self._read:
            return spec
        chosen = discovery.algorithm(spec.name, self._call.collective, self._call.ranks)
        options = {name: option.default for name, option in chosen.options.items()} | dict(spec.options)
        if not chosen.is_pipeline or options["segments"] != AUTO:
            return spec
        links = self.links()

        def build(count: int) -> Schedule:
            return chosen.schedule(replace(self._call, options={**dict(spec.options), "segments": str(count)}))

        self._world.begin(f"choosing the segments of {spec}")
        number = choose_segments(build, size_bytes, links)
        kept = tuple((name, value) for name, value in spec.options if name != "segments")
        return replace(spec, options=(*kept, ("segments", str(number))))

    def _prepared(self, spec: Spec) -> Ready:
        from_file = spec.name in self._read
        self._world.begin(f"building {spec}")
        schedule = self._read[spec.name] if from_file else alike(partial(discovery.schedule, spec, self._call))
        proof = None
        if from_file or self._world.size <= PROVEN_RANKS:
            self._world.begin(f"proving {spec}", _longest_proof_s(schedule))
            proof = agreed(self._world, lambda: _proven(spec, schedule))
        return Ready(schedule, proof, self._note(spec, proof))

    def _note(self, spec: Spec, proof: Proof | None) -> str:
        remarks = []
        if self._links is not None and spec not in {asked for asked, _ in self._chosen}:
            remarks += [notes.ran_as(str(spec)), f"segments chosen for {self._links.remote}"]
        if proof is None:
            remarks.append(
                f"the schedule was not proven for so many ranks; `clusterbench collectives prove {spec}` does it"
            )
        return notes.joined(remarks)


def _longest_proof_s(schedule: Schedule) -> float:
    """What a proof may take on a slow machine: it grows as the words in which it keeps who contributed to a chunk."""
    return schedule.ranks * schedule.chunks * -(-schedule.ranks // 64) * PROOF_S_A_WORD


def _proven(spec: Spec, schedule: Schedule) -> Proof:
    try:
        return prove(schedule)
    except ValueError as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        raise AgreedError(f"{spec} is not run, as it fails its proof: {error}", code) from None


def host_ranks(world: World) -> int:
    """Ranks on each host, where ranks lie on hosts in blocks of one size; 0 where they do not."""
    hosts = [place.host for place in world.places]
    size = hosts.count(hosts[0])
    blocks = [hosts[first : first + size] for first in range(0, len(hosts), size)]
    regular = all(len(block) == size and len(set(block)) == 1 for block in blocks)
    return size if regular and len({block[0] for block in blocks}) == len(blocks) else 0


def call_for(what: Collective, world: World, root: int, as_if: int = 0) -> Call:
    """The call that a request makes of an algorithm; `as_if` is the request's `host_ranks`."""
    ranks_a_host = host_ranks(world)
    if as_if:
        ranks_a_host = 0 if world.size % as_if else as_if
    return Call(what, world.size, root if what.is_rooted else -1, ranks_a_host)


def all_serving(world: World, what: Collective, root: int) -> list[Spec]:
    """All algorithms that serve the call; those whose schedules would be too large for so many ranks are told of."""
    served = []
    for name in discovery.suitable(what, world.size):
        try:
            discovery.schedule(Spec(name), call_for(what, world, root))
        except UnsuitableAlgorithmError as error:
            note(f"left out of all: {error}")
        else:
            served.append(Spec(name))
    return served
