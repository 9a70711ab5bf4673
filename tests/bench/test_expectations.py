"""Rows of collectives are held against a bound and an expectation: by a topology, or by messages that were timed."""

from __future__ import annotations

import json
from pathlib import Path

import mpi
import numpy as np
import pytest

from clusterbench.bench.judge import Bound, judge_against_proof
from clusterbench.bench.measuring.collective_request import Request
from clusterbench.bench.measuring.expectations import Asked, expectations
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.collectives.algorithm import Call, Spec
from clusterbench.collectives.building.segments import Link, Links
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import schedule
from clusterbench.collectives.topology.graph import TopologyError
from clusterbench.results.statistics import summarise

MIB = 1 << 20
RING, LIBRARY = Spec("ring"), Spec("library")
LOCAL, REMOTE = Link(1e-6, 1e-10), Link(5e-6, 1e-9)


def asked(collective: str = "all_reduce", ranks: int = 4, topology: str = "") -> Asked:
    what = COLLECTIVES[collective]
    call = Call(what, ranks, 0 if what.is_rooted else -1)
    request = Request(
        collective=what,
        algorithms=(RING, LIBRARY) if collective == "all_reduce" else (LIBRARY,),
        counts=(MIB // 4,),
        dtype=np.dtype(np.float32),
        op="sum",
        placements=("out_of_place",),
        transports=("mpi",),
        check=False,
        rules=Rules(0.05, 0.1),
        seed=1,
        topology=topology,
    )
    schedules = {(RING, MIB): schedule(RING, call)} if RING in request.algorithms else {}
    return Asked(request, call, {MIB: MIB // 4}, schedules)


def test_messages_give_a_bound_that_is_called_an_estimate_and_what_each_algorithm_is_to_take() -> None:
    found = expectations(asked(), Links(LOCAL, LOCAL))
    assert found.bound(MIB).time_s == pytest.approx(1.5 * MIB * 1e-10)
    assert "an estimate" in found.bound(MIB).by
    assert found.permitted(MIB).time_s is None
    assert found.expected_s[RING, MIB] == pytest.approx(6 * (1e-6 + MIB / 4 * 1e-10))
    assert found.expected_s[LIBRARY, MIB] <= found.expected_s[RING, MIB]


@pytest.mark.parametrize("collective", [name for name, what in COLLECTIVES.items() if not what.uneven])
@pytest.mark.parametrize("links", [Links(LOCAL, LOCAL), Links(LOCAL, REMOTE, 0.0, 2)])
def test_no_expectation_of_the_model_is_below_its_own_bound(collective: str, links: Links) -> None:
    found = expectations(asked(collective), links)
    bound_s = found.bound(MIB).time_s
    assert bound_s is not None
    assert found.expected_s[LIBRARY, MIB] >= bound_s * (1 - 1e-9)


def test_a_topology_gives_a_proven_bound_and_the_price_of_the_schedule() -> None:
    found = expectations(asked(topology="single-switch:nodes=4"), None)
    assert found.bound(MIB).time_s == pytest.approx(1.5 * MIB / 12.5e9)
    assert found.permitted(MIB).time_s == pytest.approx(MIB / 12.5e9)  # a cut: end points could be helped by switches
    assert found.expected_s[RING, MIB] == pytest.approx(6 * (MIB / 4 / 12.5e9 + 0.7e-6))


def test_a_topology_of_another_number_of_ranks_is_refused() -> None:
    with pytest.raises(TopologyError, match="--topology dgx-h100 has 8 ranks; expected 4"):
        expectations(asked(topology="dgx-h100"), None)


def test_without_messages_and_topology_nothing_is_claimed() -> None:
    found = expectations(asked(), None)
    assert found.bound(MIB).time_s is None
    assert not found.expected_s


def test_a_row_beyond_what_hardware_permits_is_invalid_and_one_within_is_judged_by_its_interval() -> None:
    steady = summarise(np.full(20, 1e-3))
    verdict, reason = judge_against_proof(Bound(2e-3, "links out of h0"), steady)
    assert verdict == "INVALID"
    assert "at 200% of what the topology permits, by links out of h0" in reason
    assert judge_against_proof(Bound(0.5e-3, "links out of h0"), steady) == ("PASS", "")
    assert judge_against_proof(Bound(1.03e-3, "links out of h0"), steady) == ("PASS", "")  # within tolerance
    assert judge_against_proof(Bound(None, ""), steady) == ("PASS", "")


@pytest.mark.mpi
def test_real_ranks_fill_bound_and_expectation_with_their_shares(tmp_path: Path) -> None:
    every = ("-b", "64", "-e", "64K", "-f", "32", "-n", "6", "-w", "1")
    rows = mpi.command_lines(2, tmp_path, [
        ("collectives", "run", "all_reduce", *every, "--algorithm", "library,ring"),
        ("collectives", "run", "all_reduce", *every, "--algorithm", "ring", "--transport", "shared"),
        ("collectives", "run", "all_to_all_v", *every, "--algorithm", "library,pairwise", "--traffic", "skewed"),
        ("collectives", "run", "broadcast", *every, "--topology", "single-switch:nodes=2,bandwidth=900G,latency=1ns"),
    ])  # fmt: skip
    assert len(rows) == 12 + 6 + 6 + 6
    for row in rows:
        assert row.bound_share == pytest.approx(row.bound_s / row.median_s)
        assert row.expected_share == pytest.approx(row.expected_s / row.median_s)
        proven = row.name == "broadcast"
        assert row.topology == ("single-switch:nodes=2,bandwidth=900G,latency=1ns" if proven else "")
        assert ("estimate" in row.bound_by) != proven
        assert not proven or row.bound_share < 1


@pytest.mark.mpi
def test_a_run_that_beats_its_topology_ends_with_code_3_and_one_of_other_ranks_with_code_2(tmp_path: Path) -> None:
    words = ("collectives", "run", "all_reduce", "-b", "64K", "-n", "6", "--journal", str(tmp_path), "--json")
    topologies = ("single-switch:nodes=2,bandwidth=1K", "dgx-h100")
    beaten, other = mpi.each(2, [(*words, "--topology", topology) for topology in topologies])
    assert beaten.exit_code == 3
    assert {row["verdict"] for row in json.loads(beaten.stdout)["rows"]} == {"INVALID"}
    assert other.exit_code == 2
    assert "--topology dgx-h100 has 8 ranks; expected 2" in other.stderr


@pytest.mark.mpi
def test_ranks_that_take_their_places_by_the_network_hold_the_same_data(tmp_path: Path) -> None:
    words = (
        "collectives",
        "run",
        "reduce_scatter",
        "-b",
        "4K",
        "-n",
        "4",
        "-w",
        "1",
        "--journal",
        str(tmp_path),
        "--json",
    )
    by_network = ("--algorithm", "ring,ring:order=topology", "--topology", "leaf-spine:racks=2,hosts=2,ranks=random:1")
    known, unknown = mpi.each(4, [(*words, *by_network), (*words, "--algorithm", "ring:order=topology")])
    rows = mpi.document(known)["rows"]
    assert {row["algorithm"] for row in rows} == {"ring", "ring:order=topology"}
    assert {row["wrong"] for row in rows} == {0}
    assert unknown.exit_code == 2
    assert "ring: order=topology, but what the ranks run on is not known: see --topology" in unknown.stderr
