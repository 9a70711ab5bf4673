"""Plans of thread blocks: what MSCCL's steps mean; what cannot end, races or goes astray is refused by its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import plans
import pytest
from collective_cases import numpy_results, some_inputs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plans import algo, block, gpu, step
from program_runner import run_schedule

from clusterbench.collectives.algorithm import Call
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.plans.msccl_writer import xml_of
from clusterbench.collectives.plans.msccl_xml import NAMES, read_plan
from clusterbench.collectives.plans.order import order_of
from clusterbench.collectives.plans.plan import Plan, PlanError, Step
from clusterbench.collectives.plans.scheduling import schedule_of
from clusterbench.collectives.proof import Proof, ProofError, prove
from clusterbench.collectives.schedule import Schedule

FILE = "plan.xml"


def read(text: str) -> Schedule:
    return schedule_of(read_plan(text, FILE))


def refused(text: str, complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint) as error:
        read(text)
    assert str(error.value).startswith(FILE)
    assert error.value.exit_code == 2


def proven(text: str) -> Proof:
    """The proof of a plan, whose programs give what NumPy does, in place and out of place."""
    schedule = read(text)
    proof = prove(schedule)
    what, ranks, count = schedule.collective, schedule.ranks, 37
    inputs = some_inputs(what, ranks, count, schedule.root)
    for in_place in (False, True):
        found = run_schedule(schedule, inputs, count, in_place=in_place)
        for mine, wanted in zip(found, numpy_results(what, inputs, count, schedule.root), strict=True):
            np.testing.assert_array_equal(mine[: len(wanted)], wanted)
    return proof


@pytest.mark.parametrize("ranks", [3, 5])
def test_a_ring_that_sends_on_as_it_receives_is_the_ring(ranks: int) -> None:
    ours = prove(algorithms()["ring"].schedule(Call(COLLECTIVES["all_reduce"], ranks)))
    assert proven(plans.ring(ranks)) == ours
    assert read(plans.ring(ranks)).scratch_chunks == 0  # what is passed on needs no place of its own


def test_a_step_waits_for_several_by_steps_that_only_wait() -> None:
    proof = proven(plans.all_pairs())
    assert (proof.chunks_moved, proof.additions) == (6, 2)
    refused(
        plans.all_pairs().replace('depid="0" deps="0"', 'depid="-1" deps="-1"', 1),
        "gpu 0, tb 4, step 3 and tb 0, step 0",
    )


def test_an_input_that_is_needed_after_its_output_is_put_aside() -> None:
    assert proven(plans.late()).chunks_moved == 2
    assert read(plans.late()).scratch_chunks == 1


def test_what_a_channel_keeps_while_its_cell_is_written_again_goes_through_scratch() -> None:
    assert proven(plans.overtaken()).chunks_moved == 3
    assert read(plans.overtaken()).scratch_chunks == 2  # that of the plan, and what the channel keeps


def test_channels_that_keep_fewer_messages_may_stop_a_plan() -> None:
    crossing = gather(block(SEND, SEND, RECEIVE, RECEIVE, send=1, recv=1), block(*ONE_TWICE, send=0, recv=0))
    assert order_of(read_plan(crossing, FILE), slots=2).sorted
    with pytest.raises(PlanError, match=r"deadlock: gpu 0, tb 0, step 1 .* waits for gpu 1"):
        order_of(read_plan(crossing, FILE), slots=1)


def test_a_plan_for_both_placements_must_hold_in_both() -> None:
    both = plans.late().replace('inplace="0"', 'inplace="1"')
    refused(both, "race for chunk 0|inplace is 1, but in place it fails its proof")


@pytest.mark.parametrize("root", [0, 2])
@pytest.mark.parametrize("name", ["broadcast", "reduce"])
def test_the_root_is_the_rank_for_which_it_computes_its_collective(name: str, root: int) -> None:
    schedule = algorithms()["chain"].schedule(Call(COLLECTIVES[name], 4, root, options={"segments": "3"}))
    assert read(xml_of(schedule, "chain")).root == root


def test_no_rank_is_the_root_of_what_computes_nothing() -> None:
    idle = gpu(chunks=(1, 1, 0))
    refused(
        algo("broadcast", 1, idle, idle), "whichever rank is the root, broadcast fails its proof: at the end: chunk 0"
    )


SEND, RECEIVE = step("s", "o0"), step("r", "o1", "o1")
PAIR = (1, 2, 1)


def gather(first: str, second: str) -> str:
    """An all-gather of two ranks in place, given the thread blocks of each."""
    return algo("allgather", 2, gpu(first, chunks=PAIR), gpu(second, chunks=PAIR))


ONE_TWICE = [step("s", "o1"), step("s", "o1"), step("r", "o0", "o0"), step("r", "o0", "o0")]
RIGHT = gather(block(SEND, RECEIVE, send=1, recv=1), block(step("s", "o1"), step("r", "o0", "o0"), send=0, recv=0))


def test_a_swap_takes_one_round_and_no_scratch() -> None:
    proof = proven(RIGHT)
    assert (proof.rounds, proof.transfers) == (1, 2)


def test_gpus_that_both_receive_first_are_a_deadlock_whose_circle_is_named() -> None:
    text = gather(block(RECEIVE, SEND, send=1, recv=1), block(step("r", "o0", "o0"), step("s", "o1"), send=0, recv=0))
    circle = [r"gpu 0, tb 0, step 0 \(line 5\)", "gpu 1, tb 0, step 1", "gpu 1, tb 0, step 0", "gpu 0, tb 0, step 1"]
    refused(text, "deadlock: " + ".* waits for ".join([*circle, circle[0]]))


ONE = block(step("s", "o1"), step("r", "o0", "o0"), send=0, recv=0)
FAULTS = {
    "a circle of waits": (
        block(step("s", "o0", after="1.0", tells=True), RECEIVE, send=1, recv=1)
        + block(step("cpy", "o0", "s0", after="0.0", tells=True)),
        r"deadlock: gpu 0, tb 0, step 0 .*waits for gpu 0, tb 1, step 0 .*waits for gpu 0, tb 0, step 0",
    ),
    "a wait for a later step": (
        block(step("s", "o0", after="0.1"), step("r", "o1", "o1", tells=True), send=1, recv=1),
        "deadlock",
    ),
    "a wait for who never tells": (
        block(SEND, step("r", "o1", "o1", after="1.0"), send=1, recv=1) + block(step("cpy", "o0", "s0")),
        "gpu 0, tb 0, step 1 waits for tb 1, step 0, which never tells that it ended: deadlock",
    ),
    "a wait for no such thread block": (
        block(step("s", "o0", after="7.0"), RECEIVE, send=1, recv=1),
        r"gpu 0 has none \(1 tbs\)",
    ),
    "a wait for no such step": (block(SEND, step("r", "o1", "o1", after="0.9"), send=1, recv=1), r"tb 0 has 2 steps"),
    "a send that nobody receives": (
        block(SEND, SEND, RECEIVE, send=1, recv=1),
        "line 6: gpu 0, tb 0, step 1 sends what has no "
        "partner: 2 sends and 1 receives from gpu 0 to gpu 1 on channel 0",
    ),
    "a receive that nobody sends": (
        block(SEND, RECEIVE, RECEIVE, send=1, recv=1),
        "step 2 receives what has no partner",
    ),
    "another channel": (block(SEND, RECEIVE, send=1, recv=1, channel=1), "has no partner: 1 sends and 0 receives"),
    "a count that does not fit": (
        block(step("s", "o0", count=2), RECEIVE, send=1, recv=1),
        "receives 1 chunks from gpu 0 to gpu 1 on channel 0, where step 0 of tb 0 of gpu 0 sends 2",
    ),
    "two that send on one channel": (
        block(SEND, RECEIVE, send=1, recv=1) + block(SEND, send=1),
        "tb 1 of gpu 0 sends to gpu 1 on channel 0, as tb 0 does",
    ),
    "a race": (
        block(SEND, RECEIVE, send=1, recv=1) + block(step("cpy", "o1", "s0")),
        "gpu 0, tb 0, step 1 and tb 1, step 0 "
        r"\(line 9\) race for chunk 1 of the vector in the buffer of gpu 0",
    ),
    "scratch without a value": (
        block(step("s", "s0"), RECEIVE, send=1, recv=1),
        "gpu 0, tb 0, step 0 reads chunk 0 of the scratch of gpu 0 before anything is written there",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_end_or_races_is_refused_by_its_place(fault: str) -> None:
    blocks, complaint = FAULTS[fault]
    parts = [f"<tb{part}" for part in blocks.split("<tb")[1:]]
    refused(algo("allgather", 2, gpu(*parts, chunks=PAIR), gpu(ONE, chunks=PAIR)), complaint)


def test_a_result_out_of_place_that_nobody_writes_is_missed() -> None:
    text = RIGHT.replace('inplace="1" outofplace="0"', 'inplace="0" outofplace="1"')
    refused(text.replace('srcbuf="o" srcoff="1"', 'srcbuf="i" srcoff="0"').replace('srcbuf="o"', 'srcbuf="i"'),
            "chunk 0 of the vector in the output of gpu 0 is never written, out of place")  # fmt: skip


def test_messages_that_cross_compute_something_else() -> None:
    text = gather(block(SEND, step("r", "o0", "o0"), send=1, recv=1), ONE)
    with pytest.raises(ProofError, match="at the end: chunk 0 of rank 0 holds chunk 1, expected chunk 0"):
        prove(read(text))


MALFORMED = {
    "not XML": ("</algo>", "", "line 16: no element found; expected XML"),
    "an entity": (
        "<!-- made for a test -->",
        '<!DOCTYPE a [<!ENTITY b "c">]>',
        "an entity 'b'; expected XML without any",
    ),
    "another root": ("algo", "topology", "<topology>; expected <algo>"),
    "another child": ("step", "stop", "line 5: <stop> in <tb>; expected <step>"),
    "a custom collective": ("allgather", "custom", "line 2: coll is custom: the file does not say what it computes"),
    "no such collective": (
        "allgather",
        "sendrecv",
        "coll is 'sendrecv'; expected one of allreduce, allgather, reduce_scatter",
    ),
    "no such protocol": ("Simple", "LL64", "proto is 'LL64'; expected one of Simple, LL, LL128"),
    "no placement": ('inplace="1"', 'inplace="0"', "inplace and outofplace are both 0"),
    "a GPU too few": (
        'ngpus="2"',
        'ngpus="4"',
        "nchunksperloop is 2; expected a multiple of ngpus, 4|there is no gpu 2",
    ),
    "a GPU twice": ('gpu id="1"', 'gpu id="0"', "line 9: a second gpu 0; the first is in line 3"),
    "a thread block missing": ('tb id="0"', 'tb id="1"', "line 3: there is no tb 0; expected tb 0 to 0"),
    "a peer too high": ('send="1"', 'send="2"', "line 4: send is '2'; expected a whole number from -1 to 1"),
    "itself as a peer": ('send="1"', 'send="0"', "line 4: send is 0, the gpu itself"),
    "no peer": ('send="1"', 'send="-1"', "line 5: type is s, but the thread block has send=-1"),
    "chunks that do not add up": ('o_chunks="2"', 'o_chunks="3"', "line 3: o_chunks of gpu 0 is 3; expected 0 or 2"),
    "an offset too high": (
        'dstoff="1"',
        'dstoff="2"',
        "line 6: dstoff is 2 with cnt 1 in buffer o; expected chunks 0 to 1",
    ),
    "a negative offset": ('srcoff="0"', 'srcoff="-1"', "line 5: srcoff is '-1'"),
    "no such buffer": ('srcbuf="o"', 'srcbuf="x"', "line 5: srcbuf is 'x'; expected one of i, o, s"),
    "no such type": ('type="s"', 'type="ra"', "line 5: type is 'ra'; expected one of s, r, rcs"),
    "a step out of order": (' s="1"', ' s="2"', "line 6: s is 2; expected 1"),
    "no chunks": ('cnt="1"', 'cnt="0"', "line 5: cnt is '0'; expected a whole number from 1"),
    "no number": ('cnt="1"', 'cnt="one"', "line 5: cnt is 'one'"),
    "a wait for no step": ('depid="-1"', 'depid="0"', "line 5: depid is 0, but deps -1"),
    "no attribute": (' hasdep="0"', "", "line 5: <step> has no hasdep"),
    "digits without end": ('nchunksperloop="2"', f'nchunksperloop="{"9" * 40}"', "nchunksperloop is '9999"),
    "more chunks than memory": (
        'nchunksperloop="2"',
        'nchunksperloop="16777216"',
        "make 33554432 chunks in all; at most",
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_malformed_or_out_of_range_is_refused_by_its_line(kind: str) -> None:
    old, new, complaint = MALFORMED[kind]
    every = kind in ("another root", "another child")
    assert old in RIGHT
    refused(RIGHT.replace(old, new) if every else RIGHT.replace(old, new, 1), complaint)


def test_more_thread_blocks_than_are_followed_are_refused() -> None:
    many = gpu(*[block()] * 1025, chunks=(1, 1, 0))
    refused(algo("allreduce", 1, many), "line 3: gpu 0 has 1025 thread blocks; at most 1024 can be handled")


def test_the_name_is_made_one_of_a_schedule() -> None:
    assert read_plan(RIGHT, FILE).name == "made-up"
    assert read_plan(RIGHT.replace('name="made up"', ""), FILE).name == "plan"


def test_an_older_file_does_not_say_that_it_may_run_out_of_place() -> None:
    plan = read_plan(RIGHT.replace(' outofplace="0" minBytes="0" maxBytes="4096"', ""), FILE)
    assert (plan.in_place, plan.out_of_place) == (True, False)


def written(algorithm: str, name: str) -> Plan:
    what = COLLECTIVES[name]
    call = Call(what, 4, 0 if what.is_rooted else -1)
    return read_plan(xml_of(algorithms()[algorithm].schedule(call), algorithm), FILE)


WHOLE = [
    written("ring", "all_reduce"),
    written("direct", "all_to_all"),
    written("swing", "reduce_scatter"),
    written("binomial", "reduce"),
]
"""Plans of which each step is needed."""


def steps_of(plan: Plan) -> list[tuple[tuple[int, int, int], Step]]:
    return [
        ((g, b, s), step)
        for g, of in enumerate(plan.gpus)
        for b, each in enumerate(of.blocks)
        for s, step in enumerate(each.steps)
    ]


def dropped(step: Step) -> Step:
    return replace(step, type="nop", count=0)


def moved(step: Step) -> Step:
    place, end = (step.target, "target") if step.kind.stores else (step.source, "source")
    return replace(step, **{end: place._replace(offset=place.offset ^ 1)})


def doubled(step: Step) -> Step:
    return replace(step, type={"r": "rrc", "cpy": "re", "rrc": "r", "re": "cpy", "s": "nop"}[step.type])


@given(data=st.data(), change=st.sampled_from([dropped, moved, doubled]))
@settings(max_examples=60, deadline=None)
def test_a_mutant_is_refused_or_found_by_the_proof(data: st.DataObject, change: Any) -> None:
    plan = data.draw(st.sampled_from(WHOLE))
    places = [place for place, step in steps_of(plan) if step.type != "nop"]
    g, b, s = data.draw(st.sampled_from(places))
    with pytest.raises((PlanError, ProofError)):
        prove(schedule_of(changed(plan, g, b, s, change)), programs=False)


def changed(plan: Plan, g: int, b: int, s: int, change: Any) -> Plan:
    blocks = list(plan.gpus[g].blocks)
    steps = list(blocks[b].steps)
    steps[s] = change(steps[s])
    blocks[b] = replace(blocks[b], steps=tuple(steps))
    gpus = list(plan.gpus)
    gpus[g] = replace(gpus[g], blocks=tuple(blocks))
    return replace(plan, gpus=tuple(gpus))


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_wait_that_is_left_out_races_or_was_not_needed(data: st.DataObject) -> None:
    plan = data.draw(st.sampled_from(WHOLE))
    waits = [place for place, step in steps_of(plan) if step.waits_for]
    assume(waits)
    g, b, s = data.draw(st.sampled_from(waits))
    try:
        schedule = schedule_of(changed(plan, g, b, s, lambda step: replace(step, waits_for=None)))
    except PlanError as error:
        assert "race for" in str(error)  # noqa: PT017 # it may be not raised
    else:
        prove(schedule, programs=False)


VALUES = st.one_of(
    st.integers(-2, 5).map(str), st.sampled_from(["", "i", "o", "s", "r", "rrc", "re", "nop", "99999", "x", *NAMES])
)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_is_changed_in_a_file_nothing_but_a_refusal_comes_of_it(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([RIGHT, plans.all_pairs(), plans.ring(3), plans.overtaken()]))
    for _ in range(data.draw(st.integers(1, 3))):
        starts = [at for at in range(len(text)) if text.startswith('="', at)]
        at = data.draw(st.sampled_from(starts)) + 2
        text = text[:at] + data.draw(VALUES) + text[text.index('"', at) :]
    try:
        prove(read(text), programs=False)
    except (PlanError, ProofError) as error:
        assert error.exit_code == 2  # noqa: PT017 # it may be not raised
