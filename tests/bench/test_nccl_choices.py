"""Rules for NCCL's tuner plugin, from rows of nccl-tests and from simulated ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from called import clusterbench

from clusterbench.bench.tuning.library_choices import TuningError
from clusterbench.bench.tuning.nccl_choices import NcclChoice, nccl_choices, tuner_rules, write_choices
from clusterbench.collectives.plans.tuner_csv import TunerRule, read_tuner_rules
from clusterbench.results.columns import to_frame
from clusterbench.results.compare import Side
from clusterbench.results.record import Measurement

LAUNCHES = 6


def launches(algorithm: str, size_bytes: int, time_s: float, spread: float = 0.01) -> list[Measurement]:
    one = Measurement(
        run_id="r",
        suite="collectives",
        name="all_reduce",
        algorithm=algorithm,
        transport="nccl",
        backend="cuda",
        dtype="float32",
        op="sum",
        placement="out_of_place",
        size_bytes=size_bytes,
        ranks=8,
        nodes=2,
        device="NVIDIA H100",
        origin="imported",
    )
    # No two alike, whatever the algorithm: ties are another matter.
    times = [time_s * (1 + spread * (k + len(algorithm) / 100)) for k in range(LAUNCHES)]
    return [replace(one, run_id=f"r{k}", median_s=time_s) for k, time_s in enumerate(times)]


def chosen(rows: Iterable[Measurement], *collectives: str) -> list[NcclChoice]:
    return nccl_choices(Side((), to_frame(list(rows))), collectives, "float32", 0.02)


def test_the_fastest_is_a_rule_where_it_is_significantly_faster_than_what_nccl_takes_by_itself() -> None:
    rows = [
        *launches("library", 1024, 2.0), *launches("library:tree/ll", 1024, 1.0),
        *launches("library:ring/simple", 1024, 4.0),
        *launches("library", 4096, 1.0), *launches("library:tree/ll", 4096, 0.5),
        *launches("library", 16384, 1.0), *launches("library:ring/simple", 16384, 0.99),  # no gain that is worth a rule
        *launches("library", 65536, 1.0), *launches("library:nvls_tree/simple", 65536, 0.5),
        *launches("library:ring/*", 65536, 0.1), *launches("library:ring+tree/simple", 65536, 0.1),  # no one choice
        *launches("library", 1 << 20, 1.0),  # nothing else to take
    ]  # fmt: skip
    found = chosen(rows)
    assert [(one.size_bytes, f"{one.algorithm}/{one.protocol}", one.kept) for one in found] == [
        (1024, "tree/ll", True), (4096, "tree/ll", True), (16384, "ring/simple", False),
        (65536, "nvls_tree/simple", True),
    ]  # fmt: skip
    assert {one.against for one in found} == {"library"}
    assert tuner_rules(found) == (
        TunerRule("allreduce", 1024, 16383, "tree", "ll", nodes=2, ranks=8),
        TunerRule("allreduce", 65536, 65536, "nvls_tree", "simple", nodes=2, ranks=8),
    )


def test_without_what_nccl_takes_by_itself_the_next_fastest_is_what_must_be_beaten() -> None:
    sizes = (1024, 1 << 20)
    times = {"library:tree/ll": (1.0, 9.0), "library:ring/simple": (2.0, 3.0), "library:ring/ll128": (5.0, 3.01)}
    rows = [row for told, of in times.items() for size, time_s in zip(sizes, of, strict=True)
            for row in launches(told, size, time_s, spread=0.02)]  # fmt: skip
    small, large = chosen(rows)
    assert (small.algorithm, small.against, small.kept) == ("tree", "ring/simple", True)
    assert (large.algorithm, large.against, large.kept) == ("ring", "ring/ll128", False)


def test_a_single_launch_tells_nothing_and_wrong_data_count_for_nothing() -> None:
    rows = [row for told, time_s in (("library", 2.0), ("library:tree/ll", 1.0)) for row in launches(told, 8, time_s)]
    (found,) = chosen(row for row in rows if row.run_id == "r0")
    assert (found.row.change, tuner_rules([found])) == ("cannot tell", ())
    assert found.row.needed is not None
    with pytest.raises(TuningError, match="no call of float32 has two choices"):
        chosen(replace(row, verdict="FAIL") if ":" in row.algorithm else row for row in rows)


def test_the_more_choices_the_best_was_picked_from_the_more_it_takes() -> None:
    def of(choices: int) -> list[Measurement]:
        slower = [row for k in range(choices) for row in launches(f"library:ring/{('ll', 'll128')[k]}", 8, 3.0 + k)]
        return [*launches("library", 8, 1.0), *launches("library:tree/ll", 8, 0.9, 0.002), *slower]

    (few,), (many,) = chosen(of(0)), chosen(of(2))
    assert few.row.p is not None
    assert many.row.p == pytest.approx(3 * few.row.p)


def test_rows_that_the_plugin_could_not_tell_apart_are_refused() -> None:
    rows = [*launches("library", 8, 2.0), *launches("library:tree/ll", 8, 1.0)]
    with pytest.raises(TuningError, match="all_reduce differ in op: sum, max"):
        chosen([*rows, *(replace(row, op="max") for row in rows)])
    with pytest.raises(TuningError, match="differ in device: NVIDIA H100, NVIDIA A100"):
        chosen([*rows, *(replace(row, device="NVIDIA A100") for row in rows)])
    with pytest.raises(TuningError, match="differ in sample_unit: b, a"):
        chosen(replace(row, sample_unit="a" if ":" in row.algorithm else "b") for row in rows)
    with pytest.raises(TuningError, match=r"all_to_all: .* expected one of broadcast"):
        chosen(rows, "all_to_all")


def test_of_both_placements_the_one_out_of_place_is_judged() -> None:
    rows = [*launches("library", 8, 2.0), *launches("library:tree/ll", 8, 1.0)]
    in_place = [replace(row, placement="in_place", median_s=9.0 / (row.median_s or 1)) for row in rows]
    (found,) = chosen([*in_place, *rows])
    assert (found.row.point["placement"], found.kept) == ("out_of_place", True)
    (found,) = chosen(in_place)
    assert (found.row.point["placement"], found.kept) == ("in_place", False)


def test_the_file_says_who_it_is_for_and_is_read_back(tmp_path: Path) -> None:
    found = chosen([*launches("library", 8, 2.0), *launches("library:collnet_chain/simple", 8, 1.0)])
    path = tmp_path / "tuner.csv"
    rules = write_choices(path, found, "measured rows of " + "r" * 300)
    text = path.read_text()
    assert text.splitlines()[-1] == "allreduce,8,8,collnet_chain,simple,-1,2,8,-1,-1"
    assert text.startswith("# measured rows of rrr")
    assert max(map(len, text.splitlines())) <= 254
    assert read_tuner_rules(path) == rules


LOG = """\
{noise}# nThread 1 nGpus 1 minBytes 1024 maxBytes 1024 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1
#
# Using devices
#  Rank  0 Group  0 Pid  1000 on node0 device  0 [0000:1b:00] NVIDIA H100 80GB HBM3
#  Rank  1 Group  0 Pid  1001 on node1 device  0 [0000:1b:00] NVIDIA H100 80GB HBM3
{inside}#
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
        1024           256     float     sum      -1   {time:6.2f}    0.05    0.05       0    20.00    0.05    0.05       0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 0.05
"""  # noqa: E501 - a table as it is printed
INSIDE = """\
node0:71:96 [0] NCCL INFO NCCL_PROTO set by environment to LL128
node0:71:96 [0] NCCL INFO NCCL_ALGO set by environment to Tree
"""
BEFORE = "+ mpirun -np 2 -x NCCL_ALGO=Ring -x NCCL_PROTO=Simple ./all_reduce_perf -b 1K -e 1K -g 1\n"


def test_logs_of_nccl_tests_become_a_file_of_rules(tmp_path: Path) -> None:
    own = "all_reduce_perf -b 1K -e 1K -g 1\n"
    logs = []
    for launch in range(5):
        for name, noise, inside, time_us in (("own", own, "", 20), ("tree", own, INSIDE, 10), ("ring", BEFORE, "", 30)):
            path = tmp_path / f"{name}{launch}.log"
            path.write_text(LOG.format(noise=noise, inside=inside, time=time_us + 0.1 * launch))
            logs.append(str(path))
    store = f"sqlite:///{tmp_path / 'results.db'}"
    done = clusterbench("results", "import", *logs, "--store", store, "--journal", str(tmp_path / "j"), "--json")
    assert done.returncode == 0, done.stderr
    journals = sorted(map(str, (tmp_path / "j").glob("*.jsonl")))
    assert len(journals) == len(logs)
    done = clusterbench("tune", "--from", ",".join(journals), "--nccl", str(tmp_path / "tuner.csv"), "--json")
    assert done.returncode == 0, done.stderr
    (choice,) = json.loads(done.stdout)["choices"]
    assert (choice["algorithm"], choice["protocol"], choice["against"]) == ("tree", "ll128", "library")
    assert (choice["change"], choice["rule"], choice["evidence"]) == ("better", True, "measured")
    assert choice["ratio"] == pytest.approx(0.5, rel=0.02)
    assert read_tuner_rules(tmp_path / "tuner.csv") == (
        TunerRule("allreduce", 1024, 1024, "tree", "ll128", nodes=2, ranks=2),
    )


def test_simulated_rings_and_trees_become_rules_that_say_so(tmp_path: Path) -> None:
    simulated = clusterbench(
        "simulate", "--topology", "dgx-h100", "-b", "1K", "-e", "64M", "-f", "65536", "--algorithm",
        "ring,double-binary-tree,nccl", "--journal", str(tmp_path),
    )  # fmt: skip
    assert simulated.returncode == 0, simulated.stderr
    (journal,) = tmp_path.glob("*.jsonl")
    path = tmp_path / "tuner.csv"
    done = clusterbench("tune", "--from", str(journal), "--nccl", str(path))
    assert done.returncode == 0, done.stderr
    assert "8 ranks on 1 nodes, simulated" in done.stdout
    assert "# clusterbench tune: simulated rows of" in path.read_text()
    (small, large) = read_tuner_rules(path)
    # The tree takes fewer steps; the ring moves fewer bytes over each link.
    assert (small.algorithm, small.min_bytes, large.algorithm, large.max_bytes) == ("tree", 1024, "ring", 64 << 20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nccl", "t.csv"], "--from and --nccl go together"),
        (["--from", "x.jsonl"], "--from and --nccl go together"),
        (["--from", "x.jsonl", "--nccl", "t.csv", "--launches", "3"], "--from measures nothing; --launches"),
        (["--from", "x.jsonl", "--nccl", "t.csv"], "there is no such journal file"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], said: str) -> None:
    done = clusterbench("tune", *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
