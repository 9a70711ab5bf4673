"""XML that nobody vouches for."""

from __future__ import annotations

import tracemalloc

import pytest

from clusterbench.collectives.topology import xml_tree
from clusterbench.collectives.topology.graph import TopologyError
from clusterbench.collectives.topology.simgrid.writer import MOST_RANKS
from clusterbench.collectives.topology.xml_tree import DEEPEST, MOST_ELEMENTS, read_xml, root_tag


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-1", "UTF-0", "utf-7", "x"])
def test_what_a_document_says_of_its_encoding_does_not_matter_once_it_is_text(encoding: str) -> None:
    root = read_xml(f'<?xml version="1.0" encoding="{encoding}"?>\n<a><b name="é"/></a>', "FILE")
    assert (root.tag, root.children[0].attributes, root.children[0].line) == ("a", {"name": "é"}, 2)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "FILE, line 1: no element found; expected XML"),
        ("<a>\n<b></a>", "FILE, line 2: mismatched tag; expected XML"),
        ('<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>', "FILE, line 1: an entity 'e'; expected XML without any"),
        ('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', "FILE, line 1: an entity 'e'"),
        ("<a>" * (DEEPEST + 1), "FILE, line 1: elements inside one another 257 deep"),
        ("<a>\x00</a>", "FILE, line 1: not well-formed"),
        ("<a>\ud800</a>", "FILE, line 1: not well-formed"),
    ],
)
def test_what_is_no_plain_xml_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(TopologyError) as refused:
        read_xml(text, "FILE")
    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize(
    ("prologue", "root"),
    [
        ("", "a"),
        ("<?xml version='1.0'?>\n<!-- <b> -->\n<!DOCTYPE a>\n", "a"),
        ('<!DOCTYPE a SYSTEM "http://host/a.dtd">', "a"),
        ('<!DOCTYPE a SYSTEM "[>">', "a"),
        ("<!DOCTYPE a [<!ELEMENT a ANY>\n] >", "a"),
        ("<!DOCTYPE a [<!-- what's ]> here -->]>", "a"),
        ("<!DOCTYPE a [<?target ]>?>]>", "a"),
        ("<!DOCTYPE a [<!ATTLIST a b CDATA \"]>\" c CDATA ']>'>]>", "a"),
        ("<!DOCTYPE a [" + "<!-- ]> -->" * 10_000 + "]>", "a"),
        ("<!DOCTYPE a [", None),
        ("<!DOCTYPE a [" + "<!-- " * 10_000, None),
        ("<!-- ", None),
    ],
)
def test_the_root_is_found_behind_whatever_a_document_type_holds(prologue: str, root: str | None) -> None:
    assert root_tag(f"{prologue}<a/>") == root


def test_text_is_that_between_the_tags_of_an_element_alone() -> None:
    root = read_xml("<a>\n 1 2\n<b>\n3\n</b> 4\n</a>", "FILE")
    assert (root.text.split(), root.children[0].text) == (["1", "2", "4"], "3")


def test_a_text_of_many_lines_is_read_in_a_time_that_grows_with_its_length() -> None:
    # With a square of its length it would take minutes; nothing is timed.
    assert len(read_xml("<a>" + "x\n" * 1_000_000 + "</a>", "FILE").text) == 2 * 1_000_000 - 1


def test_elements_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_tree, "MOST_ELEMENTS", 3)
    assert len(read_xml("<a><b/><b/></a>", "FILE").children) == 2
    with pytest.raises(TopologyError, match="FILE, line 2: more than 3 elements"):
        read_xml("<a><b/><b/>\n<b/></a>", "FILE")


def test_elements_are_small_and_as_many_as_our_own_files_need() -> None:
    assert MOST_RANKS * (MOST_RANKS - 1) * (1 + 10) <= MOST_ELEMENTS
    text = f"<a>{'<b/>' * 10_000}</a>"
    tracemalloc.start()
    try:
        root = read_xml(text, "a file of a long name, which is not written out for each of its elements")
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(root.children) == 10_000
    assert size_bytes < 200 * 10_000


@pytest.mark.parametrize("text", ["", "x", "1.0", "0x1", "1" * 16, "-2", "١"])
def test_an_attribute_that_is_no_whole_number_is_refused_with_its_line(text: str) -> None:
    element = read_xml(f'<a n="{text}" m=" 12 "/>', "FILE")
    assert (element.whole("m", 12), element.whole("none", 0, 7)) == (12, 7)
    with pytest.raises(TopologyError, match=f"^FILE, line 1: <a> has n '{text}'; expected a whole number from -1"):
        element.whole("n", -1)
