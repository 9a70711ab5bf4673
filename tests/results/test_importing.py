"""What holds for every importer that is discovered: it knows its files, damaged or not, and takes what is whole."""

from __future__ import annotations

import io
import os
import threading
import tracemalloc
from pathlib import Path

import importer_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.results import importing
from clusterbench.results.importing import (
    LONGEST_LINE,
    Imported,
    ImportedFileError,
    Source,
    import_file,
    known_importers,
    recognised,
)
from clusterbench.results.journal import read_journal, write_journal

KNOWN = known_importers()
LOGS = [name for name, importer in KNOWN.items() if importer.form == "log"]
EXAMPLES = importer_files.EXAMPLES
NOISE = "node0:12:34 [0] NCCL INFO Channel 00/24 : 0 1 2 3"


def source(text: str | bytes, ranks: int | None = None) -> Source:
    return Source("a.log", io.BytesIO(text.encode() if isinstance(text, str) else text), ranks)


def figures(found: Imported) -> list[tuple[object, ...]]:
    return [(row.name, row.size_bytes, row.ranks, row.placement, row.median_s, row.wrong) for row in found.measurements]


def test_every_importer_has_an_example_and_says_where_its_format_was_read() -> None:
    assert set(EXAMPLES) == set(KNOWN)
    assert all(importer.name == name and importer.summary and importer.source for name, importer in KNOWN.items())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_is_recognised_by_its_own_importer_and_read_to_its_end(name: str) -> None:
    assert recognised(source(EXAMPLES[name]), KNOWN.values()).name == name
    found = KNOWN[name].read(source(EXAMPLES[name]))
    assert found.run.failures == ()
    assert found.run.status == "finished"
    assert len(found.measurements) == len(found.samples) > 1
    for row in found.measurements:
        assert (row.origin, row.evidence, row.run_id) == ("imported", "measured", found.run.run_id)
        assert row.median_s is not None
        assert row.median_s > 0
        assert row.sample_unit


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "latin-1"])
def test_a_file_in_another_encoding_gives_the_same_rows(name: str, encoding: str) -> None:
    raw = EXAMPLES[name].encode(encoding)
    assert recognised(source(raw), KNOWN.values()).name == name
    assert figures(KNOWN[name].read(source(raw))) == figures(KNOWN[name].read(source(EXAMPLES[name])))


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_noise_between_the_lines_of_a_log_changes_nothing(name: str, end: str) -> None:
    lines = [
        piece for line in EXAMPLES[name].splitlines() for piece in (NOISE, "x" * (LONGEST_LINE + 1), "\xff\0", line)
    ]
    raw = (end.join(lines) + end).encode("latin-1")
    assert recognised(source(raw), KNOWN.values()).name == name
    found = KNOWN[name].read(source(raw))
    assert figures(found) == figures(KNOWN[name].read(source(EXAMPLES[name])))
    assert found.run.failures == ()


@pytest.mark.parametrize(
    "prefix",
    [
        "[1,0]<stdout>:", "0: ", "[0] ", "node01: ", "(head, rank=0, pid=3808) [1,0]<stdout>:", "pod-x launcher ",
        "2026-03-01T10:00:{i:02d}.{i:09d}Z ", "[pod/x/launcher] 2026-03-01T10:00:{i:02d}.5+01:00 ", "[10:00:{i:02d}] ",
        "Sun Mar  1 10:00:{i:02d} 2026[1,0]<stdout>:", "Mar 01 10:00:{i:02d} node01 slurmd[12]: ",
        "17000000{i:02d}.123 ", "2026-03-01 10:00:{i:02d},{i:03d} INFO nccl: ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", LOGS)
def test_what_stands_before_every_line_is_taken_off(name: str, prefix: str) -> None:
    text = "".join(f"{prefix.format(i=i % 60)}{line}\n" for i, line in enumerate(EXAMPLES[name].splitlines()))
    assert recognised(source(text), KNOWN.values()).name == name
    found, plain = KNOWN[name].read(source(text)), KNOWN[name].read(source(EXAMPLES[name]))
    assert [row.as_row() | {"run_id": ""} for row in found.measurements] == [
        row.as_row() | {"run_id": ""} for row in plain.measurements
    ]
    assert found.run.failures == ()


@pytest.mark.parametrize("damage", ["\0", "\ufffd", "WARN: 12 GB "])
@pytest.mark.parametrize(
    ("name", "row", "at"), [("nccl-tests", "    33554432 ", 6), ("osu", "1048576      ", 0), ("imb", " 4194304  ", 0)]
)
def test_a_row_that_is_damaged_or_behind_noise_is_named_by_its_line(name: str, row: str, at: int, damage: str) -> None:
    text = EXAMPLES[name]
    place = text.index(row) + at
    lost = text[:place] + damage + text[place:]
    number = text.count("\n", 0, place) + 1
    found = KNOWN[name].read(source(lost))
    assert len(found.measurements) < len(KNOWN[name].read(source(text)).measurements)
    assert any(failure.startswith(f"line {number}: ") for failure in found.run.failures)


@pytest.mark.parametrize("name", EXAMPLES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_of_a_file_that_was_cut_off_whole_rows_are_taken_and_none_is_made_up(name: str, data: st.DataObject) -> None:
    text = EXAMPLES[name]
    cut = data.draw(st.integers(0, len(text)))
    whole = figures(KNOWN[name].read(source(text)))
    try:
        found = KNOWN[name].read(source(text[:cut], ranks=8))
    except ImportedFileError as error:
        assert str(error).startswith("a.log")  # noqa: PT017 # there may be rows, and then there is no error
        return
    taken = figures(found)
    assert [row[:-1] for row in taken] == [row[:-1] for row in whole[: len(taken)]]
    # OSU's tables have no end that could be missing.
    assert len(taken) == len(whole) or found.run.failures or name == "osu"


@pytest.mark.parametrize("name", EXAMPLES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_makes_no_importer_fail_in_another_way_than_it_says(name: str, data: st.DataObject) -> None:
    pieces = EXAMPLES[name].splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(pieces) - 1))
        pieces[place] = data.draw(st.sampled_from([
            "", pieces[place] * 2, pieces[place][: len(pieces[place]) // 2] + "\n", pieces[place].replace("0", "-"),
            pieces[place].replace("1", "9" * 25), pieces[place].replace(".", " "), pieces[place].replace(":", "[["),
            data.draw(st.text(max_size=40)) + "\n", pieces[data.draw(st.integers(0, len(pieces) - 1))],
        ]))  # fmt: skip
    try:
        found = KNOWN[name].read(source("".join(pieces), ranks=data.draw(st.sampled_from([None, 1, 8]))))
    except ImportedFileError:
        return
    assert len(found.measurements) == len(found.samples) > 0
    assert all(row.median_s and row.median_s > 0 and row.ranks >= 1 for row in found.measurements)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_was_imported_goes_through_a_journal_and_is_the_same_when_imported_again(
    name: str, tmp_path: Path
) -> None:
    found = KNOWN[name].read(source(EXAMPLES[name]))
    assert KNOWN[name].read(source(EXAMPLES[name])).run == found.run
    assert KNOWN[name].read(source(EXAMPLES[name] + "\n")).run.run_id != found.run.run_id
    path = write_journal(tmp_path, found.run, zip(found.measurements, found.samples, strict=True))
    back = read_journal(path)
    assert (back.run, back.measurements, back.damaged_lines) == (found.run, found.measurements, ())
    first = path.read_bytes()
    assert write_journal(tmp_path, found.run, zip(found.measurements, found.samples, strict=True)).read_bytes() == first


def test_a_log_of_several_tools_is_refused_with_the_lines_of_each() -> None:
    with pytest.raises(
        ImportedFileError, match=r"several tools, imb \(line 14\) and osu \(line \d+\); expected --importer"
    ):
        recognised(source(importer_files.IMB + importer_files.OSU), KNOWN.values())


def test_files_that_cannot_be_imported_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportedFileError, match=r"none\.log: No such file"):
        import_file(tmp_path / "none.log")
    with pytest.raises(ImportedFileError, match="Is a directory"):
        import_file(tmp_path)
    (tmp_path / "other.log").write_bytes(b"\x7fELF\x00\xff\xfe")
    with pytest.raises(
        ImportedFileError, match=r"other\.log: the output of no known tool; expected one of imb, nccl-tests"
    ):
        import_file(tmp_path / "other.log")
    with pytest.raises(ImportedFileError, match="unknown importer 'excel'"):
        import_file(tmp_path / "other.log", "excel")
    (tmp_path / "large.json").write_text(importer_files.NCCL_TESTS_JSON)
    monkeypatch.setattr(importing, "MOST_BYTES", 700)
    with pytest.raises(ImportedFileError, match="over 700 bytes"):
        import_file(tmp_path / "large.json")


def test_a_run_that_failed_before_its_first_row_is_refused_with_its_own_words(tmp_path: Path) -> None:
    lines = importer_files.NCCL_TESTS.splitlines()[:12]
    (tmp_path / "a.log").write_text("\n".join([*lines, "node0: Test NCCL failure alltoall.cu:274 'remote process'"]))
    with pytest.raises(ImportedFileError, match=r"no result in it: line 13: node0: Test NCCL failure"):
        import_file(tmp_path / "a.log")


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(importer_files.IMB,))
    writer.start()
    found = import_file(pipe)
    writer.join()
    assert figures(found) == figures(KNOWN["imb"].read(source(importer_files.IMB)))


def test_a_file_that_does_not_say_when_it_ran_ran_when_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(importer_files.NCCL_TESTS)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert import_file(path).run.started_at == "2023-11-14T22:13:20+00:00"
    path.write_text(importer_files.IMB)
    assert import_file(path).run.started_at == "2022-03-01T12:00:00"


@pytest.mark.parametrize("name", LOGS)
def test_a_long_log_of_noise_is_read_in_bounded_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(importing, "MOST_BYTES", 1 << 18)
    path = tmp_path / "long.log"
    noise = (f"{NOISE}\n" * 2000).encode() + b"y" * 300_000 + b"\n"
    with path.open("wb") as file:
        for line in EXAMPLES[name].splitlines():
            file.write(noise[: 150_000 if line.startswith("#") else 420_000])
            file.write(b"\n" + line.encode() + b"\n")
    assert path.stat().st_size > 3_000_000
    tracemalloc.start()
    found = import_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert figures(found) == figures(KNOWN[name].read(source(EXAMPLES[name])))
    assert peak < 2_500_000
