"""Which hosts, devices, ranks and links stand out among their like, by median and median absolute deviation.

Like is compared with like: the same point (what was measured, how large, on what device) by other hosts or devices, and
pairs of ranks that share as much (core, host, neither). A member's figure is the median, over the points that it has in
common with the others, of the logarithm of its time over theirs; so a member that is slow at everything is told from
one point's noise. With x the figures, m their median and MAD the median of |x - m|, it stands out where

    |0.6745 (x - m) / MAD| > 3.5

(the modified z-score: Iglewicz and Hoaglin, "How to Detect and Handle Outliers", ASQC 1993), and where it differs from
the median by 5 % at least, as nobody acts on less. Below `FEWEST` members nothing is said: of so few the MAD is itself
too uncertain, and groups left out for it are counted. Of normal noise alone the score names somebody in one of 6 groups
of 6 members, in one of 10 of 20 to 100 members, unless the 5 % forbid it: a low score is a suspicion, not a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.notes import pair_class, what_ran
from clusterbench.results.record import Run

if TYPE_CHECKING:
    from pandas import DataFrame

FEWEST = 6
"""Members of a group from which one of them can be said to stand out."""
CUT = 3.5
SMALLEST = 0.05
"""Difference from the median, as a share, below which nothing is named."""
_NORMAL = 0.6745
"""MAD of normal noise, in standard deviations."""

Kind = Literal["host", "device", "rank", "link"]

_POINT = (
    "suite", "name", "algorithm", "transport", "backend", "op", "root", "placement", "size_bytes", "shape", "dtype",
    "ranks", "nodes", "evidence", "origin", "device", "sample_unit",
)  # fmt: skip
_ALONE = ("kernels", "roof", "collectives", "point-to-point")
"""Suites of which a row on one node says something of its host."""
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True)
class Outlier:
    """A member that stands out."""

    kind: Kind
    member: str
    what: str
    """What it was measured by: `kernels triad`, `latency, other host`."""
    ratio: float
    """Its time over that of its like: over 1 is slower."""
    score: float
    """The modified z-score; infinite where all others agree."""
    members: int
    """How many it was compared with, itself among them."""
    points: int
    """Over how many points."""
    run_id: str = ""
    """Of ranks and links, which are those of a run; empty where several runs were looked at together."""

    def as_row(self) -> dict[str, Any]:
        """A flat dictionary of JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Looked:
    """What stands out, the slowest first, and what was looked at."""

    outliers: tuple[Outlier, ...]
    groups: int
    """Groups that were judged."""
    too_few: tuple[str, ...]
    """Groups of fewer than `FEWEST` members, in words."""


@dataclass(frozen=True, slots=True)
class _Figures:
    """The figures of a group: of each member the logarithm of its time over its like's."""

    members: Sequence[str]
    logs: NDArray[np.float64]
    points: Sequence[int]


def outliers(frame: DataFrame, runs: Iterable[Run] = ()) -> Looked:
    """What stands out in the rows of `frame`, of one run or several; `runs` tell devices of one name apart.

    Rows without a time, and those whose data were wrong or that cannot be, say nothing.
    """
    good = frame[(frame["median_s"] > 0) & ~frame["verdict"].isin(["FAIL", "INVALID"]).fillna(False).astype(bool)]
    ran = [what_ran(*pair) for pair in zip(good["algorithm"].tolist(), good["note"].tolist(), strict=True)]
    good = good.assign(algorithm=ran, log_s=np.log(good["median_s"].to_numpy(np.float64)))
    found: list[Outlier] = []
    too_few: list[str] = []
    groups = 0
    for kind, what, run_id, figures in (*_of_hosts(good), *_of_devices(good, runs), *_of_pairs(good)):
        if len(figures.members) < FEWEST:
            too_few.append(f"{kind}s by {what}: {len(figures.members)} of them")
            continue
        groups += 1
        found += _named(kind, what, run_id, figures)
    found.sort(key=lambda one: -one.ratio)
    return Looked(tuple(found), groups, tuple(dict.fromkeys(too_few)))


Group = tuple[Kind, str, str, _Figures]
"""Kind, what it was measured by, the run, and the figures."""


def scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Modified z-scores; infinite for what differs where more than half of the values are equal."""
    off = values - np.median(values)
    mad = np.median(np.abs(off))
    with np.errstate(divide="ignore", invalid="ignore"):
        result: NDArray[np.float64] = np.where(off == 0, 0.0, _NORMAL * off / mad)
    return result


def _named(kind: Kind, what: str, run_id: str, figures: _Figures) -> list[Outlier]:
    ratio = np.exp(figures.logs - np.median(figures.logs))
    score = scores(figures.logs)
    standing_out = (np.abs(score) > CUT) & (np.maximum(ratio, 1 / ratio) >= 1 + SMALLEST)
    return [
        Outlier(
            kind,
            figures.members[i],
            what,
            float(ratio[i]),
            float(score[i]),
            len(figures.members),
            figures.points[i],
            run_id,
        )
        for i in np.flatnonzero(standing_out).tolist()
    ]


def _figures(rows: DataFrame) -> _Figures:
    """From columns `point`, `member` and `log_s`; of points that fewer than `FEWEST` members share nothing is used,
    unless there are no others."""
    table = rows.pivot_table("log_s", "member", "point", "median", sort=False)
    shared = table.loc[:, table.notna().sum() >= FEWEST]
    used = table if shared.empty else shared.dropna(how="all")
    logs = (used - used.median()).median(axis=1)
    return _Figures([str(name) for name in logs.index], logs.to_numpy(np.float64), used.notna().sum(axis=1).tolist())


def _of_hosts(frame: DataFrame) -> list[Group]:
    rows = frame[frame["suite"].isin(_ALONE) & (frame["nodes"] == 1) & (frame["host"] != "")]
    return _by_name("host", rows.assign(member=rows["host"]))


def _of_devices(frame: DataFrame, runs: Iterable[Run]) -> list[Group]:
    """Kernels on devices of a host; several of one name are told apart by what their run was allowed to see."""
    visible = {run.run_id: _visible(run.environment) for run in runs}
    rows = frame[(frame["suite"] == "kernels") & (frame["device"] != "")]
    index = rows["run_id"].map(lambda run_id: visible.get(run_id, ""))
    rows = rows.assign(member=rows["host"] + ": " + rows["device"] + index)
    if (rows.groupby("host")["member"].nunique() < 2).all():
        return []  # one device a host: what stands out is the host
    return _by_name("device", rows)


def _visible(environment: Mapping[str, Any]) -> str:
    variables = environment.get("variables")
    values = [variables.get(name) for name in _VISIBLE] if isinstance(variables, dict) else []
    return next((f" {value}" for value in values if value), "")


def _by_name(kind: Kind, rows: DataFrame) -> list[Group]:
    if rows.empty:
        return []
    pointed = rows.assign(point=rows.groupby(list(_POINT), sort=False, dropna=False).ngroup())
    return [
        (kind, f"{suite} {name}", "", _figures(part))
        for (suite, name), part in pointed.groupby(["suite", "name"], sort=False)
    ]


def _of_pairs(frame: DataFrame) -> list[Group]:
    """Ranks by all their pairs, and links without the pairs of ranks that stand out, each in its class."""
    rows = frame[(frame["suite"] == "pairs") & (frame["algorithm"] == "at-once")]
    ends = rows["shape"].str.extract(r"src=(\d+),dst=(\d+)").rename(columns={0: "src", 1: "dst"})
    rows = rows.assign(src=ends["src"], dst=ends["dst"], sharing=[pair_class(note) for note in rows["note"].tolist()])
    rows = rows.dropna(subset=["src", "dst"])
    found: list[Group] = []
    for (of_run, name, sharing, _, _), part in rows.groupby(
        ["run_id", "name", "sharing", "size_bytes", "ranks"], sort=False
    ):
        run_id = str(of_run)
        what = ", ".join(filter(None, (str(name), str(sharing))))
        hosts = dict(zip(part["src"], part["host"], strict=True))
        ends_of = part.melt(id_vars=["log_s"], value_vars=["src", "dst"], value_name="rank")
        of_ranks = _figures(ends_of.assign(point=0, member=ends_of["rank"]))
        found.append(("rank", what, run_id, _labelled(of_ranks, hosts)))
        bad = set()
        if len(of_ranks.members) >= FEWEST:
            bad = {outlier.member for outlier in _named("rank", what, run_id, of_ranks)}
        left = part[~part["src"].isin(bad) & ~part["dst"].isin(bad)]
        if not left.empty:
            links = "rank " + left["src"] + " - rank " + left["dst"]
            found.append(("link", what, run_id, _figures(left.assign(point=0, member=links))))
    return found


def _labelled(figures: _Figures, hosts: Mapping[str, str]) -> _Figures:
    named = [f"rank {rank}" + (f" ({hosts[rank]})" if hosts.get(rank) else "") for rank in figures.members]
    return _Figures(named, figures.logs, figures.points)
