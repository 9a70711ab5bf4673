"""Counters of the kernel, read before and after an interval.

Sources: proc_stat(5) (`steal`), proc_vmstat(5) (`pswpin`, `pswpout`), the kernel's accounting/psi.rst, and
admin-guide/ABI-testing.rst (`thermal_throttle`). `root` is where /proc and /sys are looked for.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from clusterbench.bench.disturbances.facts import Counters
from clusterbench.bench.hosts.cgroups import cpu_quota
from clusterbench.bench.hosts.settings import number
from clusterbench.kernels.device import read_text

_THERMAL = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"


def read_counters(root: Path = Path("/")) -> Counters:
    """The counters now."""
    pages = re.findall(r"^pswp(?:in|out) (\d+)$", read_text(root / "proc/vmstat") or "", re.MULTILINE)
    stalled = re.search(r"^some .*total=(\d+)", read_text(root / "proc/pressure/memory") or "", re.MULTILINE)
    # cpu user nice system idle iowait irq softirq steal ...
    stolen = re.search(r"^cpu +(?:\d+ +){7}(\d+)", read_text(root / "proc/stat") or "", re.MULTILINE)
    thermal = [count for path in root.glob(_THERMAL) if (count := number(read_text(path))) is not None]
    return Counters(
        throttled=cpu_quota(root).throttled,
        swapped_pages=sum(map(int, pages)) if pages else None,
        memory_stall_s=int(stalled[1]) * 1e-6 if stalled else None,
        steal_s=int(stolen[1]) / os.sysconf("SC_CLK_TCK") if stolen else None,
        thermal=sum(thermal) if thermal else None,
    )
