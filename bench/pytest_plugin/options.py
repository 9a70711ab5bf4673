"""The options of the plugin, on pytest's command line or, with underscores, in its configuration file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import pytest

DEFAULT_STORE = "sqlite:///clusterbench-out/results.db"
"""Where runs to compare with are looked for, unless a store is named."""

Unit = Literal["launch", "sample"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options say. What is empty is not asked for."""

    store: str
    """URL of the store that results go to."""
    against: str
    """Runs that results are compared with, as `clusterbench results compare` names them."""
    tolerance: float
    """The change, as a share, that is no regression."""
    unit: Unit
    """What decides where both sides have one launch; see `results.compare`."""
    launches: int
    """How often each test measures."""
    thresholds: str
    """File of thresholds; see `bench.thresholds`."""
    precision: float
    budget_s: float
    """Of `bench.sampling.Rules`."""


@dataclass(frozen=True, slots=True)
class _Option:
    name: str
    metavar: str
    default: str
    help: str
    read: Callable[[str], object]
    """Raises `ValueError` with what is expected."""

    @property
    def flag(self) -> str:
        return f"--clusterbench-{self.name}"

    @property
    def key(self) -> str:
        return f"clusterbench_{self.name}"


def _number(text: str, low: float, high: float, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise ValueError(expected)
    return number


def _percent(text: str) -> float:
    share = _number(text.removesuffix("%"), 0, 100, "a number of percent over 0 and below 100") / 100
    if share in (0, 1):
        raise ValueError("a number of percent over 0 and below 100")
    return share


def _launches(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 4 or int(text) < 1:
        raise ValueError("a whole number from 1 to 9999")
    return int(text)


def _unit(text: str) -> Unit:
    if text not in ("launch", "sample"):
        raise ValueError("launch or sample")
    return cast(Unit, text)


OPTIONS = (
    _Option("store", "URL", "", "Put each result into this store, as a run with its environment.", str),
    _Option("against", "RUNS", "", "Compare each result with these runs of the store, or journals, with commas "
            "between; a test whose result is significantly slower fails.", str),
    _Option("tolerance", "PERCENT", "2", "Change that is no regression.", _percent),
    _Option("unit", "UNIT", "launch", "What decides where there is one launch a side: launch (nothing does), or sample "
            "(the samples within).", _unit),
    _Option("launches", "N", "1", "Measure so often in each test; ranks are started anew each time.", _launches),
    _Option("thresholds", "FILE", "", "A test whose result is below a threshold of this TOML file fails.", str),
    _Option("precision", "SHARE", "0.02", "Half-width of the median's 95 % interval, as a share of it, at which "
            "sampling stops.", lambda text: _number(text, 1e-4, 1, "a share from 0.0001 to 1")),
    _Option("budget", "SECONDS", "1", "Time of samples after which sampling stops anyway.",
            lambda text: _number(text, 1e-3, 86400, "seconds from 0.001 to 86400")),
)  # fmt: skip


def add_options(parser: pytest.Parser) -> None:
    """Make the options known to pytest."""
    group = parser.getgroup("clusterbench", "benchmarks of kernels and collectives (clusterbench)")
    for option in OPTIONS:
        default = f" Default: {option.default}." if option.default else ""
        words = option.help.replace("%", "%%") + default
        group.addoption(option.flag, dest=option.key, metavar=option.metavar, default=None, help=words)
        parser.addini(option.key, f"{option.flag}: {option.help}", default="")


def settings_of(config: pytest.Config) -> Settings:
    """What the options say; the command line overrides the file. Raises `pytest.UsageError`."""
    values = {}
    for option in OPTIONS:
        given = config.getoption(option.key)
        text = str(given if given is not None else config.getini(option.key) or option.default).strip()
        try:
            values[option.name] = option.read(text)
        except ValueError as error:
            where = option.flag if given is not None else f"{option.key} in {config.inipath}"
            raise pytest.UsageError(f"{where} is {text!r}; expected {error}") from None
    return Settings(**{"budget_s" if name == "budget" else name: value for name, value in values.items()})  # type: ignore[arg-type] # each by its reader
