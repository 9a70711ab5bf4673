"""Draws docs/images/shared-memory.svg: an all_reduce inside one host by size, ours and libraries', beside the limit.

The journals are of `collectives run all_reduce --algorithm library,best --transport shared`, on host and on registered
buffers, under one library after the other; the benchmarks of shared memory write such. The limit is the first number
that tests/benchmarks/shared_limit.py prints.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt

from clusterbench.results.journal import read_journal
from clusterbench.results.record import Measurement

COLOURS = {"registered": "#d55e00", "staged": "#e69f00"}
FAMILIES = {"mpich": "MPICH", "openmpi": "Open MPI", "impi": "Intel MPI"}
GREYS = ("#4d4d4d", "#7f7f7f", "#a6a6a6")
"""Of libraries, in the order in which their journals are given."""
LARGEST = 1 << 26


def curves(journals: list[Path]) -> dict[str, dict[int, float]]:
    """The median over launches of the median time by name and size, out of place; ours of the first library's."""
    seen: dict[str, dict[int, list[float]]] = {}
    first = ""
    for path in journals:
        contents = read_journal(path)
        family = contents.run.environment["mpi"]["family"]
        first = first or family
        for row in contents.measurements:
            name = named(row, family)
            if row.name != "all_reduce" or row.placement != "out_of_place" or (name in COLOURS and family != first):
                continue
            if name and row.median_s is not None:
                seen.setdefault(name, {}).setdefault(row.size_bytes, []).append(row.median_s)
    return {name: {size: median(times) for size, times in sorted(of.items())} for name, of in seen.items()}


def named(row: Measurement, family: str) -> str:
    """What the figure calls a row; empty for the library on registered buffers, which it does not show."""
    registered = "buffers=registered" in row.shape
    if row.algorithm == "library":
        return "" if registered else FAMILIES[family]
    return "registered" if registered else "staged"


def main() -> None:
    """Read the command line, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("journals", nargs="+", type=Path)
    parser.add_argument("--limit", type=float, required=True, help="Seconds for 64 MiB, out of place.")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images/shared-memory.svg"))
    options = parser.parse_args()
    plt.rcParams.update({"svg.hashsalt": "clusterbench", "font.size": 9, "axes.spines.top": False})
    figure, axes = plt.subplots(figsize=(7.2, 4.0), layout="constrained")
    greys = iter(GREYS)
    for name, times in curves(options.journals).items():
        colour = COLOURS.get(name) or next(greys)
        rates = [size / time / 1e9 for size, time in times.items()]
        style = {"linewidth": 2.2} if name in COLOURS else {"linewidth": 1.2, "linestyle": "--"}
        axes.plot(list(times), rates, color=colour, marker="o", markersize=3, label=name, **style)
    axes.axhline(LARGEST / options.limit / 1e9, color="black", linewidth=0.8, linestyle=":")
    axes.annotate("what memory allows at 64 MiB", (8, LARGEST / options.limit / 1e9), va="bottom", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="size (bytes a rank)", ylabel="algbw (GB/s): size over time")
    axes.set_xscale("log", base=2)
    axes.grid(visible=True, which="major", linewidth=0.3)
    axes.legend(frameon=False)
    figure.savefig(options.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
