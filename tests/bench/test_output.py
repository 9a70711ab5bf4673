"""What is printed: one valid document, plain CSV, a table without markup, and units in one place."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.bench import output
from clusterbench.results.record import SCHEMA_VERSION

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_any_value_becomes_strict_json(value: object) -> None:
    json.loads(json.dumps(output.json_value(value), allow_nan=False))


def test_the_document_is_one_and_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json({"run_id": "r"}, [{"a": math.nan, "b": np.float32(0.5), "c": np.int64(3), "d": -math.inf}])
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "schema_version": SCHEMA_VERSION,
        "run": {"run_id": "r"},
        "rows": [{"a": None, "b": 0.5, "c": 3, "d": None}],
    }
    assert err == ""


def test_csv_has_the_columns_of_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_csv([{"a": 1, "b": "x,y"}, {"a": None, "c": math.nan}])
    assert list(csv.DictReader(io.StringIO(capsys.readouterr().out))) == [
        {"a": "1", "b": "x,y", "c": ""},
        {"a": "", "b": "", "c": ""},
    ]


def test_a_table_prints_cells_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("host [bold]x[/bold]", ["name", "µs"], [["[red]a[/red]", "1.5"], ["b", None]])
    out = capsys.readouterr().out
    assert "host [bold]x[/bold]" in out
    assert "[red]a[/red]" in out
    assert "\x1b" not in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_progress_is_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("work", total=2) as step:
        step("one", 1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (8, "8"), (1000, "1000"), (1024, "1K"), (1536, "1536"), (3 * 2**20, "3M"), (2**30, "1G")],
)
def test_sizes_are_printed_in_powers_of_1024(size: int, text: str) -> None:
    assert output.size_text(size) == text


def test_times_and_rates_have_four_digits() -> None:
    assert output.time_text(0.42e-6) == "0.4200"
    assert output.time_text(12.3456e-6) == "12.35"
    assert output.time_text(1.5) == "1500000"
    assert output.time_text(None) == ""
    assert output.rate_text(12.3456e9) == "12.35"
    assert output.rate_text(math.nan) == ""
    assert output.share_text(0.873) == "87 %"


def test_small_rates_are_no_zeros() -> None:
    assert output.rate_text(40e3) == "4.00e-05"
    assert output.rate_text(1.0) == "1.00e-09"
    assert output.rate_text(1e6) == "0.0010"
    assert output.rate_text(0.0) == "0"
