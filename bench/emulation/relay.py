"""What holds back the frames of a host that is late: between the two ends of its cable stands a namespace, where this
program takes each frame from one interface and hands it to the other later.

It stands in for netem(8), which many kernels lack. Frames are taken as they are, two at a time where TCP handed them
over so and with checksums left to be reckoned, by packet sockets with a virtio header (packet(7), PACKET_VNET_HDR). It
imports nothing but the standard library, as one runs for each such cable.
"""

from __future__ import annotations

import select
import socket
import sys
from collections import deque
from time import monotonic

NEAR, FAR = "near", "far"
"""The interfaces, towards the first and the second end of the cable."""
ALL_FRAMES = 0x0003
"""ETH_P_ALL (if_ether.h)."""
_SOL_PACKET, _VNET_HEADER, _IGNORE_OUTGOING, _RECEIVE_BUFFER_FORCE = 263, 15, 23, 33
"""socket.h, if_packet.h and asm-generic/socket.h, which Python's `socket` lacks."""
_BUFFER_BYTES = 32 << 20
_LARGEST_FRAME = 1 << 17
_AT_ONCE = 64


def opened(interface: str) -> socket.socket:
    """A socket of all frames that come in at an interface. Raises `OSError`."""
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    found.setsockopt(_SOL_PACKET, _VNET_HEADER, 1)
    found.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    found.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, _BUFFER_BYTES)
    found.bind((interface, ALL_FRAMES))
    found.setblocking(False)
    return found


def relay(there_s: float, back_s: float) -> None:
    """Hand frames on, from `NEAR` to `FAR` later by `there_s` and back by `back_s`, until the process is ended."""
    sockets = opened(NEAR), opened(FAR)
    other = {sockets[0]: sockets[1], sockets[1]: sockets[0]}
    delay_s = {sockets[0]: there_s, sockets[1]: back_s}
    held: dict[socket.socket, deque[tuple[float, bytes]]] = {one: deque() for one in sockets}
    while True:
        due = min((frames[0][0] for frames in held.values() if frames), default=None)
        ready, _, _ = select.select(sockets, (), (), None if due is None else max(0.0, due - monotonic()))
        for one in ready:
            _take(one, held[one], delay_s[one])
        for one, frames in held.items():
            _hand_on(other[one], frames)


def _take(incoming: socket.socket, frames: deque[tuple[float, bytes]], delay_s: float) -> None:
    for _ in range(_AT_ONCE):
        try:
            frame = incoming.recv(_LARGEST_FRAME)
        except BlockingIOError:
            return
        frames.append((monotonic() + delay_s, frame))


def _hand_on(outgoing: socket.socket, frames: deque[tuple[float, bytes]]) -> None:
    now = monotonic()
    while frames and frames[0][0] <= now:
        try:
            outgoing.send(frames[0][1])
        except BlockingIOError:
            return  # again at the next turn
        frames.popleft()


if __name__ == "__main__":
    relay(float(sys.argv[1]), float(sys.argv[2]))
