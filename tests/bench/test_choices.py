"""What is chosen from measured rows, and the table that keeps it: written, read, added to, and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.bench.emulation import runtime
from clusterbench.bench.measuring.choices import Cell, Entry, chosen_cells, contenders
from clusterbench.bench.tables.choice_table import (
    ChoiceTableError,
    default_path,
    fingerprint,
    own_table,
    read_table,
    write_entries,
)
from clusterbench.results.record import Measurement

ROUNDS = {"direct": 2, "ring": 6, "binomial": 4}
MACHINE = {"cpu": "some", "cores": 2, "caches": ["a"], "mpi": "MPICH 5"}


def row(algorithm: str, transport: str, median_s: float | None, placement: str = "out_of_place") -> Measurement:
    return Measurement(run_id="r", suite="collectives", name="all_reduce", algorithm=algorithm, transport=transport,
                       size_bytes=8, placement=placement, median_s=median_s)  # fmt: skip


def chosen(*rows: Measurement) -> Cell:
    (cell,) = chosen_cells(rows, lambda algorithm, size_bytes: ROUNDS[algorithm])
    return cell


def entry(collective: str = "all_reduce", ranks: int = 2, sizes: tuple[int, ...] = (8, 512)) -> Entry:
    cells = tuple(Cell(size, "shared", {"mpi": "ring", "shared": "direct"}, {"ring": "mpi"}) for size in sizes)
    return Entry(collective, ranks, 1, "host", cells)


def test_the_fastest_is_chosen_where_it_is_clearly_faster() -> None:
    cell = chosen(row("direct", "mpi", 2.0), row("ring", "mpi", 1.0), row("direct", "staged", 3.0),
                  row("ring", "staged", 0.5))  # fmt: skip
    assert (cell.transport, cell.best) == ("shared", {"mpi": "ring", "shared": "ring"})
    assert cell.over == {"direct": "mpi", "ring": "shared"}


def test_of_what_is_as_good_the_simplest_is_taken() -> None:
    cell = chosen(row("ring", "mpi", 1.0), row("binomial", "mpi", 1.04), row("direct", "mpi", 1.5),
                  row("ring", "shared", 0.998))  # fmt: skip
    assert cell.best == {"mpi": "binomial", "shared": "ring"}
    assert cell.transport == "mpi"
    assert cell.over["ring"] == "mpi"


def test_the_fastest_visit_counts_and_only_what_was_visited_most_can_be_best() -> None:
    visits = [row("ring", "mpi", time) for time in (3.0, 9.0, 1.1)] + [row("direct", "mpi", 2.0)] * 3
    once = row("binomial", "mpi", 0.5)  # in a good moment
    assert chosen(*visits, once).best == {"mpi": "ring"}


def test_the_best_is_so_in_both_placements_together() -> None:
    cell = chosen(row("ring", "mpi", 1.0), row("ring", "mpi", 4.0, "in_place"), row("direct", "mpi", 1.5),
                  row("direct", "mpi", 1.5, "in_place"))  # fmt: skip
    assert cell.best == {"mpi": "direct"}


def test_only_the_fastest_of_each_size_and_transport_are_visited_again() -> None:
    rows = [
        row("ring", "mpi", 1.0),
        row("direct", "mpi", 2.0),
        row("binomial", "mpi", None),
        row("ring", "staged", 9.0),
    ]
    assert contenders(rows, 2) == {(8, "mpi", "ring"), (8, "mpi", "direct"), (8, "staged", "ring")}
    assert contenders(rows, 1) == {(8, "mpi", "ring"), (8, "staged", "ring")}


def test_without_shared_memory_there_is_a_choice_over_mpi_only() -> None:
    cell = chosen(row("ring", "mpi", 1.0), row("direct", "mpi", 2.0))
    assert (cell.transport, cell.best, cell.over) == ("mpi", {"mpi": "ring"}, {"direct": "mpi", "ring": "mpi"})


def test_between_hosts_the_choice_is_of_messages_or_both() -> None:
    cell = chosen(row("direct", "mpi", 2.0), row("ring", "mpi", 1.0), row("ring", "hybrid", 0.5))
    assert (cell.transport, cell.best) == ("hybrid", {"mpi": "ring", "hybrid": "ring"})
    assert cell.over == {"direct": "mpi", "ring": "hybrid"}


def test_what_has_no_time_wins_nothing() -> None:
    assert chosen(row("ring", "mpi", 1.0), row("ring", "staged", None)).transport == "mpi"


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=6, unique=True), st.integers(1, 2**40))
def test_the_nearest_size_is_that_of_the_smallest_ratio(sizes: list[int], asked: int) -> None:
    found = entry(sizes=tuple(sorted(sizes))).nearest(asked).size_bytes
    assert all(max(found, asked) * min(size, asked) <= max(size, asked) * min(found, asked) * (1 + 1e-9)
               for size in sizes)  # fmt: skip


def test_a_table_keeps_what_others_put_there_and_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.json"
    write_entries(path, MACHINE, [entry(), entry("reduce_scatter")])
    write_entries(path, MACHINE, [entry(ranks=4)])
    write_entries(path, MACHINE, [entry(sizes=(64,))])
    table = read_table(path)
    assert table is not None
    assert {found.key for found in table.entries} == {entry().key, entry("reduce_scatter").key, entry(ranks=4).key}
    assert table.entry(*entry().key) == entry(sizes=(64,))
    assert table.entry("gather", 2, 1, "host") is None
    assert [file.name for file in path.parent.iterdir()] == ["table.json"]


def test_no_file_is_a_table_without_entries(tmp_path: Path) -> None:
    assert read_table(tmp_path / "none.json") is None
    assert own_table(tmp_path / "none.json", MACHINE).entries == ()


def test_the_table_of_another_machine_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_entries(path, MACHINE, [entry()])
    with pytest.raises(ChoiceTableError, match=r"table\.json was measured with mpi 'MPICH 5'; here it is 'Open MPI 5'"):
        write_entries(path, {**MACHINE, "mpi": "Open MPI 5"}, [entry()])
    assert own_table(path, MACHINE).entries == (entry(),)


def test_each_machine_has_its_own_file_in_the_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path(MACHINE).parent == tmp_path / "clusterbench"
    assert default_path(MACHINE) == default_path(dict(MACHINE))
    assert default_path(MACHINE) != default_path({**MACHINE, "cores": 4})
    for ignored in ("", "not/absolute"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_path(MACHINE).parent == Path.home() / ".cache" / "clusterbench"


def test_the_fingerprint_is_that_of_this_machine_and_can_be_kept() -> None:
    assert json.loads(json.dumps(fingerprint())) == fingerprint()
    assert fingerprint().keys() == {"cpu", "cores", "caches", "mpi"}


def test_an_emulated_network_has_tables_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def on(record: runtime.Record | None) -> dict[str, Any]:
        with monkeypatch.context() as patch:
            patch.setattr(runtime, "current", lambda: record)
            return fingerprint()

    record = runtime.Record(1, "single-switch:nodes=8", "/", 1e-3, 12.5e6, {"h0": 1}, (), ("late:3=5ms",))
    itself, emulated = on(None), on(record)
    assert len({default_path(found) for found in (itself, emulated, on(replace(record, rate=1e6)))}) == 3
    for written, here in ((itself, emulated), (emulated, itself)):
        path = tmp_path / str(len(written))
        write_entries(path, written, [])
        with pytest.raises(ChoiceTableError, match="was measured with emulated"):
            own_table(path, here)


def document(**changed: Any) -> dict[str, Any]:
    cell = {"size_bytes": 8, "transport": "mpi", "best": {"mpi": "ring"}, "over": {"ring": "mpi"}}
    found = {"collective": "all_reduce", "ranks": 2, "hosts": 1, "buffers": "host", "cells": [cell]}
    return {"format": "clusterbench-choices", "version": 1, "machine": MACHINE, "entries": [found], **changed}


def broken(**cell: Any) -> dict[str, Any]:
    """A document whose only cell is changed."""
    made = document()
    made["entries"][0]["cells"][0] |= cell
    return made


def test_the_document_of_these_tests_is_good_unless_it_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document()))
    assert own_table(path, MACHINE).entries[0].cells[0].best == {"mpi": "ring"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "Expecting value"),
        ("[1]", "its format is a list; expected 'clusterbench-choices'"),
        (document(format="other"), "its format is 'other'"),
        (document(version=2), "its version is 2; expected 1"),
        (document(machine=[]), "machine is []; expected an object"),
        (document(entries={}), "entries is {}; expected a list"),
        (document(entries=[3]), "entry 0: collective is None; expected a text"),
        (document(entries=[{"collective": "all"}]), "entry 0: collective is 'all'; expected one of "),
        (broken(transport="nccl"), "entry 0, cell 0: transport is 'nccl'; expected one of mpi, shared"),
        (broken(transport="shared"), "best has no algorithm over shared"),
        (broken(best={"mpi": "pairwise"}), "best over mpi is 'pairwise'; expected one of "),
        (broken(over={"ring": "x"}), "over of ring is 'x'"),
        (broken(size_bytes=0), "size_bytes is 0; expected at least 1"),
        (broken(size_bytes=True), "size_bytes is True; expected a whole number"),
    ],
)
def test_what_is_no_table_is_refused_with_file_and_finding(text: Any, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(ChoiceTableError) as refused:
        own_table(path, MACHINE)
    assert str(path) in str(refused.value)
    assert complaint in str(refused.value)
    assert refused.value.exit_code == 2


def test_bytes_and_folders_are_no_tables_either(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "b", tmp_path):
        with pytest.raises(ChoiceTableError, match=r"expected a table"):
            read_table(path)
