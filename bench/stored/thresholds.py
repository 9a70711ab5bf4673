"""Thresholds: what rates or times rows must have at least, in a file by collective, size, device and ranks.

    [[threshold]]
    collective = "all_reduce"          # or a list
    size = "64M..8G"                   # one size, or from..to, both included; every size unless given
    device = "NVIDIA H100*"            # a shell pattern; every device unless given
    ranks = 8                          # or a list; any number unless given
    min_busbw_gb_per_s = 320           # and, or instead: min_algbw_gb_per_s, max_time_us

Also `algorithm`, `transport`, `placement` and `dtype` narrow it down, and `evidence` is "measured" unless given. Rates
are those of nccl-tests, 1 GB/s = 1e9 bytes/s.

A threshold that no machine can meet is a mistake in the file, so each is held against the bound in the rows that it
applies to: one beyond a proven bound is refused. An estimated bound may be beaten and refuses nothing; nor does a bound
that a valid row of the same point has beaten, as where switches reduce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import click

from clusterbench.bench.names import DTYPE, MESSAGES
from clusterbench.bench.output import rate_text, size_text, time_text
from clusterbench.bench.sizes import SIZE
from clusterbench.bench.toml_file import read_toml, unknown_key
from clusterbench.collectives.collective import UnknownCollectiveError, collective
from clusterbench.results import notes, rates
from clusterbench.results.columns import plain_rows
from clusterbench.results.record import EVIDENCE

if TYPE_CHECKING:
    from pandas import DataFrame

SUITES = ("collectives", "point-to-point")
"""The suites whose rows have thresholds."""

_LIMITS = {"min_busbw_gb_per_s": 1e9, "min_algbw_gb_per_s": 1e9, "max_time_us": 1e-6}
"""Keys that limit, each with what makes bytes/s or seconds of it."""
_TEXTS = ("algorithm", "transport", "placement")

Outcome = Literal["met", "below", "cannot tell"]
Row = Mapping[str, Any]


class ThresholdError(ValueError):
    """A file of thresholds that cannot be used: the message names the file and the key, what was found and expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Threshold:
    """One limit on some rows. What is empty or None holds for all."""

    where: str
    """File and key: `limits.toml: threshold[2].min_busbw_gb_per_s`."""
    key: str
    limit: float
    """bytes/s, or seconds."""
    collectives: tuple[str, ...]
    sizes: tuple[int, int] | None
    """The first and the last size, bytes."""
    device: str
    ranks: tuple[int, ...]
    fields: Mapping[str, tuple[str, ...]]
    """Values that other fields of a row may have."""

    def applies(self, row: Row) -> bool:
        """Whether a row is one of those that it limits."""
        return (
            row["suite"] in SUITES
            and row["name"] in self.collectives
            and (self.sizes is None or self.sizes[0] <= row["size_bytes"] <= self.sizes[1])
            and (not self.device or fnmatchcase(row["device"], self.device))
            and (not self.ranks or row["ranks"] in self.ranks)
            and all(row[name] in values for name, values in self.fields.items())
        )

    def longest_s(self, row: Row) -> float:
        """The longest time with which a row meets it, seconds."""
        if self.key == "max_time_us":
            return self.limit
        factor = _busbw_factor(row) if self.key == "min_busbw_gb_per_s" else 1.0
        return float(row["size_bytes"]) * factor / self.limit

    def shown(self, row: Row, time_s: float | None) -> str:
        """What a time is in the threshold's own quantity, in words."""
        if time_s is None:
            return "no time"
        if self.key == "max_time_us":
            return f"{time_text(time_s)} us"
        factor = _busbw_factor(row) if self.key == "min_busbw_gb_per_s" else 1.0
        return f"{rate_text(factor * rates.algbw(row['size_bytes'], time_s))} GB/s"


@dataclass(frozen=True, slots=True)
class Checked:
    """A row and a threshold that applies to it."""

    threshold: Threshold
    row: Row
    outcome: Outcome
    reason: str = ""

    def as_row(self) -> dict[str, Any]:
        """A flat dictionary of JSON values: the fields that say what the row is, and what came out."""
        names = ("run_id", "suite", "name", "algorithm", "transport", "dtype", "placement", "size_bytes", "ranks")
        more = ("host", "device", "median_s", "ci95_low_s", "ci95_high_s", "algbw", "busbw", "bound_s", "verdict")
        key = self.threshold.key
        return {
            **{name: self.row[name] for name in (*names, *more)},
            "threshold": self.threshold.where,
            "limit": key,
            "limit_value": self.threshold.limit / _LIMITS[key],
            "outcome": self.outcome,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """All rows with their thresholds, and the thresholds that apply to none."""

    checked: tuple[Checked, ...]
    unused: tuple[Threshold, ...]

    def count(self, outcome: Outcome) -> int:
        """How many have this outcome."""
        return sum(one.outcome == outcome for one in self.checked)


def read_thresholds(path: Path) -> tuple[Threshold, ...]:
    """The thresholds of a file, in its order. Raises `ThresholdError`."""
    document = read_toml(path, "a file of thresholds", ThresholdError)
    _refuse_unknown(str(path), document, ("threshold",))
    tables = document.get("threshold")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ThresholdError(f"{path}: no thresholds; expected tables [[threshold]]")
    return tuple(one for number, table in enumerate(tables, 1) for one in _thresholds(path, number, table))


def check(thresholds: Iterable[Threshold], frame: DataFrame) -> Check:
    """Hold every row of `frame` against the thresholds that apply to it.

    A row is below where the whole 95 % interval of its time misses the threshold, and where it has no interval or no
    time. It cannot be told where the median misses it and the interval does not. Wrong data meet no threshold.
    Raises `ThresholdError` for a threshold beyond the bound of a row, and where no threshold applies to any row.
    """
    rows = plain_rows(frame[frame["suite"].isin(SUITES)])
    listed = list(thresholds)
    beaten = {_point(row) for row in rows if _beats_bound(row)}
    checked: list[Checked] = []
    unused: list[Threshold] = []
    for threshold in listed:
        concerned = [row for row in rows if threshold.applies(row)]
        for row in concerned:
            if _point(row) not in beaten:
                _refuse_impossible(threshold, row)
        checked += [_check_one(threshold, row) for row in concerned]
        if not concerned:
            unused.append(threshold)
    if not checked:
        place = listed[0].where if listed else "thresholds"
        raise ThresholdError(f"{place} and all others: no row is of this collective, size, device and ranks")
    return Check(tuple(checked), tuple(unused))


def _check_one(threshold: Threshold, row: Row) -> Checked:
    longest_s = threshold.longest_s(row)
    median_s, low_s = row["median_s"], row["ci95_low_s"]
    if row["verdict"] in ("FAIL", "INVALID"):
        reason = "; ".join(filter(None, (f"verdict {row['verdict']}", row["reason"])))
        return Checked(threshold, row, "below", reason)
    if median_s is None:
        return Checked(threshold, row, "below", "no time")
    if median_s <= longest_s:
        return Checked(threshold, row, "met")
    if low_s is not None and low_s <= longest_s:
        best = threshold.shown(row, low_s)
        return Checked(threshold, row, "cannot tell", f"the interval reaches {best}: more samples are needed")
    return Checked(threshold, row, "below")


def _busbw_factor(row: Row) -> float:
    """busbw / algbw: of collectives by their formula, of messages as their row has it."""
    if row["suite"] == "collectives":
        return rates.busbw_factor(row["name"], row["ranks"])
    return float(row["busbw"] / row["algbw"]) if row["busbw"] and row["algbw"] else 1.0


def _point(row: Row) -> tuple[Any, ...]:
    return row["name"], row["size_bytes"], row["ranks"], row["nodes"], row["device"], row["topology"]


def _beats_bound(row: Row) -> bool:
    timed = row["bound_s"] is not None and row["median_s"] is not None
    return timed and row["median_s"] < row["bound_s"] and row["verdict"] not in ("FAIL", "INVALID")


def _refuse_impossible(threshold: Threshold, row: Row) -> None:
    bound_s = row["bound_s"]
    if bound_s is None or notes.is_estimate(row["bound_by"]) or threshold.longest_s(row) >= bound_s * (1 - 1e-9):
        return
    asked, possible = threshold.shown(row, threshold.longest_s(row)), threshold.shown(row, bound_s)
    raise ThresholdError(
        f"{threshold.where} asks for {asked}, and nothing can be better than {possible}: {row['name']} of "
        f"{size_text(row['size_bytes'])} on {row['ranks']} ranks is bound by {row['bound_by'] or 'its topology'}"
    )


# the file


def _thresholds(path: Path, number: int, table: Mapping[str, Any]) -> list[Threshold]:
    where = f"{path}: threshold[{number}]"
    readers: dict[str, Callable[[str, Any], Any]] = {
        "collective": _collectives,
        "size": _sizes,
        "device": _text,
        "ranks": _ranks,
        "dtype": _dtypes,
        "evidence": _evidence,
        **dict.fromkeys(_TEXTS, _texts),
        **dict.fromkeys(_LIMITS, _limit),
    }
    _refuse_unknown(where, table, tuple(readers))
    read = {key: readers[key](f"{where}.{key}", value) for key, value in table.items()}
    if "collective" not in read:
        raise ThresholdError(f"{where}: no collective; expected collective = NAME or a list of names")
    limits = [key for key in _LIMITS if key in read]
    if not limits:
        raise ThresholdError(f"{where}: no limit; expected one of {', '.join(_LIMITS)}")
    fields = {name: read[name] for name in (*_TEXTS, "dtype") if name in read}
    fields["evidence"] = read.get("evidence", ("measured",))
    return [
        Threshold(
            where=f"{where}.{key}",
            key=key,
            limit=read[key] * _LIMITS[key],
            collectives=read["collective"],
            sizes=read.get("size"),
            device=read.get("device", ""),
            ranks=read.get("ranks", ()),
            fields=fields,
        )
        for key in limits
    ]


def _refuse_unknown(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = unknown_key(table, known)
    if unknown:
        raise ThresholdError(f"{where}: {unknown}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _texts(where: str, value: Any) -> tuple[str, ...]:
    texts = _listed(value)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ThresholdError(f"{where} is {_short(value)}; expected text, or a list of texts")
    return tuple(texts)


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ThresholdError(f"{where} is {_short(value)}; expected text")
    return value


def _collectives(where: str, value: Any) -> tuple[str, ...]:
    try:
        return tuple(name if name in MESSAGES else collective(name).name for name in _texts(where, value))
    except UnknownCollectiveError as error:
        raise ThresholdError(f"{where}: {error}") from error


def _dtypes(where: str, value: Any) -> tuple[str, ...]:
    return tuple(_converted(DTYPE, where, text) for text in _texts(where, value))


def _evidence(where: str, value: Any) -> tuple[str, ...]:
    texts = _texts(where, value)
    if not set(texts) <= set(EVIDENCE):
        raise ThresholdError(f"{where} is {_short(value)}; expected {', '.join(EVIDENCE)}")
    return texts


def _sizes(where: str, value: Any) -> tuple[int, int]:
    first, dots, last = (str(value) if _is_whole(value) else _text(where, value)).partition("..")
    sizes = int(_converted(SIZE, where, first)), int(_converted(SIZE, where, last if dots else first))
    if sizes[0] > sizes[1]:
        raise ThresholdError(f"{where} is {_short(value)}; expected the smaller size first")
    return sizes


def _ranks(where: str, value: Any) -> tuple[int, ...]:
    numbers = _listed(value)
    if not numbers or not all(_is_whole(number) and number > 0 for number in numbers):
        raise ThresholdError(f"{where} is {_short(value)}; expected a number of ranks, or a list of them")
    return tuple(numbers)


def _limit(where: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < 1e15 or not isfinite(value):
        raise ThresholdError(f"{where} is {_short(value)}; expected a number over 0")
    return float(value)


def _converted(kind: click.ParamType[Any], where: str, text: str) -> Any:
    try:
        return kind.convert(text.strip(), None, None)
    except click.BadParameter as error:
        raise ThresholdError(f"{where}: {error.message}") from error


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
