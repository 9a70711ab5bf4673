"""What cannot be synthesised."""

from __future__ import annotations

from typing import ClassVar


class SynthesisError(ValueError):
    """A topology or a call that no schedule is made for: the message says what was found and what was expected."""

    exit_code: ClassVar[int] = 2
