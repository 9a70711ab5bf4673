"""Values from files of other tools, which are untrusted: numbers that are some, and JSON that may have been cut off."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from clusterbench.results.importing import Failures, ImportedFileError, Source

_LARGEST = 1 << 62
_NUMBER = re.compile(r"\d{1,20}(\.\d{0,20})?(e[+-]?\d{1,2})?")
_WHOLE = re.compile(r"\d{1,18}")


def number(value: object) -> float | None:
    """A finite number from 0, of JSON or as text, or None."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
    return found if math.isfinite(found) and found >= 0 else None


def whole(value: object) -> int | None:
    """A whole number from 0, of JSON or as text, or None."""
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST else None


def listed(document: dict[str, Any], name: str) -> list[Any]:
    """A list in an object; empty where there is none."""
    found = document.get(name)
    return found if isinstance(found, list) else []


def json_document(source: Source, rows: str, failures: Failures) -> dict[str, Any]:
    """The object of a JSON file. Of one that is damaged, all before the damage, up to the last whole element of `rows`.

    `rows` is a key of the object, of a list. Raises `ImportedFileError` where there is no such element, or no object.
    """
    text = source.text()
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        document = _before_damage(text, rows)
        if document is None:
            raise ImportedFileError(f"{source.file}, line {error.lineno}: {error.msg}; expected JSON") from None
        failures.add(error.lineno, f"{error.msg}: cut off or damaged; what comes before is taken")
    except (RecursionError, ValueError) as error:
        raise ImportedFileError(f"{source.file}: {error}; expected JSON") from None
    if not isinstance(document, dict):
        raise ImportedFileError(f"{source.file}: no object; expected JSON with an object")
    return document


def _before_damage(text: str, rows: str) -> Any:
    """See `json_document`; None where no element is whole."""
    found = re.search(rf'"{rows}"\s*:\s*\[', text)
    if found is None:
        return None
    decoder = json.JSONDecoder()
    place, end = found.end(), 0
    try:
        while True:
            place = re.compile(r"[\s,]*").match(text, place).end()  # type: ignore[union-attr] # it always matches
            place = end = decoder.raw_decode(text, place)[1]
    except (RecursionError, ValueError):
        pass  # the first element that is not whole
    try:
        return json.loads(text[:end] + "]}") if end else None
    except (RecursionError, ValueError):
        return None
