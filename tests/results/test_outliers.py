"""Who stands out among its like: the ones that were made slow, by name, and hardly ever anybody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clusterbench.bench.cli import main
from clusterbench.results.columns import to_frame
from clusterbench.results.journal import Journal
from clusterbench.results.outliers import CUT, FEWEST, outliers, scores
from clusterbench.results.record import Measurement, Run


def kernels(slow: dict[str, float], hosts: int = 8, noise: float = 0.01, seed: int = 1) -> list[Measurement]:
    """Three sizes of two kernels on every host; `slow` are factors by host."""
    rng = np.random.default_rng(seed)
    return [
        Measurement(
            run_id=f"r{host}",
            suite="kernels",
            name=name,
            dtype="float32",
            shape=f"n={n}",
            size_bytes=12 * n,
            median_s=float(n * 1e-9 * slow.get(f"node{host}", 1.0) * np.exp(noise * rng.standard_normal())),
            host=f"node{host}",
            device="CPU",
        )
        for host in range(hosts)
        for name in ("triad", "gemm")
        for n in (1000, 100_000, 10_000_000)
    ]


def pairs(ranks: int, slow: dict[tuple[int, int], float], noise: float = 0.02, seed: int = 3) -> list[Measurement]:
    """Bandwidth of all pairs, two ranks a host; `slow` are factors by pair."""
    rng = np.random.default_rng(seed)
    return [
        Measurement(
            run_id="p",
            suite="pairs",
            name="bandwidth",
            algorithm="at-once",
            shape=f"bytes=1048576,src={src},dst={dst},window=16",
            size_bytes=1 << 20,
            ranks=ranks,
            median_s=float(
                (1e-4 if src // 2 == dst // 2 else 1e-3)
                * slow.get((src, dst), 1.0)
                * np.exp(noise * rng.standard_normal())
            ),
            host=f"node{src // 2}",
            note="same host" if src // 2 == dst // 2 else "other host",
        )
        for src in range(ranks)
        for dst in range(ranks)
        if src != dst
    ]


def test_a_slow_host_is_named_by_everything_that_it_is_slow_at() -> None:
    found = outliers(to_frame(kernels({"node3": 1.3})))
    assert [(one.kind, one.member, one.what) for one in found.outliers] in (
        [("host", "node3", "kernels triad"), ("host", "node3", "kernels gemm")],
        [("host", "node3", "kernels gemm"), ("host", "node3", "kernels triad")],
    )
    for one in found.outliers:
        assert one.ratio == pytest.approx(1.3, rel=0.03)
        assert one.score > CUT
        assert (one.members, one.points) == (8, 3)
    assert found.groups == 2


def test_who_is_fast_stands_out_as_well() -> None:
    found = outliers(to_frame(kernels({"node3": 0.7})))
    assert {(one.member, round(one.ratio, 1)) for one in found.outliers} == {("node3", 0.7)}


def test_a_difference_that_nobody_acts_on_is_not_named() -> None:
    assert outliers(to_frame(kernels({"node3": 1.04}, noise=0.0001))).outliers == ()
    assert len(outliers(to_frame(kernels({"node3": 1.06}, noise=0.0001))).outliers) == 2


def test_of_too_few_hosts_none_is_named_and_that_is_said() -> None:
    found = outliers(to_frame(kernels({"node3": 2.0}, hosts=FEWEST - 1)))
    assert found.outliers == ()
    assert set(found.too_few) == {f"hosts by kernels {name}: {FEWEST - 1} of them" for name in ("triad", "gemm")}


def test_hosts_of_other_devices_are_not_alike() -> None:
    rows = kernels({}, hosts=12)
    old = [replace(row, device="old CPU", median_s=2 * (row.median_s or 0)) for row in rows[: len(rows) // 2]]
    assert outliers(to_frame([*old, *rows[len(rows) // 2 :]])).outliers == ()


def test_rows_that_are_wrong_or_without_a_time_say_nothing() -> None:
    rows = kernels({"node3": 3.0})
    wrong = [replace(row, verdict="FAIL") if row.host == "node3" else row for row in rows]
    timeless = [replace(row, median_s=None) if row.host == "node3" else row for row in rows]
    assert outliers(to_frame(wrong)).outliers == outliers(to_frame(timeless)).outliers == ()


def test_devices_of_a_host_are_told_apart_by_what_their_run_saw() -> None:
    rows = [
        replace(row, run_id=f"{row.host}-{gpu}", device="GPU", median_s=(row.median_s or 0) * factor)
        for gpu in range(4)
        for row in kernels({}, hosts=2, seed=gpu)
        for factor in [1.4 if (row.host, gpu) == ("node1", 2) else 1.0]
    ]
    runs = [
        Run(
            run_id=f"node{host}-{gpu}",
            started_at="",
            environment={"variables": {"CUDA_VISIBLE_DEVICES": str(gpu)}},
        )
        for host in range(2)
        for gpu in range(4)
    ]
    found = outliers(to_frame(rows), runs)
    assert {(one.kind, one.member) for one in found.outliers} == {("device", "node1: GPU 2")}
    assert [text for text in found.too_few if text.startswith("hosts")]


def test_a_slow_rank_is_named_and_its_links_are_not() -> None:
    slow = {(src, dst): 1.5 for src in range(12) for dst in range(12) if 5 in (src, dst)}
    found = outliers(to_frame(pairs(12, slow)))
    between_hosts = [one for one in found.outliers if one.what == "bandwidth, other host"]
    assert [(one.kind, one.member) for one in between_hosts] == [("rank", "rank 5 (node2)")]
    assert between_hosts[0].run_id == "p"


def test_a_slow_link_between_good_ranks_is_named() -> None:
    found = outliers(to_frame(pairs(12, {(1, 8): 2.0})))
    assert [(one.kind, one.member) for one in found.outliers] == [("link", "rank 1 - rank 8")]
    assert found.outliers[0].ratio == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(("members", "share"), [(FEWEST, 0.2), (20, 0.12), (100, 0.12)])
def test_of_equal_members_one_is_seldom_named(members: int, share: float) -> None:
    rng = np.random.default_rng(members)
    named = [np.any(np.abs(scores(rng.standard_normal(members))) > CUT) for _ in range(2000)]
    assert np.mean(named) <= share


def test_where_most_agree_who_differs_has_an_infinite_score() -> None:
    assert scores(np.array([1.0, 1, 1, 1, 2])).tolist() == [0, 0, 0, 0, np.inf]


def test_the_command_names_them_and_ends_with_4_where_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journals = []
    rows = kernels({"node3": 1.5})
    for host in range(8):
        with Journal.create(tmp_path, Run(run_id=f"r{host}", started_at="")) as journal:
            for row in rows:
                if row.run_id == f"r{host}":
                    journal.append(row)
            journal.finish(0)
        journals.append(str(journal.path))

    def call(*more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["results", "outliers", ",".join(journals), *more])
        return int(ended.value.code or 0), capsys.readouterr().out

    code, out = call()
    assert code == 0
    assert "2 stand out in 2 groups" in out
    assert out.count("node3") == 2
    code, out = call("--strict", "--json")
    assert code == 4
    assert {row["member"] for row in json.loads(out)["rows"]} == {"node3"}


def test_the_command_says_what_it_could_not_judge(
    tmp_path: Path, synthetic: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    path = synthetic().write(tmp_path)  # type: ignore[attr-defined] # the maker of conftest.py
    with pytest.raises(SystemExit):
        main(["results", "outliers", str(path)])
    output = capsys.readouterr()
    assert "0 stand out in 0 groups" in output.out
    assert "hosts by kernels triad: 1 of them, and 6 are needed" in output.err
