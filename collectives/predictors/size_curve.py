"""The time of a call as a function of its size, fitted to measurements: four numbers with a meaning each.

The first `change` bytes go at `start_rate`, as few channels carry them, a pipeline fills, or the protocol is one for
small messages. What follows goes at `rate`, in one of two ways:

    after    T(S) = latency + min(S, change)/start_rate + max(S − change, 0)/rate
    beside   T(S) = latency + ((min(S, change)/start_rate)⁴ + (S/rate)⁴)^(1/4)

Beside is what channels do that each take a part of `change` bytes: more bytes bring in more channels at no cost, until
all of them together are the limit; the longer of both decides, with a smooth change-over. Which way it is, the fit
chooses by the smaller error, unless told. For fewer than five sizes, and where it is as good, it is a line, latency +
S/rate.

The fit minimises a robust norm of ln(predicted / measured), so that 8 bytes count as much as 8 GiB. What the sizes do
not determine is held by weak priors: a start rate no slower than needed, a latency near `TYPICAL_LATENCY_S`.

After the α-β model (R. Hockney, "The communication challenge for MPP: Intel Paragon and Meiko CS-2", Parallel Computing
20(3), 1994) with its change of protocol as in LogGPS (F. Ino et al., PPoPP 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import exp, isfinite
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Pair = tuple[float, float]
"""Size in bytes and time in seconds of one call."""

TYPICAL_LATENCY_S = 1e-5
"""Of a call without data; a prior, which gives way to any measurement of small sizes."""
_PRIOR = 0.003
"""Weight of a prior beside residuals of some percent: off by a factor of e it costs as much as an error of 0.3 %."""
_ROBUST = 0.03
"""Relative error from which residuals count linearly and no longer squared."""
_SHARPNESS = 4
_NO_TIME = 1e-300
_FEWEST_FOR_CURVE = 5
_LARGEST = 300.0
_MOST_CHANGES = 12
_MOST_STEPS = 100
_TOLERANCE = 1e-5
_LINE_IS_AS_GOOD = 0.002
"""A curve must improve on the line's error by more than that."""


class CurveError(ValueError):
    """Measurements that no curve can be fitted to: the message says what was found and what was expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class SizeCurve:
    """See the head of this file."""

    latency_s: float
    """Of a call without data."""
    start_rate: float
    """Bytes/s of the first bytes; no faster than `rate` where what follows comes after them."""
    change_bytes: float
    """Bytes that go at `start_rate`; 0 for a line."""
    rate: float
    """Bytes/s of large sizes."""
    beside: bool = False
    """Whether what follows goes beside the first bytes, or after them."""

    def __post_init__(self) -> None:
        for name in ("latency_s", "start_rate", "change_bytes", "rate"):
            value = getattr(self, name)
            if not (isfinite(value) and (value > 0 or (value == 0 and name in ("latency_s", "change_bytes")))):
                raise CurveError(f"{name} is {value}; expected a finite number above 0")

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON values: seconds, bytes/s, bytes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` gave. Raises `CurveError` for parameters that are missing, unknown, or no numbers."""
        known = {one.name for one in fields(cls)}
        wrong = sorted(set(values) - known) or sorted(known - set(values) - {"beside"})
        if wrong:
            raise CurveError(f"parameter {wrong[0]!r}; expected {', '.join(sorted(known))}")
        numbers = {name: value for name, value in values.items() if name != "beside"}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise CurveError(f"{name} is {value!r}; expected a number")
        if not isinstance(values.get("beside", False), bool):
            raise CurveError(f"beside is {values['beside']!r}; expected true or false")
        return cls(**values)


def predict(curve: SizeCurve, sizes_bytes: ArrayLike) -> Floats:
    """Seconds of calls of these sizes in bytes; sizes below 0 are taken as 0."""
    sizes = np.maximum(np.asarray(sizes_bytes, np.float64), 0.0)
    first = np.minimum(sizes, curve.change_bytes)
    if curve.beside:
        return curve.latency_s + _longer(first / curve.start_rate, sizes / curve.rate)
    times: Floats = curve.latency_s + first / curve.start_rate + (sizes - first) / curve.rate
    return times


def _longer(part: Floats, whole: Floats) -> Floats:
    """A smooth maximum of two times; the larger is taken out, as powers of small times underflow."""
    larger = np.maximum(np.maximum(part, whole), _NO_TIME)
    joined: Floats = larger * ((part / larger) ** _SHARPNESS + (whole / larger) ** _SHARPNESS) ** (1 / _SHARPNESS)
    return joined


def error(curve: SizeCurve, pairs: Iterable[Pair]) -> float:
    """The geometric mean error exp(mean |ln(predicted / measured)|) − 1 of measurements; 0.05 is 5 %."""
    sizes, times = _checked(pairs, 1)
    return exp(float(np.abs(np.log(predict(curve, sizes) / times)).mean())) - 1


def fit(pairs: Iterable[Pair], beside: bool | None = None) -> SizeCurve:
    """The curve of measurements of one collective on one machine; sizes of 0 bytes are left out.

    `beside` fixes which way it is. Raises `CurveError` for fewer than two sizes, and for a size or time that is
    not finite or not above 0.
    """
    sizes, times = _checked([pair for pair in pairs if pair[0] != 0], 2)
    line = _fitted_line(sizes, times)
    if len(np.unique(sizes)) < _FEWEST_FOR_CURVE:
        return line
    ways = (False, True) if beside is None else (beside,)
    measured = list(zip(sizes.tolist(), times.tolist(), strict=True))
    best = min((_fitted_curve(sizes, times, way) for way in ways), key=lambda one: error(one, measured))
    return best if error(best, measured) < error(line, measured) - _LINE_IS_AS_GOOD else line


def _checked(pairs: Iterable[Pair], fewest: int) -> tuple[Floats, Floats]:
    table = np.array([(float(size), float(time)) for size, time in pairs], np.float64).reshape(-1, 2)
    sizes, times = table[:, 0], table[:, 1]
    wrong = np.flatnonzero(~(np.isfinite(table).all(axis=1) & (times > 0) & (sizes > 0)))
    if len(wrong):
        size, time = table[wrong[0]]
        raise CurveError(f"{size:g} bytes in {time:g} s; expected a size and a time above 0")
    if len(np.unique(sizes)) < fewest:
        raise CurveError(f"{len(np.unique(sizes))} sizes; expected measurements of at least {fewest}")
    return sizes, times


def _solved(
    residuals: Callable[[Floats], Floats], slopes: Callable[[Floats], Floats], starts: Sequence[Sequence[float]]
) -> Floats:
    """Logarithms of the parameters at the best of the minima found from several starts."""
    from scipy.optimize import least_squares

    found = [
        least_squares(residuals, start, slopes, loss="soft_l1", f_scale=_ROBUST, ftol=_TOLERANCE, max_nfev=_MOST_STEPS)
        for start in starts
    ]
    return np.asarray(min(found, key=lambda one: float(one.cost)).x, np.float64)


def _starts(sizes: Floats, times: Floats) -> tuple[float, float]:
    """Logarithms of a latency and a rate to start from."""
    rate = float((sizes / times).max())
    return float(np.log(max(times.min() * 0.5, 1e-12))), float(np.log(rate))


def _fitted_line(sizes: Floats, times: Floats) -> SizeCurve:
    latency, rate = _starts(sizes, times)

    def residuals(x: Floats) -> Floats:
        off = np.log((np.exp(x[0]) + sizes / np.exp(x[1])) / times)
        return np.append(off, _PRIOR * (x[0] - np.log(TYPICAL_LATENCY_S)))

    def slopes(x: Floats) -> Floats:
        latency_s, whole = np.exp(x[0]), sizes / np.exp(x[1])
        off = np.stack((latency_s / (latency_s + whole), -whole / (latency_s + whole)), axis=1)
        return np.append(off, [[_PRIOR, 0.0]], axis=0)

    starts = [(latency, rate), (float(np.log(TYPICAL_LATENCY_S)), rate)]
    latency_s, whole_rate = np.exp(_solved(residuals, slopes, starts)).tolist()
    return SizeCurve(latency_s, whole_rate, 0.0, whole_rate)


def _fitted_curve(sizes: Floats, times: Floats, beside: bool) -> SizeCurve:
    """Started from a change between any two sizes, as the error has a kink at each size and minima between.

    At least two sizes lie above the change, or nothing would tell the rate of large ones. The parameters searched are
    logarithms of latency, of the rate that delays the first bytes, of the rate, and of the change.
    """
    ordered, sharpness = np.unique(sizes), _SHARPNESS if beside else 1
    most = float(np.log(ordered[-2]))

    def parts(x: Floats) -> tuple[float, Floats, Floats, Floats]:
        latency_s, delay_rate, rate, change = np.exp(np.minimum(x, (_LARGEST, _LARGEST, _LARGEST, most)))
        part, whole = np.minimum(sizes, change) / delay_rate, sizes / rate
        return float(latency_s), part, whole, _longer(part, whole) if beside else part + whole

    def residuals(x: Floats) -> Floats:
        latency_s, _, _, joined = parts(x)
        priors = (_PRIOR * (x[0] - np.log(TYPICAL_LATENCY_S)), _PRIOR * (x[1] - x[2]))
        return np.append(np.log((latency_s + joined) / times), priors)

    def slopes(x: Floats) -> Floats:
        latency_s, part, whole, joined = parts(x)
        predicted = latency_s + joined
        table = np.empty((len(sizes) + 2, 4))
        table[:-2, 0] = latency_s / predicted
        table[:-2, 1] = -joined * (part / joined) ** sharpness / predicted
        table[:-2, 2] = -joined * (whole / joined) ** sharpness / predicted
        table[:-2, 3] = np.where((np.log(sizes) > x[3]) & (x[3] < most), -table[:-2, 1], 0.0)
        table[-2:] = [[_PRIOR, 0, 0, 0], [0, _PRIOR, -_PRIOR, 0]]
        return table

    latency, rate = _starts(sizes, times)
    slow, typical = float(np.log((sizes / times).min())), float(np.log(TYPICAL_LATENCY_S))
    middles = np.log(ordered[1:-1] * ordered[:-2]) / 2
    changes = middles[np.unique(np.linspace(0, len(middles) - 1, _MOST_CHANGES).round().astype(int))]
    starts = [(*start, float(change)) for change in changes for start in ((latency, rate, rate), (typical, slow, rate))]
    latency_s, delay_rate, whole_rate, change = np.exp(_solved(residuals, slopes, starts)).tolist()
    start_rate = delay_rate if beside else 1 / (1 / delay_rate + 1 / whole_rate)
    return SizeCurve(latency_s, start_rate, min(change, float(ordered[-2])), whole_rate, beside)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How well the curve of some sizes predicts the others. Errors are those of `error`; 0.05 is 5 %."""

    collective: str
    split: str
    """How the sizes were divided, in words."""
    curve: SizeCurve
    fitted_sizes: int
    fitted_error: float
    held_sizes: int
    held_error: float
    worst: float
    """The largest error of one call held out."""


Split = Callable[[Sequence[float]], set[float]]
"""Chooses from sizes, in order and each once, those to fit to."""


def every_second(sizes: Sequence[float]) -> set[float]:
    """The first, the third, and so on."""
    return set(sizes[::2])


def up_to(most_bytes: float) -> Split:
    """A split at a size: those up to it are fitted, larger ones predicted."""
    return lambda sizes: {size for size in sizes if size <= most_bytes}


def held_out(collective: str, pairs: Iterable[Pair], split: Split, words: str) -> HeldOut:
    """Fit a curve to the sizes that `split` chooses, and see how it predicts the others. Raises `CurveError`.

    Both times of a size measured twice, such as out of place and in place, are on the same side.
    """
    known = [pair for pair in pairs if pair[0] != 0]
    sizes = sorted({size for size, _ in known})
    chosen = split(sizes)
    inside = [pair for pair in known if pair[0] in chosen]
    outside = [pair for pair in known if pair[0] not in chosen]
    if not outside:
        raise CurveError(f"{collective}: {len(sizes)} sizes, of which none is left to predict")
    curve = fit(inside)
    predicted = predict(curve, [size for size, _ in outside])
    off = np.abs(np.log(predicted / np.array([time for _, time in outside])))
    return HeldOut(
        collective, words, curve,
        fitted_sizes=len({size for size, _ in inside}), fitted_error=error(curve, inside),
        held_sizes=len({size for size, _ in outside}), held_error=error(curve, outside),
        worst=exp(float(off.max())) - 1,
    )  # fmt: skip


def held_out_table(measured: Mapping[str, Sequence[Pair]], most_bytes: float = float(1 << 30)) -> list[HeldOut]:
    """For each collective two rows: fitted to every second size, and to the sizes up to `most_bytes`.

    A division that leaves fewer than two sizes to fit to, or none to predict, is left out. Raises `CurveError`.
    """
    table = []
    for collective, pairs in measured.items():
        sizes = sorted({size for size, _ in pairs if size != 0})
        divisions = (
            (every_second, "every second size"),
            (up_to(most_bytes), f"sizes up to {most_bytes / (1 << 20):g} MiB"),
        )
        for split, words in divisions:
            if 2 <= len(split(sizes)) < len(sizes):
                table.append(held_out(collective, pairs, split, words))
    return table
