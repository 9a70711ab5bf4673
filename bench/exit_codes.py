"""Exit codes of every command, the same on every rank.

An exception of any floor that carries an `exit_code` is meant for the user: the command line prints its message,
without a traceback, and ends with that code. Any other exception is a defect of this suite and keeps its traceback.
"""

from __future__ import annotations

GOOD = 0
FAILED = 1
"""Failed at run time."""
USAGE = 2
"""Wrong usage, or an input that was refused."""
WRONG_DATA = 3
"""Wrong data, an error over its bound, or a result that cannot be."""
BELOW = 4
"""Below a threshold, a significant regression, or a compile gate."""
TIMED_OUT = 124
