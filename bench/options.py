"""Options that several commands share, so that they read and refuse alike everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from clusterbench.bench.sizes import SIZE

Command = TypeVar("Command", bound=Callable[..., object])

_OTHER = {"as_json": "as_csv", "as_csv": "as_json"}


class FiniteRange(click.FloatRange):
    """A number in a range; unlike click's own it refuses NaN, which lies in no range."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error where it is none, not finite, or outside the range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number that can be worked with", param, ctx)
        return number


PRECISION = FiniteRange(1e-4, 1.0)
"""`--precision`: half-width of the median's interval, as a share of it."""
BUDGET = FiniteRange(1e-3, 86400.0)
"""`--budget`: seconds a row."""
SAMPLES = click.IntRange(1, 1_000_000)
"""`-n`: samples a row, all of which are kept."""
WARMUP = click.IntRange(0, 1_000_000_000)
"""`-w`: calls before the first sample."""
SEED = click.IntRange(0, 2**32 - 1)


TIMEOUT = FiniteRange(0.0, 1e7)


def journal_option(command: Command) -> Command:
    """Give a command that measures in its own process where its rows go, as `journal`."""
    return click.option(
        "--journal",
        type=click.Path(file_okay=False, path_type=Path),
        default="clusterbench-out/journals",
        show_default=True,
        help="Folder of the journal, which gets every row at once.",
    )(command)


def sampling_options(command: Command) -> Command:
    """Give a command that measures under mpiexec how many samples it takes, and whether it checks the data."""
    for option in (
        click.option("-c", "--check", type=click.IntRange(0), default=1, show_default=True,
                     help="Check the data; 0: do not."),
        click.option("-w", "--warmup-iters", "--warmup_iters", type=WARMUP, help="Warm-up calls; else detected."),
        click.option("-n", "--iters", type=SAMPLES, help="Samples a row; by default as many as --precision asks."),
    ):  # fmt: skip
        command = option(command)
    return command


def keeping_options(command: Command) -> Command:
    """Give a command that measures under mpiexec where its rows go, how they are judged, and how long it waits."""
    for option in (
        click.option("--strict", is_flag=True, help="Take INCONCLUSIVE for a failure."),
        click.option("-T", "--timeout", type=TIMEOUT, default=300.0, show_default=True,
                     help="Seconds without progress after which every rank ends with code 124; 0: never."),
        click.option("--store", help="URL of a store to load the journal into at the end."),
        click.option("--run-id", help="Of the run that the rows belong to; a new one by default."),
        click.option("--part", hidden=True, help="What the journal is named by, beside others of the run."),
        click.option("--status-pages", hidden=True, type=click.Path(file_okay=False, path_type=Path),
                     help="Folder in memory, in which each rank tells a supervisor what it is at."),
        click.option("--silence", type=TIMEOUT, default=0.0, hidden=True,
                     help="Seconds without progress after which the supervisor of other hosts is told so; 0: never."),
        click.option("--journal", type=click.Path(file_okay=False, path_type=Path),
                     default="clusterbench-out/journals", show_default=True,
                     help="Folder of the journal, which gets every row at once."),
    ):  # fmt: skip
        command = option(command)
    return command


def job_options(command: Command) -> Command:
    """Give a command that starts ranks itself where it keeps all that it makes, as `out` and `url`."""
    store = click.option("--store", "url", help="URL of the store.  [default: sqlite:///OUT/results.db]")
    out = click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("clusterbench-out"),
                       show_default=True, help="Folder for journals, store and report.")  # fmt: skip
    return out(store(command))


def machine_options(command: Command) -> Command:
    """Give a command `--json` and `--csv`, as its parameters `as_json` and `as_csv`; both at once are a usage error."""
    csv = click.option("--csv", "as_csv", is_flag=True, callback=_alone, help="Print the rows as CSV.")
    json = click.option("--json", "as_json", is_flag=True, callback=_alone, help="Print one JSON document.")
    return json(csv(command))


def _alone(context: click.Context, option: click.Parameter, value: bool) -> bool:
    # Click handles one option after the other; whichever is second finds the first.
    if value and context.params.get(_OTHER[option.name or ""]):
        raise click.UsageError("--json and --csv exclude each other")
    return value


SUITES = ("kernels", "collectives", "point-to-point", "pairs", "roof")


class Where(click.ParamType[tuple[str, list[Any]]]):
    """`FIELD=VALUE[,VALUE...]`: a field of a row and the values that it may have, with the type of the field."""

    name = "field=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, list[Any]]:
        """The field and its values; a usage error where the field is unknown, or a value is none of its type."""
        from difflib import get_close_matches

        from clusterbench.results.columns import columns_of
        from clusterbench.results.record import Measurement

        if isinstance(value, tuple):
            return value
        field, equals, texts = str(value).partition("=")
        if not equals or not texts:
            self.fail(f"{value!r}; expected FIELD=VALUE, as in name=all_reduce", param, ctx)
        kinds = {column.name: column.kind for column in columns_of(Measurement)}
        if field not in kinds:
            near = get_close_matches(field, kinds, 1) or get_close_matches(field, kinds, 1, 0.3)
            meant = f"; did you mean {near[0]}?" if near else ""
            self.fail(f"no field {field!r}{meant} Fields are those of `results list --json`", param, ctx)
        return field, [self._value(kinds[field], field, text, param, ctx) for text in texts.split(",")]

    def _value(self, kind: str, field: str, text: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if kind == "text":
            return text
        if field == "size_bytes":
            return SIZE.convert(text, param, ctx)
        try:
            return int(text) if kind == "integer" else float(text)
        except ValueError:
            self.fail(f"{field}={text}: expected {'an integer' if kind == 'integer' else 'a number'}", param, ctx)


store_option = click.option(
    "--store", "url", default="sqlite:///clusterbench-out/results.db", show_default=True, help="URL of the store."
)
strict_option = click.option("--strict", is_flag=True, help="End with 1 where nothing can be told of a row.")
suite_option = click.option("--suite", type=click.Choice(SUITES), help="Only rows of this suite.")
where_option = click.option(
    "--where", type=Where(), multiple=True, metavar="FIELD=VALUE[,...]", help="Only rows with these values; repeatable."
)


def chosen(where: tuple[tuple[str, list[Any]], ...]) -> dict[str, list[Any]]:
    """The values of each field that `where_option` was given, of all times that it was."""
    fields: dict[str, list[Any]] = {}
    for field, values in where:
        fields.setdefault(field, []).extend(values)
    return fields
