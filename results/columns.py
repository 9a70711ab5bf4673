"""The columns of the two records, derived from their fields: the one description that journal, store and frames share.

A record that comes from a file is untrusted: every value is checked against the type of its field before it goes on.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from clusterbench.results.record import Measurement, RecordError, Run

if TYPE_CHECKING:
    from pandas import DataFrame

Kind = Literal["text", "integer", "real", "json"]

_LARGEST_INTEGER = (1 << 63) - 1
"""What a 64-bit column holds."""
_PYTHON_TYPES: dict[type, Kind] = {str: "text", int: "integer", float: "real"}


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a record: its name, what it holds, and whether it may be missing (None)."""

    name: str
    kind: Kind
    optional: bool


def _column(name: str, hint: Any) -> Column:
    optional = False
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
        optional = True
    if get_origin(hint) is Literal:
        return Column(name, "text", optional)
    return Column(name, _PYTHON_TYPES.get(hint, "json"), optional)


_COLUMNS: dict[type[Any], tuple[Column, ...]] = {
    record: tuple(_column(name, hint) for name, hint in get_type_hints(record).items()) for record in (Measurement, Run)
}


def columns_of(record: type[Any]) -> tuple[Column, ...]:
    """The columns of `Measurement` or `Run`, in the order of its fields."""
    return _COLUMNS[record]


def checked_row(record: type[Any], row: Any) -> dict[str, Any]:
    """`row` with every value of a known column checked against its type; unknown keys stay for the record to refuse.

    Numbers that JSON cannot spell arrive as the strings `Infinity`, `-Infinity` and `NaN`. Characters that a database
    cannot hold (NUL, lone surrogates) become U+FFFD. Raises `RecordError` with the name of the field.
    """
    if not isinstance(row, dict):
        raise RecordError(f"{record.__name__} is {_short(row)}; expected an object")
    checked = dict(row)
    for column in columns_of(record):
        if column.name in checked:
            checked[column.name] = _checked(column, checked[column.name])
    return checked


def _checked(column: Column, value: Any) -> Any:
    if value is None and column.optional:
        return None
    if column.kind == "json":
        return value
    if column.kind == "text" and isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if column.kind == "integer" and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > _LARGEST_INTEGER:
            raise RecordError(f"{column.name} is {_short(value)}; expected an integer of 64 bits")
        return value
    if column.kind == "real":
        number = real(value)
        if number is not None:
            return number
    raise RecordError(f"{column.name} is {_short(value)}; expected {_EXPECTED[column.kind]}")


_EXPECTED = {"text": "text", "integer": "an integer", "real": "a number"}
_SPELLED = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


def real(value: Any) -> float | None:
    """A JSON value as a float, or None where it is not a number; reads what `spelled` wrote."""
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INTEGER:
        return float(value)
    return _SPELLED.get(value) if isinstance(value, str) else None


def spelled(value: Any) -> Any:
    """`value` with floats that JSON cannot spell replaced by the strings that `real` reads, at any depth."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): spelled(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [spelled(part) for part in value]
    return value


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "an integer too long to print"
    return text if len(text) <= 40 else text[:37] + "..."


def to_frame(measurements: Iterable[Measurement]) -> DataFrame:
    """One row a measurement, one column a field, typed as `typed` says; the index counts the rows."""
    import pandas as pd

    names = [column.name for column in columns_of(Measurement)]
    rows = [tuple(getattr(measurement, name) for name in names) for measurement in measurements]
    return typed(pd.DataFrame(rows, columns=names))


def typed(frame: DataFrame) -> DataFrame:
    """`frame`, of all fields or some, with their types.

    These are float64 (missing is NaN), int64, Int64 where it may be missing, and str.
    """
    import pandas as pd

    result: dict[str, Any] = {}
    for column in columns_of(Measurement):
        if column.name not in frame:
            continue
        values = frame[column.name]
        if column.kind == "real":
            result[column.name] = pd.to_numeric(values).astype("float64")
        elif column.kind == "integer":
            result[column.name] = pd.to_numeric(values).astype("Int64" if column.optional else "int64")
        else:
            result[column.name] = values.astype("string" if column.optional else "str")
    return pd.DataFrame(result, index=frame.index)


def plain_rows(frame: DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dictionaries of plain values, missing ones as None."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]
