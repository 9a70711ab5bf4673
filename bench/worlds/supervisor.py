"""Watches a world of ranks from outside MPI: says who did not arrive where nothing goes on, and ends that world.

Ranks that wait for one that is stopped, or gone, cannot say so themselves while they are inside MPI, and a launcher
notices only some of it. Each rank tells what it is at in a page of memory (`status_page`); this reads the pages of the
ranks on its own host, and is told of those on others by a watcher there (`host_watch`). Where it is told nothing it
waits until the ranks' own watchdogs have spoken.
"""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

from clusterbench.bench import exit_codes
from clusterbench.bench.launching.launch import Finished, pass_on, run_group
from clusterbench.bench.launching.process_ends import ProcessEnds
from clusterbench.bench.worlds.host_watch import GONE, MARK, is_amiss, look, status_of
from clusterbench.bench.worlds.page_folders import page_folder
from clusterbench.bench.worlds.status_page import ENDED, RAISED, RankStatus
from clusterbench.results.record import Measurement

GONE_S = 3.0
"""From when a rank is gone until that is a fault: a launcher that notices ends the others itself in less."""
ELSEWHERE_S = 20.0
"""How much longer than the ranks' own watchdogs this waits where some of them are on other hosts."""
MOST_NAMED = 8
"""Ranks that are named one by one."""

_SIGNALLED = (
    # MPICH and Intel MPI; Open MPI; Slurm.
    re.compile(r"(?:RANK\s+(?P<rank>\d+)\s+)?PID\s+(?P<pid>\d+)\s+RUNNING AT"),
    re.compile(r"process rank (?P<rank>\d+) with PID (?P<pid>\d+) on node"),
    re.compile(r"srun: error: \S+: task (?P<rank>\d+): (?P<pid>)"),
)
"""How launchers name a rank that was ended by a signal."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a world ended before it was done."""

    exit_code: int
    text: str
    """Who did not arrive, in words."""
    culprit: str
    """The first of them: `rank 3`."""
    row: Measurement | None
    """What is known of the row that was being measured; None where none was, or it is not known."""
    final: bool = False
    """Whether there is no use in another world for what this one left."""


@dataclass(frozen=True, slots=True)
class Supervised:
    """How a world ended; `fault` is None where it ended by itself, whatever its exit code."""

    finished: Finished
    fault: Fault | None


def supervise(
    command: Sequence[str],
    *,
    timeout_s: float,
    silence_s: float,
    on_wait: Callable[[], None] | None = None,
    on_error_line: Callable[[str], None] = pass_on,
) -> Supervised:
    """Run a command line that starts ranks of `clusterbench`, and end all of it where nothing goes on in one of them.

    `silence_s` is for how long nothing may go on (0: for ever), `timeout_s` how long it may take in all. The ranks get
    `--status-pages`, and a `--timeout` of their own that ends them later than this does. `on_wait` and `on_error_line`
    as in `run_group`.
    """
    with page_folder() as folder, ProcessEnds() as ends:
        watch = _Watch(folder, ends, silence_s, monotonic() + timeout_s, f"not done after {timeout_s:g} s")
        own_s = silence_s + ELSEWHERE_S if silence_s else 0.0
        asked = ["--status-pages", str(folder), "--silence", f"{silence_s:g}", "--timeout", f"{own_s:g}"]
        finished = run_group(
            [*command, *asked],
            timeout_s=math.inf,
            on_wait=on_wait,
            give_up=watch.give_up,
            takes=watch.takes,
            on_error_line=on_error_line,
        )
        fault = watch.fault
        if fault is None and finished.exit_code != exit_codes.GOOD:
            fault = _post_mortem(watch.pages(), finished)
    return Supervised(finished, fault)


@dataclass(slots=True)
class _Watch:
    """Looks at the pages once in a while."""

    folder: Path
    ends: ProcessEnds
    silence_s: float
    deadline_s: float
    too_late: str
    gone: dict[tuple[str, int], float] = field(default_factory=dict)
    """When each process was first seen to be gone."""
    told: dict[str, dict[int, RankStatus]] = field(default_factory=dict)
    """Of each other host what its watcher has told last."""
    fault: Fault | None = None

    def takes(self, line: str) -> bool:
        """Take a line of standard error where it is a watcher's."""
        if not line.startswith(MARK):
            return False
        page = status_of(line)
        if page is not None:
            self.told.setdefault(page.host, {})[page.pid] = page
        return True

    def pages(self) -> list[RankStatus]:
        """The ranks of this host, and those of hosts where something is amiss, as far as it was told."""
        found = look(self.folder, self.ends)
        for host in self.told.values():
            there = list(host.values())  # at once: another thread takes what is told
            found += there if any(is_amiss(page, self.silence_s) for page in there) else []
        return sorted(found, key=lambda page: (page.rank, page.pid))

    def give_up(self) -> bool:
        """Whether the world is to be ended; `fault` says why."""
        pages = self.pages()
        allowed_s = self.silence_s
        if not pages or max(page.ranks for page in pages) > len(pages):
            allowed_s += 2 * ELSEWHERE_S
        silent = [page for page in pages if page.silent_s > allowed_s]
        if self.silence_s and silent:
            doing = f" in {silent[0].doing}" if silent[0].doing else ""
            self.fault = _fault(exit_codes.TIMED_OUT, f"nothing went on for {self.silence_s:g} s{doing}", pages)
        elif self._long_gone(pages):
            self.fault = _fault(exit_codes.FAILED, "a rank ended while the others went on", pages)
        elif monotonic() > self.deadline_s:
            self.fault = replace(_fault(exit_codes.TIMED_OUT, self.too_late, pages), row=None, final=True)
        return self.fault is not None

    def _long_gone(self, pages: Sequence[RankStatus]) -> bool:
        now_s = monotonic()
        gone = {(page.host, page.pid) for page in pages if page.process == GONE}
        self.gone = {who: self.gone.get(who, now_s) for who in gone}
        return any(now_s - since_s > GONE_S for since_s in self.gone.values())


def _fault(exit_code: int, what: str, pages: Sequence[RankStatus]) -> Fault:
    """A fault of ranks that are still there, or were a moment ago."""
    missing = [page for page in pages if page.state == RAISED or page.process]
    farthest = max((page.place for page in pages), default=None)
    behind = [page for page in pages if page.place != farthest]
    named = missing or behind or list(pages)
    said = [what, *map(_named, named[:MOST_NAMED])]
    if len(named) > MOST_NAMED:
        said.append(f"and {len(named) - MOST_NAMED} ranks more")
    waiting = [page for page in pages if page not in named]
    if waiting:
        said.append(_waiting(waiting))
    elsewhere = max((page.ranks for page in pages), default=0) - len(pages)
    if elsewhere > 0:
        said.append(f"nothing is known of {elsewhere} ranks on other hosts than {socket.gethostname()}")
    culprit = f"rank {named[0].rank}" if named and named[0].rank >= 0 else ""
    row, raised = _row(pages), any(page.state == RAISED for page in pages)
    return Fault(exit_code, "; ".join(said), culprit, row, final=raised and row is None)


def _named(page: RankStatus) -> str:
    """One rank that did not arrive: who, where, what has become of it, and how far it had come."""
    who = f"rank {page.rank}" if page.rank >= 0 else "a rank that had not joined yet"
    device = f", {page.device}" if page.device else ""
    if page.state == RAISED:
        became = f"ended by itself: {page.error}"
    elif page.process:
        became = f"is {page.process}"
    else:
        became = "is computing, or waits for something outside of MPI" if page.step == 0 else "waits"
    return f"{who} (pid {page.pid} on {page.host}{device}) {became}, {page.where()}"


def _waiting(pages: Sequence[RankStatus]) -> str:
    """The ranks that wait for those that did not arrive, and where."""
    known = [page.rank for page in pages if page.rank >= 0]
    if not known:
        return f"{len(pages)} others had not joined yet"
    ranks = ", ".join(map(str, known[:MOST_NAMED]))
    more = " ..." if len(known) > MOST_NAMED else ""
    places = list(dict.fromkeys(page.where() for page in sorted(pages, key=lambda page: page.place)))
    where = places[0] if len(places) == 1 else f"from {places[0]} to {places[-1]}"
    return f"rank{'s' if len(pages) > 1 else ''} {ranks}{more} {where}"


def _row(pages: Sequence[RankStatus]) -> Measurement | None:
    """The row that was being measured: what a rank that raised was at, which may be none; else that of the farthest."""
    raised = [page for page in pages if page.state == RAISED]
    return raised[0].row if raised else max(pages, key=lambda page: page.place).row if pages else None


def _post_mortem(pages: Sequence[RankStatus], finished: Finished) -> Fault | None:
    """The fault of a world that its launcher ended; None where its ranks ended by themselves, each with its words."""
    unfinished = [replace(page, process=GONE) for page in pages if page.state != ENDED]
    if not unfinished:
        return None
    raised = [page for page in unfinished if page.state == RAISED]
    if raised:
        first = raised[0]
        code = finished.exit_code
        return Fault(code, _named(first), f"rank {first.rank}", first.row, final=first.row is None)
    # What launchers say is asked last: MPICH names the lowest of all ranks that ended, of which it ended most itself.
    # Between hosts the order is that of their clocks.
    ended = min(unfinished, key=lambda page: page.ended_s)
    text = f"{finished.stdout}\n{finished.stderr}"
    killed = [ended] if ended.ended_s < math.inf else _signalled(unfinished, text)
    what = (
        "a rank ended before it was done" if killed else "the launcher ended it, and does not say because of which rank"
    )
    named = killed or unfinished
    said = [what, *map(_named, named[:MOST_NAMED])]
    waiting = [page for page in unfinished if page not in named]
    said += [_waiting(waiting)] if waiting else []
    return Fault(exit_codes.FAILED, "; ".join(said), f"rank {named[0].rank}" if killed else "", _row(pages))


def _signalled(pages: Sequence[RankStatus], text: str) -> list[RankStatus]:
    """The ranks of these that the launcher says were ended by a signal."""
    found = []
    for pattern in _SIGNALLED:
        for match in pattern.finditer(text):
            pid, rank = match["pid"], match["rank"]
            found += [page for page in pages if (pid and page.pid == int(pid)) or (not pid and str(page.rank) == rank)]
    return list(dict.fromkeys(found))
