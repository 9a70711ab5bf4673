"""How a store that an older version made becomes one of this version, when it is opened.

Version 1 is the first. Version 2 adds the index `measurements_by_name`.

A field that a record has gained needs no version of its own: its column is added with the field's default to every
store that lacks it. A version, and a step here, is for everything else. Steps name tables and columns in their own SQL
and not by `tables`, which goes on changing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from clusterbench.results.record import Measurement, Run
from clusterbench.results.tables import MEASUREMENTS, RUNS, SCHEMA_VERSIONS

Step = Callable[[sa.Connection], None]


def _index_by_name(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE INDEX measurements_by_name ON measurements (name, size_bytes, algorithm)")


STEPS: tuple[Step, ...] = (_index_by_name,)
"""What makes version 2 of version 1, version 3 of version 2, and so on."""
STORE_VERSION = 1 + len(STEPS)
"""Version of the tables that this version makes."""


def migrate(connection: sa.Connection, version: int) -> None:
    """Bring a store of an older version, or one that lacks columns, to `STORE_VERSION`, inside the open transaction."""
    for step in STEPS[version - 1 :]:
        step(connection)
    for table, record, column in _missing(connection):
        added = sa.Column(column.name, column.type, nullable=column.nullable, server_default=_default(record, column))
        definition = CreateColumn(added).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
    connection.execute(sa.update(SCHEMA_VERSIONS).values(version=STORE_VERSION))


def lacks_columns(connection: sa.Connection) -> bool:
    """Whether a field of a record has no column in the store."""
    return bool(_missing(connection))


def _missing(connection: sa.Connection) -> list[tuple[sa.Table, type[Any], sa.Column[Any]]]:
    inspector = sa.inspect(connection)
    found = []
    for table, record in ((RUNS, Run), (MEASUREMENTS, Measurement)):
        there = {column["name"] for column in inspector.get_columns(table.name)}
        found += [(table, record, column) for column in table.columns if column.name not in there]
    return found


def _default(record: type[Any], column: sa.Column[Any]) -> sa.TextClause | None:
    """The default of the column's field as SQL; None where it is NULL."""
    (field,) = (field for field in fields(record) if field.name == column.name)
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    if value is None:
        return None
    if isinstance(value, int | float):
        return sa.text(repr(value))
    text = value if isinstance(value, str) else json.dumps(value)
    return sa.text("'" + text.replace("'", "''") + "'")
