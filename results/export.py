"""Measurements as files for other programs: CSV, Parquet, JSON lines; the columns are the fields of `Measurement`.

Seconds, bytes, bytes/s and flop/s, as inside. Nothing is ever half written: the file appears when it is complete.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from pandas import DataFrame

Format = Literal["csv", "parquet", "jsonl"]
FORMATS: tuple[Format, ...] = ("csv", "parquet", "jsonl")
NCCL_JSON = "nccl-json"
"""What the format of `nccl_json` is called, which is a file a test and not one of rows."""


class ExportError(OSError):
    """A file that cannot be written."""

    exit_code: ClassVar[int] = 2


def export_frame(frame: DataFrame, path: Path, file_format: Format) -> None:
    """Write a frame of measurements (see `Store.frame`). What is missing is empty in CSV and null elsewhere.

    Infinity is null in JSON lines, which have none.
    Raises `ExportError` where the file cannot be written.
    """
    plain = frame.reset_index(drop=True)

    def write(temporary: Path) -> None:
        if file_format == "csv":
            plain.to_csv(temporary, index=False)
        elif file_format == "parquet":
            plain.to_parquet(temporary, index=False)
        else:
            _write_json_lines(plain, temporary)

    write_whole(path, write)


def _write_json_lines(frame: DataFrame, path: Path) -> None:
    """One object a row, floats with all their digits, which pandas' own writer cuts."""
    values = frame.astype(object).where(frame.notna() & ~frame.isin([math.inf, -math.inf]), None)
    with path.open("w", encoding="utf-8") as file:
        for row in values.itertuples(index=False, name=None):
            named = dict(zip(frame.columns, row, strict=True))
            file.write(json.dumps(named, ensure_ascii=False, allow_nan=False) + "\n")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, and give it that name. Raises `ExportError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(descriptor)
        temporary = Path(name)
        try:
            write(temporary)
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"{path}: cannot write: {error.strerror or error}") from error
