"""The tables of the store. Those of the records are made from the records' fields, so that neither can run ahead.

schema_version   one row: the version of everything below (see `migrations`)
journals         each journal loaded: its id and the run's record as that journal has it
runs             one row a run, put together from its journals
measurements     one row a measurement; `row_id` = journal's key · 2^32 + line: loaded twice, it is one row
samples          raw samples of a measurement: float64, little-endian, seconds, in the order taken
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from clusterbench.results.columns import columns_of
from clusterbench.results.record import Measurement, Run

LINE_BITS = 32
"""A row id holds the line of the journal in its low bits."""

_BIG_KEY = BigInteger().with_variant(Integer(), "sqlite")  # SQLite indexes only INTEGER keys by its own row number
_SQL_TYPES: dict[str, Any] = {"text": Text(), "integer": BigInteger(), "real": Double(), "json": Text()}

METADATA = MetaData()

SCHEMA_VERSIONS = Table("schema_version", METADATA, Column("version", Integer, nullable=False))


def _columns(record: type[Any], key: str = "") -> list[Column[Any]]:
    return [
        Column(c.name, _SQL_TYPES[c.kind], nullable=c.optional, primary_key=c.name == key) for c in columns_of(record)
    ]


JOURNALS = Table(
    "journals",
    METADATA,
    Column("journal_key", Integer, primary_key=True, autoincrement=True),
    Column("journal", Text, nullable=False, unique=True),
    Column("run_id", Text, nullable=False, index=True),
    Column("run", Text, nullable=False),
)

RUNS = Table("runs", METADATA, *_columns(Run, key="run_id"))

MEASUREMENTS = Table(
    "measurements",
    METADATA,
    Column("row_id", _BIG_KEY, primary_key=True, autoincrement=False),
    *_columns(Measurement),
)
# What a list, a comparison and a history filter by.
Index("measurements_by_run", MEASUREMENTS.c.run_id, MEASUREMENTS.c.suite)
Index("measurements_by_point", MEASUREMENTS.c.suite, MEASUREMENTS.c.name, MEASUREMENTS.c.algorithm)
Index("measurements_by_name", MEASUREMENTS.c.name, MEASUREMENTS.c.size_bytes, MEASUREMENTS.c.algorithm)
Index("measurements_by_verdict", MEASUREMENTS.c.verdict)

SAMPLES = Table(
    "samples",
    METADATA,
    Column("row_id", _BIG_KEY, ForeignKey("measurements.row_id"), primary_key=True, autoincrement=False),
    Column("seconds", LargeBinary, nullable=False),
)
