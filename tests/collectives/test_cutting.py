"""Messages between hosts in pieces: how they are cut, and when."""

from __future__ import annotations

import mpi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.collectives.algorithm import Call, Spec
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import schedule
from clusterbench.collectives.programs.pieces import MESSAGE_BYTES, MOST_PIECES, piece_bytes
from clusterbench.collectives.programs.program import compile_programs, lower
from clusterbench.collectives.programs.steps import RECV, SEND, WAIT
from clusterbench.collectives.transports.cutting import PIECES, choose, half_away, neighbours
from clusterbench.collectives.transports.message_executor import requests_of

LONGEST = st.integers(64, MESSAGE_BYTES)


@given(st.integers(1, 1 << 45), LONGEST)
def test_a_message_is_cut_as_asked_into_no_more_pieces_than_there_may_be_unless_mpi_cannot_count_them(
    message: int, longest: int
) -> None:
    piece = piece_bytes(message, longest)
    pieces = -(-message // piece)
    assert piece <= MESSAGE_BYTES
    assert piece == longest if message <= longest * MOST_PIECES else piece >= longest
    assert pieces <= max(MOST_PIECES, -(-message // MESSAGE_BYTES))


@given(st.integers(1, 1 << 45), LONGEST, st.floats(0, 1))
def test_there_are_requests_for_every_message_up_to_the_longest(message: int, longest: int, share: float) -> None:
    shorter = max(1, int(message * share))
    assert -(-shorter // piece_bytes(shorter, longest)) <= requests_of(message, longest)


@given(
    st.sampled_from(["all_reduce", "all_gather", "reduce_scatter"]),
    st.integers(2, 6),
    st.integers(1, 200_000),
    st.lists(st.sampled_from([64, 100, 4096, MESSAGE_BYTES]), min_size=6, max_size=6),
)
def test_both_ends_of_a_message_cut_it_alike_and_wait_for_each_piece_once(
    name: str, ranks: int, count: int, limits: list[int]
) -> None:
    """The limit of a pair is that of both its ends: of rank a for b as of b for a."""
    made = schedule(Spec("direct"), Call(COLLECTIVES[name], ranks, -1))
    between = np.array([[limits[(a + b) % 6] for b in range(ranks)] for a in range(ranks)])
    sent: dict[tuple[int, int], list[int]] = {}
    received: dict[tuple[int, int], list[int]] = {}
    for rank, program in enumerate(compile_programs(made, in_place=False)):
        lowered = lower(program, count, 4, between[rank])
        flying: set[int] = set()
        for step in lowered.steps:
            op, peer, length, request = int(step[0]), int(step[1]), int(step[7]), int(step[8])
            if op in (SEND, RECV):
                key = (rank, peer) if op == SEND else (peer, rank)
                (sent if op == SEND else received).setdefault(key, []).append(length)
                assert length <= max(between[rank][peer], -(-4 * count * ranks // MOST_PIECES))
                assert request not in flying
                assert request < lowered.requests
                flying.add(request)
            elif op == WAIT:
                flying.remove(request)
        assert not flying
    assert sent == received
    assert sum(map(sum, sent.values())) > 0


def test_partners_are_on_other_hosts_and_each_others() -> None:
    for hosts in ("aabb", "abab", "abcdefgh", "aaab", "abc", "aabbc", "ab"):
        for partner in (neighbours(hosts), half_away(hosts)):
            assert any(other >= 0 for other in partner)
            for rank, other in enumerate(partner):
                assert other < 0 or (partner[other] == rank and hosts[other] != hosts[rank])
    assert neighbours("abcdefgh") == (1, 0, 3, 2, 5, 4, 7, 6)
    assert half_away("abcdefgh") == (4, 5, 6, 7, 0, 1, 2, 3)
    assert neighbours("ab") == half_away("ab")


def test_messages_are_cut_only_where_that_is_a_real_gain_and_no_more_than_is_needed() -> None:
    large, middle, small = PIECES
    whole = MESSAGE_BYTES
    halves = {whole: 0.344, large: 0.174, middle: 0.174, small: 0.173}
    assert choose(halves).longest_bytes == large
    assert "pieces of 1048576 bytes" in str(choose(halves))
    assert "2.0 times as fast" in str(choose(halves))
    assert choose({whole: 0.372, large: 0.371, middle: 0.368, small: 0.190}).longest_bytes == small
    same = choose({whole: 0.192, large: 0.185, middle: 0.188, small: 0.188})
    assert (same.longest_bytes, str(same)) == (whole, "")
    assert choose({whole: 1.0, large: 3.0, middle: 4.0, small: 9.0}).longest_bytes == whole


RANK = """
from clusterbench.bench.worlds.world import join_world
world = join_world()
from clusterbench.collectives.programs.pieces import MESSAGE_BYTES
from clusterbench.collectives.transports import cutting
from clusterbench.collectives.transports.native import LONGEST_BYTES, native
mpi = native(world.comm)
for hosts in ("aabb", "abab", "aaab", "abcd")[: 1 if world.size < 4 else 4]:
    hosts = hosts[: world.size] if world.size == 4 else "aab"
    found = cutting.best_cut(mpi, hosts)
    assert len(set(world.comm.allgather(found))) == 1
    assert found.longest_bytes in (MESSAGE_BYTES, *cutting.PIECES)
    assert mpi.longest_bytes.tolist() == [MESSAGE_BYTES] * world.size
cutting.cut(mpi, "aab" if world.size == 3 else "aaab", 4096)
near, far = (4096, MESSAGE_BYTES) if world.rank == world.size - 1 else (MESSAGE_BYTES, 4096)
assert mpi.longest_bytes.tolist() == [near] * (world.size - 1) + [far]
assert mpi.table[LONGEST_BYTES] == 4096
"""


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, 4])
def test_ranks_choose_together_and_cut_only_what_goes_to_other_hosts(ranks: int) -> None:
    """Ranks of this machine stand for those of several hosts."""
    done = mpi.ranks(ranks, "-c", RANK)
    assert done.exit_code == 0, done.stderr


@pytest.mark.mpi
@pytest.mark.skipif(not mpi.TWO_HOSTS, reason="only MPICH can be told to take one host for two")
def test_rows_say_that_messages_between_hosts_were_cut(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in mpi.TWO_HOSTS.items():
        monkeypatch.setenv(variable, value)
    every = ("collectives", "run", "all_reduce", "-b", "96K", "-n", "4", "-w", "1", "--journal", str(tmp_path))
    asked = ("--algorithm", "library,ring,two-level", "--json", "--pieces")
    for transport in ("mpi", "hybrid"):
        cut, whole = mpi.each(3, [(*every, "--transport", transport, *asked, pieces) for pieces in ("4K", "none")])
        for finished, said in ((cut, True), (whole, False)):
            rows = mpi.document(finished)["rows"]
            assert [row["wrong"] for row in rows] == [0] * len(rows)
            noted = {row["algorithm"]: "messages between hosts in pieces of 4096 bytes" in row["note"] for row in rows}
            assert noted == {"library": False, "ring": said, "two-level": said}
