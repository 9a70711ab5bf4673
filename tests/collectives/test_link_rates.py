"""Rates of links: every figure of the data file has a source and a date, and is what those who know it quote."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterbench.collectives.topology import link_rates
from clusterbench.collectives.topology.link_rates import (
    guessed_pcie,
    nvlink,
    nvlinks,
    nvswitch_links,
    pcie_bandwidth,
    pcie_generations,
    pcie_widths,
    pcie_without_nvlink,
    sockets,
    xgmi_rates,
)

TABLES = tomllib.loads(Path(link_rates.__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def rows() -> Iterator[dict[str, Any]]:
    for table in TABLES.values():
        yield from table if isinstance(table, list) else [table]


def test_every_figure_has_a_source_and_a_date() -> None:
    assert len(list(rows())) > 10
    for row in rows():
        assert row["source"]
        assert isinstance(row["date"], datetime.date)


@pytest.mark.parametrize(
    ("generation", "gigabytes"), [(1, 4.0), (2, 8.0), (3, 15.75), (4, 31.5), (5, 63.0), (6, 121.0)]
)
def test_pcie_of_16_lanes(generation: int, gigabytes: float) -> None:
    assert pcie_bandwidth(generation, 16) / 1e9 == pytest.approx(gigabytes, rel=1e-3)


def test_what_is_guessed_of_pcie_is_some_of_it() -> None:
    assert pcie_bandwidth(*guessed_pcie()) / 1e9 == pytest.approx(15.75, rel=1e-3)
    assert guessed_pcie()[1] in pcie_widths()
    assert pcie_without_nvlink() in pcie_generations().values()


def test_links_to_nvswitches_are_no_more_than_a_gpu_has() -> None:
    assert {kind.links for kind in nvlinks() if kind.capability in (70, 80, 90, 100)} <= nvswitch_links()
    assert max(nvswitch_links()) == max(kind.links for kind in nvlinks())


def test_there_is_no_generation_0_of_pcie() -> None:
    with pytest.raises(KeyError):
        pcie_bandwidth(0, 16)


@pytest.mark.parametrize(
    ("capability", "gigabytes"), [(60, 80), (70, 150), (80, 300), (90, 450), (100, 900), (103, 900)]
)
def test_nvlink_of_a_whole_gpu(capability: int, gigabytes: float) -> None:
    found = nvlink(capability)
    assert found is not None
    assert found.links * found.bytes_per_s == gigabytes * 1e9


def test_a_capability_between_two_is_taken_for_the_one_below() -> None:
    assert [found and found.capability for found in map(nvlink, (59, 61, 72, 89, 120))] == [None, 60, 70, 86, 103]
    assert [kind.capability for kind in nvlinks()] == sorted(kind.capability for kind in nvlinks())


@pytest.mark.parametrize(("gfx", "gigabytes"), [("908", 46.0), ("90a", 50.0), ("942", 64.0), ("950", 76.8)])
def test_xgmi(gfx: str, gigabytes: float) -> None:
    assert xgmi_rates()[gfx] == gigabytes * 1e9


@pytest.mark.parametrize(
    ("cpu", "gigabytes"),
    [
        (("x86_64", "GenuineIntel", 6, 207), 40),
        (("x86_64", "GenuineIntel", 6, 143), 22),
        (("x86_64", "GenuineIntel", 6, 106), 10),
        (("x86_64", "GenuineIntel", 6, 79), 6),
        (("x86_64", "GenuineIntel", 15, 200), 6),
        (("x86_64", "AuthenticAMD", 175, 1), 16),
        (("ppc64", "", -1, -1), 32),
        (("arm64", "", -1, -1), 6),
        (("", "", -1, -1), 16),
        (("AMD64", "GenuineIntel", 6, 143), 22),
        (("ppc64le", "", -1, -1), 32),
        (("aarch64", "", -1, -1), 6),
        (("x86_64", "CentaurHauls", 7, 59), 16),
    ],
)
def test_sockets_are_told_apart_as_nccl_does(cpu: tuple[str, str, int, int], gigabytes: float) -> None:
    assert link_rates.socket(*cpu).bytes_per_s == gigabytes * 1e9
    assert link_rates.socket(*cpu) in sockets()
