"""A PostgreSQL server for tests: Debian's, in a folder of its own, on a free port of the loopback interface."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

MISSING = "PostgreSQL's initdb is not installed (Debian package postgresql)"
_START_S = 60.0


def binaries() -> Path | None:
    """The folder of the newest installed version's programs; Debian puts it on no path."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if found:
        return max(found, key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0)
    return Path(on_path).parent if on_path else None


class Server:
    """A server that can be stopped and started again, with its data."""

    def __init__(self) -> None:
        programs = binaries()
        if programs is None:
            raise RuntimeError(MISSING)
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="clusterbench-postgres-"))
        # PostgreSQL refuses to run as root.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self._folder, "postgres", "postgres")
        self._data = self._folder / "data"
        subprocess.run(
            [programs / "initdb", "-D", self._data, "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd=self._folder,
            env={**os.environ, "LC_ALL": "C"},
            **self._as,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """The URL of a database on it."""
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *("-D", self._data, "-h", "127.0.0.1", "-p", str(self.port), "-k", self._folder),
                    *("-c", "fsync=off"),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
                **self._as,
            )
        asked = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        until = time.monotonic() + _START_S
        while subprocess.run(asked, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError((self._folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """The server's process."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: connections are ended; by SIGQUIT at once, as in a crash."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(_START_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop it, and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
