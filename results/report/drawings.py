"""Pictures of schedules: SVG that comes from outside this floor, checked before it becomes a part of the page.

A page takes SVG as it is, so that the picture has the page's colours and its text can be read and found. Only what can
draw is let in; no script, link, foreign element or reference gets through, and a picture that is no XML cannot break
the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from xml.etree import ElementTree

_SPACE = "{http://www.w3.org/2000/svg}"
_ELEMENTS = frozenset({
    "svg", "g", "title", "desc", "style", "text", "tspan", "rect", "line", "circle", "ellipse", "path", "polygon",
    "polyline",
})  # fmt: skip
_ATTRIBUTES = frozenset({
    "class", "role", "width", "height", "viewBox", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry", "d",
    "points", "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity",
    "transform", "text-anchor", "dominant-baseline", "font-size", "font-weight", "font-family",
})  # fmt: skip
_LARGEST_CHARACTERS = 8_000_000


class DrawingRefusedError(ValueError):
    """A picture that may not become a part of the page; the message names it and what was found."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture with its name; `svg` is safe to stand in a page."""

    anchor: str
    name: str
    svg: str


def drawings(pictures: Mapping[str, str], anchor: str) -> list[Drawing]:
    """Pictures by name as parts of a page. Raises `DrawingRefusedError`."""
    return [Drawing(f"{anchor}-{i}", name, _checked(name, svg)) for i, (name, svg) in enumerate(pictures.items())]


def _checked(name: str, svg: str) -> str:
    """The picture written anew from what was let in, so that nothing else can be in it."""
    if len(svg) > _LARGEST_CHARACTERS:
        raise DrawingRefusedError(f"picture {name!r}: {len(svg)} characters; expected at most {_LARGEST_CHARACTERS}")
    if "<!" in svg:  # so there is no entity either that could grow without end
        raise DrawingRefusedError(f"picture {name!r}: it has a declaration or a comment; expected elements only")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise DrawingRefusedError(f"picture {name!r}: no XML: {error}") from error
    if root.tag != f"{_SPACE}svg":
        raise DrawingRefusedError(f"picture {name!r}: its root is {root.tag!r}; expected svg")
    for element in root.iter():
        tag = element.tag.removeprefix(_SPACE)
        if tag not in _ELEMENTS:
            raise DrawingRefusedError(f"picture {name!r}: element {element.tag!r}; expected one of those that draw")
        unknown = set(element.attrib) - _ATTRIBUTES
        if unknown:
            raise DrawingRefusedError(f"picture {name!r}: attribute {min(unknown)!r} of {tag}; expected none such")
        # Some readers of HTML take the text of a style as it is, without entities: nothing in it may end it, or load.
        text = element.text or ""
        if tag == "style" and any(part in text.lower() for part in ("<", "&", "@import", "url(")):
            raise DrawingRefusedError(f"picture {name!r}: a style that ends itself or loads something")
        if any("url(" in value.lower() for value in element.attrib.values()):
            raise DrawingRefusedError(f"picture {name!r}: a reference in an attribute of {tag}")
        element.tag = tag
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
