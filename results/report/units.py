"""How the report writes numbers: three significant digits, the unit that suits them, GB/s = 1e9 bytes/s, K = 1024."""

from __future__ import annotations

import math

from clusterbench.results.statistics import half_width

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
NOTHING = "–"


def digits(value: float | None, significant: int = 3) -> str:
    """`value` with so many significant digits and without an exponent where it is readable: 0.0123, 1.23, 12,300."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if power < -4 or power > 8:
        return f"{value:.{significant - 1}e}"
    rounded = round(value, significant - 1 - power)
    return f"{rounded:,.{max(0, significant - 1 - power)}f}"


def time(time_s: float | None) -> str:
    """A time in the unit that suits it: `12.3 µs`."""
    if time_s is None or not math.isfinite(time_s):
        return NOTHING
    unit_s, name = next((pair for pair in _TIMES if abs(time_s) >= pair[0]), _TIMES[-1])
    return f"{digits(time_s / unit_s)} {name}"


def size(size_bytes: float) -> str:
    """A size with K = 1024, exact where it is a whole number of its unit and with three digits elsewhere: `64 KiB`."""
    scaled, unit = float(size_bytes), 0
    while scaled >= 1024 and unit < len(_BINARY) - 1:
        scaled /= 1024
        unit += 1
    text = f"{scaled:.0f}" if scaled == int(scaled) else digits(scaled)
    return f"{text} {_BINARY[unit]}"


def giga(rate: float | None) -> str:
    """A rate in units of 1e9 a second, without the unit."""
    return NOTHING if rate is None else digits(rate / 1e9)


def share(value: float | None) -> str:
    """A share as per cent: `87 %`."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value * 100:.0f} %"


def spread(median_s: float | None, low_s: float | None, high_s: float | None) -> str:
    """The half-width of an interval as a share of its median: `± 1.2 %`."""
    half = half_width(median_s, low_s, high_s)
    return "" if half is None or not math.isfinite(half) else f"± {digits(half * 100, 2)} %"
