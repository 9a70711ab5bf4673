"""Rows and groups of a frame of measurements, as figures and tables read them."""

from __future__ import annotations

from collections.abc import Iterator
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
    """The rows as named tuples of plain values, None where one is missing; the field `count` is called `elements`."""
    plain = frame.rename(columns={"count": "elements"}).astype(object)
    yield from plain.where(plain.notna(), None).itertuples(index=False)


def groups(frame: DataFrame, by: tuple[str, ...]) -> Iterator[tuple[tuple[Any, ...], DataFrame]]:
    """The rows that agree in the fields `by`, in the order in which the groups appear."""
    for key, group in frame.groupby(list(by), sort=False):
        yield (key if isinstance(key, tuple) else (key,)), group


def shape_fields(shape: str) -> dict[str, str]:
    """The parts of a shape such as `bytes=8,src=0,dst=1` or `bytes=8,traffic=skewed:1,seed=7`."""
    return dict(part.split("=", 1) for part in shape.split(",") if "=" in part)
