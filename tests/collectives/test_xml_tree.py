"""XML that nobody vouches for."""

from __future__ import annotations

import pytest

from clusterbench.collectives.topology.graph import TopologyError
from clusterbench.collectives.topology.xml_tree import DEEPEST, read_xml


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
