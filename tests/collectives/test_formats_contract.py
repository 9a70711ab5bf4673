"""What every format keeps to: it knows its own files alone, and gives a topology or a clear error for any text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.topology.file import Format, formats, read_topology
from clusterbench.collectives.topology.graph import Topology, TopologyError

FIXTURES = Path(__file__).parent / "formats"
"""A folder a format, of its name with - or _, with files as real programs write them."""
FORMATS = formats()
FILES = [
    (FORMATS[name], path)
    for path in sorted(FIXTURES.glob("*/*"))
    if (name := path.parent.name.replace("_", "-")) in FORMATS
]

every_format = pytest.mark.parametrize("format_", FORMATS.values(), ids=list(FORMATS))
every_file = pytest.mark.parametrize(
    ("format_", "path"), FILES, ids=[f"{path.parent.name}-{path.name}" for _, path in FILES]
)


@every_format
def test_a_format_says_what_it_is_and_has_a_file_to_try(format_: Format) -> None:
    assert format_.summary
    assert format_.source
    assert [path for found, path in FILES if found is format_], f"expected a file in {FIXTURES / format_.name}"


@every_file
def test_a_file_is_recognised_by_its_own_format_alone(format_: Format, path: Path) -> None:
    text = path.read_text("utf-8")
    assert [name for name, other in FORMATS.items() if other.recognises(text)] == [format_.name]


@every_file
def test_a_file_is_read(format_: Format, path: Path) -> None:
    read = read_topology(path)
    assert len(read.ranks)
    assert len(set(read.names)) == read.vertices
    assert read.source


@every_file
@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_may_end_as_they_do_elsewhere(format_: Format, path: Path, end: str, tmp_path: Path) -> None:
    other = tmp_path / path.name
    other.write_bytes(path.read_bytes().replace(b"\n", end.encode()))
    assert links_of(read_topology(other, format_.name)) == links_of(read_topology(path))


@pytest.mark.parametrize(
    ("format_", "path"),
    [(format_, path) for format_, path in FILES if format_.write],
    ids=[f"{path.parent.name}-{path.name}" for format_, path in FILES if format_.write],
)
def test_what_a_format_writes_it_reads(format_: Format, path: Path) -> None:
    assert format_.write is not None  # only these are tried
    read = read_topology(path)
    text = format_.write(read)
    assert [name for name, other in FORMATS.items() if other.recognises(text)] == [format_.name]
    again = format_.read(text, "FILE")
    assert links_of(again) == links_of(read)
    assert [again.names[rank] for rank in again.ranks] == [read.names[rank] for rank in read.ranks]
    assert vertices_of(again) == vertices_of(read)


def links_of(read: Topology) -> list[tuple[str, str, float, float]]:
    """Each link by the names of its ends, with its bandwidth and latency."""
    links = read.links
    columns = links.src.tolist(), links.dst.tolist(), links.bandwidth.tolist(), links.latency_s.tolist()
    return sorted((read.names[src], read.names[dst], *rest) for src, dst, *rest in zip(*columns, strict=True))


def vertices_of(read: Topology) -> list[tuple[str, int, bool, str]]:
    """Each vertex by its name: its kind, whether it reduces, and its rate as a port, which may be unknown."""
    rates = dict(zip(read.ports.tolist(), map(str, read.port_bandwidth.tolist()), strict=True))
    kinds, reducing = read.kinds.tolist(), read.reducing.tolist()
    return sorted((name, kinds[v], reducing[v], rates.get(v, "no port")) for v, name in enumerate(read.names))


def topology_or_clear_error(format_: Format, text: str) -> None:
    """Anything but these two is a traceback that a user would see."""
    try:
        read = format_.read(text, "FILE")
    except TopologyError as error:
        message = str(error)
    else:
        assert isinstance(read, Topology)
        return
    assert message.startswith("FILE")


NUMBERS = ["0", "-1", "1", "7", "0.0", "1e400", "nan", "tbd", "", "1000000000", "9" * 30]
CHARACTERS = "\"'<>&[]{}()#:;,-=*!|%@\\\t \r\n\x00\x0bé\u2028"


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A text with some of it cut off, left out, doubled, exchanged, or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.sampled_from([_cut, _line_out, _line_twice, _lines_exchanged, _number, _word, _character]))(
            draw, text
        )
    return text


Draw = Callable[[st.SearchStrategy[int]], int]


def _one_of(draw: Draw, count: int) -> int:
    return draw(st.integers(0, max(0, count - 1)))


def _cut(draw: Draw, text: str) -> str:
    return text[: _one_of(draw, len(text))]


def _line_out(draw: Draw, text: str) -> str:
    lines = text.split("\n")
    del lines[_one_of(draw, len(lines))]
    return "\n".join(lines)


def _line_twice(draw: Draw, text: str) -> str:
    lines = text.split("\n")
    lines.insert(_one_of(draw, len(lines)), lines[_one_of(draw, len(lines))])
    return "\n".join(lines)


def _lines_exchanged(draw: Draw, text: str) -> str:
    lines = text.split("\n")
    one, other = _one_of(draw, len(lines)), _one_of(draw, len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)


def _replaced(draw: Draw, text: str, pattern: str, by: list[str]) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    one = found[_one_of(draw, len(found))]
    return text[: one.start()] + by[_one_of(draw, len(by))] + text[one.end() :]


def _number(draw: Draw, text: str) -> str:
    return _replaced(draw, text, r"\d+(?:\.\d+)?", NUMBERS)


def _word(draw: Draw, text: str) -> str:
    return _replaced(draw, text, r"[\w.-]+", sorted(set(re.findall(r"[\w.-]+", text))) or [""])


def _character(draw: Draw, text: str) -> str:
    at = _one_of(draw, len(text))
    return text[:at] + CHARACTERS[_one_of(draw, len(CHARACTERS))] + text[at + _one_of(draw, 2) :]


@every_file
@settings(max_examples=100)
@given(data=st.data())
def test_a_spoilt_file_gives_a_topology_or_a_clear_error(format_: Format, path: Path, data: st.DataObject) -> None:
    text = data.draw(mutated(path.read_text("utf-8")))
    for other in FORMATS.values():
        other.recognises(text)
    topology_or_clear_error(format_, text)


@every_format
@settings(max_examples=100)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_gives_a_topology_or_a_clear_error(format_: Format, text: str) -> None:
    format_.recognises(text)
    topology_or_clear_error(format_, text)
