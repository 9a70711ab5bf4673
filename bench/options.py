"""Options that several commands share, so that they read and refuse alike everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])

_OTHER = {"as_json": "as_csv", "as_csv": "as_json"}


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
