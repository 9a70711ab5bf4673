"""Short slices: how long the scheduler lets a rank run while others wait for its core.

MPI libraries spin while they wait for a message, and an emulated cluster has many ranks a core, so a message waits
until those that spin before it have had their turn: shorter turns cost switches, and less time.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

SLICE_NS = 100_000
"""What is asked for. Linux has it from 6.12 on (Documentation/scheduler/sched-eevdf.rst); before it changes nothing."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "ppc64le": 355}
"""Numbers of the system call, which C libraries lack (sched_setattr(2)): the syscall tables of Linux."""


def shorten_slices() -> bool:
    """Let this process, and all that it starts from now on, have short slices: whether the kernel takes it."""
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period (sched_setattr(2)).
    attributes = struct.pack("IIQiIQQQ", 48, os.SCHED_OTHER, 0, os.nice(0), 0, SLICE_NS, 0, 0)
    done: int = ctypes.CDLL(None, use_errno=True).syscall(number, 0, attributes, 0)
    return done == 0
