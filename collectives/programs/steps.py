"""The steps of a program: operations, the regions that they work on, and the columns that say which.

A program is an array of steps, int32 of shape (steps, columns). Everything is in chunks of the vector; what that means
in bytes is said by `program.lower`.
"""

from __future__ import annotations

INPUT, OUTPUT, WORK, EXTRA, STAGING = range(5)
"""Regions: what a rank brings; what it gives; its working copy of what it does not give; scratch; messages' staging."""

RECV, SEND, WAIT, REDUCE, COPY, OPEN, GROW = range(7)
"""Operations. OPEN empties a staging area and GROW adds a piece to the message it will hold: they cost nothing."""

OP, PEER, DREG, DCHUNK, SREG, SCHUNK, AREG, LENGTH, COUNT, REQ = range(10)
"""Columns of a step. LENGTH is the chunk whose size counts (−1: whole scratch chunks); AREG the region of a reduction's
first operand, which lies at the destination's chunk."""

COLUMNS = 10
