"""A plan as input of ip(8) and tc(8): what makes its nodes and cables, and what sets up each node. Pure text.

Nothing asks for the address of a neighbour: every interface has one neighbour, 169.254.0.1 by name, whose hardware
address is known. So no packet but those of the hosts crosses a cable.
"""

from __future__ import annotations

from math import isfinite

from clusterbench.bench.emulation.plan import Interface, Plan
from clusterbench.bench.emulation.relay import FAR, NEAR
from clusterbench.bench.emulation.shaping import MTU_BYTES, bucket_bytes

PREFIX = "clusterbench-"
"""What the name of every namespace begins with."""
BUFFER_BYTES = 32 << 20
"""Of a connection at each end, from its beginning: as much as hosts on fast networks are set up for
(https://fasterdata.es.net/host-tuning/linux/). Linux grows a sender's to 4 MiB at most (tcp(7)), and where less than a
message fits its end enters a queue behind what others have sent meanwhile, though they began later."""
QUEUE_BYTES = 16 * BUFFER_BYTES
"""Of a link: more than all connections have under way, so that none is dropped, as in a network with flow control."""
SEGMENTS = 2
"""Frames that TCP hands to an interface at once. By default it is 64 KiB, which at scaled rates keep a short message to
another host waiting for tens of milliseconds."""
OWN_QUEUE_BYTES = 2 * SEGMENTS * MTU_BYTES
"""Of one connection in the queue of its host's card: two times what TCP hands over, so that connections of a host are
served in turn, as by a card with a queue for each. By default it is what TCP expects to send in a millisecond, up to
4 MiB (tcp_limit_output_bytes in Linux' networking/ip-sysctl): one message then goes out before another begins."""
SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/tcp_timestamps": "1",
    "net/ipv4/tcp_congestion_control": "reno",
    "net/ipv4/tcp_early_retrans": "0",
    "net/ipv4/tcp_limit_output_bytes": str(OWN_QUEUE_BYTES),
    "net/ipv4/tcp_wmem": f"4096 {BUFFER_BYTES} {BUFFER_BYTES}",
    "net/ipv4/tcp_rmem": f"4096 {BUFFER_BYTES} {BUFFER_BYTES}",
}
"""Of every node, below /proc/sys: what the plan's routes and `shaping` rely on. Every kernel has reno (RFC 5681), which
keeps a link full that drops nothing; one that paces by its own estimate, as bbr does, leaves a part of it. Nothing is
sent again early (RFC 8985, 7), as nothing is lost."""
RESEND_S = 30
"""After which TCP takes data for lost, beyond a round trip (RFC 6298 has 1 s at least, Linux 0.2 s): longer than queues
grow meanwhile. A timer that goes off for data that only wait makes a connection begin slowly again."""
WISHES = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
"""Settings that a kernel may lack."""
NEIGHBOUR = "169.254.0.1"
FIRST_TABLE = 100
"""Of routes that hold for what one host sends: it and the host's number."""


def namespace(name: str) -> str:
    """The name of a node's network namespace."""
    return PREFIX + name


def late_namespace(cable: int) -> str:
    """The name of the namespace in the middle of a cable, where frames are held back."""
    return f"{PREFIX}late-{cable}"


def namespaces(plan: Plan) -> list[str]:
    """The names of all that a plan makes."""
    return [*map(namespace, plan.names), *map(late_namespace, plan.late_cables())]


def hardware_address(cable: int, end: int) -> str:
    """Of the interface at one end of a cable; locally administered (IEEE 802, 8.4)."""
    return f"02:cb:00:{cable >> 8:02x}:{cable & 255:02x}:{end:02x}"


def making(plan: Plan) -> str:
    """Lines for `ip -batch` that make all namespaces, and every cable at once inside its two."""
    lines = [f"netns add {name}" for name in namespaces(plan)]
    late = set(plan.late_cables())
    for number, cable in enumerate(plan.cables):
        one, other = (
            f"{end.name} mtu {MTU_BYTES} address {hardware_address(number, at)} netns {namespace(plan.names[end.node])}"
            for at, end in enumerate(cable.ends)
        )
        if number in late:
            near, far = (f"{name} mtu {MTU_BYTES} netns {late_namespace(number)}" for name in (NEAR, FAR))
            lines.append(f"link add name {one} type veth peer name {near}")
            lines.append(f"link add name {far} type veth peer name {other}")
        else:
            lines.append(f"link add name {one} type veth peer name {other}")
    return _text(lines)


def raising_relay() -> str:
    """Lines for `ip -batch` inside the middle of a cable."""
    return _text([f"link set {name} up" for name in (NEAR, FAR)])


def addressing(plan: Plan, node: int) -> str:
    """Lines for `ip -batch` inside a node: its interfaces, neighbours, routes and rules."""
    lines = ["link set lo up"]
    for number, end in plan.interfaces(node):
        if end.address:
            lines.append(f"addr add {end.address}/24 dev {end.name} noprefixroute")
        far = 1 if plan.cables[number].ends[0] is end else 0
        lines.append(f"link set {end.name} gso_max_segs {SEGMENTS} up")
        lines.append(f"neigh replace {NEIGHBOUR} lladdr {hardware_address(number, far)} dev {end.name} nud permanent")
    for address, cable in sorted(plan.routes[node].items()):
        lines.append(f"route add {address}/32 {_over(plan, node, cable)}")
    senders = set()
    for (sender, address), cable in sorted(plan.exceptions[node].items()):
        senders.add(sender)
        lines.append(f"route add {address}/32 {_over(plan, node, cable)} table {FIRST_TABLE + sender}")
    for sender in sorted(senders):
        lines += [f"rule add from {address}/32 lookup {FIRST_TABLE + sender}" for address in plan.addresses(sender)]
    return _text(lines)


def shaping(plan: Plan, node: int) -> str:
    """Lines for `tc -batch` inside a node: the rate of everything that it sends."""
    return _text([_bucket(end) for _, end in plan.interfaces(node) if isfinite(end.rate)])


def _over(plan: Plan, node: int, cable: int) -> str:
    end = plan.cables[cable].near(node)
    source = f" src {end.address} rto_min {RESEND_S}s" if end.address else ""
    return f"via {NEIGHBOUR} dev {end.name} onlink{source}"


def _bucket(end: Interface) -> str:
    # tc's bps are bytes/s.
    bucket = bucket_bytes(end.rate)
    return f"qdisc add dev {end.name} root tbf rate {end.rate:.0f}bps burst {bucket} limit {QUEUE_BYTES}"


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
