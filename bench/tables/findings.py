"""Findings as tables, and problems and warnings in full."""

from __future__ import annotations

from collections.abc import Sequence

import click

from clusterbench.bench.finding import Finding


def print_findings(findings: Sequence[Finding]) -> None:
    """Print the findings as two tables, and after them the problems and warnings in full."""
    from clusterbench.bench.output import print_table

    here = [finding for finding in findings if finding.part != "backend" and finding.found]
    print_table("This machine", ["part", "what", "found"], [(f.part, f.name, f.found) for f in here])
    backends = [finding for finding in findings if finding.part == "backend"]
    print_table(
        "Back ends",
        ["back end", "mode", "version", "reason"],
        [(f.name, f.state, f.found, f.reason) for f in backends],
    )
    for state in ("warning", "problem"):
        for finding in findings:
            if finding.state == state:
                click.echo(f"{state}: {finding.reason}")
    if not any(finding.state == "problem" for finding in findings):
        click.echo("MPI works here.")


def print_disturbances(findings: Sequence[Finding]) -> None:
    """Print what spoils a measurement: what was found, why it matters, and what mends it."""
    click.echo("\nWhat spoils a measurement here")
    for finding in findings:
        if finding.state == "warning":
            click.echo(f"\nwarning: {finding.name}: {finding.found}")
            click.echo(f"  why:   {finding.reason}\n  mend:  {finding.mend}")
    if not any(finding.state == "warning" for finding in findings):
        click.echo("\nNothing was found.")
    for finding in findings:
        if finding.state != "warning":
            click.echo(f"\n{finding.name}: {finding.found}" + (f" ({finding.reason})" if finding.reason else ""))
