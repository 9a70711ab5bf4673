"""`clusterbench results check` and `results outliers`: rows against thresholds, and members against their like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.options import machine_options, store_option, strict_option
from clusterbench.bench.output import emit_csv, emit_json, note, print_table, size_text

if TYPE_CHECKING:
    from clusterbench.bench.stored.thresholds import Check


@click.command()
@click.argument("runs")
@store_option
@click.option(
    "--thresholds",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file of thresholds by collective, size, device and ranks.",
)
@strict_option
@machine_options
def check(runs: str, url: str, file: Path, strict: bool, as_json: bool, as_csv: bool) -> int:
    """Hold rows against thresholds: ends with 4 where one is below.

    RUNS are runs with commas between, each a run's id, a unique beginning of one, `latest`, `previous`, or a journal
    file. A threshold beyond the bound of a row is refused.
    """
    from clusterbench.bench.stored.stored_runs import named_runs
    from clusterbench.bench.stored.thresholds import check as check_rows
    from clusterbench.bench.stored.thresholds import read_thresholds

    thresholds = read_thresholds(file)
    side = named_runs(runs, url)
    found = check_rows(thresholds, side.frame)
    for unused in found.unused:
        note(f"{unused.where}: no row is of this collective, size, device and ranks")
    counts = {outcome: found.count(outcome) for outcome in ("met", "below", "cannot tell")}
    if as_json:
        head = {
            "runs": [run.run_id for run in side.runs],
            "counts": counts,
            "unused": [one.where for one in found.unused],
        }
        emit_json(head, [one.as_row() for one in found.checked])
    elif as_csv:
        emit_csv([one.as_row() for one in found.checked])
    else:
        _print_check(found, side.name, file)
    if counts["below"]:
        return exit_codes.BELOW
    return exit_codes.FAILED if strict and counts["cannot tell"] else exit_codes.GOOD


def _print_check(found: Check, name: str, file: Path) -> None:
    columns = ("collective", "what", "dtype", "size", "ranks", "host", "found", "threshold", "outcome", "why")
    cells = []
    for one in sorted(found.checked, key=lambda one: ("below", "cannot tell", "met").index(one.outcome)):
        row, threshold = one.row, one.threshold
        what = " ".join(dict.fromkeys(row[key] for key in ("algorithm", "transport", "placement") if row[key]))
        figures = threshold.shown(row, row["median_s"]), threshold.shown(row, threshold.longest_s(row))
        kind = threshold.key.removesuffix("_gb_per_s").removesuffix("_us").replace("_", " ")
        size = size_text(row["size_bytes"])
        head = (row["name"], what, row["dtype"], size, row["ranks"], row["host"])
        cells.append((*head, figures[0], f"{kind} {figures[1]}", one.outcome, one.reason))
    print_table(f"{name} against {file}", columns, cells)
    below, open_, met = (found.count(outcome) for outcome in ("below", "cannot tell", "met"))
    click.echo(f"{below} below, {open_} cannot tell, {met} met")


@click.command()
@click.argument("runs")
@store_option
@click.option("--strict", is_flag=True, help="End with 4 where something is slower than its like.")
@machine_options
def outliers(runs: str, url: str, strict: bool, as_json: bool, as_csv: bool) -> int:
    """Name the hosts, devices, ranks and links that stand out among their like.

    RUNS as of `check`: hosts and devices are compared over all of them together, ranks and links within each.
    """
    from clusterbench.bench.stored.stored_runs import named_runs
    from clusterbench.results.outliers import FEWEST
    from clusterbench.results.outliers import outliers as find

    side = named_runs(runs, url)
    found = find(side.frame, side.runs)
    rows = [one.as_row() for one in found.outliers]
    for text in found.too_few:
        note(f"{text}, and {FEWEST} are needed to tell which stands out")
    if as_json:
        head = {"runs": [run.run_id for run in side.runs], "groups": found.groups, "too_few": list(found.too_few)}
        emit_json(head, rows)
    elif as_csv:
        emit_csv(rows)
    else:
        columns = ("kind", "member", "by", "time / its like's", "score", "of", "points", "run")
        cells = [
            (
                one.kind,
                one.member,
                one.what,
                f"{one.ratio:.3f}",
                f"{one.score:.1f}",
                one.members,
                one.points,
                one.run_id,
            )
            for one in found.outliers
        ]
        print_table(f"{len(rows)} stand out in {found.groups} groups of {side.name}", columns, cells)
    slow = any(one.ratio > 1 for one in found.outliers)
    return exit_codes.BELOW if strict and slow else exit_codes.GOOD
