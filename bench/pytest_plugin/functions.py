"""Functions of a test: checked, timed by the rules of sampling, checked again, and held against a bound."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterbench.bench.judge import NO_BOUND, Bound, is_beyond, judge_time
from clusterbench.bench.measuring.python_timing import python_block, reading_s
from clusterbench.bench.measuring.sampling import sample, with_samples
from clusterbench.bench.pytest_plugin.results import Result
from clusterbench.kernels import device
from clusterbench.results.importers.pytest_benchmark import name_and_shape
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import summarise

if TYPE_CHECKING:
    import pytest

    from clusterbench.bench.pytest_plugin.session import BenchmarkSession

SAMPLE_UNIT = "one call from Python; the mean of a batch where the row has one"


@dataclass(frozen=True, slots=True)
class Function:
    """What to call, what it must return, and what a call costs."""

    name: str
    shape: str
    call: Callable[[], Any]
    expected: Any
    error_bound: float
    check: Callable[[Any], object] | None
    dtype: str
    traffic_bytes: int
    operations: int
    bound_s: float | None
    bound_by: str

    @property
    def is_checked(self) -> bool:
        """Whether anything is known of its result."""
        return self.check is not None or self.expected is not None


def name_of(item: pytest.Item) -> tuple[str, str]:
    """The name and the shape of a test's row, as an import of pytest-benchmark's JSON has them."""
    spec = getattr(item, "callspec", None)
    return name_and_shape(item.nodeid, getattr(spec, "id", None), getattr(spec, "params", None))


def measure_function(session: BenchmarkSession, asked: Function, only_check: bool) -> list[Result]:
    """One row, FAIL where the result is wrong; what the function or its check raises goes to the test."""
    row = Measurement(
        run_id="" if only_check else session.journal.run.run_id,
        suite="kernels",
        name=asked.name,
        shape=asked.shape,
        backend="pytest",
        dtype=asked.dtype,
        size_bytes=asked.traffic_bytes,
        bound_s=asked.bound_s,
        bound_by=asked.bound_by,
        host=socket.gethostname(),
        device=device.cpu().name,
        started_at=now_iso(),
    )
    wrong, reason = _wrong(asked, asked.call())
    if reason or only_check:
        return [Result(replace(row, wrong=wrong, reason=reason, verdict="FAIL" if reason else "PASS"), None)]
    samples = sample(python_block(asked.call), session.rules, reading_s())
    summary = summarise(samples.seconds)
    verdict, words = judge_time(NO_BOUND, summary)
    if asked.bound_s is not None and is_beyond(Bound(asked.bound_s, asked.bound_by), summary):
        verdict, words = "INVALID", f"in {summary.median_s / asked.bound_s:.0%} of the shortest time that is possible"
    wrong, reason = _wrong(asked, asked.call())
    if reason:
        verdict, words = "FAIL", f"after timing, {reason}"
    row = replace(
        row,
        bytes_per_s=asked.traffic_bytes / summary.median_s if asked.traffic_bytes else None,
        flop_per_s=asked.operations / summary.median_s if asked.operations else None,
        bound_share=None if asked.bound_s is None else asked.bound_s / summary.median_s,
        wrong=wrong,
        verdict=verdict,
        reason=words,
    )
    return [Result(with_samples(row, samples, summary, SAMPLE_UNIT), samples.seconds)]


def _wrong(asked: Function, found: Any) -> tuple[int | None, str]:
    """How many elements of a result are wrong, and in words what; None where nothing is known of it."""
    if asked.check is not None and asked.check(found) is False:
        return 1, f"the check says no to {_short(found)}"
    if asked.expected is None:
        return (0 if asked.check is not None else None), ""
    try:
        has, right = np.asarray(found), np.asarray(asked.expected)
        if has.shape != right.shape:
            return max(has.size, right.size), f"the result has shape {has.shape}; expected {right.shape}"
        fits = has == right
        if asked.error_bound:
            fits = fits | (np.abs(has - right) <= asked.error_bound)
    except (TypeError, ValueError):  # no arrays of numbers
        same = bool(found == asked.expected)
        return int(not same), "" if same else f"{_short(found)}; expected {_short(asked.expected)}"
    places = np.argwhere(~fits)
    if not len(places):
        return 0, ""
    place = tuple(int(i) for i in places[0])
    where = f"element {list(place)}" if place else "it"
    within = f" within {asked.error_bound:g}" if asked.error_bound else ""
    words = f"{len(places)} of {has.size} elements wrong, the first: {where} is {has[place]}; expected {right[place]}"
    return len(places), words + within


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
