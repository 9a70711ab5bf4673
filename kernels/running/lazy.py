"""`triton`, `tl`, `cuda`, `cupy` for kernel files: the package, or a stand-in that marks implementations as absent.

A kernel file decorates as its readers expect (`@triton.jit`, `@cuda.jit`), whether the package is here or not. Without
it the decorated function becomes an `Absent`, which raises the reason when it is launched; nothing else breaks.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

EXTRAS = {"triton": "triton", "numba_cuda": "sim", "cupy": "cuda"}
"""Package -> the extra of this project that installs it."""


class AbsentError(RuntimeError):
    """An implementation was launched whose package is missing; the message says what to install."""

    exit_code: ClassVar[int] = 1


class Absent:
    """What a decorator of a missing package leaves of a function."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __getitem__(self, grid: Any) -> Absent:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise AbsentError(self.reason)


class StandIn:
    """A missing package: any attribute is there, any decorator marks its function as absent."""

    def __init__(self, path: str, reason: str) -> None:
        self._path = path
        self.reason = reason

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__"):  # what copy, pickle and inspect look for must stay missing
            raise AttributeError(name)
        return StandIn(f"{self._path}.{name}", self.reason)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Serves as `@jit`, as `@jit(option=...)` and as any other call at import time."""
        if len(args) == 1 and not kwargs and callable(args[0]):
            return Absent(self.reason)
        return self


def package(name: str, needs: str = "") -> Any:
    """Import `name`, or return its stand-in with the reason.

    `needs` is the package that has to be there first, where `name` alone would import something else: `numba.cuda`
    without `numba_cuda` is Numba's own old copy.
    """
    try:
        if needs:
            import_module(needs)
        return import_module(name)
    except Exception as error:  # a broken installation must not take the other back ends with it
        missing = (needs or name).split(".")[0]
        hint = f"install clusterbench's extra `{EXTRAS[missing]}`"
        found = "not installed" if isinstance(error, ModuleNotFoundError) else f"does not import: {error}"
        return StandIn(
            name, f"{missing} is {found}; {hint}" if found.startswith("not") else f"{missing} {found}; {hint}"
        )


triton: Any = package("triton")
tl: Any = package("triton.language")
cuda: Any = package("numba.cuda", needs="numba_cuda")
cupy: Any = package("cupy")
