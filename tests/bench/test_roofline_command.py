"""`kernels roofline`: rows, stored or measured now, beside what vendors' figures permit, as tables and as a figure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner

from clusterbench.bench.cli import cli
from clusterbench.bench.measuring import kernel_runs, roof_runs
from clusterbench.bench.tables.roofline_tables import upper_bounds, with_counts
from clusterbench.kernels import device
from clusterbench.kernels.ceilings.vendor import gpu
from clusterbench.kernels.compiled.compiling import Compiled
from clusterbench.kernels.discovery import discover
from clusterbench.results.journal import Journal
from clusterbench.results.record import Measurement, Run
from clusterbench.results.store import Store

DEVICE = "Some CPU"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with a run of a few ceilings and one kernel, hot and cold."""
    row = {"run_id": "one", "device": DEVICE, "backend": "numba", "verdict": "PASS", "n": 9}
    rows = [
        Measurement(suite="roof", name="copy", dtype="float64", bytes_per_s=20e9, **row),  # type: ignore[arg-type] # as said
        Measurement(suite="roof", name="read L2", dtype="float64", bytes_per_s=90e9, shape="level=L2,cores=2", **row),  # type: ignore[arg-type] # as said
        Measurement(suite="roof", name="fma", dtype="float32", flop_per_s=100e9, **row),  # type: ignore[arg-type] # as said
    ]
    for shape, rate in (("n=1024", 40e9), ("n=1024,cache=cold", 4e9)):
        rates = {"bytes_per_s": rate, "flop_per_s": rate / 6, "median_s": 1e-6, "bound_share": 0.5}
        what = {"suite": "kernels", "name": "triad", "dtype": "float32", "shape": shape, "size_bytes": 12288}
        rows.append(Measurement(**what, **rates, **row))  # type: ignore[arg-type] # as said
    with Journal.create(tmp_path, Run(run_id="one", started_at="2026-01-01T00:00:00+00:00"), "kernels") as journal:
        for found in rows:
            journal.append(found, None)
        journal.finish(0)
    url = f"sqlite:///{tmp_path}/results.db"
    with Store.open(url, writable=True) as opened:
        opened.load(journal.path)
    return url


def _invoke(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["kernels", "roofline", *args], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout


def test_a_stored_run_is_shown_under_its_ceilings_with_bounds_marked_as_such(store: str) -> None:
    code, out = _invoke("triad", "-d", "float32", "--run", "latest", "--store", store)
    assert code == 0
    for text in (DEVICE, "n=1024,cache=cold", "0.1667", "Upper bounds", "nothing ran", "3350, 558.3"):
        assert text in " ".join(out.split())
    assert re.search(r"read +L2 +2 +float64 +90.00", out)
    assert "https://" in out


def test_json_has_the_rows_and_the_bounds_of_the_gpus_asked_for(store: str) -> None:
    code, out = _invoke("triad", "gemm", "--gpu", "h100", "--run", "latest", "--store", store, "--json")
    rows = json.loads(out)["rows"]
    assert code == 0
    assert [row["name"] for row in rows if row.get("suite") == "kernels"] == ["triad", "triad"]
    bounds = [row for row in rows if "bound_by" in row and "gpu" in row]
    assert {row["gpu"] for row in bounds} == {"h100"}
    assert {row["name"] for row in bounds} == {"triad", "gemm"}
    assert all("upper bound" in row["evidence"] for row in bounds)


def test_what_was_compiled_shows_what_is_counted_in_its_machine_code() -> None:
    h100, mi300x = gpu("h100"), gpu("mi300x")
    bounds = upper_bounds([discover()["triad"]], ["float32"], [h100, mi300x])
    row = Compiled("triad", "triton", "float32", "sm_90", counted_bytes=12 << 10, counted_flops=2 << 10)
    counted, declared = with_counts(bounds, [row, replace(row, target="gfx942", counted_bytes=None)])
    assert (counted.gpu, counted.counted_flop_per_byte) == ("h100", pytest.approx(1 / 6))
    assert counted.evidence.startswith("compiled")
    assert counted.bound_s == bounds[0].bound_s
    assert declared == bounds[1]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_figure_has_measured_ceilings_and_vendors_figures(store: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"roofline.{kind}"
    _invoke("--run", "latest", "--store", store, "--figure", str(path))
    assert path.stat().st_size > 10_000
    if kind == "svg":
        text = " ".join(ElementTree.parse(path).getroot().itertext())
        for name in ("read L2 bandwidth", "triad, cold", "vendor's figures", "upper bounds of kernels"):
            assert name in text


@pytest.mark.serial
def test_without_a_run_every_level_is_measured_by_one_core_and_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernel_runs, "stream_bytes", lambda: 1 << 20)
    monkeypatch.setattr(roof_runs, "FMA_STEPS", 1 << 10)
    monkeypatch.setattr(roof_runs, "SWEPT_BYTES", 1 << 16)
    code, out = _invoke("scale", "-d", "float32", "-n", "7", "--json")
    rows: list[dict[str, Any]] = json.loads(out)["rows"]
    assert code == 0
    roof = [row for row in rows if row.get("suite") == "roof"]
    assert all(row["verdict"] == "PASS" for row in roof)
    wanted = {f"{what} {level.name}" for level in device.levels()[:2] for what in ("read", "copy")}
    assert wanted <= {row["name"] for row in roof}
    if device.cpu().cores > 1:
        assert {"cores=1", f"cores={device.cpu().cores}"} <= {
            part for row in roof for part in row["shape"].split(",") if part.startswith("cores")
        }
    assert [row["name"] for row in rows if row.get("suite") == "kernels"] == ["scale"]
    assert list((tmp_path / "clusterbench-out" / "journals").iterdir())


def test_a_figure_of_another_kind_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_runs, "run_roofline", lambda *args, **hooks: pytest.fail("something was measured"))
    with pytest.raises(click.BadParameter, match=r"\.svg or \.png"):
        _invoke("--figure", "roofline.pdf")
