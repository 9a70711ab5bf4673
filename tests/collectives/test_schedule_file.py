"""Schedules as files: what is written is read again, and nothing that a file may hold does harm."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collective_cases import schedule_of, variants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterbench.collectives import schedule_file
from clusterbench.collectives.algorithm import Spec
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.proof import ProofError, prove
from clusterbench.collectives.schedule import Phase, Schedule, phase
from clusterbench.collectives.schedule_file import (
    MOST_CHUNKS,
    ScheduleFileError,
    read_named_schedule,
    read_schedule,
    write_schedule,
)

SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.collectives]
CHAIN: dict[str, Any] = {
    "format": "clusterbench-schedule", "version": 1, "name": "my-chain",
    "collective": "broadcast", "ranks": 3, "chunks": 2, "root": 0,
    "phases": [
        {"transfers": [[0, 0, 1, 0, 1, "copy"]]},
        {"transfers": [[0, 1, 1, 1, 1, "copy"], [1, 0, 2, 0, 1, "copy"]]},
        {"transfers": [[1, 1, 2, 1, 1, "copy"]]},
    ],
}  # fmt: skip
RING: dict[str, Any] = {
    "format": "clusterbench-schedule", "version": 1, "name": "ring",
    "collective": "all_reduce", "ranks": 3, "chunks": 3, "scratch_chunks": 0, "root": -1,
    "phases": [
        {
            "repetitions": 2,
            "modulus": 3,
            "transfers": [[r, (r + first) % 3, (r + 1) % 3, (r + first) % 3, 1, what, -1, 0] for r in range(3)],
        }
        for first, what in ((0, "reduce"), (1, "copy"))
    ],
}  # fmt: skip


def written(folder: Path, document: Any) -> Path:
    path = folder / "schedule.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def changed(document: dict[str, Any], place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The document with another value at a place; it may be a new key."""
    document = copy.deepcopy(document)
    holder: Any = document
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    return document


def assert_same(one: Schedule, other: Schedule) -> None:
    for name in ("collective", "ranks", "chunks", "scratch_chunks", "root"):
        assert getattr(one, name) == getattr(other, name)
    phases, others = list(one.phases()), list(other.phases())
    assert len(phases) == len(others)
    for first, second in zip(phases, others, strict=True):
        for field in fields(Phase):
            mine, its = getattr(first, field.name), getattr(second, field.name)
            np.testing.assert_array_equal(mine, its, field.name)
            assert getattr(mine, "dtype", None) == getattr(its, "dtype", None)


@pytest.mark.parametrize(("algorithm", "what"), SERVED, ids=[f"{what.name}-{a.name}" for a, what in SERVED])
def test_every_algorithm_is_read_as_it_was_written(algorithm: Any, what: Any, tmp_path: Path) -> None:
    for ranks in (max(1, algorithm.min_ranks), 6):
        for options in variants(algorithm, ranks):
            schedule = schedule_of(algorithm, what, ranks, ranks - 1 if what.is_rooted else -1, options)
            spec = str(Spec(algorithm.name, tuple(options.items())))
            write_schedule(schedule, tmp_path / "it.json", spec)
            name, read = read_named_schedule(tmp_path / "it.json")
            assert name == spec
            assert_same(read, schedule)
            assert_same(read, read)  # its phases can be had again


def test_what_the_documentation_shows_is_a_proven_schedule(tmp_path: Path) -> None:
    example = re.search(r"::\n\n(    \{.*?\n    \})\n", schedule_file.__doc__ or "", re.DOTALL)
    assert example is not None
    schedule = read_schedule(written(tmp_path, example[1]))
    assert prove(schedule).rounds == 3
    assert_same(schedule, read_schedule(written(tmp_path, CHAIN)))


def test_a_ring_written_by_hand_is_the_ring(tmp_path: Path) -> None:
    ring = schedule_of(algorithms()["ring"], COLLECTIVES["all_reduce"], 3, -1, {})
    assert_same(read_schedule(written(tmp_path, RING)), ring)


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    (first, *_) = read_schedule(written(tmp_path, CHAIN)).phases()
    assert (first.modulus, first.repetitions, first.step.tolist(), first.route.tolist()) == (2, 1, [0], [0])
    scratch = {**CHAIN, "scratch_chunks": 3}
    (first, *_) = read_schedule(written(tmp_path, scratch)).phases()
    assert first.modulus == 5


FIRST = ("phases", 0, "transfers", 0)
LATER = ("phases", 1, "transfers")
# Place, value, and what the message says.
WRONG: dict[str, tuple[tuple[str | int, ...], Any, str]] = {
    "another format": (("format",), "msccl", "found 'msccl'; expected a JSON object with the format"),
    "a later version": (("version",), 2, "version 2; this clusterbench reads version 1"),
    "a version in quotes": (("version",), "1", "version: found '1'; expected a whole number from 1"),
    "a name with markup": (("name",), "<b>", "name: found '<b>'; expected at most 100 letters, digits"),
    "a name that is none": (("name",), None, "name: found None"),
    "an unknown collective": (("collective",), "all_sum", "unknown collective 'all_sum'; expected one of all_reduce"),
    "a collective that is a list": (("collective",), ["x"], r"collective: found \['x'\]; expected a name"),
    "an unknown key": (("rank",), 3, "unknown key 'rank'; expected format, version"),
    "no ranks": (("ranks",), 0, "ranks: found 0; expected a whole number from 1"),
    "half a rank": (("ranks",), 2.5, "ranks: found 2.5; expected a whole number"),
    "a whole number as a fraction": (("ranks",), 3.0, "ranks: found 3.0; expected a whole number"),
    "true as a number": (("chunks",), True, "chunks: found True; expected a whole number"),
    "negative scratch": (("scratch_chunks",), -1, "scratch_chunks: found -1; expected a whole number from 0"),
    "a root that is not there": (("root",), 3, "root 3 of broadcast; expected a rank from 0 to 2"),
    "too many ranks": (("ranks",), 5000, "5000 ranks; at most 4096 can be handled"),
    "too many chunks": (("chunks",), 10**7, f"make 30000000 chunks in all; at most {MOST_CHUNKS}"),
    "a number beyond all": (("chunks",), 10**30, "chunks: found 1000.*000; expected a whole number from 1"),
    "phases that are no list": (("phases",), {}, "phases: found {}; expected a list"),
    "a phase that is a list": (("phases", 1), [], r"phase 1: found \[\]; expected an object"),
    "an unknown key of a phase": (("phases", 1, "repeats"), 2, "phase 1: unknown key 'repeats'; expected transfers"),
    "transfers that are no list": (("phases", 0, "transfers"), 7, "phase 0: transfers: found 7; expected a list"),
    "a transfer that is no list": ((*LATER, 1), "x", "phase 1, transfer 1: found 'x'; expected a list"),
    "a short transfer": (FIRST, [0, 0, 1], "phase 0, transfer 0: found .*expected a list .source"),
    "a long transfer": (FIRST, [0] * 9, r"phase 0, transfer 0: found \[0, 0, 0, 0, 0, 0, ...\]"),
    "an unknown operation": (
        (*LATER, 0, 5), "add", "phase 1, transfer 0: operation: found 'add'; expected \"copy\" or",
    ),
    "an operation that is a list": ((*FIRST, 5), [], r"phase 0, transfer 0: operation: found \[\]"),
    "a rank that is not there": (
        (*LATER, 1, 2), 3, "phase 1, transfer 1: destination 3; expected 0 to 2",
    ),
    "a negative rank": ((*LATER, 1, 0), -1, "phase 1, transfer 1: source -1; expected 0 to 2"),
    "a chunk that is not there": (
        (*FIRST, 1), 2, "phase 0, transfer 0: source chunk 2; expected 0 to 1",
    ),
    "chunks beyond the end": (
        (*LATER, 0, 4), 2,
        "phase 1, transfer 0: 2 chunks from source chunk 1 in repetition 0; expected chunks 0 to 1",
    ),
    "no chunks": ((*LATER, 0, 4), 0, "phase 1, transfer 0: count 0; expected 1 to 2"),
    "a rank as text": ((*FIRST, 0), "0", "phase 0, transfer 0: source: found '0'; expected a whole"),
    "a rank beyond 64 bits": ((*FIRST, 0), 1 << 70, "phase 0, transfer 0: source: found 118.*"),
    "true as a rank": ((*FIRST, 0), True, "phase 0, transfer 0: source: found True"),
    "too many rounds": (
        ("phases", 0), {"repetitions": 10**9, "transfers": []}, "phase 0: 1000000000 rounds up to here; at most 65536",
    ),
    "too much is moved": (
        ("phases", 2), {"repetitions": 50_000, "transfers": [[0, 0, 1, 0, 2, "copy"]] * 200},
        "phase 2: 20000003 chunks are moved up to here; at most 4194304",
    ),
    "a negative repetition": (("phases", 0, "repetitions"), -1, "phase 0: repetitions: found -1; expected a whole"),
    "no modulus": (("phases", 0, "modulus"), 0, "phase 0: modulus: found 0; expected a whole number from 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_value_is_refused_with_its_place(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, changed(CHAIN, *WRONG[kind][:2]))
    with pytest.raises(ScheduleFileError, match=WRONG[kind][2]) as refused:
        read_schedule(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value)) < len(str(path)) + 300
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("key", ["format", "version", "name", "collective", "ranks", "chunks", "phases"])
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    document = {name: value for name, value in CHAIN.items() if name != key}
    with pytest.raises(ScheduleFileError, match=f"{key}"):
        read_schedule(written(tmp_path, document))


def test_chunks_that_leave_the_vector_only_later_are_refused(tmp_path: Path) -> None:
    """Two chunks at a time, one on each round, round a vector of three: the third round would wrap."""
    document = changed(RING, ("phases", 0, "repetitions"), 3)
    for transfer in document["phases"][0]["transfers"]:
        transfer[:] = [transfer[0], 0, transfer[2], 0, 2, "reduce", 1]
    with pytest.raises(
        ScheduleFileError, match="phase 0, transfer 0: 2 chunks from source chunk 2 in repetition 2; exp"
    ):
        read_schedule(written(tmp_path, document))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1, column 1: not JSON: Expecting value"),
        ('{"format": "clusterbench-schedule",\n "version": }', "line 2, column 13: not JSON"),
        ('{"format": "clusterbench-schedule", "format": "x"}', "an object has the key 'format' twice"),
        ('{"format": "clusterbench-schedule", "version": NaN}', "NaN is no number of JSON"),
        ('{"version": 1' + "0" * 5000 + "}", "JSON that cannot be read"),
        ("[" * 200_000, "lists too deep inside one another"),
        ('{"a":' * 200_000, "lists too deep inside one another"),
        ("[1, 2]", r"found \[1, 2\]; expected a JSON object with the format 'clusterbench-schedule'"),
        ("null", "found None; expected a JSON object"),
        ("{}", "found 'nothing'; expected a JSON object"),
    ],
    ids=["empty", "broken", "doubled", "nan", "digits", "deep lists", "deep objects", "list", "null", "object"],
)
def test_what_is_no_schedule_at_all_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ScheduleFileError, match=complaint):
        read_schedule(written(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b'{"name": "\xff"}')
    with pytest.raises(ScheduleFileError, match="byte 10: invalid start byte; expected JSON in UTF-8"):
        read_schedule(tmp_path / "bytes")


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScheduleFileError, match=r"nowhere\.json: No such file or directory"):
        read_schedule(tmp_path / "nowhere.json")
    with pytest.raises(ScheduleFileError, match="Is a directory"):
        read_schedule(tmp_path)
    ring = schedule_of(algorithms()["ring"], COLLECTIVES["all_reduce"], 3, -1, {})
    with pytest.raises(ScheduleFileError, match="No such file or directory"):
        write_schedule(ring, tmp_path / "none" / "ring.json", "ring")


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ScheduleFileError, match="/dev/zero: longer than 67108864 bytes"):
        read_schedule("/dev/zero")


def one_phase(**changes: Any) -> Callable[[], list[Phase]]:
    return lambda: [phase(**{"src": 0, "dst": 1, "chunk": 0, "modulus": 1, **changes})]


@pytest.mark.parametrize(
    ("name", "phases", "complaint"),
    [
        ("a name", one_phase(), "name: found 'a name'"),
        ("x", one_phase(dst=2), "phase 0, transfer 0: destination 2; expected 0 to 1"),
        ("x", one_phase(repetitions=1 << 20), "phase 0: 1048576 rounds up to here"),
        ("x", one_phase(route=-1), "phase 0, transfer 0: route -1"),
    ],
)
def test_what_could_not_be_read_is_not_written(
    name: str, phases: Callable[[], list[Phase]], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ScheduleFileError, match=complaint):
        write_schedule(Schedule(COLLECTIVES["all_reduce"], 2, 1, phases), tmp_path / "x.json", name)
    assert not (tmp_path / "x.json").exists()


def places(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """All places of a document, its inner ones too."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([at] if at else []), *(place for key, one in inside for place in places(one, (*at, key)))]


LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 8) | st.integers() | st.floats() | st.sampled_from(["copy", "reduce"])
    | st.text(max_size=5) | st.sampled_from(sorted(COLLECTIVES)) | st.sampled_from([2**31, 2**63, -(2**63), 10**6])
)  # fmt: skip
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def read_or_refuse(path: Path) -> None:
    """What is read is well formed: it can be replayed, written and read again; else it is refused, and nothing else."""
    try:
        schedule = read_schedule(path)
    except ScheduleFileError:
        return
    if schedule.ranks > 100 or schedule.ranks * (schedule.chunks + schedule.scratch_chunks) > 10_000:
        return  # allowed, and too slow for a test
    if sum(part.repetitions for part in schedule.phases()) < 1000:
        with suppress(ProofError):
            prove(schedule)
    write_schedule(schedule, path, "again")
    assert_same(read_schedule(path), schedule)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_a_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    document = data.draw(st.sampled_from([CHAIN, RING]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places(document)))
        document = changed(document, place, data.draw(JSON))
    read_or_refuse(written(tmp_path, document))


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_in_a_file_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    text = json.dumps(data.draw(st.sampled_from([CHAIN, RING]))).encode()
    first = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(first, min(len(text), first + 8)))
    (tmp_path / "bytes").write_bytes(text[:first] + data.draw(st.binary(max_size=8)) + text[end:])
    read_or_refuse(tmp_path / "bytes")
