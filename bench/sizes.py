"""Sizes as nccl-tests writes them: `8`, `32K`, `1M`, `4G`, with K = 1024, and the sweep from one to another."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import click

LARGEST_BYTES = 2**63 - 1
"""What a size may be at most: the largest that 64 bits hold."""
MOST_SIZES = 10_000
"""What a sweep may have at most: more is a slip of the factor or the step."""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)


class SizeType(click.ParamType[int]):
    """A size on the command line, in bytes; `32K`, `32KB` and `32KiB` are the same, in any case of letters."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes of the text; a usage error where it is no size."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no size; expected a number with K, M, G or T (1024 each) behind it, as in 64M")
        size = Fraction(match[1]) * _UNITS[match[2].upper()]
        if size.denominator != 1:
            self.fail(f"{value!r} is {float(size):g} bytes; expected a whole number of bytes")
        if size > LARGEST_BYTES:
            self.fail(f"{str(value)[:40]!r} is too large; expected at most {LARGEST_BYTES} bytes")
        return int(size)


class SizesType(click.ParamType[tuple[int, ...]]):
    """Sizes with commas between, each as `SizeType` takes it."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Bytes of each, in their order; a usage error where one is no size, or none is there."""
        if isinstance(value, tuple):
            return value
        sizes = tuple(SIZE.convert(text, param, ctx) for text in str(value).split(","))
        if not all(sizes):
            self.fail(f"{value!r} has a size of 0; expected at least 1 byte")
        return sizes


class PiecesType(click.ParamType[int]):
    """Longest message that travels in one piece: a size, `auto`, which becomes 0, or `none`, which is all."""

    name = "auto|none|size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes; a usage error where they are fewer than `LEAST_PIECE_BYTES`."""
        if isinstance(value, int):
            return value
        word = str(value).strip().lower()
        if word in _PIECES:
            return _PIECES[word]
        size = SIZE.convert(value, param, ctx)
        if size < LEAST_PIECE_BYTES:
            self.fail(f"pieces of {size} bytes; expected at least {LEAST_PIECE_BYTES}, auto, or none")
        return size


LEAST_PIECE_BYTES = 64
_PIECES = {"auto": 0, "none": LARGEST_BYTES}

SIZE = SizeType()
SIZES = SizesType()
PIECES = PiecesType()


FLAGS = ("-b", "-e", "-f", "-i")
"""What a command calls the least and the largest size, the factor and the step."""


def sweep(
    first: int, last: int, factor: float | None, step: int | None, names: tuple[str, str, str, str] = FLAGS
) -> list[int]:
    """Sizes from `first` to `last` bytes, times `factor` each or plus `step`.

    Raises `click.UsageError`, which names what is at fault by `names`, for a sweep that cannot be.
    """
    least, largest, times, plus = names
    if first < 1:
        raise click.UsageError(f"{least} is {first}; expected at least 1 byte")
    if first > last:
        raise click.UsageError(f"{least} is {first} and {largest} is {last}; expected {least} to be at most {largest}")
    if factor is not None and step is not None:
        raise click.UsageError(f"{times} and {plus} are both given; expected one of them")
    if factor is not None and not 1 < factor < float("inf"):
        raise click.UsageError(f"{times} is {factor:g}; expected a factor over 1")
    if step is not None and step < 1:
        raise click.UsageError(f"{plus} is {step}; expected at least 1 byte")
    sizes = [first]
    while True:
        following = sizes[-1] + step if step is not None else max(int(sizes[-1] * (factor or 2)), sizes[-1] + 1)
        if following > last:
            return sizes
        if len(sizes) == MOST_SIZES:
            flag = f"{plus} {step}" if step is not None else f"{times} {factor or 2:.12g}"
            raise click.UsageError(
                f"{flag} makes more than {MOST_SIZES} sizes from {least} {first} to {largest} {last}; expected fewer"
            )
        sizes.append(following)
