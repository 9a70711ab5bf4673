"""Thresholds: what a file may say, which rows it concerns, and what no machine can meet."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.bench.cli import main
from clusterbench.bench.stored.thresholds import Check, ThresholdError, check, read_thresholds
from clusterbench.results.columns import to_frame
from clusterbench.results.journal import Journal
from clusterbench.results.record import Measurement, Run

ROW = Measurement(
    run_id="r",
    suite="collectives",
    name="all_reduce",
    algorithm="ring",
    transport="mpi",
    dtype="float32",
    placement="out_of_place",
    size_bytes=1 << 20,
    ranks=8,
    median_s=100e-6,  # algbw 10.49 GB/s, busbw 18.35 GB/s
    ci95_low_s=98e-6,
    ci95_high_s=103e-6,
    n=50,
    bound_s=80e-6,
    bound_by="NIC of host 3",
    verdict="PASS",
    device="NVIDIA H100 80GB HBM3",
)
HEAD = '[[threshold]]\ncollective = "all_reduce"\n'


def checked(tmp_path: Path, text: str, *rows: Measurement) -> Check:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    return check(read_thresholds(path), to_frame(rows or (ROW,)))


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [
        ("min_busbw_gb_per_s = 18", "met"),
        ("min_busbw_gb_per_s = 18.5", "cannot tell"),
        ("min_busbw_gb_per_s = 19", "below"),
        ("min_algbw_gb_per_s = 10", "met"),
        ("min_algbw_gb_per_s = 11", "below"),
        ("max_time_us = 101", "met"),
        ("max_time_us = 99", "cannot tell"),
        ("max_time_us = 90", "below"),
    ],
)
def test_a_row_is_below_where_its_whole_interval_is(tmp_path: Path, limit: str, outcome: str) -> None:
    (found,) = checked(tmp_path, HEAD + limit).checked
    assert found.outcome == outcome


def test_without_an_interval_the_median_decides_and_without_a_time_nothing_is_met(tmp_path: Path) -> None:
    bare = replace(ROW, ci95_low_s=None, ci95_high_s=None)
    none = replace(ROW, median_s=None, ci95_low_s=None, ci95_high_s=None)
    wrong = replace(ROW, median_s=50e-6, ci95_low_s=49e-6, ci95_high_s=51e-6, verdict="FAIL", reason="wrong data")
    found = checked(tmp_path, HEAD + "max_time_us = 99", bare, none, wrong)
    assert [one.outcome for one in found.checked] == ["below", "below", "below"]
    assert [one.reason for one in found.checked] == ["", "no time", "verdict FAIL; wrong data"]


@pytest.mark.parametrize(
    ("narrow", "applies"),
    [
        ('size = "1M"', True),
        ("size = 1048576", True),
        ('size = "512K..1M"', True),
        ('size = "2M..8G"', False),
        ('device = "NVIDIA H100*"', True),
        ('device = "AMD*"', False),
        ("ranks = 8", True),
        ("ranks = [4, 16]", False),
        ('dtype = "float"', True),
        ('dtype = ["half", "bfloat16"]', False),
        ('algorithm = "ring"', True),
        ('transport = "shared"', False),
        ('placement = "in_place"', False),
        ('evidence = "simulated"', False),
    ],
)
def test_a_threshold_concerns_the_rows_that_it_describes(tmp_path: Path, narrow: str, applies: bool) -> None:
    every = HEAD + "max_time_us = 1000\n"
    found = checked(tmp_path, every + HEAD + narrow + "\nmax_time_us = 1000")
    assert len(found.checked) == 1 + applies
    assert [one.where.endswith("threshold[2].max_time_us") for one in found.unused] == [True] * (not applies)


def test_a_file_that_concerns_no_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ThresholdError, match=r"threshold\[1\].max_time_us and all others: no row") as caught:
        checked(tmp_path, '[[threshold]]\ncollective = "alltoall"\nmax_time_us = 5')
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("min_busbw_gb_per_s = 30", "asks for 30.00 GB/s, and nothing can be better than 22.94 GB/s"),
        ("min_algbw_gb_per_s = 13.2", "asks for 13.20 GB/s, and nothing can be better than 13.11 GB/s"),
        ("max_time_us = 79", "asks for 79.00 us, and nothing can be better than 80.00 us"),
    ],
)
def test_a_threshold_beyond_the_bound_is_refused_with_file_and_key(tmp_path: Path, limit: str, said: str) -> None:
    key = limit.split()[0]
    with pytest.raises(ThresholdError, match=said) as caught:
        checked(tmp_path, HEAD + limit)
    assert f"limits.toml: threshold[1].{key}" in str(caught.value)
    assert "bound by NIC of host 3" in str(caught.value)


def test_a_bound_that_is_estimated_or_beaten_refuses_nothing(tmp_path: Path) -> None:
    limit = HEAD + "max_time_us = 79"
    estimated = replace(ROW, bound_by="messages as measured, 1 µs and 2 GB/s: an estimate")
    assert checked(tmp_path, limit, estimated).count("below") == 1
    in_network = replace(ROW, algorithm="library", median_s=70e-6, ci95_low_s=69e-6, ci95_high_s=71e-6)
    assert checked(tmp_path, limit, ROW, in_network).count("met") == 1
    impossible = replace(in_network, verdict="INVALID")
    with pytest.raises(ThresholdError, match="nothing can be better"):
        checked(tmp_path, limit, ROW, impossible)


def test_messages_have_the_bus_bandwidth_of_their_rows(tmp_path: Path) -> None:
    row = replace(ROW, suite="point-to-point", name="pingpong", ranks=2, bound_s=None, algbw=1e10, busbw=2e10)
    text = '[[threshold]]\ncollective = "pingpong"\nmin_busbw_gb_per_s = '
    assert checked(tmp_path, text + "20.9", row).count("met") == 1
    assert checked(tmp_path, text + "22", row).count("below") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no thresholds"),
        ("threshold = 3", "no thresholds"),
        ("[threshold]\ncollective = 'all_reduce'", "no thresholds"),
        ("[[threshold]]\n=", "no TOML: .*line 2"),
        ("x = " + "9" * 5000, "no TOML"),
        ("[[treshold]]", "unknown key 'treshold'; the nearest known one is 'threshold'"),
        ("[[threshold]]\nmax_time_us = 3", r"threshold\[1\]: no collective"),
        (HEAD, r"threshold\[1\]: no limit; expected one of min_busbw"),
        (HEAD + "min_busbw = 3", "unknown key 'min_busbw'; the nearest known one is 'min_busbw_gb_per_s'"),
        (HEAD + "max_time_us = 'soon'", r"threshold\[1\].max_time_us is 'soon'; expected a number over 0"),
        (HEAD + "max_time_us = true", "is True; expected a number"),
        (HEAD + "max_time_us = nan", "is nan; expected a number over 0"),
        (HEAD + "max_time_us = -1", "is -1; expected a number over 0"),
        (HEAD + "max_time_us = 5\nsize = '1Q'", r"threshold\[1\].size: '1Q' is no size"),
        (HEAD + "max_time_us = 5\nsize = '8M..1M'", "expected the smaller size first"),
        (HEAD + "max_time_us = 5\nsize = []", "expected text"),
        (HEAD + "max_time_us = 5\nranks = 0", "expected a number of ranks"),
        (HEAD + "max_time_us = 5\nranks = '8'", "expected a number of ranks"),
        (HEAD + "max_time_us = 5\ndtype = 'quad'", "unknown type 'quad'"),
        (HEAD + "max_time_us = 5\ndevice = 3", "device is 3; expected text"),
        (HEAD + "max_time_us = 5\nevidence = 'felt'", "is 'felt'; expected measured"),
        ("[[threshold]]\ncollective = 'all_recude'\nmax_time_us = 5", "unknown collective 'all_recude'"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ThresholdError, match=said) as caught:
        checked(tmp_path, text)
    assert "limits.toml" in str(caught.value)


VALUES = st.one_of(
    st.text(max_size=8),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.booleans(),
    st.lists(st.one_of(st.integers(0, 9), st.text(max_size=3)), max_size=3),
    st.sampled_from(["1M..8G", "all_reduce", "float", "*", "[", "8..", "..8", "1e3"]),
)
KEYS = st.sampled_from(
    [
        "collective",
        "size",
        "device",
        "ranks",
        "dtype",
        "evidence",
        "algorithm",
        "max_time_us",
        "min_busbw_gb_per_s",
        "x",
    ]
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_table_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "limits.toml"
    lines = [f"{key} = {_toml(value)}" for key, value in table.items()]
    path.write_text("\n".join(["[[threshold]]", *lines]), encoding="utf-8", errors="replace")
    with suppress(ThresholdError):
        check(read_thresholds(path), to_frame([ROW]))


def _toml(value: Any) -> str:
    if isinstance(value, float) and value != value:
        return "nan"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return (
        json.dumps(value).replace("\\ud", "\\u0")
        if not isinstance(value, list)
        else f"[{', '.join(map(_toml, value))}]"
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "limits.toml"
    path.write_bytes(data)
    with pytest.raises(ThresholdError, match=r"limits\.toml"):
        read_thresholds(path)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """`results check` on a journal of one row."""
    with Journal.create(tmp_path, Run(run_id="r", started_at="2026-01-01T00:00:00+00:00")) as journal:
        journal.append(ROW)
        journal.finish(0)

    def run(text: str, *more: str) -> tuple[int, str, str]:
        path = tmp_path / "limits.toml"
        path.write_text(text)
        with pytest.raises(SystemExit) as ended:
            main(["results", "check", str(journal.path), "--thresholds", str(path), *more])
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


@pytest.mark.parametrize(
    ("limit", "more", "code"),
    [
        ("max_time_us = 200", (), 0),
        ("max_time_us = 90", (), 4),
        ("max_time_us = 99", (), 0),
        ("max_time_us = 99", ("--strict",), 1),
        ("max_time_us = 70", (), 2),
    ],
)
def test_the_command_ends_with_the_code_of_what_it_found(
    call: Callable[..., tuple[int, str, str]], limit: str, more: tuple[str, ...], code: int
) -> None:
    assert call(HEAD + limit, *more)[0] == code


def test_what_is_below_is_named_with_its_figures(call: Callable[..., tuple[int, str, str]]) -> None:
    text = HEAD + "min_busbw_gb_per_s = 20\n" + HEAD + "ranks = 3\nmax_time_us = 5"
    code, out, err = call(text)
    assert code == 4
    (line,) = [line for line in out.splitlines() if line.strip().startswith("all_reduce")]
    assert "18.35 GB/s" in line
    assert "min busbw 20.00 GB/s" in line
    assert "below" in line
    assert "threshold[2].max_time_us: no row" in err
    document = json.loads(call(text, "--json")[1])
    assert document["run"]["counts"] == {"met": 0, "below": 1, "cannot tell": 0}
    (row,) = document["rows"]
    assert (row["limit"], row["limit_value"], row["outcome"]) == ("min_busbw_gb_per_s", 20.0, "below")
