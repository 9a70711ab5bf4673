"""Curves of time over size: they give back what made the data, bear outliers, and predict what was held out."""

from __future__ import annotations

import json
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.predictors.size_curve import (
    CurveError,
    HeldOut,
    SizeCurve,
    error,
    every_second,
    fit,
    held_out,
    held_out_table,
    predict,
    up_to,
)

AFTER = SizeCurve(latency_s=12e-6, start_rate=30e9, change_bytes=2e6, rate=250e9)
BESIDE = SizeCurve(latency_s=6e-6, start_rate=80e9, change_bytes=float(1 << 26), rate=360e9, beside=True)
LINE = SizeCurve(latency_s=20e-6, start_rate=100e9, change_bytes=0.0, rate=100e9)
SMALL_TO_LARGE = [float(1 << power) for power in range(3, 35)]
LARGE = [float(1 << power) for power in range(25, 35)]


def made(curve: SizeCurve, sizes: list[float], noise: float = 0.0, seed: int = 1) -> list[tuple[float, float]]:
    """Two measurements a size, each off by a factor of about 1 ± noise."""
    rng = np.random.default_rng(seed)
    twice = np.repeat(sizes, 2)
    times = predict(curve, twice) * np.exp(noise * rng.standard_normal(len(twice)))
    return list(zip(twice.tolist(), times.tolist(), strict=True))


def test_a_curve_is_what_its_parameters_say() -> None:
    assert predict(AFTER, 0.0) == pytest.approx(12e-6)
    assert predict(AFTER, 1e6) == pytest.approx(12e-6 + 1e6 / 30e9)
    assert predict(AFTER, 1e9) == pytest.approx(12e-6 + 2e6 / 30e9 + (1e9 - 2e6) / 250e9)
    assert predict(BESIDE, 1e12) == pytest.approx(1e12 / 360e9, rel=1e-3)  # the slow part is hidden
    assert predict(BESIDE, 1e5) == pytest.approx(6e-6 + 1e5 / 80e9, rel=1e-3)
    assert predict(LINE, [0.0, 1e11]).tolist() == pytest.approx([20e-6, 1.00002])


@pytest.mark.parametrize("truth", [AFTER, BESIDE])
def test_a_fit_gives_back_the_parameters_that_made_the_data(truth: SizeCurve) -> None:
    found = fit(made(truth, SMALL_TO_LARGE))
    assert found.beside == truth.beside
    for name in ("latency_s", "start_rate", "change_bytes", "rate"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=0.02), name


def test_a_line_stays_a_line() -> None:
    found = fit(made(LINE, SMALL_TO_LARGE, noise=0.001))
    assert found.change_bytes == 0
    assert (found.latency_s, found.rate) == pytest.approx((20e-6, 100e9), rel=0.01)
    assert fit(made(AFTER, LARGE[:3])).change_bytes == 0  # three sizes do not carry four parameters


def test_one_measurement_that_is_far_off_moves_the_curve_little() -> None:
    pairs = made(AFTER, SMALL_TO_LARGE, noise=0.005)
    spoiled = [(size, time * (3 if number == 20 else 1)) for number, (size, time) in enumerate(pairs)]
    assert error(fit(spoiled), made(AFTER, SMALL_TO_LARGE)) < 0.02


def test_every_size_counts_alike_however_small() -> None:
    found = fit(made(AFTER, SMALL_TO_LARGE, noise=0.01))
    off = np.abs(np.log(predict(found, SMALL_TO_LARGE) / predict(AFTER, SMALL_TO_LARGE)))
    assert off.max() < 0.03


@pytest.mark.parametrize("truth", [AFTER, BESIDE, LINE])
def test_sizes_held_out_are_predicted_within_five_percent(truth: SizeCurve) -> None:
    pairs = made(truth, LARGE, noise=0.01)
    for split in (every_second, up_to(1 << 30)):
        found = held_out("all_reduce", pairs, split, "here")
        assert found.held_error < 0.05
        assert found.fitted_error < 0.02
        assert found.held_error <= found.worst
        assert found.fitted_sizes + found.held_sizes == len(LARGE)


def test_the_error_is_the_geometric_mean_of_the_ratio() -> None:
    pairs = [(1e6, float(predict(LINE, 1e6)) * 1.1), (1e7, float(predict(LINE, 1e7)) / 1.2)]
    assert error(LINE, pairs) == pytest.approx((1.1 * 1.2) ** 0.5 - 1)


def test_the_table_has_both_divisions_of_each_collective() -> None:
    table = held_out_table(
        {"all_reduce": made(AFTER, LARGE), "sendrecv": made(BESIDE, LARGE[:4]), "gather": [(8, 1.0)]}
    )
    assert [(row.collective, row.split) for row in table] == [
        ("all_reduce", "every second size"), ("all_reduce", "sizes up to 1024 MiB"), ("sendrecv", "every second size"),
    ]  # fmt: skip
    assert all(isinstance(row, HeldOut) for row in table)


def test_parameters_go_to_json_and_back() -> None:
    assert SizeCurve.from_dict(json.loads(json.dumps(BESIDE.to_dict()))) == BESIDE
    with pytest.raises(CurveError, match="'speed'"):
        SizeCurve.from_dict({**BESIDE.to_dict(), "speed": 1.0})
    with pytest.raises(CurveError, match="'rate'"):
        SizeCurve.from_dict({"latency_s": 1e-6, "start_rate": 1e9, "change_bytes": 0.0})
    with pytest.raises(CurveError, match="rate is 'fast'"):
        SizeCurve.from_dict({**BESIDE.to_dict(), "rate": "fast"})
    with pytest.raises(CurveError, match="rate is inf"):
        SizeCurve.from_dict({**BESIDE.to_dict(), "rate": float("inf")})


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "0 sizes"),
        ([(8, 1e-6), (8, 2e-6)], "1 sizes"),
        ([(8, 1e-6), (16, 0.0)], "16 bytes in 0 s"),
        ([(8, 1e-6), (-16, 1e-6)], "-16 bytes"),
        ([(8, 1e-6), (16, float("nan"))], "nan s"),
    ],
)
def test_measurements_that_no_curve_fits_are_refused(pairs: list[tuple[float, float]], words: str) -> None:
    with pytest.raises(CurveError, match=words):
        fit(pairs)


def test_a_size_of_nothing_is_left_out() -> None:
    pairs = made(LINE, SMALL_TO_LARGE)
    assert fit([(0.0, 5e-3), *pairs]) == fit(pairs)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 44), st.floats(1e-9, 1e4)), min_size=2, max_size=14),
    st.sampled_from([None, False, True]),
)
def test_whatever_was_measured_the_curve_rises_with_the_size(
    pairs: list[tuple[float, float]], beside: bool | None
) -> None:
    if len({size for size, _ in pairs if size}) < 2:
        with pytest.raises(CurveError):
            fit(pairs, beside)
        return
    times = predict(fit(pairs, beside), np.geomspace(1, 1e15, 60))
    assert np.isfinite(times).all()
    assert (times > 0).all()
    assert (np.diff(times) >= -1e-9 * times[1:]).all()


def test_a_curve_is_no_worse_than_the_line_in_its_own_measure() -> None:
    pairs = made(BESIDE, LARGE, noise=0.02, seed=7)
    xs, ys = np.array(pairs).T
    slope, start = np.polyfit(xs, ys, 1)
    line = SizeCurve(max(float(start), 1e-9), 1 / float(slope), 0.0, 1 / float(slope))
    assert log(1 + error(fit(pairs), pairs)) <= log(1 + error(line, pairs))
