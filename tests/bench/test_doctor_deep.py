"""`clusterbench doctor --deep` on this machine, by itself and on ranks that share cores."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from typing import Any

import mpi
import pytest
from called import clusterbench

from clusterbench.kernels.device import affinity

pytestmark = pytest.mark.mpi

CORES = affinity()[:2]
"""Few enough for a test on a large machine."""
TOO_MANY = len(CORES) + 1
QUICK = ("doctor", "--deep", "--interval", "0.1")


@pytest.fixture(scope="module", autouse=True)
def few_cores() -> Iterator[None]:
    """Leave this process, and those that it starts, `CORES`."""
    whole = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    yield
    os.sched_setaffinity(0, whole)


@pytest.fixture(scope="module")
def crowded() -> dict[str, Any]:
    """The document of one rank more than there are cores."""
    return mpi.document(mpi.clusterbench(TOO_MANY, *QUICK, "--json"))


def named(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [row for row in document["rows"] if row["name"] == name]


def test_more_ranks_than_cores_are_named_with_what_mends_it(crowded: dict[str, Any]) -> None:
    (finding,) = named(crowded, "oversubscription")
    assert finding["state"] == "warning"
    assert finding["found"].startswith(f"{TOO_MANY} ranks on {TOO_MANY - 1} cores of ")
    assert finding["mend"].startswith(f"mpiexec -n {TOO_MANY - 1} ")
    (shared,) = named(crowded, "shared cores")
    assert f"ranks 0, {TOO_MANY - 1} on core {CORES[0]} of " in shared["found"]


def test_the_document_has_what_was_observed_of_every_rank(crowded: dict[str, Any]) -> None:
    observed = crowded["run"]["environment"]["observed"]
    assert [rank["rank"] for rank in observed["ranks"]] == list(range(TOO_MANY))
    assert {rank["pinned_by"] for rank in observed["ranks"]} == {"clusterbench"}
    assert all(len(rank["noise"]) == len(rank["cores"]) == 1 for rank in observed["ranks"])
    pids = {rank["pid"] for rank in observed["ranks"]}
    (host,) = observed["hosts"]
    assert pids.isdisjoint(process["pid"] for process in host["load"]["busy"])
    assert host["interval_s"] >= 0.2
    assert crowded["run"]["exit_code"] == 0


def test_strict_makes_warnings_code_4_on_every_rank() -> None:
    (done,) = mpi.each(TOO_MANY, [[*QUICK, "--strict"]])
    assert done.exit_code == 4
    assert done.stdout.count("What spoils a measurement here") == 1
    assert "warning: oversubscription: " in done.stdout
    assert "\n  why:   ranks take turns on a core" in done.stdout
    assert f"\n  mend:  mpiexec -n {TOO_MANY - 1} ..." in done.stdout


def test_without_a_launcher_all_cores_are_looked_at() -> None:
    done = clusterbench(*QUICK, "--csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["state"] for row in rows if row["name"] == "noise"] in (["warning"], ["info"])
    assert not [row for row in rows if row["name"] == "oversubscription"]
    assert all(row["mend"] and row["reason"] for row in rows if row["state"] == "warning" and row["found"])
    assert sorted(os.sched_getaffinity(0)) == CORES


def test_an_interval_without_deep_is_refused() -> None:
    done = clusterbench("doctor", "--interval", "1")
    assert done.returncode == 2
    assert "--interval is of --deep" in done.stderr
