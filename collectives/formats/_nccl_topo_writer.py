"""Composes the XML of NCCL or RCCL from a topology: which vertices are what in it, and what it has no words for.

NCCL's own reader wants one space between attributes and no entities. What it fills in by itself on the machine, such as
the cores of a CPU, is not written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isclose, isfinite, isinf, isnan

from clusterbench.collectives.formats._nccl_topo_tree import BUS_ID
from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology, TopologyError
from clusterbench.collectives.topology.link_rates import (
    nvlinks,
    pcie_bandwidth,
    pcie_generations,
    pcie_widths,
    sockets,
    xgmi_rates,
)

ROUNDING = 0.02
"""Of PCIe's bandwidths, by those who quote them."""
HIDDEN_NVSWITCH = "fffffff:ffff:ff"

_NAME = re.compile(r"[ !#-%'-;=?-~]{1,254}", re.ASCII)  # printable, but for " & < >

Xml = list[str]
"""Lines."""


@dataclass(slots=True)
class _Plan:
    topology: Topology
    near: list[list[tuple[int, float]]]
    """Of every vertex the ends of its links, and their bandwidths."""
    hosts: list[int]
    cpus: list[int]
    nvswitches: set[int]
    ports: dict[int, float]
    """Bandwidths by vertex."""
    names: list[str]
    """Of every vertex as it will be read."""
    bus_ids: dict[int, str] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    """`dev` or `numaid`."""
    below: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    """The tree: the vertices below one, and the bandwidths of their links to it."""
    c2c: dict[int, list[float]] = field(default_factory=dict)
    gpu_links: dict[int, list[tuple[int, float]]] = field(default_factory=dict)

    def kind(self, vertex: int) -> Kind:
        return Kind(self.topology.kinds[vertex])

    def host(self, vertex: int) -> int:
        return int(self.topology.hosts[vertex])

    def refuse(self, message: str) -> TopologyError:
        return TopologyError(f"{self.topology.name}: {message}")


def composed(topology: Topology) -> tuple[str, list[str]]:
    """The text, and the names that the vertices will have when it is read. Raises `TopologyError`."""
    plan = _planned(topology)
    _name_all(plan)
    _grow(plan)
    tag, family, rate = _family(plan)
    cpus = sorted(plan.cpus, key=plan.host)
    rank_of = {int(vertex): rank for rank, vertex in enumerate(topology.ranks)}
    body = [_cpu(plan, cpu, (tag, family, rate), rank_of) for cpu in cpus]
    lines = _element("system", {"version": "2" if tag == "xgmi" else "1"}, body)
    if topology.links.latency_s.any():
        lines.insert(0, "<!-- latencies of links are left out: NCCL has its own -->")
    return "\n".join(lines) + "\n", plan.names


def _planned(topology: Topology) -> _Plan:
    near: list[list[tuple[int, float]]] = [[] for _ in range(topology.vertices)]
    links = topology.links
    for src, dst, bandwidth in zip(links.src.tolist(), links.dst.tolist(), links.bandwidth.tolist(), strict=True):
        near[src].append((dst, bandwidth))
    kinds = topology.kinds
    nvswitches = {
        vertex
        for vertex in range(topology.vertices)
        if kinds[vertex] == Kind.SWITCH and near[vertex] and all(kinds[end] == Kind.GPU for end, _ in near[vertex])
    }
    hosts = sorted(set(topology.hosts.tolist()) - {NO_HOST})
    cpus = [vertex for vertex in range(topology.vertices) if kinds[vertex] == Kind.CPU]
    ports = dict(zip(topology.ports.tolist(), topology.port_bandwidth.tolist(), strict=True))
    plan = _Plan(topology, near, hosts, cpus, nvswitches, ports, list(topology.names))
    for vertex in range(topology.vertices):
        if plan.host(vertex) == NO_HOST and vertex not in nvswitches:
            raise plan.refuse(f"{topology.names[vertex]} lies in no host; expected a machine, without its network")
    for end, count in Counter(plan.host(vertex) for vertex in nvswitches).items():
        if count > 1:
            of = "no host" if end == NO_HOST else f"host {end}"
            raise plan.refuse(f"{count} switches of {of} with links to GPUs only; expected one, as NCCL has it")
    gpus = {vertex for vertex in range(topology.vertices) if kinds[vertex] == Kind.GPU}
    if set(topology.ranks.tolist()) != gpus or len(topology.ranks) != len(gpus) or not gpus:
        raise plan.refuse(f"{len(topology.ranks)} ranks and {len(gpus)} GPUs; expected a rank on each GPU")
    nics = {vertex for vertex in range(topology.vertices) if kinds[vertex] == Kind.NIC}
    if set(topology.ports.tolist()) != nics or len(topology.ports) != len(nics):
        raise plan.refuse(f"{len(topology.ports)} ports and {len(nics)} network cards; expected a port of each card")
    return plan


def _name_all(plan: _Plan) -> None:
    """Bus ids, device numbers and the names that come of them; names that say such a thing already are kept."""
    topology = plan.topology
    port_order = {int(vertex): place for place, vertex in enumerate(topology.ports)}
    for place, host in enumerate(plan.hosts):
        here = [vertex for vertex in range(topology.vertices) if plan.host(vertex) == host]
        local = {vertex: topology.names[vertex].removeprefix(f"h{host}.") for vertex in here}
        prefix = f"h{place}." if len(plan.hosts) > 1 else ""
        kept = {local[v] for v in here if BUS_ID.fullmatch(local[v])}
        fresh = (f"{0xF000 + (n >> 8):04x}:{n & 255:02x}:00.0" for n in range(0x0F00 << 8))
        unused = (bus_id for bus_id in fresh if bus_id not in kept)
        for vertex in here:
            if plan.kind(vertex) != Kind.CPU:
                same = plan.kind(vertex) == Kind.SWITCH and local[vertex] in kept
                plan.bus_ids[vertex] = local[vertex] if same else next(unused)
        for kind, word in ((Kind.CPU, "cpu"), (Kind.GPU, "gpu")):
            of_kind = [vertex for vertex in here if plan.kind(vertex) == kind]
            found = [re.fullmatch(rf"{word}(0|[1-9][0-9]{{0,8}})", local[vertex], re.ASCII) for vertex in of_kind]
            numbers = [int(one[1]) for one in found if one]
            if len(set(numbers)) != len(of_kind):
                numbers = list(range(len(of_kind)))
            plan.numbers.update(zip(of_kind, numbers, strict=True))
        nics = sorted((vertex for vertex in here if plan.kind(vertex) == Kind.NIC), key=port_order.__getitem__)
        plan.numbers.update((vertex, number) for number, vertex in enumerate(nics))
        for vertex in here:
            plan.names[vertex] = prefix + _read_name(plan, vertex, local[vertex])
    for vertex in plan.nvswitches:
        if plan.host(vertex) == NO_HOST:
            plan.names[vertex] = "nvswitch"


def _read_name(plan: _Plan, vertex: int, local: str) -> str:
    match plan.kind(vertex):
        case Kind.CPU:
            return f"cpu{plan.numbers[vertex]}"
        case Kind.GPU:
            return f"gpu{plan.numbers[vertex]}"
        case Kind.NIC:
            if not _NAME.fullmatch(local):
                raise plan.refuse(f'a network card named {local!r}; expected up to 254 ASCII characters but " & < >')
            return local
    return "nvswitch" if vertex in plan.nvswitches else plan.bus_ids[vertex]


def _grow(plan: _Plan) -> None:
    """The trees of PCIe from the CPUs down, and what other links there are. Raises `TopologyError`."""
    kinds = plan.topology.kinds
    for gpu in plan.topology.ranks.tolist():
        plan.gpu_links[gpu] = [(v, b) for v, b in plan.near[gpu] if kinds[v] == Kind.GPU or v in plan.nvswitches]
    above: dict[int, int] = {cpu: cpu for cpu in plan.cpus}
    waiting = sorted(above)
    while waiting:
        vertex = waiting.pop()
        for end, bandwidth in plan.near[vertex]:
            if end == above[vertex] or kinds[end] == Kind.CPU or end in plan.nvswitches:
                continue
            if kinds[vertex] in (Kind.GPU, Kind.NIC):
                if end not in above and kinds[end] != Kind.GPU:
                    raise plan.refuse(_between(plan, vertex, end) + ": expected none, as devices pass nothing on")
                continue
            if isinf(bandwidth) and kinds[vertex] == kinds[end] == Kind.SWITCH:
                continue  # between PCIe switches
            if kinds[vertex] == Kind.CPU and kinds[end] == Kind.GPU and not _slot_at(plan, end, vertex, bandwidth):
                plan.c2c.setdefault(end, []).append(bandwidth)
                continue
            if end in above:
                raise plan.refuse(_between(plan, vertex, end) + ": a second way; expected a tree of PCIe below CPUs")
            above[end] = vertex
            plan.below.setdefault(vertex, []).append((end, bandwidth))
            waiting.append(end)
    for vertex in range(plan.topology.vertices):
        if vertex not in above and vertex not in plan.nvswitches:
            raise plan.refuse(f"{plan.topology.names[vertex]} is below no CPU; expected a tree of PCIe below CPUs")


def _between(plan: _Plan, a: int, b: int) -> str:
    return f"a link between {plan.topology.names[a]} and {plan.topology.names[b]}"


def _slot_at(plan: _Plan, gpu: int, cpu: int, bandwidth: float) -> bool:
    """Whether a link between a GPU and a CPU is that of its slot, rather than one chip to chip."""
    ends = [end for end, _ in plan.near[gpu] if plan.kind(end) == Kind.SWITCH and end not in plan.nvswitches]
    slots = [b for end, b in plan.near[gpu] if end == cpu]
    return not ends and bandwidth == min(slots)


def _family(plan: _Plan) -> tuple[str, dict[str, str], float]:
    """The kind of the links between GPUs: the element, the attributes of GPUs that have them, and one's bytes/s.

    Of kinds that fit, the oldest of which a GPU has as many as there are, else the oldest with enough.
    """
    found = [bandwidth for links in plan.gpu_links.values() for _, bandwidth in links]
    if not found:
        return "nvlink", {}, inf
    totals = [sum(bandwidth for _, bandwidth in links) for links in plan.gpu_links.values()]
    reducing = {bool(plan.topology.reducing[vertex]) for vertex in plan.nvswitches}
    kinds = [kind for kind in nvlinks() if _whole(found, kind.bytes_per_s) and reducing <= {kind.reduces}]
    if kinds:
        most = max(totals)
        best = min(
            kinds,
            key=lambda kind: (
                most > 1.001 * kind.links * kind.bytes_per_s,
                most < 0.999 * kind.links * kind.bytes_per_s,
            ),
        )
        return "nvlink", {"sm": str(best.capability)}, best.bytes_per_s
    if not plan.nvswitches:
        for gfx, rate in reversed(xgmi_rates().items()):
            if _whole(found, rate):
                return "xgmi", {"gcn": f"gfx{gfx}"}, rate
    rates = sorted({kind.bytes_per_s / 1e9 for kind in nvlinks()} | {rate / 1e9 for rate in xgmi_rates().values()})
    raise plan.refuse(
        f"links between GPUs of {', '.join(f'{x / 1e9:g}' for x in sorted(set(found)))} GB/s; expected multiples of "
        f"one of {', '.join(f'{x:g}' for x in rates)}"
    )


def _whole(bandwidths: Sequence[float], rate: float) -> bool:
    """Whether all are multiples of a rate."""
    return all(isfinite(x) and x > rate / 2 and isclose(x / rate, round(x / rate), rel_tol=1e-6) for x in bandwidths)


def _element(tag: str, attributes: dict[str, str], children: Sequence[Xml] = ()) -> Xml:
    head = f"<{tag}" + "".join(f' {name}="{value}"' for name, value in attributes.items())
    if not children:
        return [f"{head}/>"]
    return [f"{head}>", *("  " + line for child in children for line in child), f"</{tag}>"]


Family = tuple[str, dict[str, str], float]


def _cpu(plan: _Plan, cpu: int, family: Family, rank_of: dict[int, int]) -> Xml:
    host = plan.host(cpu)
    attributes = {"host_hash": f"{plan.hosts.index(host) + 1:#x}"} if len(plan.hosts) > 1 else {}
    attributes |= {"numaid": str(plan.numbers[cpu])} | _processor(plan, cpu)
    children = []
    for vertex, bandwidth in plan.below.get(cpu, []):
        if isinf(bandwidth) and plan.kind(vertex) == Kind.NIC:
            children.append(_element("nic", {}, [_net(plan, vertex)]))
        else:
            children.append(_pci(plan, vertex, bandwidth, family, rank_of))
    return _element("cpu", attributes, children)


def _processor(plan: _Plan, cpu: int) -> dict[str, str]:
    """Attributes of a CPU whose links to other CPUs are as fast as NCCL takes them. Raises `TopologyError`."""
    found = {bandwidth for end, bandwidth in plan.near[cpu] if plan.kind(end) == Kind.CPU}
    if not found:
        return {}
    known = [kind for kind in sockets() if kind.arch]
    fitting = [kind for kind in known if all(isclose(x, kind.bytes_per_s, rel_tol=ROUNDING) for x in found)]
    if not fitting:
        raise plan.refuse(
            f"links from {plan.topology.names[cpu]} to other CPUs: {', '.join(f'{x / 1e9:g}' for x in sorted(found))} "
            f"GB/s; expected one of {', '.join(f'{kind.bytes_per_s / 1e9:g}' for kind in known)}"
        )
    kind = fitting[0]
    attributes = {"arch": kind.arch}
    if kind.vendor:
        numbers = {"familyid": kind.family, "modelid": kind.first_model}
        attributes |= {"vendor": kind.vendor} | {name: str(max(number, 0)) for name, number in numbers.items()}
    return attributes


def _pci(plan: _Plan, vertex: int, bandwidth: float, family: Family, rank_of: dict[int, int]) -> Xml:
    """A device or a switch in its slot, and all below it."""
    switch = plan.kind(vertex) == Kind.SWITCH
    below = plan.below.get(vertex, []) if switch else [(vertex, inf)]
    inside = [v for v, b in below if isinf(b) and plan.kind(v) != Kind.SWITCH]
    children = []
    for gpu in (v for v in inside if plan.kind(v) == Kind.GPU):
        plan.bus_ids[gpu] = plan.bus_ids[vertex]
        children.append(_gpu(plan, gpu, family, rank_of))
    nets = [_net(plan, v) for v in inside if plan.kind(v) == Kind.NIC]
    if nets:
        children.append(_element("nic", {}, nets))
    if switch:
        for end, rate in plan.near[vertex]:
            if isinf(rate) and plan.kind(end) == Kind.SWITCH:
                children.append(_element("pcilink", {"target": plan.bus_ids[end]}))
        children.extend(_pci(plan, v, b, family, rank_of) for v, b in below if v not in inside)
    class_ = "0x060400" if switch else "0x020000" if nets else "0x030200"
    speed, width = _slot(plan, vertex, bandwidth)
    return _element(
        "pci", {"busid": plan.bus_ids[vertex], "class": class_, "link_speed": speed, "link_width": width}, children
    )


def _slot(plan: _Plan, vertex: int, bandwidth: float) -> tuple[str, str]:
    """`link_speed` and `link_width`; of several with the same bandwidth the widest. Raises `TopologyError`."""
    known = [
        (abs(pcie_bandwidth(generation, width) / bandwidth - 1), -width, speed)
        for speed, generation in pcie_generations().items()
        for width in pcie_widths()
    ]
    off, width, speed = min(known)
    if isinf(bandwidth) or off > ROUNDING:
        raise plan.refuse(
            f"the link above {plan.topology.names[vertex]} has {bandwidth / 1e9:g} GB/s; expected PCIe, such as "
            f"{', '.join(f'{pcie_bandwidth(g, 16) / 1e9:.4g}' for g in pcie_generations().values())} of 16 lanes"
        )
    return f"{speed} GT/s PCIe", str(-width)


def _gpu(plan: _Plan, gpu: int, family: Family, rank_of: dict[int, int]) -> Xml:
    tag, attributes, rate = family
    class_ = "0x038000" if tag == "xgmi" else "0x030200"
    children = []
    for end, bandwidth in plan.gpu_links[gpu]:
        if end not in plan.nvswitches:
            target, target_class = _device_bus_id(plan, end), class_
        elif plan.host(end) == NO_HOST or len(plan.hosts) == 1:
            target, target_class = HIDDEN_NVSWITCH, "0x068000"
        else:
            target, target_class = plan.bus_ids[end], "0x068000"
        count = str(round(bandwidth / rate))
        children.append(_element(tag, {"target": target, "count": count, "tclass": target_class}))
    for bandwidth in plan.c2c.get(gpu, []):
        if not isclose(bandwidth, round(bandwidth / 1e6) * 1e6):
            raise plan.refuse(f"a link of {plan.topology.names[gpu]} to its CPU of {bandwidth:g} bytes/s; expected "
                              "a whole number of MB/s")  # fmt: skip
        children.append(_element("c2c", {"bw": str(round(bandwidth / 1e6)), "count": "1"}))
    numbers = {"dev": str(plan.numbers[gpu])} | attributes | {"rank": str(rank_of[gpu])}
    return _element("gpu", numbers, children)


def _device_bus_id(plan: _Plan, gpu: int) -> str:
    """Of a GPU that shares its slot, that of the slot."""
    for end, bandwidth in plan.near[gpu]:
        if isinf(bandwidth) and plan.kind(end) == Kind.SWITCH:
            return plan.bus_ids[end]
    return plan.bus_ids[gpu]


def _net(plan: _Plan, nic: int) -> Xml:
    name = plan.topology.names[nic].removeprefix(f"h{plan.host(nic)}.")
    attributes = {"name": name, "dev": str(plan.numbers[nic])}
    bandwidth = plan.ports[nic]
    if not isnan(bandwidth):
        if not 0.5 <= bandwidth * 8e-6 < 1e15:
            raise plan.refuse(f"a port of {bandwidth:g} bytes/s at {name}; expected a number of Mb/s")
        attributes["speed"] = str(round(bandwidth * 8e-6))
    return _element("net", attributes)
