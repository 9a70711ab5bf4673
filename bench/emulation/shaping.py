"""What a shaped link carries: the share of its rate that is payload, its bucket, and what that does to a bound.

A link is shaped by a token bucket (tc-tbf(8)) that counts Ethernet frames from their header to the end of their
payload, as a packet lies in memory: neither preamble, checksum nor gap. In t seconds it passes at most rate · t bytes
and what its bucket holds, so B bytes of payload take at least (B · `HEADER_FACTOR` - bucket) / rate.
"""

from __future__ import annotations

from collections.abc import Iterable

MTU_BYTES = 9000
"""Payload of a frame, set on every interface: jumbo frames, as clusters have them. A packet costs the cores the same
whatever its size, and IEEE 802.3's 1500 bytes (3.2.7) would be six times as many."""
ETHERNET_BYTES = 14
"""Both addresses and the type (IEEE 802.3, 3.1.1)."""
IPV4_BYTES = 20
"""RFC 791, 3.1, without options."""
TCP_BYTES = 20
"""RFC 9293, 3.1, without options."""
TIMESTAMP_BYTES = 12
"""The timestamps option and two bytes that align it (RFC 7323, appendix A); it is turned on in every namespace."""

FRAME_BYTES = ETHERNET_BYTES + MTU_BYTES
SEGMENT_BYTES = MTU_BYTES - IPV4_BYTES - TCP_BYTES - TIMESTAMP_BYTES
"""Payload of a full TCP segment."""
HEADER_FACTOR = FRAME_BYTES / SEGMENT_BYTES
"""Bytes on a link for each byte of payload, at least."""

LATE_S = 250e-6
"""By which a timer of the kernel may be late, so that a bucket must hold what a link carries meanwhile."""


def bucket_bytes(rate: float) -> int:
    """The bucket of a link of so many bytes/s: the least that holds two frames, and what passes in `LATE_S`."""
    return max(2 * FRAME_BYTES, round(rate * LATE_S))


def payload_rate(rate: float) -> float:
    """Bytes/s of payload that a link of so many bytes/s carries at most, in the long run."""
    return rate / HEADER_FACTOR


def credit_s(rates: Iterable[float]) -> float:
    """By how much a bound of the payload rates of links may be undercut: the longest that a full bucket stands for.

    Over a cut of several links the bytes B take at least (B · factor - Σ bucket) / Σ rate, and Σ bucket / Σ rate is at
    most the largest bucket / rate of them. `rates` are those of the links, bytes/s.
    """
    return max((bucket_bytes(rate) / rate for rate in rates), default=0.0)


def shaped_bound_s(payload_bound_s: float, rates: Iterable[float]) -> float:
    """The bound with buckets, from that of the payload rates alone: for one link (bytes · factor - bucket) / rate."""
    return max(0.0, payload_bound_s - credit_s(rates))
