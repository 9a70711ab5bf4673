"""Comparison of two sides, row by row: the ratio of median times with its interval, and what it means.

A side is one run or several. Rows meet by what was measured (suite, name, algorithm with its options, transport, back
end, operation, root, placement, size) and by what must be alike (dtype, ranks, nodes, evidence, origin, device, sample
unit). Rows that agree in the first and differ in the second are refused unless the caller insists; which of several
they are compared with, see `_unlike_pairs`.

Several rows of one point on a side are launches, whether they come from one run or from several. The launch is the unit
of the statistics: placement of pages and of ranks differs between launches, which no number of samples within one shows
(Hunold and Carpen-Amarie, IEEE TPDS 27(12), 2016). So a row is better or worse where

    the rank test of its launches is significant, adjusted over all rows (`significance`), and
    the 95 % interval of the ratio (`launches`) lies to one side of 1, and
    the ratio is beyond the tolerance (`statistics.Ratio.change`).

With too few launches for the test nothing can be told, and the row says how many are needed. With one launch a side
there is an interval all the same, of the samples within; it decides only where the caller says so (`unit`). A ceiling
of the roof that was measured again in a run is no launch: the highest counts, as everywhere. Nor is a pair of ranks
that was measured again to compare another with: the middle one counts.

Computed times (simulated, compiled) have no spread and need no test. Rows without times, such as verifications, are
worse when their verdict fell from PASS to FAIL or INVALID, better the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from clusterbench.results.estimates import Estimate, Launch, Unit, estimates
from clusterbench.results.notes import what_ran
from clusterbench.results.record import Run, gravest
from clusterbench.results.significance import TESTS, Design
from clusterbench.results.statistics import DEFAULT_TOLERANCE, Change, Ratio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame

POINT = ("suite", "name", "algorithm", "transport", "backend", "op", "root", "placement", "size")
"""What was measured; `algorithm` is with its options, and `size` is the shape of a kernel, of messages, and of an
all_to_all_v with its traffic, and the size in bytes of any other collective."""
ALIKE = ("dtype", "ranks", "nodes", "evidence", "origin", "device", "sample_unit")
"""What two rows must share to be compared."""
COLUMNS = (
    "run_id", *(name for name in POINT if name != "size"), "shape", "size_bytes", *ALIKE, "median_s", "ci95_low_s",
    "ci95_high_s", "bytes_per_s", "flop_per_s", "verdict", "note", "started_at",
)  # fmt: skip
"""The fields that a comparison looks at."""

_BROKEN = ("FAIL", "INVALID")
_COMPUTED = ("simulated", "compiled")


class CompareError(ValueError):
    """Two sides that cannot be compared: the message says what differs."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Side:
    """Some runs, or the parts of them that are to be compared.

    `frame` has at least `COLUMNS`; `samples` are raw samples by its index.
    """

    runs: tuple[Run, ...]
    frame: DataFrame
    samples: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The runs' ids with commas between."""
        return ",".join(run.run_id for run in self.runs)


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One point on both sides. Times are medians in seconds, over launches where there are several."""

    point: dict[str, Any]
    a_s: float | None
    b_s: float | None
    ratio: Ratio | None
    change: Change
    launches: tuple[int, int]
    reason: str = ""
    """What the change rests on where it is not the ratio alone, and what differs in rows compared by force."""
    test: str = ""
    """The rank test of the launches; empty where there is none."""
    p: float | None = None
    """The p-value, adjusted over all rows of the comparison."""
    needed: int | None = None
    """Launches a side that are needed where nothing can be told."""

    def as_row(self) -> dict[str, Any]:
        """A flat dictionary of JSON values."""
        ratio = self.ratio or Ratio(float("nan"), None, None)
        return {
            **self.point,
            "a_s": self.a_s,
            "b_s": self.b_s,
            "ratio": ratio.value if self.ratio else None,
            "ratio_low": ratio.low,
            "ratio_high": ratio.high,
            "change": self.change,
            "launches_a": self.launches[0],
            "launches_b": self.launches[1],
            "test": self.test,
            "p_adjusted": self.p,
            "launches_needed": self.needed,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All points of two sides."""

    a: tuple[Run, ...]
    b: tuple[Run, ...]
    tolerance: float
    rows: tuple[ComparedRow, ...]
    only_a: tuple[dict[str, Any], ...]
    only_b: tuple[dict[str, Any], ...]
    environment: tuple[tuple[str, Any, Any], ...]
    """What differs between the environments: name, value of A, value of B."""

    def counts(self) -> dict[Change, int]:
        """How many rows there are of each change."""
        changes: tuple[Change, ...] = ("better", "worse", "same", "cannot tell")
        return {change: sum(row.change == change for row in self.rows) for change in changes}


def compare(
    a: Side,
    b: Side,
    tolerance: float = DEFAULT_TOLERANCE,
    force: bool = False,
    seed: int = 0,
    *,
    unit: Unit = "launch",
    design: Design | None = None,
    among: int = 0,
) -> Comparison:
    """Compare side B with side A, the base.

    Parameters
    ----------
    tolerance: the change, as a share, from which on a row is better or worse.
    force: compare rows also where dtype, ranks, nodes, evidence, origin, device or sample unit differ; each says so.
    seed: of the bootstrap, so that the same sides always give the same answer.
    unit: `sample` lets the samples within a launch decide where both sides have one launch only.
    design: how the launches lie in time; by default interleaved where their starts say so (`launches.interleaved`).
    among: how many rows are compared in all, where these are only some of them: p-values are adjusted over so many.

    Raises `CompareError` where rows differ in what must be alike, or the sides have no row in common.
    """
    if not 0 < tolerance < 1:
        raise CompareError(f"tolerance is {tolerance}; expected a share between 0 and 1")
    groups_a, groups_b = _groups(a), _groups(b)
    pairs = [(key, key) for key in groups_a if key in groups_b]
    unlike = _unlike_pairs(groups_a, groups_b)
    if unlike and not force:
        raise CompareError(_refusal(a, b, unlike))
    pairs += unlike
    if not pairs:
        raise CompareError(f"runs {a.name} and {b.name} have no row in common")
    sides = [(groups_a[x], groups_b[y]) for x, y in pairs]
    found = estimates([(_timed(x), _timed(y)) for x, y in sides], tolerance, seed, unit, design, among)
    rows = [_compared(keys, side, estimate) for keys, side, estimate in zip(pairs, sides, found, strict=True)]
    matched_a, matched_b = {key for key, _ in pairs}, {key for _, key in pairs}
    return Comparison(
        a.runs,
        b.runs,
        tolerance,
        tuple(rows),
        tuple(_point(key) for key in groups_a if key not in matched_a),
        tuple(_point(key) for key in groups_b if key not in matched_b),
        environment_differences(a.runs, b.runs),
    )


Key = tuple[Any, ...]


def _groups(side: Side) -> dict[Key, list[Launch]]:
    """The launches of each point."""
    import pandas as pd

    frame = _one_a_launch(side.frame[list(COLUMNS)])
    noted = zip(frame["algorithm"].tolist(), frame["note"].tolist(), strict=True)
    ran = [what_ran(algorithm, note) if note else algorithm for algorithm, note in noted]
    size = [
        shape or str(size) for shape, size in zip(frame["shape"].tolist(), frame["size_bytes"].tolist(), strict=True)
    ]
    columns = {name: frame[name].tolist() for name in COLUMNS} | {"algorithm": ran, "size": size}
    started = pd.to_datetime(frame["started_at"], utc=True, errors="coerce", format="ISO8601")
    at_s = (started - pd.Timestamp(0, tz="UTC")).dt.total_seconds().tolist()
    keys = zip(*(columns[name] for name in (*POINT, *ALIKE)), strict=True)
    figures = [columns[name] for name in ("median_s", "ci95_low_s", "ci95_high_s", "evidence", "verdict")]
    groups: dict[Key, list[Launch]] = {}
    for index, key, start, median, low, high, evidence, verdict in zip(
        frame.index.tolist(), keys, at_s, *figures, strict=True
    ):
        launch = Launch(median, low, high, evidence in _COMPUTED, start, side.samples.get(index), verdict)
        groups.setdefault(key, []).append(launch)
    return groups


def _one_a_launch(frame: DataFrame) -> DataFrame:
    """`frame` without what was measured again in a run: of a ceiling the highest stays, of a pair the middle one."""
    if not {"roof", "pairs"} & set(frame["suite"].tolist()):
        return frame
    roof, pairs = frame[frame["suite"] == "roof"], frame[frame["suite"] == "pairs"]
    by_rate = roof.assign(rate=roof["flop_per_s"].fillna(roof["bytes_per_s"])).sort_values("rate", kind="stable")
    what = ["run_id", "name", "dtype", "backend", "shape", "size_bytes", "device"]
    dropped = by_rate.index[by_rate.duplicated(what, keep="last")]
    by_time = pairs.sort_values("median_s", kind="stable").groupby([*what, "algorithm", "ranks"], sort=False)
    place, count = by_time.cumcount(), by_time["name"].transform("size")
    return frame.drop(index=dropped.append(place.index[place != (count - 1) // 2]))


def _point(key: Key) -> dict[str, Any]:
    return dict(zip((*POINT, *ALIKE), key, strict=True))


def _differences(key_a: Key, key_b: Key) -> list[tuple[str, Any, Any]]:
    names = (*POINT, *ALIKE)
    return [(name, x, y) for name, x, y in zip(names, key_a, key_b, strict=True) if x != y]


def _unlike_pairs(groups_a: Mapping[Key, Any], groups_b: Mapping[Key, Any]) -> list[tuple[Key, Key]]:
    """Keys left over on both sides that meet in all but what must be alike, each paired once.

    Within a point those meet first that share the dtype, and of these those that differ in the fewest fields.
    """
    cut = len(POINT)
    dtype = cut + ALIKE.index("dtype")
    left: dict[Key, tuple[list[Key], list[Key]]] = {}
    for side, (groups, others) in enumerate(((groups_a, groups_b), (groups_b, groups_a))):
        for key in groups:
            if key not in others:
                left.setdefault(key[:cut], ([], []))[side].append(key)
    pairs: list[tuple[Key, Key]] = []
    for keys_a, keys_b in left.values():
        candidates = [(x, y) for x in keys_a for y in keys_b]
        candidates.sort(key=lambda pair: (pair[0][dtype] != pair[1][dtype], len(_differences(*pair))))
        free = {*keys_a, *keys_b}
        for pair in candidates:
            if free.issuperset(pair):
                free.difference_update(pair)
                pairs.append(pair)
    return pairs


def _refusal(a: Side, b: Side, unlike: Sequence[tuple[Key, Key]]) -> str:
    found: dict[tuple[str, Any, Any], int] = {}
    for key_a, key_b in unlike:
        for difference in _differences(key_a, key_b):
            found[difference] = found.get(difference, 0) + 1
    lines = [f"{name}: {x!r} against {y!r} ({count} rows)" for (name, x, y), count in list(found.items())[:5]]
    return f"{a.name} and {b.name} are not alike in {'; '.join(lines)}. Pass --force to compare them all the same"


def _timed(rows: Sequence[Launch]) -> list[Launch]:
    """The launches with a time; of several that were computed and agree, one."""
    timed = [row for row in rows if row.is_timed]
    if timed and all(row.exact and row.median_s == timed[0].median_s for row in timed):
        return timed[:1]
    return timed


def _compared(keys: tuple[Key, Key], sides: tuple[list[Launch], list[Launch]], estimate: Estimate) -> ComparedRow:
    differences = _differences(*keys) if keys[0] != keys[1] else []
    differing = "; ".join(f"{name} {x} against {y}" for name, x, y in differences)
    verdict_a, verdict_b = (gravest(row.verdict for row in rows) for rows in sides)
    fell = verdict_b in _BROKEN and verdict_a not in _BROKEN
    verdicts = f"verdict {verdict_a or 'none'}, then {verdict_b or 'none'}" if fell or estimate.ratio is None else ""
    a_s, b_s = estimate.a_s, estimate.b_s
    if estimate.ratio is None:
        rose = verdict_a in _BROKEN and verdict_b == "PASS"
        same = verdict_a is not None and verdict_a == verdict_b
        change: Change = "worse" if fell else "better" if rose else "same" if same else "cannot tell"
        reason = _joined(f"{verdicts}; no times", differing)
        return ComparedRow(_point(keys[0]), a_s, b_s, None, change, (len(sides[0]), len(sides[1])), reason)
    return ComparedRow(
        point=_point(keys[0]),
        a_s=a_s,
        b_s=b_s,
        ratio=estimate.ratio,
        change="worse" if fell else estimate.change,
        launches=estimate.launches,
        reason=_joined(verdicts, estimate.reason, differing),
        test=TESTS[estimate.design] if estimate.design else "",
        p=estimate.p,
        needed=estimate.needed,
    )


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def environment_differences(a: Sequence[Run], b: Sequence[Run]) -> tuple[tuple[str, Any, Any], ...]:
    """Values of the environments that differ, by dotted name, with those of a moment (load, free memory).

    What the time of a run went into, which no two runs share, is left out.
    Of several runs the value is the one that all have, or the list of those that they have.
    """
    flat_a, flat_b = _environment(a), _environment(b)
    names = list(dict.fromkeys((*flat_a, *flat_b)))
    return tuple((name, flat_a.get(name), flat_b.get(name)) for name in names if flat_a.get(name) != flat_b.get(name))


def _environment(runs: Sequence[Run]) -> dict[str, Any]:
    flats = [_flat({name: part for name, part in run.environment.items() if name != "time"}) for run in runs]
    result: dict[str, Any] = {}
    for name in dict.fromkeys(name for flat in flats for name in flat):
        values: list[Any] = []
        for flat in flats:
            if (value := flat.get(name)) not in values:
                values.append(value)
        result[name] = values[0] if len(values) == 1 else values
    return result


def _flat(environment: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in environment.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{before}{key}."))
        else:
            flat[before + key] = value
    return flat
