"""The stream that numba-cuda's kernels are launched on: the default one, unless something is timed on another.

CuPy has a current stream, which Triton's kernels take too (`triton_driver.py`). numba-cuda is told with each launch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_STREAM: ContextVar[Any] = ContextVar("stream", default=0)


def stream() -> Any:
    """What to launch on: `kernel[blocks, threads, stream()](...)`."""
    return _STREAM.get()


@contextmanager
def launched_on(other: Any) -> Iterator[None]:
    """Launches within the block go to this stream, as `numba.cuda.external_stream` makes it of a handle."""
    token = _STREAM.set(other)
    try:
        yield
    finally:
        _STREAM.reset(token)
