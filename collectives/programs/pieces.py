"""The pieces in which a message travels: both its ends, and all that prepare requests for them, go by this rule."""

from __future__ import annotations

from numba import njit

MESSAGE_BYTES = 1 << 30
"""Longer messages are cut into pieces, as MPI counts bytes in an int."""
MOST_PIECES = 1024
"""Of one message, where it is cut though MPI could count it: each piece is a step and a request."""


@njit(cache=True)
def piece_bytes(message_bytes: int, longest_bytes: int, limit_bytes: int = MESSAGE_BYTES) -> int:
    """The length of the pieces of a message, where none is to be longer than `longest_bytes` and none may be longer
    than `limit_bytes`."""
    return min(max(longest_bytes, -(-message_bytes // MOST_PIECES)), limit_bytes)
