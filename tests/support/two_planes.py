"""Hosts with a card in each of two networks, as `ibnetdiscover` lists them."""

from __future__ import annotations

from pathlib import Path


def two_planes(path: Path, hosts: int) -> Path:
    """Write the listing of so many hosts to a file: that file."""
    lines = []
    for plane, host in ((plane, host) for plane in range(2) for host in range(hosts)):
        card, switch = f"CA {10 + 2 * host + plane} 1 0x7c{plane}{host}", f"SW {100 + plane} {host + 1} 0x7a{plane}"
        names = f"n{host} HCA-{plane + 1}", f"plane{plane}"
        lines.append(f"{card} 4x EDR - {switch} ( '{names[0]}' - '{names[1]}' )")
        lines.append(f"{switch} 4x EDR - {card} ( '{names[1]}' - '{names[0]}' )")
    path.write_text("\n".join(lines) + "\n")
    return path
