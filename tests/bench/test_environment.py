"""What is recorded of the environment, and what must never be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clusterbench.bench.hosts import environment, hardware, recorded_variables
from clusterbench.bench.output import json_value
from clusterbench.kernels import device

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "hunter2-a",
    "GITHUB_TOKEN": "hunter2-b",
    "SLURM_JWT": "hunter2-c",
    "PMIX_SECURITY_CREDENTIAL": "hunter2-d",
    "HOME_OF_NOBODY": "hunter2-e",
    "OMPI_MCA_auth_token": "hunter2-f",
}


def test_no_variable_off_the_allow_list_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NCCL_ALGO", "Ring")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    captured = environment.capture_environment()
    text = json.dumps(captured)
    assert "hunter2" not in text
    assert captured["variables"]["NCCL_ALGO"] == "Ring"
    assert captured["variables"]["CUDA_VISIBLE_DEVICES"] == "0,1"
    allowed = (*recorded_variables.VARIABLE_PREFIXES, *recorded_variables.VARIABLE_NAMES)
    assert [name for name in captured["variables"] if not name.startswith(allowed)] == []
    # Not by way of another section either.
    assert os.environ["PATH"] not in text


def test_a_password_in_a_url_is_not_recorded() -> None:
    argv = ["/venv/bin/clusterbench", "run", "--store", "postgresql://bench:s3cret@db/results"]
    assert environment.command_line(argv) == "clusterbench run --store postgresql://bench:***@db/results"
    kept = recorded_variables.allowed_variables({"NCCL_X": "http://a:s3cret@h"})
    assert kept == {"NCCL_X": "http://a:***@h"}


def test_the_environment_is_made_of_json_values_and_names_the_machine() -> None:
    captured = environment.capture_environment(backends=[{"backend": "numba", "mode": "native", "reason": ""}])
    assert json.loads(json.dumps(captured, allow_nan=False)) == json_value(captured)
    assert captured["cpu"]["affinity"] == sorted(os.sched_getaffinity(0))
    assert captured["memory"]["total_bytes"] >= captured["memory"]["available_bytes"] > 0
    assert captured["versions"]["numpy"] == __import__("numpy").__version__
    assert captured["backends"] == [{"backend": "numba", "mode": "native", "reason": ""}]
    assert captured["gpus"] or captured["gpus_found_by"]


def test_rows_and_the_recorded_environment_name_the_same_cpu_cores_and_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cpu_model", lambda: "Some CPU")
    monkeypatch.setattr(device, "affinity", lambda: [0, 3, 5])
    monkeypatch.setattr(device, "quota_cores", lambda: 2.0)
    monkeypatch.setattr(device, "caches", lambda cpus, core: [device.Cache(3, "Unified", 5 << 20, "0-7")])
    recorded, used = environment.capture_environment(), device.cpu.__wrapped__()
    assert (used.name, used.cores, used.cache_bytes) == ("Some CPU", 2, 5 << 20)
    assert recorded["cpu"]["model"] == "Some CPU"
    assert recorded["cpu"]["affinity"] == [0, 3, 5]
    assert recorded["host"]["cgroup_cores"] == 2.0
    assert recorded["cpu"]["caches"] == [{"level": 3, "type": "Unified", "size_bytes": 5 << 20, "shared_by": "0-7"}]


@pytest.mark.mpi
def test_a_thread_level_is_named_as_mpi_names_it() -> None:
    code = (
        "from mpi4py import MPI\n"
        "from clusterbench.bench.hosts.environment import loaded_mpi, thread_level_name as name\n"
        "print(*[name(getattr(MPI, f'THREAD_{n}')) for n in ('SINGLE', 'FUNNELED', 'SERIALIZED', 'MULTIPLE')], "
        "name(99), loaded_mpi()['thread_level'] == name(MPI.Query_thread()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["single", "funneled", "serialized", "multiple", "unknown", "True"], done.stderr


def test_run_ids_differ_within_a_second() -> None:
    assert len({environment.new_run_id() for _ in range(20)}) == 20


def make_repository(folder: Path) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)
    done = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("pack", [False, True])
def test_the_revision_is_read_as_git_reads_it(pack: bool, tmp_path: Path) -> None:
    revision = make_repository(tmp_path)
    if pack:
        subprocess.run(["git", "-C", str(tmp_path), "pack-refs", "--all"], check=True)
    assert environment._git_revision(tmp_path / ".git") == revision


def test_the_revision_is_found_in_a_worktree_too(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    revision = make_repository(tmp_path / "main")
    tree = tmp_path / "tree"
    subprocess.run(
        ["git", "-C", str(tmp_path / "main"), "worktree", "add", "-q", str(tree)], check=True, capture_output=True
    )
    assert environment._git_revision(tree / ".git") == revision


def write_tool(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    path.chmod(0o755)


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tool(
        tmp_path,
        "nvidia-smi",
        "0, NVIDIA H100 80GB HBM3, 81559, 00000000:1B:00.0, 570.86.15, 9.0\n"
        "1, NVIDIA GH200, [N/A], 00000000:2B:00.0, 570.86.15, 9.0",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    gpus, how = hardware._gpus_by_nvidia_smi()
    assert how == "nvidia-smi"
    assert [gpu["name"] for gpu in gpus] == ["NVIDIA H100 80GB HBM3", "NVIDIA GH200"]
    assert [gpu["memory_bytes"] for gpu in gpus] == [81559 * 2**20, None]


def test_gpus_are_read_from_rocm_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = {"Card Series": "AMD Instinct MI300X", "VRAM Total Memory (B)": "206141652992", "PCI Bus": "0000:05:00.0"}
    write_tool(tmp_path, "rocm-smi", json.dumps({"card0": card, "system": {"Driver version": "6.8"}}))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    gpus, how = hardware._gpus_by_rocm_smi()
    assert how == "rocm-smi"
    assert [(gpu["name"], gpu["memory_bytes"]) for gpu in gpus] == [("AMD Instinct MI300X", 206141652992)]


def test_a_driver_tool_that_fails_says_why_there_are_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate'\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    gpus, how = hardware._gpus_by_nvidia_smi()
    assert gpus == []
    assert "exit code 9" in how
    assert "could not communicate" in how
