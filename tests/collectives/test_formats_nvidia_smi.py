"""`nvidia-smi topo -m`: every spelling of a matrix gives one graph, which fits it; what it does not say is refused."""

from __future__ import annotations

import re
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from topology_files import WHERE, changed, edges, mangled, port_speeds, rank_names, read_or_refused, refusal

from clusterbench.collectives.formats.nvidia_smi_topo import FORMAT
from clusterbench.collectives.topology.graph import Kind, Topology

LEGEND = """
Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)
  NODE = Connection traversing PCIe as well as the interconnect between PCIe Host Bridges within a NUMA node
  PHB  = Connection traversing PCIe as well as a PCIe Host Bridge (typically the CPU)
  PXB  = Connection traversing multiple PCIe bridges (without traversing the PCIe Host Bridge)
  PIX  = Connection traversing at most a single PCIe bridge
  NV#  = Connection traversing a bonded set of # NVLinks
"""
NIC_LEGEND = "\nNIC Legend:\n\n  NIC0: mlx5_0\n  NIC1: mlx5_bond_0\n"

# Two sockets; at the first GPU0 and NIC0 on one switch and GPU1 on a second level, at the other GPU2, and NIC1 apart.
COLUMNS = ["GPU0", "GPU1", "GPU2", "NIC0", "NIC1"]
ROWS = {
    "GPU0": ["X", "NV4", "NV4", "PIX", "SYS"],
    "GPU1": ["NV4", "X", "NV4", "PXB", "SYS"],
    "GPU2": ["NV4", "NV4", "X", "SYS", "NODE"],
    "NIC0": ["PIX", "PXB", "SYS", "X", "SYS"],
    "NIC1": ["SYS", "SYS", "NODE", "SYS", "X"],
}
AFFINITY = {"GPU0": ["0-23,48-71", "0"], "GPU1": ["0-23,48-71", "0"], "GPU2": ["24-47", "1"]}


def table(
    columns: list[str] = COLUMNS,
    rows: dict[str, list[str]] = ROWS,
    affinity: dict[str, list[str]] = AFFINITY,
    affinities: tuple[str, ...] = ("CPU Affinity", "NUMA Affinity"),
) -> str:
    """As drivers print it: by tabs, with an underlined header and X between spaces."""
    lines = ["\t\x1b[4m" + "\t".join([*columns, *affinities]) + "\x1b[0m"]
    for name, cells in rows.items():
        right = affinity.get(name, ["", ""])[: len(affinities)]
        lines.append("\t".join([name, *(" X " if cell == "X" else cell for cell in cells), *right]))
    return "\n".join(lines) + "\n"


MATRIX = table() + LEGEND + NIC_LEGEND
NVLINK, PCIE, SOCKETS = 100.0, 31.5, 16.0


def read(text: str) -> Topology:
    return FORMAT.read(text, WHERE)


def uniform(gpus: int, word: str) -> str:
    names = [f"GPU{number}" for number in range(gpus)]
    rows = {a: ["X" if a == b else word for b in names] for a in names}
    return table(names, rows, {name: ["0-7", "0"] for name in names}) + LEGEND


def test_every_link_of_a_matrix() -> None:
    found = read(MATRIX)
    one_way = {
        ("cpu0", "cpu1"): [SOCKETS],
        ("cpu0", "switch0"): [PCIE],
        ("switch0", "switch1"): [PCIE],
        ("switch1", "gpu0"): [PCIE],
        ("switch1", "mlx5_0"): [PCIE],
        ("switch0", "gpu1"): [PCIE],
        ("cpu1", "gpu2"): [PCIE],
        ("cpu1", "mlx5_bond_0"): [PCIE],
        ("gpu0", "gpu1"): [NVLINK],
        ("gpu0", "gpu2"): [NVLINK],
        ("gpu1", "gpu2"): [NVLINK],
    }
    assert edges(found) == one_way | {(b, a): speed for (a, b), speed in one_way.items()}
    assert rank_names(found) == ["gpu0", "gpu1", "gpu2"]
    assert list(port_speeds(found)) == ["mlx5_0", "mlx5_bond_0"]
    assert all(isnan(speed) for speed in port_speeds(found).values())


def test_all_that_is_guessed_is_said() -> None:
    said = "\n".join(read(MATRIX).warnings)
    for part in (
        "8 NVLinks they are taken for generation 3, 25 GB/s", "PCIe is taken for generation 4 of 16 lanes",
        "between CPUs 16 GB/s is taken", "no speed of the network cards",
    ):  # fmt: skip
        assert part in said
    assert len(read(MATRIX).warnings) == 4


def spaced(text: str) -> str:
    return "\n".join(line.expandtabs(8) for line in text.split("\n"))


SPELLINGS = {
    "without colours": lambda text: re.sub("\x1b\\[[0-9]*m", "", text),
    "colours without escapes": lambda text: text.replace("\x1b", ""),
    "colour before the tab": lambda text: text.replace("\t\x1b[4m", "\x1b[4m\t", 1),
    "runs of spaces": spaced,
    "indented by spaces": lambda text: "\n".join("    " + line for line in spaced(text).split("\n")),
    "indented by tabs": lambda text: "\n".join("\t" + line for line in text.split("\n")),
    "lines of Windows": lambda text: text.replace("\n", "\r\n"),
    "after a prompt": lambda text: "$ nvidia-smi topo -m\n" + text,
    "old names": lambda text: text.replace("SYS", "SOC"),
    "wording": lambda text: text.replace("bridges", "switches").replace("bridge)", "switch)"),
    "rows run together": lambda text: spaced(text).replace("NV4     NV4", "NV4NV4").replace("PXB     SYS", "PXBSYS"),
    "blank lines between rows": lambda text: text.replace("\nGPU", "\n\nGPU"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_recognised_and_the_same_graph(spelling: str) -> None:
    text = SPELLINGS[spelling](MATRIX)
    assert text != MATRIX
    assert FORMAT.recognises(text)
    assert edges(read(text)) == edges(read(MATRIX))
    assert read(text).warnings == read(MATRIX).warnings


def test_a_table_of_markdown_is_the_same_graph() -> None:
    head = "|      | " + " | ".join([*COLUMNS, "CPU Affinity", "NUMA Affinity"]) + " |\n" + "|---" * 8 + "|\n"
    rows = "".join(
        f"| **{name}** | {' | '.join([*cells, *AFFINITY.get(name, ['', ''])])} |\n" for name, cells in ROWS.items()
    )
    text = head + rows + LEGEND + NIC_LEGEND
    assert FORMAT.recognises(text)
    assert edges(read(text)) == edges(read(MATRIX))


@pytest.mark.parametrize(("affinities", "cells"), [((), 0), (("CPU Affinity",), 1)])
def test_affinities_may_be_missing(affinities: tuple[str, ...], cells: int) -> None:
    found = read(table(affinities=affinities) + LEGEND + NIC_LEGEND)
    assert edges(found) == edges(read(MATRIX))  # the cards tell which GPUs are together
    plain = re.sub("NIC[01]", "", table(["GPU0", "GPU1"], {"GPU0": ["X", "NV2"], "GPU1": ["NV2", "X"]}, {}, ()))
    guessed = read(plain + LEGEND)
    assert ("cpu0", "gpu1") in edges(guessed)
    assert any("does not tell all of the CPU of GPU0" in sentence for sentence in guessed.warnings)
    assert cells == len(affinities)


def test_the_newest_drivers_have_an_empty_cell_before_the_numa_id() -> None:
    affinity = {name: [cpus, node, "", "N/A"] for name, (cpus, node) in AFFINITY.items()}
    text = table(affinity=affinity, affinities=("CPU Affinity", "NUMA Affinity", "", "GPU NUMA ID"))
    text = text.replace("NUMA Affinity\t\tGPU", "NUMA Affinity\tGPU")
    found = read(text + LEGEND + NIC_LEGEND)
    assert edges(found) == edges(read(MATRIX))
    assert found.warnings == read(MATRIX).warnings
    coherent = read(text.replace("N/A", "4") + LEGEND + NIC_LEGEND)
    assert any("C2C" in sentence for sentence in coherent.warnings)


def test_numa_affinity_may_be_a_list_or_not_known() -> None:
    for node in ("0-1", "N/A"):
        affinity = {name: [cpus, node] for name, (cpus, _) in AFFINITY.items()}
        assert edges(read(table(affinity=affinity) + LEGEND + NIC_LEGEND)) == edges(read(MATRIX))


def test_cpus_are_named_by_numa_node() -> None:
    affinity = {"GPU0": ["0", "3"], "GPU1": ["0", "3"], "GPU2": ["1", "12"]}
    found = read(table(affinity=affinity) + LEGEND)
    assert {found.names[v] for v in np.flatnonzero(found.kinds == Kind.CPU)} == {"cpu3", "cpu12"}


def test_names_cut_short_to_the_same_are_numbered() -> None:
    text = MATRIX.replace("NIC0\t", "mlx5_ib\t").replace("NIC1\t", "mlx5_ib\t").replace("NIC1\x1b", "mlx5_ib\x1b")
    for one in (text, spaced(text)):
        found = read(one)
        assert list(port_speeds(found)) == ["mlx5_ib.0", "mlx5_ib.1"]
        assert ("switch1", "mlx5_ib.0") in edges(found)
        assert ("cpu1", "mlx5_ib.1") in edges(found)
        assert any("cut short" in sentence for sentence in found.warnings)


def test_cards_without_a_name_are_numbered() -> None:
    found = read(table().replace("NIC0", "").replace("NIC1", "") + LEGEND)
    assert list(port_speeds(found)) == ["nic0", "nic1"]
    assert ("switch1", "nic0") in edges(found)


def test_a_single_gpu() -> None:
    found = read(table(["GPU0"], {"GPU0": ["X"]}) + LEGEND)
    assert edges(found) == {("cpu0", "gpu0"): [31.5], ("gpu0", "cpu0"): [31.5]}
    assert FORMAT.recognises(spaced(table(["GPU0"], {"GPU0": ["X"]})))


@pytest.mark.parametrize(
    ("gpus", "word", "speed", "reduces"),
    [
        (16, "NV6", 150.0, False),
        (8, "NV8", 200.0, False),
        (8, "NV12", 300.0, False),
        (8, "NV18", 450.0, True),
        (4, "NV12", 300.0, False),
    ],
)
def test_as_many_links_to_each_peer_as_a_gpu_has_go_through_nvswitches(
    gpus: int, word: str, speed: float, reduces: bool
) -> None:
    found = read(uniform(gpus, word))
    assert [edges(found)[name, "nvswitch"] for name in rank_names(found)] == [[speed]] * gpus
    assert ("gpu0", "gpu1") not in edges(found)
    assert any("NVSwitches" in sentence for sentence in found.warnings)
    assert bool(found.reducing.any()) == reduces


@pytest.mark.parametrize(
    ("gpus", "word", "speed"),
    [(4, "NV6", 150.0), (4, "NV4", 100.0), (4, "NV2", 50.0), (2, "NV12", 300.0), (2, "NV4", 100.0)],
)
def test_links_that_add_up_to_those_of_a_gpu_go_from_gpu_to_gpu(gpus: int, word: str, speed: float) -> None:
    found = read(uniform(gpus, word))
    assert edges(found)["gpu0", "gpu1"] == [speed]
    assert "nvswitch" not in found.names


def test_a_gpu_with_fewer_links_to_the_nvswitches_is_found() -> None:
    text = uniform(8, "NV18")
    lines = text.split("\n")
    lines[4] = lines[4].replace("NV18", "NV16")
    for row in (1, 2, 3, 5, 6, 7, 8):
        cells = lines[row].split("\t")
        cells[4] = "NV16"
        lines[row] = "\t".join(cells)
    found = read("\n".join(lines))
    assert [edges(found)[name, "nvswitch"] for name in rank_names(found)] == [[450.0]] * 3 + [[400.0]] + [[450.0]] * 4
    assert any("GPU3 has 16 of 18 NVLinks" in sentence for sentence in found.warnings)
    lines[8] = lines[8].replace("NV16", "NV17")
    lines[4] = "NV17".join(lines[4].rsplit("NV16", 1))
    assert "line 9: 125 NVLinks of GPU7; expected at most 18" in refusal(FORMAT, "\n".join(lines))


def test_gpus_without_affinity_between_them_are_at_different_cpus() -> None:
    names = ["GPU0", "GPU1"]
    rows = {"GPU0": ["X", "NV2"], "GPU1": ["NV2", "X"]}
    apart = read(table(names, rows, {"GPU0": ["0-7", "0"], "GPU1": ["8-15", "1"]}) + LEGEND)
    assert {("cpu0", "gpu0"), ("cpu1", "gpu1"), ("cpu0", "cpu1")} <= edges(apart).keys()


def test_sys_within_one_affinity_is_believed_and_said() -> None:
    rows = {"GPU0": ["X", "SYS"], "GPU1": ["SYS", "X"]}
    found = read(table(["GPU0", "GPU1"], rows, {name: ["0-7", "0"] for name in rows}) + LEGEND)
    assert {("cpu0", "gpu0"), ("cpu1", "gpu1")} <= edges(found).keys()
    assert any("of equal affinity have SYS between them" in sentence for sentence in found.warnings)


def without(*names: str) -> str:
    return table(rows={name: cells for name, cells in ROWS.items() if name not in names}) + LEGEND + NIC_LEGEND


@pytest.mark.parametrize("name", ROWS)
def test_one_missing_row_is_in_the_columns_of_the_others(name: str) -> None:
    found = read(without(name))
    assert edges(found) == edges(read(MATRIX))
    assert any(f"The row of {name} is missing" in sentence for sentence in found.warnings)


def test_two_missing_rows_are_refused() -> None:
    found = refusal(FORMAT, without("GPU2", "NIC1"))
    assert found.startswith(f"{WHERE}, line 4: 2 of 5 rows are missing, among them those of GPU2 and NIC1")


def test_a_matrix_without_a_legend_is_said_to_be_cut_off_perhaps() -> None:
    assert any("may have been cut off" in sentence for sentence in read(table()).warnings)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "GPU1\tNV4\t X \tNV4\tPXB\tSYS",
            "GPU1\tNV4\t X \tNV4\tPXB",
            "line 3: '0-23,48-71' of GPU1 to NIC1; expected X",
        ),
        ("GPU1\tNV4\t X \tNV4\tPXB\tSYS", "GPU1\tNV4\t X \tNV4\tPXB\ttbd", "line 3: 'tbd' of GPU1 to NIC1"),
        ("NIC1\tSYS\tSYS\tNODE\tSYS\t X \t\t", "NIC1\tSYS\tSYS", "line 6: 2 relations of NIC1; expected 5"),
        ("GPU1\tNV4\t X ", "GPU1\tNV4\tNV4", "line 3: the row of GPU1 has no X"),
        ("\nGPU1", "\nGPU0", "line 3: the row of GPU0 has no X, or not in its own column"),
        ("GPU1\tNV4", "GPU1\tNV3", "line 2: GPU0 to GPU1 is NV4, and back NV3; expected the same"),
        ("GPU1\tNV4", "GPU1\tNV0", "line 3: NV0 of GPU1; expected a number of NVLinks from 1"),
        ("GPU1\tNV4", "GPU1\tNV-4", "line 3: 'NV-4' of GPU1 to GPU0"),
        ("GPU2\tNIC0", "GPU2\tGPU0", "line 1: 2 columns GPU0; expected one"),
        ("NUMA Affinity", "NUMA Affinity\tNIC2", "line 1: a device right of the affinities"),
    ],
)
def test_what_cannot_be_is_refused_with_file_and_line(old: str, new: str, message: str) -> None:
    found = refusal(FORMAT, changed(MATRIX)(old, new))
    assert found.startswith(f"{WHERE}, {message}")


def pair(changes: dict[tuple[str, str], str]) -> str:
    rows = {name: list(cells) for name, cells in ROWS.items()}
    for (a, b), word in changes.items():
        rows[a][COLUMNS.index(b)] = rows[b][COLUMNS.index(a)] = word
    return table(rows=rows) + LEGEND


def test_relations_that_do_not_nest_are_refused() -> None:
    text = pair({("GPU1", "NIC0"): "PIX", ("GPU0", "GPU1"): "NODE"})
    assert "GPU0 to GPU1 is NODE, but others join them by PIX or nearer; expected relations that nest" in refusal(
        FORMAT, text
    )


def test_nvlinks_of_a_network_card_are_refused() -> None:
    assert "NVLinks from GPU1 to NIC0; expected them between GPUs" in refusal(FORMAT, pair({("GPU1", "NIC0"): "NV2"}))


def test_more_nvlinks_than_any_gpu_has_are_refused() -> None:
    found = refusal(FORMAT, pair({("GPU0", "GPU1"): "NV12", ("GPU0", "GPU2"): "NV11"}))
    assert "line 2: 23 NVLinks of GPU0; expected at most 18" in found


def test_a_second_row_is_refused() -> None:
    line = table().split("\n")[1]
    assert "a second row of GPU0" in refusal(FORMAT, changed(MATRIX)(line, line + "\n" + line))


def test_other_tables_are_not_recognised() -> None:
    rocm = "       GPU0         GPU1\nGPU0   0            15\nGPU1   15           0\n"
    assert not FORMAT.recognises(rocm)
    assert not any(
        FORMAT.recognises(text) for text in ("", "GPU0", "\tGPU0\tGPU1\n", "<system/>", "GPU0 is X\n", LEGEND)
    )
    assert "no header with GPU0" in refusal(FORMAT, "nothing")
    assert "line 1: no rows below the header" in refusal(FORMAT, "\tGPU0\tGPU1\n")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from((MATRIX, spaced(MATRIX), uniform(8, "NV18"))).flatmap(mangled))
def test_a_mangled_matrix_is_read_or_refused(text: str) -> None:
    read_or_refused(FORMAT, text)


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], list[str]]:
    """Devices by NUMA node, host bridge, switch and inner switch; and their names."""
    size = draw(st.integers(1, 8))
    few = st.integers(0, 1)
    places = draw(st.lists(st.tuples(few, few, few, few), min_size=size, max_size=size))
    gpus = draw(st.integers(1, size))
    return places, [f"GPU{n}" for n in range(gpus)] + [f"mlx5_{n}" for n in range(size - gpus)]


@settings(max_examples=200, deadline=None)
@given(trees())
def test_the_tree_fits_the_matrix(tree: tuple[list[tuple[int, ...]], list[str]]) -> None:
    places, names = tree
    words = ("SYS", "NODE", "PHB", "PXB", "PIX")

    def word(a: int, b: int) -> str:
        equal = next((depth for depth in range(4) if places[a][depth] != places[b][depth]), 4)
        return "X" if a == b else words[equal]

    rows = {name: [word(a, b) for b in range(len(names))] for a, name in enumerate(names)}
    found = read(
        table(names, rows, {n: ["0", str(p[0])] for n, p in zip(names, places, strict=True) if n[0] == "G"}) + LEGEND
    )
    number = {name: vertex for vertex, name in enumerate(found.names)}
    vertices = np.array([number[name.replace("GPU", "gpu")] for name in names])
    for a in range(len(names)):
        for b in range(len(names)):
            route = found.router(vertices[[a]], vertices[[b]], np.array([0])).of(0)
            passed = [Kind(found.kinds[v]) for v in found.links.dst[route][:-1].tolist()]
            switches = passed.count(Kind.SWITCH)
            match word(a, b):
                case "SYS":
                    assert passed.count(Kind.CPU) == 2
                case "NODE" | "PHB":
                    assert passed.count(Kind.CPU) == 1
                case "PXB":
                    assert Kind.CPU not in passed
                    assert switches >= 1
                case "PIX":
                    assert passed == [Kind.SWITCH]
