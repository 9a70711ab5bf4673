"""`ibnetdiscover`: the switches, adapters and links of an InfiniBand subnet, with their rates, in both of its forms.

By default it writes a block of lines for each node, and with `--ports` a line for each port. Each link is seen from
both ends, which must agree. Adapters with one host name in their descriptions, `host HCA-1` or `host mlx5_0`, are one
host. Left out are adapters and switches without a link, routers, as nothing inside the subnet goes over them, and the
aggregation nodes of SHARP, which show that their switch reduces. Hosts and switches are in the order of their names,
numbers in these by value, and the cards of a host in that of its adapters.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from clusterbench.collectives import topology as package
from clusterbench.collectives.topology.file import Format
from clusterbench.collectives.topology.graph import Topology, TopologyError
from clusterbench.collectives.topology.network_file import guessed_link, network

SHARP = "Aggregation Node"
LONGEST = 4096
"""Characters of a line; a description has at most 64."""
HEAD = 1 << 16
"""Characters of the beginning of a file, in which a node must be described."""
MOST_PORTS = 255

_BLOCK_FORM = re.compile(r'^(?:Switch|Ca|Rt)[ \t]+\d+[ \t]+"[SHR]-', re.MULTILINE)
_PORTS_FORM = re.compile(r"^(?:CA|SW|RT)[ \t]+\d+[ \t]+\d+[ \t]+\S+[ \t]+(?:\d+x|\?\?)[ \t]", re.MULTILINE)

_NODE = re.compile(r'(?:Switch|Ca|Rt)\s+(\d+)\s+"([SHR])-([^"]+)"(?:\s*#\s*"(.*)")?')
_PORT = re.compile(
    r'\[(\d+)\](?:\[ext \d+\])?\s*(?:\([^)]*\)\s*)?"([SHR])-([^"]+)"\[(\d+)\](?:\[ext \d+\])?\s*(?:\([^)]*\)\s*)?'
    r'#\s*(?:lid\s+\S+\s+lmc\s+\S+\s+)?"(.*)"\s+lid\s+\S+(?:\s+(\S+))?'
)
_ATTRIBUTE = re.compile(r"\s*(?:$|#|vendid=|devid=|\w+guid=|Chassis\s+\d+|Non-Chassis Nodes|Hostname:)")
_LINE = re.compile(r"(CA|SW|RT)\s+\d+\s+(\d+)\s+(\S+)\s+(\d+x|\?\?)\s*(\S+)")
_PEER = re.compile(r"\s+-\s+(CA|SW|RT)\s+\d+\s+(\d+)\s+(\S+)\s+\(\s*'(.*)'\s+-\s+'(.*)'\s*\)")
_LETTERS = {"CA": "H", "SW": "S", "RT": "R"}
_ADAPTER = re.compile(r"(\S+)\s+(HCA-\d+|(?=[a-z][a-z_-]*\d)[a-z0-9_-]+)(?:\s+\(.*\))?")


def recognises(text: str) -> bool:
    """By a node of either form near the beginning."""
    head = text[:HEAD]
    return bool(_BLOCK_FORM.search(head) or _PORTS_FORM.search(head))


@dataclass(slots=True)
class _Subnet:
    """What a file says. The end of a link is `node << 8 | port`."""

    where: str
    rates: dict[str, float]
    """Bytes/s by width and speed, such as 4xHDR."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Of nodes, by letter and GUID such as S-2c5e."""
    names: list[str] = field(default_factory=list)
    """The same in order."""
    descriptions: list[str] = field(default_factory=list)
    ends: dict[int, tuple[int, float, int]] = field(default_factory=dict)
    """For each end the other one, the rate, infinite where it is not known, and the line."""
    reducing: set[int] = field(default_factory=set)
    """Nodes at which SHARP has an aggregation node."""
    strange: list[int] = field(default_factory=list)
    """Lines that are not of the format."""

    def error(self, line: int, message: str) -> TopologyError:
        return TopologyError(f"{self.where}, line {line}: {message}")

    def node(self, letter: str, guid: str, description: str) -> int:
        """The number of a node, which is as it was described first."""
        name = f"{letter}-{guid}"
        number = self.numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
            self.descriptions.append(description.strip())
        return number

    def end(self, node: int, port: str, line: int) -> int:
        if not 0 < int(port) <= MOST_PORTS:
            raise self.error(line, f"port {port[:40]}; expected 1 to {MOST_PORTS}")
        return node << 8 | int(port)

    def rate(self, text: str, line: int) -> float:
        """Bytes/s of a width and speed; infinite where they are not given, or not known to the tool that wrote them."""
        if text in self.rates:
            return self.rates[text]
        if "?" in text or not text[:1].isdigit():
            return math.inf
        raise self.error(line, f"a link of {text[:40]!r}; expected one of {', '.join(self.rates)}")

    def link(self, end: int, peer: int, rate: float, line: int) -> None:
        """Note a link as seen from one end, unless SHARP is at either."""
        for one, other in ((end, peer), (peer, end)):
            if SHARP in self.descriptions[one >> 8]:
                self.reducing.add(other >> 8)
                return
        before, _, seen = self.ends.setdefault(end, (peer, rate, line))
        if before != peer:
            raise self.error(
                line, f"{self.port(end)} leads to {self.port(peer)}, and on line {seen} to {self.port(before)}"
            )

    def port(self, end: int) -> str:
        """An end in words."""
        return f"port {end & 0xFF} of {self.descriptions[end >> 8] or self.names[end >> 8]!r}"


def _rates() -> tuple[dict[str, float], str]:
    """Bytes/s of each width and speed, and their source."""
    table = tomllib.loads(files(package).joinpath("infiniband_rates.toml").read_text("utf-8"))
    rates = {
        f"{width}x{speed}": width * float(gbit_per_s) * 1e9 / 8
        for speed, gbit_per_s in table["lane_gbit_per_s"].items()
        for width in table["widths"]
    }
    return rates, f"{table['source']} ({table['date']})"


def read(text: str, where: str) -> Topology:
    """The subnet, each host with a card for each of its cables. Raises `TopologyError`."""
    rates, source = _rates()
    subnet = _Subnet(where, rates)
    lines = text.split("\n")
    longest = max(range(len(lines)), key=lambda number: len(lines[number]))
    if len(lines[longest]) > LONGEST:
        raise subnet.error(longest + 1, f"{len(lines[longest])} characters; expected at most {LONGEST}")
    if _PORTS_FORM.search(text[:HEAD]):
        _read_ports(subnet, lines)
    else:
        _read_blocks(subnet, lines)
    warnings: list[str] = []
    cables = _cables(subnet, warnings)
    return _network(subnet, cables, f"ibnetdiscover(8); {source}", warnings)


def _read_blocks(subnet: _Subnet, lines: Sequence[str]) -> None:
    node, ports = -1, 0
    for number, line in enumerate(lines, 1):
        if line.startswith("["):
            found = _PORT.match(line)
            if found is None or node < 0:
                raise subnet.error(number, f"{line[:60]!r}; expected a port of a switch or an adapter with its link")
            port, letter, guid, far_port, description, rate = found.groups()
            if int(port) > ports:
                raise subnet.error(number, f"port {port[:40]} of a node with {ports} ports; expected at most that")
            peer = subnet.end(subnet.node(letter, guid, description), far_port, number)
            subnet.link(subnet.end(node, port, number), peer, subnet.rate(rate or "", number), number)
        elif found := _NODE.match(line):
            ports = int(found[1])
            node = subnet.node(found[2], found[3], found[4] or "")
        elif line.startswith(("Switch", "Ca\t", "Ca ", "Rt\t", "Rt ")):
            raise subnet.error(number, f'{line[:60]!r}; expected such as Switch 41 "S-0002c9" # "name"')
        elif not _ATTRIBUTE.match(line):
            subnet.strange.append(number)
        elif line.startswith("vendid="):
            node = -1  # the next block: its ports are not those of the node before, whatever comes between


def _read_ports(subnet: _Subnet, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines, 1):
        found = _LINE.match(line)
        if found is None:
            if line.startswith(("CA ", "SW ", "RT ")):
                raise subnet.error(number, f"{line[:60]!r}; expected such as SW 12 1 0x0002c9 4x EDR")
            if line.strip():
                subnet.strange.append(number)
            continue
        kind, port, guid, width, speed = found.groups()
        rest = line[found.end() :]
        if not rest.lstrip().startswith("- "):  # nothing is plugged in
            subnet.node(_LETTERS[kind], guid, rest.strip().strip("'"))
            continue
        peer = _PEER.match(rest)
        if peer is None:
            raise subnet.error(
                number, f"{rest.strip()[:60]!r}; expected such as - CA 3 1 0x0002c9 ( 'sw1' - 'h1 HCA-1' )"
            )
        far_kind, far_port, far_guid, description, far_description = peer.groups()
        end = subnet.end(subnet.node(_LETTERS[kind], guid, description), port, number)
        far = subnet.end(subnet.node(_LETTERS[far_kind], far_guid, far_description), far_port, number)
        subnet.link(end, far, subnet.rate(width + speed, number), number)


def _cables(subnet: _Subnet, warnings: list[str]) -> list[tuple[int, int, float]]:
    """Both ends and the rate of each link, which is seen from both or from one of them, as the other is not described.

    Raises `TopologyError` where the ends do not agree.
    """
    cables: list[tuple[int, int, float]] = []
    claimed: dict[int, int] = {}
    counts: Counter[str] = Counter()
    for end, (peer, rate, line) in subnet.ends.items():
        back, back_rate, back_line = subnet.ends.get(peer, (end, rate, line))
        if back != end or claimed.setdefault(peer, end) != end:
            other, seen = (back, back_line) if back != end else (claimed[peer], subnet.ends[claimed[peer]][2])
            raise subnet.error(
                line,
                f"{subnet.port(end)} leads to {subnet.port(peer)}, and on line {seen} that to {subnet.port(other)}",
            )
        if peer in subnet.ends and peer < end:
            continue  # counted at its other end
        low, high = sorted((rate, back_rate))
        counts["are seen from one end only"] += peer not in subnet.ends
        counts["have another rate at either end; the lower is taken"] += low < high < math.inf
        counts["lead from a node to itself, and are left out"] += end >> 8 == peer >> 8
        router = any(subnet.names[at >> 8].startswith("R") for at in (end, peer))
        counts["lead to routers, over which nothing inside the subnet goes, and are left out"] += router
        if end >> 8 == peer >> 8 or router:
            continue
        if math.isinf(low):
            low = guessed_link().bandwidth
            counts[f"have no known rate; {low / 1e9:g} GB/s one way is guessed"] += 1
        cables.append((end, peer, low))
    warnings += [f"{count} links {what}" for what, count in counts.items() if count]
    return cables


def _network(subnet: _Subnet, cables: list[tuple[int, int, float]], source: str, warnings: list[str]) -> Topology:
    linked = [end for cable in cables for end in cable[:2]]
    host_of = _hosts(subnet, [end for end in linked if subnet.names[end >> 8].startswith("H")], warnings)
    if not host_of:
        raise TopologyError(f"{subnet.where}: no adapter with a link; expected hosts")
    hosts = {host: number for number, host in enumerate(dict.fromkeys(host_of.values()))}
    switches = sorted(
        {end >> 8 for end in linked if subnet.names[end >> 8].startswith("S")},
        key=lambda node: (_natural(subnet.descriptions[node]), subnet.names[node]),
    )
    place = {end: number for number, end in enumerate(host_of)}
    number_of = {switch: len(hosts) + number for number, switch in enumerate(switches)}
    ends = [[hosts[host_of[end]] if end in host_of else number_of[end >> 8] for end in cable[:2]] for cable in cables]
    # Cards are numbered in the order of cables, so these are in that of the adapters.
    order = sorted(range(len(cables)), key=lambda at: min(place.get(end, len(place)) for end in cables[at][:2]))
    _warn_of_the_left_out(subnet, {end >> 8 for end in linked}, warnings)
    warnings.append(f"latencies are guessed: {guessed_link().latency_s * 1e9:g} ns a link")
    return network(
        subnet.where,
        list(hosts),
        _switch_names(subnet, switches, hosts),
        ([ends[at][0] for at in order], [ends[at][1] for at in order], [cables[at][2] for at in order]),
        reducing=[switch in subnet.reducing for switch in switches],
        source=source,
        warnings=warnings,
    )


def _hosts(subnet: _Subnet, ends: Sequence[int], warnings: list[str]) -> dict[int, str]:
    """The host of each end at an adapter, in the order of hosts, and inside these of adapters and ports."""
    adapters: dict[int, tuple[str, str]] = {}
    unnamed: set[int] = set()
    used: dict[tuple[str, str, int], int] = {}
    shared: set[str] = set()
    for end in ends:
        node = end >> 8
        words = subnet.descriptions[node].split()
        found = _ADAPTER.fullmatch(subnet.descriptions[node])
        if found is None and len(words) != 1:
            unnamed.add(node)
            adapters[node] = (subnet.names[node], "")
            continue
        adapters[node] = (found[1], found[2]) if found else (words[0], "")
        if used.setdefault((*adapters[node], end & 0xFF), node) != node:
            shared.add(adapters[node][0])
    if unnamed:
        warnings.append(
            f"{len(unnamed)} adapters have a description that names no host; each is a host of its own, named by its "
            f"GUID: {subnet.descriptions[min(unnamed)]!r}"
        )
    if shared:
        warnings.append(
            f"{len(shared)} names are of several hosts with adapters of equal names; each of these is a host "
            f"of its own, named by its GUID: {', '.join(sorted(shared)[:3])}"
        )
    for node, (host, device) in adapters.items():
        if host in shared:
            adapters[node] = (subnet.names[node], device)
    keys = {node: (_natural(host), _natural(device), subnet.names[node]) for node, (host, device) in adapters.items()}
    return {end: adapters[end >> 8][0] for end in sorted(ends, key=lambda end: (*keys[end >> 8], end))}


def _natural(text: str) -> list[str | int]:
    """A key that sorts numbers in a text by their values."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"(\d+)", text))]


def _switch_names(subnet: _Subnet, switches: Sequence[int], hosts: dict[str, int]) -> list[str]:
    """Descriptions, and GUIDs where these are missing, or not of one switch alone."""
    count = Counter(subnet.descriptions[switch] for switch in switches)
    return [
        description if description and count[description] == 1 and description not in hosts else subnet.names[switch]
        for switch in switches
        for description in [subnet.descriptions[switch]]
    ]


def _warn_of_the_left_out(subnet: _Subnet, linked: set[int], warnings: list[str]) -> None:
    for letter, what in (("H", "adapters"), ("S", "switches")):
        missing = [
            subnet.descriptions[node] or name
            for node, name in enumerate(subnet.names)
            if name.startswith(letter) and node not in linked and SHARP not in subnet.descriptions[node]
        ]
        if missing:
            warnings.append(f"{len(missing)} {what} have no link, and are left out: {', '.join(missing[:3])}")
    if subnet.strange:
        warnings.append(f"{len(subnet.strange)} lines are not of ibnetdiscover: line {subnet.strange[0]}, for one")


FORMAT = Format(
    name="ibnetdiscover",
    summary="the links of an InfiniBand subnet as `ibnetdiscover` writes them, with or without --ports",
    source="ibnetdiscover(8); linux-rdma/rdma-core 0c0ced81, infiniband-diags/ibnetdiscover.c",
    recognises=recognises,
    read=read,
)
