"""The command line `clusterbench`, also `python -m clusterbench.bench`.

A command's module is imported when the command is called, so that `clusterbench --help` does not wait for NumPy.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from clusterbench.bench import exit_codes


class LazyGroup(click.Group):
    """A group that knows its commands as `name -> (module:attribute, short help)` and imports one when it is called."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are listed."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or None where there is no such command."""
        if cmd_name not in self.lazy:
            return None
        module, attribute = self.lazy[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by their short help, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in self.lazy.items()])


_COMMANDS = "clusterbench.bench.commands"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    lazy={
        "doctor": (f"{_COMMANDS}.doctor:doctor", "What is here: MPI, cores, GPUs, back ends, and what is simulated."),
        "run": (f"{_COMMANDS}.run:run", "The main job: doctor, kernels, collectives, store, report."),
        "kernels": (f"{_COMMANDS}.kernels:kernels", "What one device can do: list, run, soak and compile kernels."),
        "collectives": (f"{_COMMANDS}.collectives:collectives", "What the interconnect can do; run under mpiexec."),
        "topology": (f"{_COMMANDS}.topology:topology", "The machine as a graph: show, convert, bound, discover."),
        "simulate": (f"{_COMMANDS}.simulate:simulate", "What a collective would take on a topology; simulated."),
        "synthesize": (
            f"{_COMMANDS}.synthesize:synthesize",
            "Make a schedule for a topology, at the rate of its bound.",
        ),
        "emulate": (
            f"{_COMMANDS}.emulate:emulate",
            "A command across the hosts of a network emulated on this machine.",
        ),
        "sweep": (f"{_COMMANDS}.sweep:sweep", "Many launches of collectives, as a file says."),
        "tune": (f"{_COMMANDS}.tune:tune", "Rules by which the MPI library chooses faster algorithms."),
        "results": (f"{_COMMANDS}.results:results", "What was measured: list, import, export, compare."),
        "report": (f"{_COMMANDS}.report:report", "One self-contained HTML file."),
    },
)
@click.version_option(package_name="clusterbench", prog_name="clusterbench")
def cli() -> None:
    """Measure what a GPU cluster can do, what it does, and what is to blame for the difference."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process with the suite's exit code."""
    from clusterbench.bench.launching import launch

    quiet = not launch.speaks()
    try:
        code = cli.main(args=args, prog_name="clusterbench", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(exit_codes.USAGE)
    except click.ClickException as error:
        if not quiet:
            error.show()
        sys.exit(exit_codes.USAGE)
    except click.Abort:
        if not quiet:
            click.echo(f"{launch.SAID_BY} interrupted", err=True)
        sys.exit(exit_codes.FAILED)
    except Exception as error:
        exit_code = getattr(error, "exit_code", None)
        if not isinstance(exit_code, int):
            raise
        if not quiet:
            click.echo(f"{launch.SAID_BY} {error}", err=True)
        sys.exit(exit_code)
    sys.exit(code if isinstance(code, int) else exit_codes.GOOD)
