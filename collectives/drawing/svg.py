"""What pictures in SVG have in common: numbers and texts as they stand in one."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape


def px(value: float) -> str:
    """A length in pixels, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def xml_text(text: str) -> str:
    """Text from outside, without the characters that XML cannot hold."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))
