"""Measures all pairs of ranks: latency, and bandwidth in each direction, in rounds of disjoint pairs.

All pairs of a round measure at once, so links are loaded as a job loads them, and p ranks need p − 1 rounds (p for an
odd p, where one rank rests in each). Above `SAMPLED_FROM` ranks `SAMPLED_ROUNDS` rounds are drawn by the seed, so that
every rank meets as many others. Pairs that stand out (bench/pairs/outliers.py) are measured again with no other pair
running, before and after it the pair of their class nearest its median. A pair is named as bad if it is still more than
20 % slower than that one both times and their 95 % intervals lie apart: what only the others' traffic slowed is not the
pair's own fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench import exit_codes
from clusterbench.bench.judge import Bound, judge_time
from clusterbench.bench.measuring.exchanges import SAMPLE_UNITS, Exchange, Found, measure, room_for
from clusterbench.bench.measuring.sampling import Rules, timer_overhead_s, with_samples
from clusterbench.bench.pairs.outliers import WORSE, Classes, Outlier, culprits, outliers, typical_pair
from clusterbench.bench.worlds.world import AgreedError, RankPlace, World, await_all
from clusterbench.collectives.transports.native import native
from clusterbench.results import notes, rates
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import Summary, faster, summarise

SAMPLED_FROM = 64
"""Ranks above which not every pair is measured."""
SAMPLED_ROUNDS = 63
MOST_AGAIN = 256
"""Measurements that are done again alone at most, the worst first."""

LATENCY, BANDWIDTH = "latency", "bandwidth"
QUANTITIES = (LATENCY, BANDWIDTH)
AT_ONCE, ALONE = "at-once", "alone"
"""A row's `algorithm`: with the other pairs of its round, or with no other pair running."""
NOT_ALONE = "not slow alone"
"""In the note of what stood out at first and not when it was measured again."""
CLASSES = notes.PAIR_CLASSES
_KINDS = {LATENCY: "latency", BANDWIDTH: "one-way"}
_TURNS = ((LATENCY, False), (BANDWIDTH, False), (BANDWIDTH, True))
"""What the pairs of a round do, one after the other: the quantity, and whether the higher rank sends."""

Finished = Callable[[Measurement, "NDArray[np.float64]"], None]


@dataclass(frozen=True, slots=True)
class PairsRequest:
    """What to measure."""

    latency_bytes: int
    bandwidth_bytes: int
    window: int
    """Messages in flight where bandwidth is measured."""
    check: bool
    rules: Rules
    seed: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """One measurement of a pair, and when it began."""

    quantity: str
    src: int
    dst: int
    found: Found
    started: str

    @property
    def summary(self) -> Summary:
        """The figures of its samples, seconds a message."""
        return summarise(self.found.samples.seconds)


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A measurement that stands out, and the one (quantity, src, dst) to compare it with."""

    quantity: str
    outlier: Outlier
    usual: tuple[str, int, int]

    @property
    def key(self) -> tuple[str, int, int]:
        """Quantity, src and dst."""
        return self.quantity, self.outlier.src, self.outlier.dst


@dataclass(frozen=True, slots=True)
class _Alone:
    """What stood out, measured alone, and the usual pair before and after it."""

    outlier: Outlier
    pair: _Pair
    usual: tuple[_Pair, _Pair]

    @property
    def is_bad(self) -> bool:
        """Whether it is still over 20 % slower than the usual one, both times, and surely slower."""
        mine = self.pair.summary
        for other in (pair.summary for pair in self.usual):
            first, second = (mine.ci95_low_s, mine.ci95_high_s), (other.ci95_low_s, other.ci95_high_s)
            if mine.median_s <= WORSE * other.median_s or faster(first, second) != "second":
                return False
        return True

    @property
    def said(self) -> str:
        """The figures of both passes, in words."""
        before, after = (pair.summary.median_s * 1e6 for pair in self.usual)
        return (
            f"with all pairs at once {self.outlier.time_s * 1e6:.3g} us a message, where its class has "
            f"{self.outlier.median_s * 1e6:.3g}; alone {self.pair.summary.median_s * 1e6:.3g} us, where rank "
            f"{self.usual[0].src} to {self.usual[0].dst} has {before:.3g} before and {after:.3g} after it"
        )


def rounds(ranks: int, seed: int) -> list[list[tuple[int, int]]]:
    """Rounds of disjoint pairs (lower rank, higher rank): every rank meets every other once, or a sample of them.

    The circle method: one rank stands still, the others move on by one place a round, and those opposite each other
    meet (T. P. Kirkman, "On a problem in combinations", Cambridge and Dublin Math. J. 2, 1847).
    """
    places = ranks + ranks % 2  # an odd number is filled up with a rank that is not there: who meets it rests
    rng = np.random.default_rng(seed)
    who, turns = np.arange(places), np.arange(places - 1)
    if ranks > SAMPLED_FROM:
        who = rng.permutation(places)
        turns = np.sort(rng.choice(places - 1, SAMPLED_ROUNDS, replace=False))
    moving = places - 1
    found = []
    for turn in turns:
        pairs = [(who[moving], who[turn])]
        pairs += [(who[(turn + i) % moving], who[(turn - i) % moving]) for i in range(1, places // 2)]
        ordered = sorted((int(min(pair)), int(max(pair))) for pair in pairs)
        found.append([pair for pair in ordered if pair[1] < ranks])
    return found


def pair_classes(places: tuple[RankPlace, ...]) -> Classes:
    """For each pair of ranks the index in `CLASSES` of what they share; shape (ranks, ranks)."""
    _, host = np.unique([place.host for place in places], return_inverse=True)
    core = np.array([place.cores[0] if len(place.cores) == 1 else -1 - place.rank for place in places])
    same_host = host[:, None] == host[None, :]
    same_core = same_host & (core[:, None] == core[None, :])
    return np.where(same_core, 0, np.where(same_host, 1, 2)).astype(np.int64)


class PairRuns:
    """The pairs of one request on one rank. All ranks make theirs alike and call `run` together."""

    def __init__(self, world: World, request: PairsRequest) -> None:
        """Take the buffers.

        Raises `AgreedError` on every rank where there is one only, or a host cannot hold the buffers.
        """
        if world.size < 2:
            raise AgreedError("pairs needs at least 2 ranks; there is 1: start it with mpiexec -n P", exit_codes.USAGE)
        self.world = world
        self.request = request
        self.rounds = rounds(world.size, request.seed)
        self.classes = pair_classes(world.places)
        other = (world.rank + 1) % world.size
        largest = [self._exchange(quantity, world.rank, other) for quantity in QUANTITIES]
        self.room = room_for(world, [e for e in largest if e is not None], "-b")
        self.native = native(world.comm, world.page.progress_address)
        self.overhead_s = float(max(world.comm.allgather(timer_overhead_s())))
        self.alive: Callable[[], None] = lambda: None
        self.times_s = {quantity: np.full((world.size, world.size), np.nan) for quantity in QUANTITIES}
        """Seconds a message by sender and receiver, on rank 0; of latency both ways are the same."""
        self.skipped: list[str] = []
        """What was left out, in words."""

    @property
    def measured(self) -> list[tuple[int, int]]:
        """The pairs that are measured."""
        return [pair for pairs in self.rounds for pair in pairs]

    def run(
        self, run_id: str, device: str, finished: Finished, step: Callable[[str, int], None]
    ) -> Iterator[Measurement]:
        """Measure all pairs, and those that stand out again; on rank 0 yields the rows, on the others nothing.

        Each row is handed to `finished` with its samples; those of the second pass when all of it is done, as a rank is
        only found guilty by all its pairs. Raises `MpiError` where MPI fails.
        """
        self.alive = lambda: step("", 0)
        for number, pairs in enumerate(self.rounds):
            step(f"round {number + 1} of {len(self.rounds)}", 0)
            for pair in self._round(pairs):
                self._enter(pair)
                row = replace(self._row(pair, AT_ONCE), run_id=run_id, device=device)
                finished(row, pair.found.samples.seconds)
                yield row
            step("", 1)
        for row, pair in self._again(step):
            row = replace(row, run_id=run_id, device=device)
            finished(row, pair.found.samples.seconds)
            yield row

    def _round(self, pairs: list[tuple[int, int]]) -> list[_Pair]:
        """Measure the pairs of a round at once; what was found on rank 0, nothing elsewhere."""
        mine = next((pair for pair in pairs if self.world.rank in pair), None)
        done: list[_Pair] = []
        for quantity, turned in _TURNS:
            self.world.comm.Barrier()
            if mine is not None:
                src, dst = mine[::-1] if turned else mine
                found = self._measure(quantity, src, dst)
                if found is not None and self.world.rank == mine[0]:
                    done.append(found)
            await_all(self.world, self.alive)
        gathered = self.world.comm.gather(done)
        return [pair for there in gathered or [] for pair in there]

    def _measure(self, quantity: str, src: int, dst: int) -> _Pair | None:
        """Measure one pair; None on ranks that are not in it."""
        exchange = self._exchange(quantity, src, dst)
        if exchange is None:
            return None
        started, request = now_iso(), self.request
        seed = request.seed if request.check else None
        found = measure(self.world, self.native, exchange, self.room, request.rules, self.overhead_s, seed, self.alive)
        return _Pair(quantity, src, dst, found, started)

    def _exchange(self, quantity: str, src: int, dst: int) -> Exchange | None:
        rank, request = self.world.rank, self.request
        if rank not in (src, dst):
            return None
        other = dst if rank == src else src
        size_bytes = request.latency_bytes if quantity == LATENCY else request.bandwidth_bytes
        window = 1 if quantity == LATENCY else request.window
        return Exchange(_KINDS[quantity], other, other, rank == src, size_bytes, 1, window)

    def _enter(self, pair: _Pair) -> None:
        times_s, median_s = self.times_s[pair.quantity], pair.summary.median_s
        times_s[pair.src, pair.dst] = median_s
        if pair.quantity == LATENCY:
            times_s[pair.dst, pair.src] = median_s

    def _again(self, step: Callable[[str, int], None]) -> Iterator[tuple[Measurement, _Pair]]:
        """Measure what stands out alone, and name what still does. The rows on rank 0, nothing elsewhere."""
        suspects: list[_Suspect] = self.world.comm.bcast(self._suspects() if self.world.rank == 0 else None)
        found: list[_Alone] = []
        for number, suspect in enumerate(suspects):
            step(f"what stands out, alone: {number + 1} of {len(suspects)}", 0)
            before, pair, after = (self._alone(*key) for key in (suspect.usual, suspect.key, suspect.usual))
            found.append(_Alone(suspect.outlier, pair, (before, after)))
        if self.world.rank != 0:
            return
        to_blame = culprits([(alone.pair.src, alone.pair.dst) for alone in found if alone.is_bad], self.measured)
        for alone in found:
            row = self._row(alone.pair, ALONE)
            if alone.is_bad:
                culprit = row.culprit or to_blame[alone.pair.src, alone.pair.dst]
                reason = "; ".join(filter(None, (row.reason, alone.said)))
                yield replace(row, culprit=culprit, reason=reason), alone.pair
            else:
                yield replace(row, note=f"{row.note}; {NOT_ALONE}: {alone.said}"), alone.pair
            for pair in alone.usual:
                row = self._row(pair, ALONE)
                yield replace(row, note=f"{row.note}; measured to compare with"), pair

    def _alone(self, quantity: str, src: int, dst: int) -> _Pair:
        """Measure one pair while the others sleep; all ranks get what was found."""
        pair = self._measure(quantity, src, dst)
        await_all(self.world, self.alive)
        found: _Pair = self.world.comm.bcast(pair, root=src)
        return found

    def _suspects(self) -> list[_Suspect]:
        """What stands out, the worst first."""
        found: list[_Suspect] = []
        for quantity in QUANTITIES:
            times_s = self.times_s[quantity]
            out = outliers(times_s, self.classes)
            for outlier in out:
                if quantity == LATENCY and outlier.src > outlier.dst:
                    continue  # the same measurement
                which = int(self.classes[outlier.src, outlier.dst])
                usual = typical_pair(times_s, self.classes, which, out)
                if quantity == LATENCY:
                    usual = min(usual), max(usual)
                found.append(_Suspect(quantity, outlier, (quantity, *usual)))
        found.sort(key=lambda suspect: -suspect.outlier.excess)
        if len(found) > MOST_AGAIN:
            left = len(found) - MOST_AGAIN
            self.skipped.append(f"pairs: {left} of {len(found)} measurements that stand out were not made again")
        return found[:MOST_AGAIN]

    def _row(self, pair: _Pair, algorithm: str) -> Measurement:
        exchange_bytes = self.request.latency_bytes if pair.quantity == LATENCY else self.request.bandwidth_bytes
        summary, found = pair.summary, pair.found
        verdict, reason = judge_time(Bound(None, ""), summary)
        if found.reason:
            verdict, reason = "FAIL", found.reason
        source, target = self.world.places[pair.src], self.world.places[pair.dst]
        remarks = [CLASSES[self.classes[pair.src, pair.dst]]]
        if target.host != source.host:
            remarks.append(f"from {source.host} to {target.host}")
        if self.world.oversubscribed:
            remarks.append(notes.SHARED_CORES)
        window = f",window={self.request.window}" if pair.quantity == BANDWIDTH else ""
        rate = rates.algbw(exchange_bytes, summary.median_s)
        row = Measurement(
            run_id="",
            suite="pairs",
            name=pair.quantity,
            algorithm=algorithm,
            transport="mpi",
            backend="cpu",
            dtype="uint8",
            count=exchange_bytes,
            size_bytes=exchange_bytes,
            shape=f"bytes={exchange_bytes},src={pair.src},dst={pair.dst}{window}",
            ranks=self.world.size,
            nodes=len({source.host, target.host}),
            algbw=rate,
            busbw=rate,
            wrong=found.wrong,
            verdict=verdict,
            reason=reason,
            culprit=found.culprit,
            host=source.host,
            note=notes.joined(remarks),
            started_at=pair.started,
        )
        return with_samples(row, found.samples, summary, SAMPLE_UNITS[_KINDS[pair.quantity]])
