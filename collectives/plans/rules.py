"""What files of rules have in common: how they are read and refused."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

MOST_FILE_BYTES = 16 << 20


class RulesError(ValueError):
    """A file of rules that a library could not load as it is meant: the message names file and line."""

    exit_code: ClassVar[int] = 2


def read_text(path: Path | str) -> str:
    """The text of a file of rules. Raises `RulesError`."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise RulesError(f"{path}: {error.strerror or error}") from None
    if len(data) > MOST_FILE_BYTES:
        raise RulesError(f"{path}: longer than {MOST_FILE_BYTES} bytes, the most that is read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RulesError(f"{path}: byte {error.start}: {error.reason}; expected a text in UTF-8") from None


def write_text(path: Path | str, text: str) -> None:
    """Write a file of rules. Raises `RulesError`."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RulesError(f"{path}: {error.strerror or error}") from None
