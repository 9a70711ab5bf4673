"""Exported files hold what the store holds, and are whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clusterbench.results.columns import to_frame, typed
from clusterbench.results.export import FORMATS, ExportError, Format, export_frame, write_whole

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "csv": lambda path: pd.read_csv(path, keep_default_na=False, na_values={}, dtype=str),
    "parquet": pd.read_parquet,
    "jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
}


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_gives_back_the_frame(tmp_path: Path, synthetic: Callable[..., Any], file_format: Format) -> None:
    frame = to_frame(row for row, _ in synthetic().kernels() + synthetic().collectives())
    path = tmp_path / "folder" / f"rows.{file_format}"
    export_frame(frame, path, file_format)
    read = READERS[file_format](path)
    if file_format == "csv":
        optional = [name for name in frame.columns if frame[name].dtype not in ("str", "int64")]
        read[optional] = read[optional].replace("", None)
    pd.testing.assert_frame_equal(typed(read), frame, rtol=1e-14)


def test_text_from_outside_stays_one_cell(tmp_path: Path, synthetic: Callable[..., Any]) -> None:
    hostile = 'a,"b"\nc;\té'
    row, _ = synthetic().row(suite="kernels", name="copy", note=hostile)
    export_frame(to_frame([row]), tmp_path / "x.csv", "csv")
    assert pd.read_csv(tmp_path / "x.csv")["note"].tolist() == [hostile]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, synthetic: Callable[..., Any]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"file/x\.csv: cannot write") as caught:
        export_frame(to_frame([]), tmp_path / "file" / "x.csv", "csv")
    assert caught.value.exit_code == 2


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ExportError, match="No space left"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
