"""Comparison of two runs, row by row: the ratio of median times with a bootstrap interval, and what it means.

Rows meet by what was measured (suite, name, algorithm, transport, back end, operation, root, placement, size) and by
what must be alike (dtype, ranks, nodes, evidence, origin, device, sample unit). Rows that agree in the first and differ
in the second are refused unless the caller insists; which of several they are compared with, see `_unlike_pairs`.

Several rows of one point in a run are launches: the unit of the statistics is then the launch, and its samples below it
(a two-level bootstrap). From `MIN_LAUNCHES` a side on there is an interval. With a single launch on both sides the
interval knows only the noise within a launch, and with anything between there is none, as nothing tells by how much
launches differ. A ceiling of the roof that was measured again is no launch: the highest counts, as everywhere.

The rule of the four changes (better, worse, same, cannot tell) is `statistics.Ratio.change`. Rows without times, such
as verifications, are worse when their verdict fell from PASS to FAIL or INVALID, better the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.record import Run, gravest
from clusterbench.results.statistics import (
    DEFAULT_TOLERANCE,
    MIN_SAMPLES_CI95,
    RESAMPLES,
    Change,
    Ratio,
    bootstrap_ratio,
    median_resamples,
)

if TYPE_CHECKING:
    from pandas import DataFrame

POINT = ("suite", "name", "algorithm", "transport", "backend", "op", "root", "placement", "size")
"""What was measured; `size` is the shape of a kernel, of messages, and of an all_to_all_v with its traffic, and the
size in bytes of any other collective."""
ALIKE = ("dtype", "ranks", "nodes", "evidence", "origin", "device", "sample_unit")
"""What two rows must share to be compared."""

MIN_LAUNCHES = 4
"""Launches a side from which their spread can be told: where two runs are equal and launches spread by 5 %, the 95 %
interval of the ratio then holds 1 in 93 % of 2,000 simulations; with 3 launches in 91 %, with 2 in 68 %."""

_Z95 = 1.959964
_BROKEN = ("FAIL", "INVALID")


class CompareError(ValueError):
    """Two runs that cannot be compared: the message says what differs."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Side:
    """One run, or the part of it that is to be compared. `samples` are raw samples by index of the frame."""

    run: Run
    frame: DataFrame
    samples: Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One point in both runs. Times are medians in seconds, over launches where there are several."""

    point: dict[str, Any]
    a_s: float | None
    b_s: float | None
    ratio: Ratio | None
    change: Change
    launches: tuple[int, int]
    reason: str = ""
    """What the change rests on where it is not the ratio alone, and what differs in rows compared by force."""

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
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All points of two runs."""

    a: Run
    b: Run
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


def compare(a: Side, b: Side, tolerance: float = DEFAULT_TOLERANCE, force: bool = False, seed: int = 0) -> Comparison:
    """Compare run B with run A, the base.

    Parameters
    ----------
    tolerance: the change, as a share, from which on a row is better or worse (see `statistics.Ratio.change`).
    force: compare rows also where dtype, ranks, nodes, evidence, origin, device or sample unit differ; each says so.
    seed: of the bootstrap, so that the same two runs always give the same answer.

    Raises `CompareError` where rows differ in what must be alike, or the runs have no row in common.
    """
    if not 0 < tolerance < 1:
        raise CompareError(f"tolerance is {tolerance}; expected a share between 0 and 1")
    groups_a, groups_b = _groups(a), _groups(b)
    pairs = [(key, key) for key in groups_a if key in groups_b]
    unlike = _unlike_pairs(groups_a, groups_b)
    if unlike and not force:
        raise CompareError(_refusal(a.run, b.run, unlike))
    pairs += unlike
    if not pairs:
        raise CompareError(f"runs {a.run.run_id} and {b.run.run_id} have no row in common")
    rows: list[ComparedRow] = []
    for key_a, key_b in pairs:
        differing = "; ".join(f"{name} {x} against {y}" for name, x, y in _differences(key_a, key_b))
        rows.append(_compared(key_a, groups_a[key_a], groups_b[key_b], tolerance, differing, seed))
    matched_a, matched_b = {key for key, _ in pairs}, {key for _, key in pairs}
    return Comparison(
        a.run,
        b.run,
        tolerance,
        tuple(rows),
        tuple(_point(key) for key in groups_a if key not in matched_a),
        tuple(_point(key) for key in groups_b if key not in matched_b),
        environment_differences(a.run, b.run),
    )


Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Launch:
    """One row of a point, as the comparison needs it; NaN for a figure that is missing."""

    median_s: float
    low_s: float
    high_s: float
    exact: bool
    verdict: str
    samples: NDArray[np.float64] | None


def _groups(side: Side) -> dict[Key, list[_Launch]]:
    """The rows of each point; of a ceiling of the roof only the highest measurement."""
    frame = _highest_ceilings(side.frame)
    size = [shape or str(size) for shape, size in zip(frame["shape"], frame["size_bytes"], strict=True)]
    sized = frame.assign(size=size, verdict=frame["verdict"].fillna(""))
    figures = [sized[name].tolist() for name in ("median_s", "ci95_low_s", "ci95_high_s", "evidence", "verdict")]
    keys = zip(*(sized[name].tolist() for name in (*POINT, *ALIKE)), strict=True)
    groups: dict[Key, list[_Launch]] = {}
    for index, key, median, low, high, evidence, verdict in zip(sized.index.tolist(), keys, *figures, strict=True):
        exact = evidence in ("simulated", "compiled")  # computed, not timed: no spread
        groups.setdefault(key, []).append(_Launch(median, low, high, exact, verdict, side.samples.get(index)))
    return groups


def _highest_ceilings(frame: DataFrame) -> DataFrame:
    roof = frame[frame["suite"] == "roof"]
    if roof.empty:
        return frame
    by_rate = roof.assign(rate=roof["flop_per_s"].fillna(roof["bytes_per_s"])).sort_values("rate", kind="stable")
    lower = by_rate.index[
        by_rate.duplicated(["name", "dtype", "backend", "shape", "size_bytes", "device"], keep="last")
    ]
    return frame.drop(index=lower)


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


def _refusal(a: Run, b: Run, unlike: Sequence[tuple[Key, Key]]) -> str:
    found: dict[tuple[str, Any, Any], int] = {}
    for key_a, key_b in unlike:
        for difference in _differences(key_a, key_b):
            found[difference] = found.get(difference, 0) + 1
    lines = [f"{name}: {x!r} against {y!r} ({count} rows)" for (name, x, y), count in list(found.items())[:5]]
    return f"{a.run_id} and {b.run_id} are not alike in {'; '.join(lines)}. Pass --force to compare them all the same"


def _compared(
    key: Key,
    rows_a: Sequence[_Launch],
    rows_b: Sequence[_Launch],
    tolerance: float,
    differing: str,
    seed: int,
) -> ComparedRow:
    a_s, b_s = _median(rows_a), _median(rows_b)
    verdict_a, verdict_b = (gravest(row.verdict for row in rows) for rows in (rows_a, rows_b))
    fell = verdict_b in _BROKEN and verdict_a not in _BROKEN
    verdicts = f"verdict {verdict_a or 'none'}, then {verdict_b or 'none'}"
    if a_s is None or b_s is None:
        launches = len(rows_a), len(rows_b)
        rose = verdict_a in _BROKEN and verdict_b == "PASS"
        same = verdict_a is not None and verdict_a == verdict_b
        change: Change = "worse" if fell else "better" if rose else "same" if same else "cannot tell"
        reason = _joined(f"{verdicts}; no times", differing)
        return ComparedRow(_point(key), a_s, b_s, None, change, launches, reason)
    timed_a, timed_b = _timed(rows_a), _timed(rows_b)
    launches = len(timed_a), len(timed_b)
    ratio, reason = Ratio(b_s / a_s, None, None), differing
    if max(launches) > 1 and min(launches) < MIN_LAUNCHES:
        few = f"{launches[0]} launches against {launches[1]}, fewer than {MIN_LAUNCHES} a side"
        reason = _joined(f"no interval: {few}", differing)
    else:
        spread_a, spread_b = _resampled(timed_a, (seed, 0)), _resampled(timed_b, (seed, 1))
        if spread_a is None or spread_b is None:
            reason = _joined(f"no interval: fewer than {MIN_SAMPLES_CI95} samples", differing)
        else:
            ratio = bootstrap_ratio(spread_a, spread_b, b_s / a_s)
    if fell:
        return ComparedRow(_point(key), a_s, b_s, ratio, "worse", launches, _joined(verdicts, reason))
    return ComparedRow(_point(key), a_s, b_s, ratio, ratio.change(tolerance), launches, reason)


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def _is_time(time_s: float) -> bool:
    return bool(np.isfinite(time_s)) and time_s > 0


def _median(rows: Sequence[_Launch]) -> float | None:
    medians = [row.median_s for row in _timed(rows)]
    return float(np.median(medians)) if medians else None


def _timed(rows: Sequence[_Launch]) -> list[_Launch]:
    """The launches with a time; of several that were computed and agree, one."""
    timed = [row for row in rows if _is_time(row.median_s)]
    if timed and all(row.exact and row.median_s == timed[0].median_s for row in timed):
        return timed[:1]
    return timed


def _resampled(rows: Sequence[_Launch], stream: tuple[int, int]) -> NDArray[np.float64] | None:
    """Medians of resamples: first launches, then samples within each. None where nothing tells the spread.

    A launch of too few samples counts as well among several, with its median alone: launches differ by more than that.
    """
    spreads = [_launch_resamples(row, (*stream, i)) for i, row in enumerate(rows)]
    if len(rows) == 1:
        return spreads[0]
    table = np.stack(
        [np.full(RESAMPLES, row.median_s) if own is None else own for row, own in zip(rows, spreads, strict=True)]
    )
    chosen = np.random.default_rng(stream).integers(0, len(rows), (len(rows), RESAMPLES))
    medians: NDArray[np.float64] = np.median(table[chosen, np.arange(RESAMPLES)], axis=0)
    return medians


def _launch_resamples(row: _Launch, stream: tuple[int, ...]) -> NDArray[np.float64] | None:
    """From raw samples; else from the stored interval, taken as that of a log-normal."""
    samples = row.samples
    if samples is not None and len(samples) >= MIN_SAMPLES_CI95 and np.all(samples > 0):
        return median_resamples(samples, stream)
    if not _is_time(row.median_s):
        return None
    if row.exact:
        return np.full(RESAMPLES, row.median_s)
    if _is_time(row.low_s) and _is_time(row.high_s):
        spread = abs(float(np.log(row.high_s / row.low_s))) / (2 * _Z95)
        drawn = np.random.default_rng(stream).normal(np.log(row.median_s), spread, RESAMPLES)
        return np.asarray(np.exp(drawn))
    return None


def environment_differences(a: Run, b: Run) -> tuple[tuple[str, Any, Any], ...]:
    """Values of the environments that differ, by dotted name, with those of a moment (load, free memory)."""
    flat_a, flat_b = _flat(a.environment), _flat(b.environment)
    names = list(dict.fromkeys((*flat_a, *flat_b)))
    return tuple((name, flat_a.get(name), flat_b.get(name)) for name in names if flat_a.get(name) != flat_b.get(name))


def _flat(environment: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in environment.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{before}{key}."))
        else:
            flat[before + key] = value
    return flat
