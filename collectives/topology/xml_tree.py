"""Reads XML that nobody vouches for: no entities, nothing fetched, limits of size and depth, and a line for errors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING
from xml.sax.handler import ContentHandler, feature_external_ges, feature_external_pes
from xml.sax.xmlreader import AttributesImpl, InputSource, Locator

from clusterbench.collectives.topology.graph import TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 256
"""Levels of elements: a machine's tree has some twenty."""
MOST_ELEMENTS = 4_000_000

_PROLOGUE = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>)", re.DOTALL)
_ROOT = re.compile(r"\s*<([A-Za-z_][\w.-]*)")


@dataclass(slots=True)
class Element:
    """One element: its attributes as text, its children in order, the line on which it begins."""

    tag: str
    attributes: dict[str, str]
    line: int
    where: str
    """File and line, for messages."""
    children: list[Element] = field(default_factory=list)
    text: str = ""
    """Characters between its tags, without those of children."""

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
        self._open: list[Element] = []
        self._count = 0
        self._locator: Locator | None = None
        self.root: Element | None = None

    def setDocumentLocator(self, locator: Locator) -> None:  # noqa: N802 # the name is that of SAX
        self._locator = locator

    def line(self) -> int:
        return (self._locator.getLineNumber() or 1) if self._locator else 1

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 # the name is that of SAX
        line = self.line()
        element = Element(name, dict(attrs.items()), line, f"{self._where}, line {line}")
        self._count += 1
        if len(self._open) >= DEEPEST:
            raise element.error(f"elements inside one another {DEEPEST + 1} deep; expected at most {DEEPEST}")
        if self._count > MOST_ELEMENTS:
            raise element.error(f"more than {MOST_ELEMENTS} elements; expected at most that")
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def endElement(self, name: str) -> None:  # noqa: N802 # the name is that of SAX
        self._open.pop()

    def skippedEntity(self, name: str) -> None:  # noqa: N802 # the name is that of SAX
        raise TopologyError(f"{self._where}, line {self.line()}: an entity {name!r}; expected XML without any")

    def characters(self, content: str) -> None:
        self._open[-1].text += content
