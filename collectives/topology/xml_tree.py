"""Reads XML that nobody vouches for: no entities, nothing fetched, limits of size and depth, and a line for errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING
from xml.sax.handler import ContentHandler, feature_external_ges, feature_external_pes
from xml.sax.xmlreader import AttributesImpl, InputSource, Locator

from clusterbench.collectives.topology.file import whole_number
from clusterbench.collectives.topology.graph import TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEEPEST = 256
"""Levels of elements: a machine's tree has some twenty."""
MOST_ELEMENTS = 3_000_000
"""Of a file: the SimGrid platform of 512 ranks that we write has a quarter of a million routes, over up to ten links
each."""

_LITERAL = r"\"[^\"]*+\"|'[^']*+'"
_ASIDE = r"<!--.*?-->|<\?.*?\?>"
"""A comment or a processing instruction. Both this and a literal may hold what else ends a document type."""
_DOCTYPE = (
    rf"<!DOCTYPE(?:[^\[>\"']++|{_LITERAL})*+"
    rf"(?:\[(?:[^\]\"'<]++|{_LITERAL}|{_ASIDE}|<(?!!--|\?))*+\]\s*+)?>"
)
_PROLOGUE = re.compile(rf"\s*+(?:{_ASIDE}|{_DOCTYPE})", re.DOTALL)
_NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
_ROOT = re.compile(r"\s*<([A-Za-z_][\w.-]*)")


@dataclass(slots=True)
class Element:
    """One element: its attributes as text, its children in order, the line on which it begins.

    A file has millions of them, so that each holds little: what most have none of is shared.
    """

    tag: str
    attributes: Mapping[str, str]
    line: int
    file: str
    children: Sequence[Element] = ()
    text: str = ""
    """Characters between its tags, without those of children and without space at both ends."""

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.file}, line {self.line}"

    def all(self, tag: str) -> Iterator[Element]:
        """The children of a tag."""
        return (child for child in self.children if child.tag == tag)

    def walk(self) -> Iterator[Element]:
        """Itself and all below, in the order of the file."""
        waiting = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting.extend(reversed(element.children))

    def error(self, message: str) -> TopologyError:
        """An error that names the file and line."""
        return TopologyError(f"{self.where}: {message}")

    def needed(self, name: str) -> str:
        """An attribute that must be there. Raises `TopologyError`."""
        try:
            return self.attributes[name]
        except KeyError:
            raise self.error(f"<{self.tag}> has no {name}; expected one") from None

    def whole(self, name: str, low: int, absent: int | None = None) -> int:
        """An attribute that is a whole number of at least `low`; where it is missing or empty `absent`, if given.

        Raises `TopologyError`.
        """
        text = self.attributes.get(name, "") if absent is not None else self.needed(name)
        if absent is not None and not text:
            return absent
        return whole_number(text, self.where, f"<{self.tag}> has {name}", low)


def root_tag(text: str) -> str | None:
    """The tag of the root element, from the beginning of a text alone; None where that is not XML."""
    at = 0
    while part := _PROLOGUE.match(text, at):
        at = part.end()
    found = _ROOT.match(text, at)
    return found[1] if found else None


def read_xml(text: str, where: str) -> Element:
    """The root element of a document.

    A document type may be declared, and is not looked at. Raises `TopologyError` for what is not well formed, for
    entities and external references, and for more than `DEEPEST` levels or `MOST_ELEMENTS` elements.
    """
    from xml.sax import SAXException, SAXParseException

    from defusedxml.common import DefusedXmlException
    from defusedxml.expatreader import DefusedExpatParser

    # Only an entity can refer to something outside, but for the document type, which is skipped by these features.
    parser = DefusedExpatParser(forbid_dtd=False, forbid_entities=True, forbid_external=False)
    parser.setFeature(feature_external_ges, False)
    parser.setFeature(feature_external_pes, False)
    builder = _Builder(where)
    parser.setContentHandler(builder)
    source = InputSource()
    source.setByteStream(BytesIO(text.encode("utf-8", "surrogatepass")))
    source.setEncoding("utf-8")  # whatever the document says: it is a text by now
    try:
        parser.parse(source)
    except DefusedXmlException as error:
        name = getattr(error, "name", "?")
        raise TopologyError(f"{where}, line {builder.line()}: an entity {name!r}; expected XML without any") from None
    except SAXParseException as error:
        raise TopologyError(f"{where}, line {error.getLineNumber()}: {error.getMessage()}; expected XML") from None
    except (SAXException, UnicodeError) as error:
        raise TopologyError(f"{where}: {error}; expected XML") from None
    assert builder.root is not None  # expat refuses a document without an element
    return builder.root


class _Builder(ContentHandler):
    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where
        self._open: list[tuple[Element, list[Element], list[str]]] = []
        """Elements whose end is to come, each with its children and the pieces of its text so far."""
        self._count = 0
        self._locator: Locator | None = None
        self.root: Element | None = None

    def setDocumentLocator(self, locator: Locator) -> None:  # noqa: N802 # the name is that of SAX
        self._locator = locator

    def line(self) -> int:
        return (self._locator.getLineNumber() or 1) if self._locator else 1

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 # the name is that of SAX
        line = self.line()
        element = Element(name, dict(attrs.items()) if attrs else _NO_ATTRIBUTES, line, self._where)
        self._count += 1
        if len(self._open) >= DEEPEST:
            raise element.error(f"elements inside one another {DEEPEST + 1} deep; expected at most {DEEPEST}")
        if self._count > MOST_ELEMENTS:
            raise element.error(f"more than {MOST_ELEMENTS} elements; expected at most that")
        if self._open:
            self._open[-1][1].append(element)
        else:
            self.root = element
        self._open.append((element, [], []))

    def endElement(self, name: str) -> None:  # noqa: N802 # the name is that of SAX
        element, children, text = self._open.pop()
        element.children = children or ()
        element.text = "".join(text).strip()

    def skippedEntity(self, name: str) -> None:  # noqa: N802 # the name is that of SAX
        raise TopologyError(f"{self._where}, line {self.line()}: an entity {name!r}; expected XML without any")

    def characters(self, content: str) -> None:
        self._open[-1][2].append(content)
