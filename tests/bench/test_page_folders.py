"""Folders of status pages are removed by who made them, or by the next one after who made them was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clusterbench.bench.worlds import page_folders
from clusterbench.bench.worlds.page_folders import held, page_folder, page_folder_elsewhere

HOLDER = """
import sys, time
from pathlib import Path
from clusterbench.bench.worlds.page_folders import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(page_folders, "MEMORY", tmp_path)
    return tmp_path


@contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_folder_is_there_while_it_is_held_and_gone_afterwards(memory: Path) -> None:
    with page_folder() as folder:
        assert folder.parent == memory
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(memory.iterdir()) == []


def test_what_a_killed_one_left_is_removed_by_the_next_and_what_is_held_is_not(memory: Path) -> None:
    left, kept, foreign = (memory / f"clusterbench-{name}" for name in ("left", "kept", "foreign"))
    foreign.mkdir()  # just made, and not held yet
    with another(kept):
        with another(left) as process:
            (left / "0.page").touch()
            os.kill(process.pid, signal.SIGKILL)
        assert left.exists()
        with page_folder() as folder:
            assert sorted(memory.iterdir()) == sorted([foreign, folder, kept])
    assert foreign.exists()


def test_a_lock_that_is_a_link_leads_nowhere(memory: Path) -> None:
    precious = memory / "precious"
    precious.mkdir()
    (precious / "held").touch()
    link = memory / "clusterbench-link"
    link.mkdir()
    (link / "held").symlink_to(precious / "held")
    with page_folder():
        pass
    assert link.exists()
    assert precious.exists()


def test_a_folder_on_another_host_has_the_name_of_the_supervisors_and_one_owner(memory: Path) -> None:
    asked = Path("/somewhere/else/clusterbench-a")
    folder = page_folder_elsewhere(asked)
    assert folder == memory / "clusterbench-a" == page_folder_elsewhere(asked)
    with held(folder):
        pass
    assert not folder.exists()
    (memory / "clusterbench-b").symlink_to(memory)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        page_folder_elsewhere(Path("/somewhere/else/clusterbench-b"))
