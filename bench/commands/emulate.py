"""`clusterbench emulate`: COMMAND across the hosts of a topology, whose network is built on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench.launching.launch import launcher, launcher_size
from clusterbench.bench.options import TIMEOUT

if TYPE_CHECKING:
    from clusterbench.bench.emulation.job import Emulation


class Rate(click.ParamType[float]):
    """Bytes/s."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Bytes/s; a usage error where the text is none."""
        from clusterbench.bench.emulation.rates import parsed_rate

        try:
            return parsed_rate(str(value))
        except ValueError as error:
            return self.fail(str(error), param, ctx)


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option(
    "--topology",
    "text",
    required=True,
    help="A fabric or a file, as `clusterbench topology show` takes it: leaf-spine:racks=2,hosts=4,taper=4.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    help="link:A-B=0.5, down:A-B or slow:RANK=3, as of `simulate`, or host=NAME:late=50ms, by which all that a host "
    "sends arrives later; may be given several times.",
)
@click.option(
    "--rate",
    type=Rate(),
    help="Of a host's fastest link: bytes/s as in 12.5M, or 100Mbit. By default as much as the cores carry.",
)
@click.option(
    "-T",
    "--timeout",
    type=TIMEOUT,
    default=3600.0,
    show_default=True,
    help="Seconds after which COMMAND is stopped, and the exit code is 124.",
)
@click.option(
    "--once",
    is_flag=True,
    help="Start COMMAND once, on the host of rank 0, as it starts ranks itself: tune, sweep or run of `clusterbench`.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be built, and build nothing.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def emulate(
    text: str,
    faults: tuple[str, ...],
    rate: float | None,
    timeout: float,
    once: bool,
    dry_run: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND under mpiexec across the hosts of a topology, over its network built on this machine.

    Hosts and switches are network namespaces, links are shaped to a scale of their rates at which they, and not the
    cores, are the limit. A rank for each of the topology's, by the MPI of this environment. All is removed at the end.
    Needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN. The exit code is COMMAND's; 124 after --timeout.
    """
    found = launcher()
    if found is not None and (launcher_size() or 1) > 1:
        raise click.UsageError(
            f"`clusterbench emulate` starts the ranks itself; {found.name} has started "
            f"{launcher_size()} of it: start it once"
        )
    from clusterbench.bench.emulation.job import run
    from clusterbench.bench.output import note

    asked = _asked(text, faults, rate, timeout, once, command)
    for line in _summary(asked):
        note(line)
    return 0 if dry_run else run(asked, note, click.echo)


def _asked(
    text: str, faults: tuple[str, ...], rate: float | None, timeout_s: float, once: bool, command: tuple[str, ...]
) -> Emulation:
    from clusterbench.bench.emulation.faults import emulated_faults, late_hosts
    from clusterbench.bench.emulation.job import Emulation, find_command, find_mpi
    from clusterbench.bench.emulation.plan import outline, plan
    from clusterbench.bench.emulation.rates import chosen_scale
    from clusterbench.collectives.topology.spec import topology_from
    from clusterbench.kernels.device import usable_cores

    program = find_command(command)
    healthy = topology_from(text)
    # Faults take from the rates, which are chosen for the network without them.
    scale = chosen_scale(outline(healthy), usable_cores(), rate)
    faulty = emulated_faults(healthy, faults)
    made = plan(outline(faulty.topology), scale, late_hosts(faulty))
    mpiexec, family = find_mpi()
    return Emulation(
        text,
        made,
        faulty.faults,
        outline(healthy).fastest_host_link() * scale,
        program,
        timeout_s or float("inf"),
        mpiexec,
        family,
        once,
    )


def _summary(asked: Emulation) -> list[str]:
    from clusterbench.bench.emulation.rates import rate_text
    from clusterbench.bench.emulation.shaping import bucket_bytes

    plan = asked.plan
    rates = sorted(set(plan.rates))
    buckets = sorted({bucket_bytes(rate) for rate in rates})
    lines = [
        f"emulating {asked.text}: {len(plan.hosts)} hosts, {len(plan.switches)} switches, {len(plan.cables)} cables, "
        f"{len(plan.ranks)} ranks by {asked.family}",
        f"scale 1:{1 / plan.scale:.6g}: links of {_several([rate_text(rate) for rate in rates])}, buckets of "
        f"{_several([str(bucket) for bucket in buckets])} bytes",
    ]
    return [*lines, *(f"fault {fault}" for fault in asked.faults)]


def _several(texts: list[str]) -> str:
    shown = list(dict.fromkeys(texts))
    return " to ".join((shown[0], shown[-1])) if len(shown) > 3 else ", ".join(shown)
