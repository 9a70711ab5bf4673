"""What has been read of a platform file: names, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterbench.collectives.topology.graph import NO_HOST, Kind
from clusterbench.collectives.topology.simgrid.plan import Plan, Wire
from clusterbench.collectives.topology.simgrid.values import MOST_HOSTS, rate, seconds
from clusterbench.collectives.topology.simgrid.zones import Zone
from clusterbench.collectives.topology.xml_tree import Element

POLICIES = ("SHARED", "SPLITDUPLEX", "FATPIPE")


@dataclass(slots=True)
class Reading:
    """What has been read so far."""

    plan: Plan = field(default_factory=Plan)
    elements: dict[str, int] = field(default_factory=dict)
    """Hosts and routers by name, as their vertices; zones as −1 minus their number."""
    zone_of: dict[int, int] = field(default_factory=dict)
    links: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The link by its name, upwards and downwards."""
    directed: set[str] = field(default_factory=set)
    """Names of links that have a direction for each."""
    placed: set[int] = field(default_factory=set)
    """Links whose ends the file tells."""
    declared: dict[str, int] = field(default_factory=dict)
    """Vertices that the file lists, by name."""
    reducing: set[int] = field(default_factory=set)
    """Those of them that reduce."""
    ports: dict[int, float] = field(default_factory=dict)
    """Those at which a network may be plugged in, with bytes/s."""
    zones: list[Zone] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)
    estimated: bool = False
    cables: int = 0
    """Of clusters that are laid out by numbers."""
    search_steps: int = 0
    """That the zones of routing Floyd take: the sum of the cubes of their elements."""

    def name(self, element: Element, name: str, number: int) -> None:
        """Give an element of a zone its name. Raises `TopologyError` where another one has it."""
        if name in self.elements:
            raise element.error(f"a second host, router or zone named {name!r}; expected each name once")
        self.elements[name] = number

    def point(self, element: Element, name: str, zone: int, kind: Kind) -> int:
        """A new host or router."""
        vertex = self.declared.get(name)
        if vertex is None:
            if len(self.plan.ranks) >= MOST_HOSTS:
                raise element.error(f"over {MOST_HOSTS} hosts; expected at most that")
            host = len(self.plan.ranks) if kind == Kind.CPU else NO_HOST
            vertex = self.plan.vertex(name, kind, host)
        if kind == Kind.CPU:
            self.plan.ranks.append(vertex)
        self.name(element, name, vertex)
        self.zone_of[vertex] = zone
        return vertex

    def link(self, element: Element, name: str, up: int, down: int) -> None:
        """Give a link its name. Raises `TopologyError` where another one has it."""
        if name in self.links:
            raise element.error(f"a second link named {name!r}; expected each name once")
        self.links[name] = up, down


def wire_of(element: Element, bandwidth: str, latency: str, policy: str, default: str) -> Wire:
    """What a link can do, by the names of the attributes that say it. Raises `TopologyError`."""
    found = element.attributes.get(policy) or default
    found = "SPLITDUPLEX" if found == "FULLDUPLEX" else found
    if found not in POLICIES:
        raise element.error(f"{policy} {found!r} is not modelled; expected {', '.join(POLICIES)}")
    return Wire(rate(element, bandwidth), seconds(element, latency), found)
