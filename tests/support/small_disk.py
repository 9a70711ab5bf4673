"""Runs commands with a disk of 1 MiB: a tmpfs in a mount namespace of their own, which is gone when they have ended."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from clusterbench.bench.launching.launch import Finished, run_group

DISK_BYTES = 1 << 20

_WAYS = (("unshare", "--mount"), ("unshare", "--mount", "--user", "--map-root-user"))
_INSIDE = """
cd "$1"; disk=$2; used=$3; kept=$4; shift 4
mount -t tmpfs -o size=1m none "$disk" || exit 97
head -c "$used" /dev/zero > "$disk/others" || exit 97
"$@"
code=$?
rm "$disk/others"
cp -r "$disk/." "$kept" || exit 97
exit $code
"""


def mount_way() -> tuple[str, ...]:
    """What a command is led by that gets mounts of its own. Skips the test where that is not permitted."""
    if not _way():
        pytest.skip("mount namespaces are not permitted here: a disk or host of its own cannot be had")
    return _way()


@cache
def _way() -> tuple[str, ...]:
    for way in _WAYS:
        try:
            mounted = subprocess.run([*way, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
        except OSError:
            continue
        if mounted.returncode == 0:
            return way
    return ()


def on_small_disk(folder: Path, command: Sequence[str], *, used_bytes: int = 0, timeout_s: float = 240) -> Finished:
    """Run a command in `folder`, where `disk` is such a disk, of which others use `used_bytes`.

    What the command wrote to it is in `folder/kept` afterwards. Skips the test where this may not mount anything.
    """
    way = mount_way()
    for name in ("disk", "kept"):
        (folder / name).mkdir()
    places = [str(folder / "disk"), str(used_bytes), str(folder / "kept")]
    inside = ["bash", "-c", _INSIDE, "inside", str(folder), *places, *command]
    done = run_group([*way, *inside], timeout_s=timeout_s)
    assert done.exit_code != 97, done.stderr
    return done
