"""Every schedule as MSCCL XML and back: proven, and the same to the bit; and which format a file is of."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import plans
import pytest
from collective_cases import named, roots, schedule_of, some_inputs, variants
from hypothesis import given, settings
from hypothesis import strategies as st
from program_runner import run_schedule

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.collective import COLLECTIVES, Collective
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.plans import files, msccl_writer
from clusterbench.collectives.plans.msccl_writer import xml_of
from clusterbench.collectives.plans.msccl_xml import NAMES, read_plan
from clusterbench.collectives.plans.order import order_of
from clusterbench.collectives.plans.plan import PlanError
from clusterbench.collectives.plans.scheduling import schedule_of as schedule_of_plan
from clusterbench.collectives.proof import prove
from clusterbench.collectives.schedule import Schedule, ScheduleError, phase
from clusterbench.collectives.schedule_file import ScheduleFileError, write_schedule

COUNT = 37
SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.cost if name in NAMES.values()]
every_algorithm = pytest.mark.parametrize(
    ("algorithm", "what"), SERVED, ids=[f"{what.name}-{a.name}" for a, what in SERVED]
)


def back(schedule: Schedule) -> Schedule:
    """A schedule through a plan, whose collective is the same, and whose results are, to the bit."""
    plan = read_plan(xml_of(schedule, "written"), "written.xml")
    order_of(plan, slots=2)  # no send waits for a full channel for ever
    read = schedule_of_plan(plan)
    assert (read.collective, read.ranks, read.chunks) == (schedule.collective, schedule.ranks, schedule.chunks)
    assert read.root == schedule.root
    assert prove(read).chunks_moved == prove(schedule, programs=False).chunks_moved
    inputs = some_inputs(schedule.collective, schedule.ranks, COUNT, schedule.root, np.float32)
    for in_place in (False, True):
        ours, theirs = (run_schedule(each, inputs, COUNT, in_place=in_place) for each in (schedule, read))
        assert [mine.tobytes() for mine in ours] == [mine.tobytes() for mine in theirs]
    return read


def tried(algorithm: Algorithm, what: Collective, ranks: int) -> None:
    if algorithm.refusal(what, ranks) is None:
        for options in variants(algorithm, ranks):
            for root in roots(what, ranks):
                with named(options=options, root=root):
                    back(schedule_of(algorithm, what, ranks, root, options))


@every_algorithm
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_every_algorithm_written_and_read_computes_the_same_to_the_bit(
    algorithm: Algorithm, what: Collective, ranks: int
) -> None:
    tried(algorithm, what, ranks)


@pytest.mark.slow
@every_algorithm
@pytest.mark.parametrize("ranks", [3, 4, 6, 7, 8])
def test_so_it_does_for_more_ranks(algorithm: Algorithm, what: Collective, ranks: int) -> None:
    tried(algorithm, what, ranks)


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "reduce_scatter"])
def test_a_ring_costs_no_more_than_before(name: str) -> None:
    ring = algorithms()["ring"].schedule(Call(COLLECTIVES[name], 4))
    read = back(ring)
    assert (prove(read), read.scratch_chunks) == (prove(ring), 0)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_copies_and_sums_inside_a_rank_are_kept(data: st.DataObject) -> None:
    """Scratch that is shuffled, exchanged and added up in any order, and at the end an all-gather."""
    chunk = st.integers(2, 4)
    rounds = [phase(src=[0, 1], chunk=[0, 1], dst=[0, 1], dst_chunk=2, count=1, modulus=5)]
    rounds += [phase(src=[0, 0, 1, 1], chunk=[0, 0, 1, 1], dst=[0, 0, 1, 1], dst_chunk=[3, 4, 3, 4], modulus=5)]
    for _ in range(data.draw(st.integers(0, 5))):
        targets = data.draw(st.lists(st.tuples(st.integers(0, 1), chunk), min_size=1, max_size=4, unique=True))
        sources = [(data.draw(st.integers(0, 1)), data.draw(chunk)) for _ in targets]
        rounds.append(
            phase(
                src=[rank for rank, _ in sources], chunk=[at for _, at in sources],
                dst=[rank for rank, _ in targets], dst_chunk=[at for _, at in targets], modulus=5,
            )
        )  # fmt: skip
    rounds.append(phase(src=[0, 1], chunk=[0, 1], dst=[1, 0], modulus=5))
    back(Schedule(COLLECTIVES["all_gather"], 2, 2, rounds.copy, 3))


def test_what_is_written_keeps_the_limits_of_msccl() -> None:
    many = algorithms()["chain"].schedule(Call(COLLECTIVES["broadcast"], 3, 0, options={"segments": "1000"}))
    wide = algorithms()["direct"].schedule(Call(COLLECTIVES["broadcast"], 35, 0))
    texts = [xml_of(many, "many"), xml_of(wide, "wide")]
    for text in texts:
        prove(schedule_of_plan(read_plan(text, "limits.xml")), programs=False)
        assert all(int(count) < 72 for count in re.findall(r'cnt="(\d+)"', text))
        for gpu in text.split("<gpu")[1:]:
            blocks = gpu.split("<tb")[1:]
            assert len(blocks) <= 216
            assert all(block.count("<step") <= 256 for block in blocks)
            channels = [re.search(r'send="(-?\d+)" recv="(-?\d+)" chan="(\d+)"', block) for block in blocks]
            ends = [(found[3], found[1] != "-1", found[2] != "-1") for found in channels if found]
            assert len(ends) == len(blocks)
            assert max(Counter(ends).values()) <= 32
    assert 'chan="3"' in texts[0]
    assert 'chan="1"' in texts[1]


@pytest.mark.parametrize(
    ("collective", "complaint"),
    [
        ("scatter", "MSCCL has no scatter; it has all_reduce"),
        ("all_to_all_v", "MSCCL has no all_to_all_v"),
        ("all_to_all", "rank 0 needs more than 5 thread blocks, the most of MSCCL"),
    ],
)
def test_what_msccl_cannot_take_is_refused(collective: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msccl_writer, "MOST_BLOCKS", 5)
    what = COLLECTIVES[collective]
    schedule = algorithms()["direct"].schedule(Call(what, 4, 0 if what.is_rooted else -1))
    with pytest.raises(ScheduleError, match=complaint):
        xml_of(schedule, "refused")


def test_more_steps_than_channels_have_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msccl_writer, "MOST_CHANNELS", 2)
    many = algorithms()["chain"].schedule(Call(COLLECTIVES["broadcast"], 3, 0, options={"segments": "400"}))
    with pytest.raises(ScheduleError, match="rank 0 sends rank 1 more than 2 channels can take"):
        xml_of(many, "many")


def test_a_file_is_what_its_content_says(tmp_path: Path) -> None:
    ring = algorithms()["ring"].schedule(Call(COLLECTIVES["all_reduce"], 3))
    json, xml = tmp_path / "plan.xml", tmp_path / "plan.json"
    write_schedule(ring, json, "ours")
    xml.write_text("\n" + plans.ring(3))
    for path, name in ((json, "ours"), (xml, "made-up")):
        found, schedule = files.read_named_schedule(path)
        assert (found, prove(schedule)) == (name, prove(ring))


def test_a_name_that_ends_in_xml_is_written_as_such(tmp_path: Path) -> None:
    ring = algorithms()["ring"].schedule(Call(COLLECTIVES["all_reduce"], 3))
    for name, begins in (("a.xml", '<algo name="ring"'), ("a.json", "{")):
        files.write_schedule(ring, tmp_path / name, "ring")
        assert (tmp_path / name).read_text().startswith(begins)
        assert files.read_named_schedule(tmp_path / name)[0] == "ring"


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScheduleFileError, match=r"nowhere\.xml: No such file or directory"):
        files.read_schedule(tmp_path / "nowhere.xml")
    ring = algorithms()["ring"].schedule(Call(COLLECTIVES["all_reduce"], 3))
    with pytest.raises(ScheduleFileError, match="No such file or directory"):
        files.write_schedule(ring, tmp_path / "no" / "a.xml", "ring")
    with pytest.raises(ScheduleFileError, match=r"a\.xml: MSCCL has no scatter"):
        files.write_schedule(
            algorithms()["binomial"].schedule(Call(COLLECTIVES["scatter"], 3, 0)), tmp_path / "a.xml", "binomial"
        )
    (tmp_path / "bytes").write_bytes(b"<algo\xff")
    with pytest.raises(PlanError, match="byte 5: invalid start byte; expected XML in UTF-8"):
        files.read_schedule(tmp_path / "bytes")
    monkeypatch.setattr(files, "MOST_FILE_BYTES", 100)
    (tmp_path / "long").write_text(plans.ring(3))
    with pytest.raises(PlanError, match="longer than 100 bytes"):
        files.read_schedule(tmp_path / "long")
