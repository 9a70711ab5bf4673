"""Takes the text of `nvidia-smi topo -m` apart: the columns, the rows, the relations of each pair."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from clusterbench.collectives.topology.draft import Draft
from clusterbench.collectives.topology.graph import TopologyError

LEVELS = {"PIX": 1, "PXB": 2, "PHB": 3, "NODE": 4, "SYS": 5, "SOC": 5}
"""Relations by PCIe, the nearest first."""
MOST_DEVICES = 1024
"""A host has some fifty."""
GPU = re.compile(r"GPU([0-9]{1,4})", re.ASCII)

_ESCAPE = re.compile(r"\x1b?\[[0-9;]*m")
_WORD = re.compile(r"X|PIX|PXB|PHB|NODE|SYS|SOC|NV[0-9]{1,3}", re.ASCII)
_WORDS = re.compile(rf"(?:{_WORD.pattern})+", re.ASCII)
_AFFINITIES = ("CPU Affinity", "NUMA Affinity", "GPU NUMA ID")
_HEADER = re.compile(r"CPU Affinity|NUMA Affinity|GPU NUMA ID|\S+")
_NIC_LEGEND = re.compile(r"\s*(NIC[0-9]+)\s*[:=]\s*(\S+)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """What a row says of its device."""

    line: int
    device: int
    """Its number, which is its column."""
    relations: list[str]
    affinities: dict[str, str]


@dataclass(slots=True)
class Matrix:
    """The text of a matrix, taken apart."""

    where: str
    line: int
    """Of the header."""
    columns: list[str]
    affinities: list[str]
    """Columns right of those of devices."""
    rows: list[Row]
    legend: bool = False
    nic_names: dict[str, str] = field(default_factory=dict)

    def place(self, line: int) -> str:
        """File and line, for messages."""
        return f"{self.where}, line {line}"


def _cells(line: str) -> list[str]:
    """What stands in a line: by the bars of Markdown, or else by tabs, or else by spaces; first the name, if any."""
    if "|" in line:
        cells = [cell.strip().strip("*`") for cell in line.strip().strip("|").split("|")]
    elif "\t" in line.strip():
        cells = [cell.strip() for cell in line.split("\t")]
    else:
        return line.split()
    while len(cells) > 1 and not cells[0] and not _WORDS.fullmatch(cells[1]):  # indented
        del cells[0]
    return cells


def _header(line: str) -> tuple[list[str], list[str]] | None:
    """Columns of devices and columns of affinities, or None where the line is not a header.

    Devices without a name are columns too.
    """
    cells = _cells(line) if "|" in line or "\t" in line.strip() else _HEADER.findall(line)
    if not cells or not GPU.fullmatch(cells[0]) or any(_WORDS.fullmatch(cell) for cell in cells):
        return None
    last = next((place for place, cell in enumerate(cells) if cell in _AFFINITIES), len(cells))
    columns, affinities = cells[:last], [cell for cell in cells[last:] if cell]
    while not affinities and not columns[-1]:
        del columns[-1]
    return columns, affinities


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines by number, without what sets colours."""
    for number, line in enumerate(text.split("\n"), 1):
        yield number, _ESCAPE.sub("", line).rstrip("\r")


def matrix_of(text: str, where: str) -> Matrix:
    """The header and the rows of the first matrix of a text. Raises `TopologyError`."""
    found: Matrix | None = None
    ended = False
    for number, line in _lines(text):
        if found is None:
            if header := _header(line):
                found = Matrix(where, number, *header, [])
                _check_columns(found)
            continue
        if legend := _NIC_LEGEND.fullmatch(line):
            found.nic_names[legend[1]] = legend[2]
        elif line.strip().rstrip(":").lower() == "legend":
            found.legend = ended = True
        elif line.strip() and not ended and not re.fullmatch(r"[\s|:-]+", line):
            if not _is_row(found, line):
                ended = True
                continue
            found.rows.append(_row(found, number, _cells(line)))
    if found is None:
        raise TopologyError(f"{where}: no header with GPU0, GPU1 and so on; expected what `nvidia-smi topo -m` prints")
    if not found.rows:
        raise TopologyError(f"{found.place(found.line)}: no rows below the header; expected one for each device")
    return found


def _check_columns(matrix: Matrix) -> None:
    columns = matrix.columns
    if len(columns) > MOST_DEVICES:
        raise TopologyError(f"{matrix.place(matrix.line)}: {len(columns)} devices; expected at most {MOST_DEVICES}")
    if not all(cell in _AFFINITIES for cell in matrix.affinities):
        raise TopologyError(f"{matrix.place(matrix.line)}: a device right of the affinities; expected them last")
    for name, count in Counter(columns).items():
        if GPU.fullmatch(name) and count > 1:
            raise TopologyError(f"{matrix.place(matrix.line)}: {count} columns {name}; expected one")


def _is_row(matrix: Matrix, line: str) -> bool:
    cells = _cells(line)
    return cells[0] in matrix.columns or bool(GPU.match(cells[0])) or bool(cells[1:] and _WORDS.fullmatch(cells[1]))


def _row(matrix: Matrix, number: int, cells: list[str]) -> Row:
    """A row. Raises `TopologyError` where it has not the right cells, or is not that of one of the columns."""
    name, cells = cells[0], cells[1:]
    place, size = matrix.place(number), len(matrix.columns)
    relations: list[str] = []
    for at, cell in enumerate(cells):
        if len(relations) >= size:
            cells = cells[at:]
            break
        if not _WORDS.fullmatch(cell):
            raise TopologyError(f"{place}: {cell!r} of {name} to {matrix.columns[len(relations)]}; expected X, NV and "
                                f"a number, or one of {', '.join(LEVELS)}")  # fmt: skip
        relations.extend(_WORD.findall(cell))  # of wide columns some run together
    else:
        cells = []
    if len(relations) != size:
        raise TopologyError(f"{place}: {len(relations)} relations of {name}; expected {size}, one to each device")
    if relations.count("X") != 1 or matrix.columns[relations.index("X")] != name:
        raise TopologyError(f"{place}: the row of {name} has no X, or not in its own column; expected one X there")
    if "NV0" in relations:
        raise TopologyError(f"{place}: NV0 of {name}; expected a number of NVLinks from 1")
    device = relations.index("X")
    if any(row.device == device for row in matrix.rows):
        raise TopologyError(f"{place}: a second row of {name}; expected one")
    values = [cell for cell in cells if cell]
    return Row(number, device, relations, dict(zip(matrix.affinities, values, strict=False)))


def relations_of(matrix: Matrix, draft: Draft) -> list[list[str]]:
    """The whole matrix. Raises `TopologyError` where rows are missing that are not in the others' columns, or where
    two entries of a pair differ."""
    size = len(matrix.columns)
    rows = {row.device: row for row in matrix.rows}
    missing = [device for device in range(size) if device not in rows]
    if len(missing) > 1:
        names = " and ".join(matrix.columns[device] for device in missing[:2])
        raise TopologyError(f"{matrix.place(matrix.rows[-1].line)}: {len(missing)} of {size} rows are missing, among "
                            f"them those of {names}, whose relation is in no row; expected all")  # fmt: skip
    for device in missing:
        draft.warn(f"The row of {matrix.columns[device]} is missing, and taken from its column.")
    whole = [
        list(rows[a].relations) if a in rows else ["X" if b == a else rows[b].relations[a] for b in range(size)]
        for a in range(size)
    ]
    for a in rows:
        for b in rows:
            if whole[a][b] != whole[b][a]:
                raise TopologyError(
                    f"{matrix.place(rows[a].line)}: {matrix.columns[a]} to {matrix.columns[b]} is {whole[a][b]}, and "
                    f"back {whole[b][a]}; expected the same"
                )
    for a, row in rows.items():
        for b in range(size):
            ends = matrix.columns[a], matrix.columns[b]
            if whole[a][b].startswith("NV") and not all(GPU.fullmatch(end) for end in ends):
                raise TopologyError(
                    f"{matrix.place(row.line)}: NVLinks from {ends[0]} to {ends[1]}; expected them between GPUs"
                )
    return whole


def shows_matrix(text: str) -> bool:
    """A header, and right below it a row with an X: a table of rocm-smi has a header like it, and numbers below."""
    if "GPU" not in text:
        return False
    header: tuple[list[str], list[str]] | None = None
    for _, line in _lines(text):
        if header is None:
            header = _header(line)
        elif line.strip() and not re.fullmatch(r"[\s|:-]+", line):
            cells = _cells(line)
            if cells[0] in header[0] and "X" in cells:
                return True
            header = _header(line)
    return False
