"""A folder of one file each: what is found, and that a file which is not what it should be is named."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from clusterbench.collectives.catalogue import entries
from clusterbench.collectives.topology.fabric import Fabric

GOOD = """
from clusterbench.collectives.topology.fabric import Fabric
FABRIC = Fabric(name="{name}", summary="", source="", build=print)
"""


def found(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> dict[str, Fabric]:
    package = folder / "folder_of_fabrics"
    package.mkdir()
    for name, text in {"__init__": "", **files}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    for name in ("folder_of_fabrics", *(f"folder_of_fabrics.{file}" for file in files)):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return entries(importlib.import_module("folder_of_fabrics"), "FABRIC", Fabric)


def test_every_file_is_found_but_those_that_begin_with_an_underscore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"b_ring": GOOD.format(name="b-ring"), "a": GOOD.format(name="a"), "_helper": "X = 1"}
    assert list(found(tmp_path, monkeypatch, **files)) == ["a", "b-ring"]


@pytest.mark.parametrize("text", ["X = 1", "FABRIC = 3", GOOD.format(name="other")])
def test_a_file_that_holds_something_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with pytest.raises(ImportError, match=r"wrong\.py: expected a constant FABRIC of type Fabric, named like the file"):
        found(tmp_path, monkeypatch, wrong=text)
