"""Bandwidths of the links inside a host, from the data file `link_rates.toml`, where each has its source and date.

All are one way and in bytes/s, and what the hardware permits; only those between sockets are what NCCL assumes.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Nvlink:
    """NVLink as the GPUs of a compute capability (90 for 9.0) have it."""

    capability: int
    generation: int
    links: int
    """Of a GPU."""
    bytes_per_s: float
    """Of one link."""
    pcie: int
    """Generation of these GPUs' PCIe."""
    reduces: bool
    """Whether NVSwitches of this generation reduce and multicast."""


@dataclass(frozen=True, slots=True)
class Socket:
    """From one socket to another of the same host, for a kind of CPU; what is empty or −1 fits every CPU."""

    name: str
    arch: str
    vendor: str
    family: int
    first_model: int
    bytes_per_s: float


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("link_rates.toml").read_text(encoding="utf-8"))


def pcie_widths() -> tuple[int, ...]:
    """The numbers of lanes that there are."""
    return tuple(_tables()["pcie"]["widths"])


@cache
def pcie_generations() -> dict[float, int]:
    """Generations by GT/s."""
    return {row["transfers_per_s"] / 1e9: row["generation"] for row in _tables()["pcie"]["generation"]}


@cache
def pcie_bandwidth(generation: int, width: int) -> float:
    """Of so many lanes of a generation. Raises `KeyError` for one that there is not."""
    for row in _tables()["pcie"]["generation"]:
        if row["generation"] == generation:
            payload, total = row["payload"]
            return float(row["transfers_per_s"] / 8 * payload / total * width)
    raise KeyError(generation)


def guessed_pcie() -> tuple[int, int]:
    """Generation and lanes of a link that nothing is known of."""
    return _tables()["pcie_guess"]["generation"], _tables()["pcie_guess"]["width"]


def pcie_without_nvlink() -> int:
    """Generation of the PCIe of GPUs that are known for no more than that they have no NVLink."""
    return int(_tables()["pcie_without_nvlink"]["generation"])


@cache
def nvlinks() -> tuple[Nvlink, ...]:
    """All that are known, the oldest first."""
    return tuple(Nvlink(**{name: row[name] for name in Nvlink.__slots__}) for row in _tables()["nvlink"])


def nvlink(capability: int) -> Nvlink | None:
    """That of a compute capability, or of the nearest known one below; None where there is none below."""
    return max((link for link in nvlinks() if link.capability <= capability), key=lambda x: x.capability, default=None)


@cache
def xgmi_rates() -> dict[str, float]:
    """Of one xGMI link by architecture, such as "942"."""
    return {gfx: row["bytes_per_s"] for row in _tables()["xgmi"] for gfx in row["gfx"]}


@cache
def sockets() -> tuple[Socket, ...]:
    """All kinds of CPU, of which the first that fits one holds; the last fits every CPU."""
    return tuple(
        Socket(
            row["name"], row.get("arch", ""), row.get("vendor", ""), row.get("family", -1), row.get("first_model", -1),
            row["bytes_per_s"],
        )
        for row in _tables()["socket"]["cpu"]
    )  # fmt: skip


def socket(arch: str, vendor: str, family: int, model: int) -> Socket:
    """The kind of a CPU, whose architecture may have any of its names; empty or −1 for what is not known of it."""
    arch = arch.lower()
    arch = _tables()["socket"]["architectures"].get(arch, arch)
    return next(
        kind
        for kind in sockets()
        if kind.arch in ("", arch)
        and kind.vendor in ("", vendor)
        and kind.family in (-1, family)
        and model >= kind.first_model
    )


def nvswitch_links() -> frozenset[int]:
    """The numbers of NVLinks that GPUs have in machines where all of them go to NVSwitches."""
    return frozenset(_tables()["nvswitch_links"]["of_gpu"])


def reducing_nvswitches() -> frozenset[str]:
    """PCI device numbers of the NVSwitches that reduce and multicast."""
    return frozenset(_tables()["nvswitch"]["reducing"])
