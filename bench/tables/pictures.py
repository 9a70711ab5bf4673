"""Pictures of the schedules that a run measured, for its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterbench.collectives import discovery
from clusterbench.collectives.algorithm import LIBRARY, Call, UnsuitableAlgorithmError, parse_specs
from clusterbench.collectives.collective import collective
from clusterbench.collectives.drawing.schedules import DrawingError, steps_svg
from clusterbench.collectives.plans.files import read_schedule
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.schedule_file import ScheduleFileError
from clusterbench.results.notes import what_ran
from clusterbench.results.record import instant
from clusterbench.results.report.rows import lines

if TYPE_CHECKING:
    from pandas import DataFrame

FEWER_RANKS = 8
"""Ranks of the picture of an algorithm that ran on more than can be drawn."""
_FILE = "file:"


@dataclass(frozen=True, slots=True)
class Pictures:
    """What can be drawn of the schedules of a run, and what cannot."""

    drawn: dict[str, str]
    """SVG by what it shows, in words."""
    not_drawn: tuple[str, ...]
    """What has no picture, or not that of what ran, and why."""


def pictures(frame: DataFrame) -> Pictures:
    """A picture of every algorithm that the rows name, for each collective and number of ranks.

    An algorithm whose segments were chosen by size is drawn as it ran at the largest size at which it can be drawn.
    """
    chosen = frame[(frame["suite"] == "collectives") & ~frame["algorithm"].str.startswith(LIBRARY)]
    ran = [what_ran(algorithm, note) for algorithm, note in zip(chosen["algorithm"], chosen["note"], strict=True)]
    by = ["name", "algorithm", "ranks", "nodes"]
    rows = chosen.assign(ran=ran).sort_values([*by, "size_bytes"], ascending=[True] * 4 + [False], kind="stable")
    drawn: dict[str, str] = {}
    not_drawn: list[str] = []
    for _, group in rows.groupby(by, sort=False):
        refusals: list[str] = []
        for row in lines(group.drop_duplicates("ran")):
            for ranks in (row.ranks, FEWER_RANKS) if row.ranks > FEWER_RANKS else (row.ranks,):
                svg = _attempt(row, ranks, refusals)
                if svg:
                    drawn[_title(row, ranks)] = svg
                    break
            else:
                continue
            refusals = [f"{text}; {_title(row, ranks)} is drawn" for text in refusals]
            break
        not_drawn += refusals
    return Pictures(drawn, tuple(not_drawn))


def _attempt(row: Any, ranks: int, refusals: list[str]) -> str:
    """The picture of what a row measured, on so many ranks; empty where there is none, which is added to `refusals`."""
    try:
        what = row.algorithm if row.algorithm.startswith(_FILE) else row.ran
        return steps_svg(_schedule(row, ranks), what)
    except Exception as error:
        if getattr(error, "exit_code", None) is None:
            raise
        refusals.append(f"{_title(row, ranks)}: {error}")
        return ""


def _title(row: Any, ranks: int) -> str:
    what = row.algorithm if row.algorithm.startswith(_FILE) else row.ran
    where = f" on {row.nodes} hosts" if row.nodes > 1 and ranks == row.ranks else ""
    return f"{row.name} by {what}, {ranks} {'rank' if ranks == 1 else 'ranks'}{where}"


def _schedule(row: Any, ranks: int) -> Schedule:
    if row.algorithm.startswith(_FILE):
        return _read(row, ranks)
    specs, what = parse_specs(row.ran), collective(row.name)
    if len(specs) != 1:
        raise UnsuitableAlgorithmError(f"{row.ran!r} names {len(specs)} algorithms")
    host_ranks = row.ranks // row.nodes if row.ranks % row.nodes == 0 else 0
    # On fewer ranks than ran, a root beyond them is shown as root 0: only the numbers of the ranks differ.
    root = (row.root if 0 <= row.root < ranks else 0) if what.is_rooted else -1
    return discovery.schedule(specs[0], Call(what, ranks, root, host_ranks))


def _read(row: Any, ranks: int) -> Schedule:
    """The schedule of a file, where it still is the one that ran. Raises `ScheduleFileError` or `DrawingError`."""
    path = Path(row.ran)
    if not path.is_absolute():
        raise ScheduleFileError("the row does not say where the file was")
    if ranks != row.ranks:
        raise DrawingError(f"a file is for its {row.ranks} ranks alone")
    started_s = instant(row.started_at)
    if path.is_file() and started_s is not None and path.stat().st_mtime > started_s:
        raise ScheduleFileError(f"{path} was changed after the run")
    schedule = read_schedule(path)
    if (schedule.collective.name, schedule.ranks) != (row.name, row.ranks):
        raise ScheduleFileError(f"{path} is for {schedule.collective.name} over {schedule.ranks} ranks by now")
    return schedule
