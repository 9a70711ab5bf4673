"""Traffic matrices: scaled exactly, skewed by the seed, and read from files that may hold anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterbench.collectives.traffic import TrafficError, counts, imbalance, skewed, traffic, traffic_name


@given(ranks=st.integers(1, 20), count=st.integers(0, 10**6), seed=st.integers(0, 99), exponent=st.floats(0, 4))
def test_a_matrix_has_as_many_elements_as_an_all_to_all(ranks: int, count: int, seed: int, exponent: float) -> None:
    matrix = counts(skewed(ranks, exponent, seed), count)
    assert matrix.sum() == ranks * ranks * count
    assert matrix.min() >= 0


def test_uniform_traffic_is_that_of_an_all_to_all() -> None:
    matrix = counts(traffic("uniform", 5, 0), 7)
    np.testing.assert_array_equal(matrix, np.full((5, 5), 7))
    assert imbalance(matrix) == 1.0


def test_skewed_traffic_makes_one_rank_busy_and_is_the_same_for_a_seed() -> None:
    mild, strong = (counts(traffic(f"skewed:{exponent}", 16, 3), 10_000) for exponent in (0.2, 2.0))
    assert imbalance(strong) > 2 * imbalance(mild) > 2
    np.testing.assert_array_equal(strong, counts(traffic("skewed:2.0", 16, 3), 10_000))
    assert (strong != counts(traffic("skewed:2.0", 16, 4), 10_000)).any()
    busiest = strong.sum(axis=0).argmax()
    assert all(row.argmax() == busiest for row in strong[[0, 5, 15]])


def test_a_file_is_read_with_its_comments_blanks_and_commas(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text("# from, to\n0, 1, 2\n\n3 4 5  # the middle\n6,7,8\n")
    np.testing.assert_array_equal(traffic(str(path), 3, 0), np.arange(9.0).reshape(3, 3))
    matrix = counts(traffic(str(path), 3, 0), 4)
    np.testing.assert_array_equal(matrix, np.arange(9).reshape(3, 3))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 2\n3 four\n", "line 2: 'four'; expected a number of at least 0"),
        ("1 2\n3 -4\n", "line 2: '-4'"),
        ("1 2\n3 nan\n", "line 2: 'nan'"),
        ("1 2 3\n3 4\n", "line 1: 3 numbers; expected 2"),
        ("1 2\n", "1 lines of numbers; expected 2"),
        ("0 0\n0 0\n", "all numbers are 0"),
        ("", "0 lines of numbers"),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "matrix.txt"
    path.write_text(text)
    with pytest.raises(TrafficError, match=r"matrix\.txt") as refusal:
        traffic(str(path), 2, 0)
    assert complaint in str(refusal.value)


@pytest.mark.parametrize("text", ["skewed:", "skewed:x", "skewed:-1", "skewed:nan", "skewed:99", "no such file"])
def test_what_is_no_traffic_is_refused(text: str) -> None:
    with pytest.raises(TrafficError, match="expected"):
        traffic(text, 4, 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(text=st.text(alphabet="0123456789.,-e #\nx", max_size=60) | st.binary(max_size=40))
def test_any_file_is_a_matrix_or_is_refused(text: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "any"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        weights = traffic(str(path), 2, 0)
    except TrafficError:
        return
    assert weights.shape == (2, 2)
    assert counts(weights, 3).sum() == 12


def test_traffic_is_named_so_that_no_other_has_its_name(tmp_path: Path) -> None:
    def name(text: str, seed: int = 7) -> str:
        return traffic_name(text, traffic(text, 2, seed), seed)

    assert name("uniform") == name("uniform", 8) == "uniform"
    assert name("skewed") == name("skewed:1.0") == "skewed:1,seed=7"
    assert name("skewed:0.25", 8) == "skewed:0.25,seed=8"
    path = tmp_path / "a,b=c.txt"
    path.write_text("1 2\n3 4\n")
    first = name(str(path))
    assert first.startswith("a_b_c.txt#")
    path.write_text("2 4\n6 8\n")
    assert name(str(path), 8) == first, "only proportions count"
    path.write_text("1 2\n3 5\n")
    assert name(str(path)) != first
