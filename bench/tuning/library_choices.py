"""Which algorithms of its own an Open MPI has for a collective: asked of a process that has initialised it."""

from __future__ import annotations

import json
import sys
from typing import ClassVar

from clusterbench.bench import exit_codes
from clusterbench.bench.launching.launch import run_group
from clusterbench.bench.worlds.launchers import Launcher

_MARK = "choices: "
_WITHIN_S = 60.0


class TuningError(ValueError):
    """What cannot be tuned; the message says why."""

    exit_code: ClassVar[int] = exit_codes.USAGE


def library_choices(launcher: Launcher, collectives: tuple[str, ...]) -> dict[str, dict[int, str]]:
    """By collective the algorithms by number. Raises `TuningError`."""
    code = f"from clusterbench.bench.tuning.library_choices import tell; tell({list(collectives)!r})"
    command = launcher.line(1, "block", [sys.executable, "-P", "-c", code])
    done = run_group(command, timeout_s=_WITHIN_S, quiet=True)
    told = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.exit_code != exit_codes.GOOD or not told:
        raise TuningError(f"{launcher.command} starts no process that MPI initialises; see `clusterbench doctor`")
    found: dict[str, dict[str, str]] = json.loads(told[0])
    if not all(found.values()):
        raise TuningError(
            f"{launcher.family or launcher.command}: its MPI has no choices of a `tuned` component to be asked for; "
            "expected Open MPI, whose rules are what is written"
        )
    return {name: {int(number): text for number, text in of.items()} for name, of in found.items()}


def tell(collectives: list[str]) -> None:
    """What the process does: print the choices of each collective as JSON, none where the library has no such list."""
    from mpi4py import MPI

    from clusterbench.bench.hosts.control_variables import control_variable
    from clusterbench.bench.measuring.forced_library import tuned_variable

    assert MPI.Is_initialized()
    found = {}
    for name in collectives:
        variable = control_variable(tuned_variable(name))
        choices = variable.choices if variable else {}
        found[name] = {number: text for number, text in choices.items() if number}
    sys.stdout.write(f"{_MARK}{json.dumps(found)}\n")
