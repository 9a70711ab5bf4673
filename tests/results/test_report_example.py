"""The documented way from the store to a plot."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clusterbench.results.store import Store

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "report.md"


def test_five_lines_lead_from_the_store_to_a_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synthetic: Callable[..., Any]
) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert len([line for line in example.splitlines() if line]) == 5
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clusterbench-out").mkdir()
    maker = synthetic()
    with Store.open("sqlite:///clusterbench-out/results.db") as store:
        store.load(maker.write(tmp_path))
    names: dict[str, Any] = {}
    exec(example, names)  # of our own documentation
    expected = {
        (row.size_bytes, row.algorithm): row.busbw / 1e9
        for row, _ in maker.collectives()
        if row.placement == "out_of_place"
    }
    assert names["table"].stack().to_dict() == pytest.approx(expected)
    assert (tmp_path / "all_reduce.png").read_bytes().startswith(b"\x89PNG")
