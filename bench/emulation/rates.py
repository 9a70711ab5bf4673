"""How fast an emulated network may be, so that its links and not this machine's cores are what limits.

Every packet costs a core as often as it crosses a cable, so what counts is the rate of all hosts together times the
cables on their ways.
"""

from __future__ import annotations

import re

from clusterbench.bench.emulation.plan import EmulationError, Outline

CARRIED_PER_CORE = 158e6
"""Bytes/s times cables that a core carries while links stay the limit. By measurement, two cores of a Xeon with eight
hosts in two racks: see docs/emulating.md."""
SLOWEST = 10e3
"""Bytes/s of a link: a frame takes 0.9 s."""
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "kbit": 125.0, "mbit": 125e3, "gbit": 125e6}


def carried_rate(found: Outline, cores: int) -> float:
    """Bytes/s of the fastest link of a host, at which so many cores carry all that all hosts send at once."""
    total = sum(found.host_rates()) * found.mean_cables()
    return CARRIED_PER_CORE * cores * found.fastest_host_link() / total


def chosen_scale(found: Outline, cores: int, rate: float | None) -> float:
    """Emulated rates over those of the topology; `rate` is what the fastest link of a host is to have, bytes/s.

    Raises `EmulationError` for a rate that the cores cannot carry, and where a link would be too slow to be one.
    """
    most = carried_rate(found, cores)
    if rate is not None and rate > most:
        raise EmulationError(
            f"--rate {rate_text(rate)}: {cores} cores carry {rate_text(most)} a link of {found.hosts} hosts; "
            "beyond that the cores and not the links would limit"
        )
    scale = (_two_digits(most) if rate is None else rate) / found.fastest_host_link()
    links = found.topology.links
    slow = min((link for pair in found.cables for link in pair), key=lambda link: links.bandwidth[link])
    slowest = float(links.bandwidth[slow]) * scale
    if slowest < SLOWEST:
        raise EmulationError(
            f"the link {found.topology.link_name(slow)} would have {rate_text(slowest)}, as the fastest of a host gets "
            f"{rate_text(found.fastest_host_link() * scale)}; expected at least {rate_text(SLOWEST)}"
        )
    return scale


def parsed_rate(text: str) -> float:
    """Bytes/s of `12.5M` or `100Mbit`. Raises `ValueError`."""
    matched = re.fullmatch(
        r"(\d+(?:\.\d*)?)([KMG]|[kmg]bit)?", re.sub(r"(?i)(.)bit$", lambda m: m[1].lower() + "bit", text)
    )
    rate = float(matched[1]) * _UNITS[matched[2] or ""] if matched else 0.0
    if not 0 < rate < 1e15:
        raise ValueError(f"{text!r}; expected bytes/s as in 12.5M, or bits/s as in 100Mbit")
    return rate


def rate_text(rate: float) -> str:
    """A rate as network people say it: `100 Mbit/s`."""
    bits = rate * 8
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits >= factor:
            return f"{bits / factor:.4g} {unit}"
    return f"{bits:.4g} bit/s"


def _two_digits(rate: float) -> float:
    """The rate in bits/s, rounded down to two digits that count."""
    bits = int(rate * 8)
    step = 10.0 ** max(0, len(str(bits)) - 2)
    return bits // step * step / 8
