"""The matrix that `nvidia-smi topo -m` prints: of each pair of GPUs and network cards, what their traffic passes.

X is a device itself, PIX one PCIe switch, PXB several, PHB the host bridge, NODE the way between host bridges of a NUMA
node, SYS that between NUMA nodes (SOC in old drivers), NV# a bond of # NVLinks. The relations without NVLink nest, and
so give a tree: at the top CPUs, one a NUMA node; below, a switch for each set of devices joined by PXB or PIX, and one
for each set of PIX in it. Of pairs with NVLink the matrix tells no PCIe relation; it follows from those to third
devices, or else from the affinities. Bandwidths are in no matrix: PCIe is taken for 16 lanes of the generation of the
GPUs, and these for the oldest that have as many NVLinks as the matrix shows.

Rows and headers are taken apart by tabs, or by spaces where there are none; colours, indentation, tables of Markdown,
names cut short and rows run together are read. Rows that are missing are taken from the columns of the others.

References: the legend below each matrix; NVIDIA, nvidia-smi manual, 580 series.
"""

from __future__ import annotations

import re
from collections import Counter
from math import nan

import numpy as np

from clusterbench.collectives.formats._nvidia_smi_matrix import (
    GPU,
    LEVELS,
    Matrix,
    matrix_of,
    relations_of,
    shows_matrix,
)
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.draft import Draft
from clusterbench.collectives.topology.file import Format
from clusterbench.collectives.topology.graph import Kind, Topology, TopologyError
from clusterbench.collectives.topology.link_rates import (
    Nvlink,
    nvlinks,
    nvswitch_links,
    pcie_bandwidth,
    pcie_without_nvlink,
    socket,
)

UNKNOWN = 9
"""Where NVLink hides the relation by PCIe."""


def read(text: str, where: str) -> Topology:
    """The topology that a matrix shows. Raises `TopologyError`."""
    matrix = matrix_of(text, where)
    draft = Draft(where)
    if not matrix.legend:
        draft.warn("No legend follows the matrix: the text may have been cut off.")
    relations = relations_of(matrix, draft)
    gpus = [device for device, name in enumerate(matrix.columns) if GPU.fullmatch(name)]
    nics = sorted(set(range(len(matrix.columns))) - set(gpus))
    generation = _generation(matrix, gpus, relations, draft)
    names = _names(matrix, draft)
    vertices: list[int] = []
    parents = _trees(matrix, relations, draft, generation.pcie if generation else pcie_without_nvlink())
    for device, name in enumerate(names):
        kind = Kind.GPU if GPU.fullmatch(matrix.columns[device]) else Kind.NIC
        parent, bandwidth = parents[device]
        vertices.append(draft.vertex(kind, name, matrix.place(matrix.line)))
        draft.join(parent, vertices[-1], bandwidth)
    if generation:
        _add_nvlinks(matrix, draft, gpus, vertices, relations, generation)
    ports = [vertices[device] for device in nics]
    if ports:
        draft.warn("The matrix gives no speed of the network cards.")
    return draft.finished(
        ranks=[vertices[device] for device in gpus], ports=ports, port_bandwidth=[nan] * len(ports),
        source="rates of links by link_rates.toml",
    )  # fmt: skip


def _names(matrix: Matrix, draft: Draft) -> list[str]:
    """Of the vertices: GPUs by number, network cards by device; those cut short to the same name are numbered."""
    plain = [matrix.nic_names.get(name, name) for name in matrix.columns]
    often = Counter(plain)
    seen: Counter[str] = Counter()
    names = []
    for column, name in zip(matrix.columns, plain, strict=True):
        if number := GPU.fullmatch(column):
            names.append(f"gpu{int(number[1])}")
            continue
        if not name:
            draft.warn("Network cards without a name are numbered in their order.")
            name = f"nic{seen[name]}"
            seen[""] += 1
        elif often[name] > 1:
            draft.warn(f"{often[name]} network cards are named {name!r}, cut short, and are numbered in their order.")
            seen[name] += 1
            name = f"{name}.{seen[name] - 1}"
        names.append(name)
    return names


def _generation(matrix: Matrix, gpus: list[int], relations: list[list[str]], draft: Draft) -> Nvlink | None:
    """The NVLink that the GPUs are taken to have: the oldest of 25 GB/s a link with so many links, as these are most.

    None without NVLinks. Raises `TopologyError` for more links than any GPU has.
    """
    totals = [sum(bonds) for bonds in _bonds(gpus, relations)]
    if not any(totals):
        draft.warn(f"The matrix gives no rates: PCIe is taken for generation {pcie_without_nvlink()} of 16 lanes.")
        return None
    links = _switch_links(gpus, relations) or totals
    most = max(links)
    known = [kind for kind in nvlinks() if kind.capability in (70, 80, 90)]
    kind = next((kind for kind in known if kind.links >= most), None)
    if kind is None:
        device = gpus[links.index(most)]
        line = next((row.line for row in matrix.rows if row.device == device), matrix.line)
        raise TopologyError(
            f"{matrix.place(line)}: {most} NVLinks of {matrix.columns[device]}; expected at most {known[-1].links}, or "
            "as many to each other GPU, through NVSwitches"
        )
    draft.warn(
        f"The matrix gives no rates: as a GPU has {most} NVLinks they are taken for generation {kind.generation}, "
        f"{kind.bytes_per_s / 1e9:g} GB/s each."
    )
    draft.warn(f"The matrix gives no rates: PCIe is taken for generation {kind.pcie} of 16 lanes.")
    return kind


def _bonds(gpus: list[int], relations: list[list[str]]) -> list[list[int]]:
    """NVLinks of each GPU to each; 0 where there are none, and to itself."""
    return [[int(relations[a][b][2:]) if relations[a][b].startswith("NV") else 0 for b in gpus] for a in gpus]


def _switch_links(gpus: list[int], relations: list[list[str]]) -> list[int] | None:
    """How many links of each GPU go to NVSwitches; None where links go from GPU to GPU.

    With NVSwitches a GPU sees all its links, or all of the other's where those are fewer, to each other GPU. So it is
    taken where that adds up to more links than a GPU has, and where all GPUs have as many to each as those of a machine
    with NVSwitches have; but not where they add up to those of a GPU, as in machines of four with 6 of 18 to each.
    """
    bonds = np.array(_bonds(gpus, relations))
    links = bonds.max(axis=1)
    as_many = np.minimum(links[:, None], links[None, :])
    np.fill_diagonal(as_many, 0)
    apart = int(bonds.sum(axis=1).max())
    if not links.all() or (bonds != as_many).any():
        return None
    known = len(set(links.tolist())) == 1 and int(links[0]) in nvswitch_links() and apart not in nvswitch_links()
    return links.tolist() if known or apart > max(kind.links for kind in nvlinks()) else None


def _add_nvlinks(
    matrix: Matrix, draft: Draft, gpus: list[int], vertices: list[int], relations: list[list[str]], kind: Nvlink
) -> None:
    if links := _switch_links(gpus, relations):
        switch = draft.vertex(Kind.SWITCH, "nvswitch", matrix.place(matrix.line), reducing=kind.reduces)
        draft.warn(f"Each GPU has {max(links)} NVLinks to each other one: they are taken to go through NVSwitches.")
        for gpu, count in zip(gpus, links, strict=True):
            if count < max(links):
                draft.warn(f"{matrix.columns[gpu]} has {count} of {max(links)} NVLinks.")
            draft.join(vertices[gpu], switch, count * kind.bytes_per_s)
        return
    for place, a in enumerate(gpus):
        for b in gpus[place + 1 :]:
            if relations[a][b].startswith("NV"):
                draft.join(vertices[a], vertices[b], int(relations[a][b][2:]) * kind.bytes_per_s)


def _trees(matrix: Matrix, relations: list[list[str]], draft: Draft, generation: int) -> list[tuple[int, float]]:
    """CPUs and switches of PCIe; gives what each device hangs on, and how fast."""
    groups = _groups(matrix, relations, draft)
    bandwidth = pcie_bandwidth(generation, 16)
    place = matrix.place(matrix.line)
    cpus = {group: draft.vertex(Kind.CPU, name, place) for group, name in _cpu_names(matrix, groups[4]).items()}
    if len(cpus) > 1:
        kind = socket("", "", -1, -1)
        draft.warn(f"The matrix gives no rates: between CPUs {kind.bytes_per_s / 1e9:g} GB/s is taken.")
        for a in cpus.values():
            for b in cpus.values():
                if a != b:
                    draft.link(a, b, kind.bytes_per_s)
    parents = [cpus[group] for group in groups[4]]
    above = Counter(groups[2])
    count = 0
    for level in (2, 1):
        sizes = Counter(groups[level])
        switches: dict[int, int] = {}
        for device, group in enumerate(groups[level]):
            if sizes[group] < 2 or (level == 1 and sizes[group] == above[groups[2][device]]):
                continue  # alone, or all that the switch above has
            if group not in switches:
                switches[group] = draft.vertex(Kind.SWITCH, f"switch{count}", place)
                draft.join(parents[device], switches[group], bandwidth)
                count += 1
            parents[device] = switches[group]
    return [(parent, bandwidth) for parent in parents]


def _groups(matrix: Matrix, relations: list[list[str]], draft: Draft) -> dict[int, list[int]]:
    """For each level the group of each device: of those joined by relations up to it. Raises `TopologyError` where
    the relations do not nest."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    levels = np.array([[0 if word == "X" else LEVELS.get(word, UNKNOWN) for word in row] for row in relations])
    groups = {}
    for level in (1, 2, 3, 4):
        labels: Ints = connected_components(coo_array((levels <= level).astype(np.int8)), directed=False)[1].astype(
            np.int64
        )
        if level == 4:
            labels = _at_one_cpu(matrix, levels, labels, draft)
        far = np.argwhere((levels > level) & (levels < UNKNOWN) & (labels[:, None] == labels[None, :]))
        if len(far):
            a, b = far[0].tolist()
            line = next((row.line for row in matrix.rows if row.device == a), matrix.line)
            near = next(word for word, number in LEVELS.items() if number == level)
            raise TopologyError(
                f"{matrix.place(line)}: {matrix.columns[a]} to {matrix.columns[b]} is {relations[a][b]}, but others "
                f"join them by {near} or nearer; expected relations that nest"
            )
        groups[level] = labels.tolist()
    return groups


def _at_one_cpu(matrix: Matrix, levels: Ints, labels: Ints, draft: Draft) -> Ints:
    """Groups joined further: of GPUs whose relation NVLink hides, those of equal affinities that SYS does not part."""
    affinity = {
        row.device: tuple(row.affinities[name] for name in ("CPU Affinity", "NUMA Affinity") if name in row.affinities)
        for row in matrix.rows
    }
    if any(row.affinities.get("GPU NUMA ID", "N/A") != "N/A" for row in matrix.rows):
        draft.warn("The memory of the GPUs is that of NUMA nodes: their links to CPUs (C2C) are not in the matrix.")
    name = list(range(int(labels.max()) + 1))
    apart: list[set[int]] = [set() for _ in name]
    for a, b in np.argwhere(levels == LEVELS["SYS"]).tolist():
        apart[labels[a]].add(int(labels[b]))
        if affinity.get(a) and affinity.get(a) == affinity.get(b):
            draft.warn(f"{matrix.columns[min(a, b)]} and others of equal affinity have SYS between them: each is taken "
                       "to be at a CPU of its own.")  # fmt: skip
    for a, b in np.argwhere(levels == UNKNOWN).tolist():
        one, other = name[labels[a]], name[labels[b]]
        if not affinity.get(a):
            draft.warn(f"The matrix does not tell all of the CPU of {matrix.columns[a]}: it is guessed.")
        if one == other or affinity.get(a) != affinity.get(b) or other in apart[one]:
            continue
        name = [one if group == other else group for group in name]
        apart[one] |= apart[other]
        for far in apart[other]:
            apart[far].add(one)
    return np.array([name[group] for group in labels], np.int64)


def _cpu_names(matrix: Matrix, groups: list[int]) -> dict[int, str]:
    """Of each group its NUMA node where all have one of their own, else numbers in the order of the columns."""
    nodes: dict[int, set[str]] = {group: set() for group in groups}
    for row in matrix.rows:
        if node := row.affinities.get("NUMA Affinity"):
            nodes[groups[row.device]].add(node)
    found = [node for several in nodes.values() for node in several]
    each = all(len(several) == 1 for several in nodes.values()) and len(set(found)) == len(nodes)
    if each and all(re.fullmatch(r"[0-9]{1,4}", node, re.ASCII) for node in found):
        return {group: f"cpu{int(next(iter(several)))}" for group, several in nodes.items()}
    return {group: f"cpu{number}" for number, group in enumerate(nodes)}


FORMAT = Format(
    name="nvidia-smi-topo",
    summary="matrix that nvidia-smi topo -m prints",
    source="nvidia-smi, the legend below its matrix",
    recognises=shows_matrix,
    read=read,
)
