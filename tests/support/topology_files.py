"""Texts of topology files for tests: read, compared as graphs, and mangled."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from clusterbench.collectives.topology.file import Format
from clusterbench.collectives.topology.graph import Topology, TopologyError, disconnected

WHERE = "machine.txt"


def edges(topology: Topology) -> dict[tuple[str, str], list[float]]:
    """Bandwidths in GB/s to three digits, by the names of the ends."""
    found: dict[tuple[str, str], list[float]] = {}
    links = topology.links
    for src, dst, bandwidth in zip(links.src.tolist(), links.dst.tolist(), links.bandwidth.tolist(), strict=True):
        found.setdefault((topology.names[src], topology.names[dst]), []).append(float(f"{bandwidth / 1e9:.3g}"))
    return {ends: sorted(several) for ends, several in found.items()}


def rank_names(topology: Topology) -> list[str]:
    return [topology.names[vertex] for vertex in topology.ranks]


def port_speeds(topology: Topology) -> dict[str, float]:
    """GB/s of the ports, by name, in their order."""
    return {
        topology.names[vertex]: bandwidth / 1e9
        for vertex, bandwidth in zip(topology.ports.tolist(), topology.port_bandwidth.tolist(), strict=True)
    }


def mangled(text: str) -> st.SearchStrategy[str]:
    """The text with lines deleted, doubled or swapped, with characters changed, or cut off."""
    lines = text.splitlines(keepends=True)
    place, line = st.integers(0, len(text) - 1), st.integers(0, len(lines) - 1)
    character = st.sampled_from("0123456789-+.:,<>/\"'=&;\t\n |XNGVPSfx") | st.characters()

    def characters(changes: list[tuple[int, str]]) -> str:
        new = list(text)
        for at, what in changes:
            new[at] = what
        return "".join(new)

    def without(numbers: set[int]) -> str:
        return "".join(one for number, one in enumerate(lines) if number not in numbers)

    def swapped(pair: tuple[int, int]) -> str:
        new = list(lines)
        new[pair[0]], new[pair[1]] = new[pair[1]], new[pair[0]]
        return "".join(new)

    return st.one_of(
        st.lists(st.tuples(place, character), min_size=1, max_size=4).map(characters),
        st.sets(line, min_size=1, max_size=3).map(without),
        line.map(lambda at: "".join(lines[: at + 1] + lines[at:])),
        st.tuples(line, line).map(swapped),
        place.map(lambda at: text[:at]),
    )


def read_or_refused(format_: Format, text: str) -> Topology | None:
    """What a text is read as; None where it is refused with a message that names the file, as it must be if at all."""
    try:
        found = format_.read(text, WHERE)
    except TopologyError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert message.startswith(WHERE)
        assert "expected" in message
        return None
    assert len(found.ranks)
    assert (found.links.bandwidth > 0).all()
    assert disconnected(found) is None
    return found


def refusal(format_: Format, text: str) -> str:
    """The message with which a text is refused."""
    try:
        format_.read(text, WHERE)
    except TopologyError as error:
        return str(error)
    raise AssertionError("expected the text to be refused")


def changed(text: str) -> Callable[[str, str], str]:
    """Replaces a part of a text that is in it."""

    def change(old: str, new: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change
