"""Files in TOML that a command is given: what is refused in all of them alike, and in which words."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

LARGEST_BYTES = 1 << 20


def read_toml(path: Path, expected: str, error: type[ValueError]) -> dict[str, Any]:
    """What a file says; `expected` is in words what it should be. Raises `error`."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as refused:
        raise error(f"{path}: cannot read it: {refused.strerror or refused}") from refused
    if len(content) > LARGEST_BYTES:
        raise error(f"{path}: more than {LARGEST_BYTES >> 20} MiB; expected {expected}")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as refused:  # of tomllib, of UTF-8, or an integer of thousands of digits
        raise error(f"{path}: no TOML: {str(refused)[:200] or 'nested too deeply'}") from refused


def unknown_key(keys: Iterable[str], known: Sequence[str]) -> str:
    """The first key that is not known, in words, with the nearest that is; empty where all are known."""
    for key in keys:
        if key not in known:
            (nearest,) = difflib.get_close_matches(key, known, 1, 0.0)
            return f"unknown key {key[:60]!r}; the nearest known one is {nearest!r}"
    return ""
