"""Rows and groups of a frame of measurements, as figures and tables read them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Iterator
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.notes import shares_cores

if TYPE_CHECKING:
    from pandas import DataFrame

COLLECTIVE_FIELDS = ("name", "placement", "dtype", "op", "root", "ranks", "nodes", "buffers", "traffic")
"""Rows of `timed_collectives` that agree in these belong in one figure, and compete in one table."""
LIBRARY = "library"
"""The algorithm that the MPI library chooses by itself; `library:ID` is one that it was told to use."""


def ordered(frame: DataFrame) -> DataFrame:
    """The rows in the order in which a reader looks for them; they were measured in a shuffled one.

    By suite, name and type; out of place first; the library first of the algorithms; small sizes first.
    """
    keys = frame.assign(own=frame["algorithm"] != LIBRARY, in_place=frame["placement"] == "in_place")
    by = ["suite", "name", "dtype", "op", "root", "ranks", "in_place", "own", "algorithm", "size_bytes"]
    return frame.loc[keys.sort_values(by, kind="stable").index]


def timed_collectives(frame: DataFrame) -> DataFrame:
    """The collectives that have a time, with their `buffers` and `traffic` as columns."""
    timed = frame[(frame["suite"] == "collectives") & frame["median_s"].notna()]
    return timed.assign(
        buffers=[buffers(shape) for shape in timed["shape"]], traffic=[traffic(shape) for shape in timed["shape"]]
    )


def buffers(shape: str) -> str:
    """The memory that a shape names, `registered`; empty for a rank's own."""
    return shape_fields(shape).get("buffers", "")


def traffic(shape: str) -> str:
    """The traffic of an all_to_all_v that a shape names, in words; empty for anything else."""
    fields = shape_fields(shape)
    return fields.get("traffic", "") + (f", seed {fields['seed']}" if {"traffic", "seed"} <= set(fields) else "")


def sharing_cores(frame: DataFrame) -> NDArray[np.bool_]:
    """Which rows were measured with more ranks than cores."""
    return np.array([shares_cores(note) for note in frame["note"]], np.bool_)


def lines(frame: DataFrame) -> Iterator[Any]:
    """The rows as named tuples of plain values, None where one is missing.

    The field `count` is called `elements`, and `row` is the row's index.
    """
    import pandas as pd

    missing = pd.NA  # unlike NaN it is not even unequal to itself
    values = [frame.index.tolist()]
    for name in frame.columns:
        values.append([None if v is missing or v != v else v for v in frame[name].tolist()])
    names = ("row", *("elements" if name == "count" else str(name) for name in frame.columns))
    yield from map(_line_type(names)._make, zip(*values, strict=True))


@lru_cache(maxsize=64)
def _line_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Line", names)


def groups(frame: DataFrame, by: tuple[str, ...]) -> Iterator[tuple[tuple[Any, ...], DataFrame]]:
    """The rows that agree in the fields `by`, in the order in which the groups appear."""
    for key, group in frame.groupby(list(by), sort=False):
        yield (key if isinstance(key, tuple) else (key,)), group


def grouped(listed: Iterable[Any], fields: tuple[str, ...]) -> dict[tuple[Any, ...], list[Any]]:
    """Rows of `lines` by the values of two fields or more, in the order in which these appear.

    Much faster than `groups` where there are many small groups.
    """
    found: dict[tuple[Any, ...], list[Any]] = {}
    key = attrgetter(*fields)
    for row in listed:
        found.setdefault(key(row), []).append(row)
    return found


def shape_fields(shape: str) -> dict[str, str]:
    """The parts of a shape such as `bytes=8,src=0,dst=1` or `bytes=8,traffic=skewed:1,seed=7`."""
    return dict(part.split("=", 1) for part in shape.split(",") if "=" in part)
