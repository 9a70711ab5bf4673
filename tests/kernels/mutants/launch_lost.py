"""Mutant: the last launch is lost."""

from dataclasses import replace

from clusterbench.kernels.catalog import launch
from clusterbench.kernels.kernel import Implementation


def wrong(c, x, xp):
    c[0] = x[:-1].sum()


KERNEL = replace(
    launch.KERNEL,
    name="launch_lost",
    implementations={"cupy": Implementation(wrong, tile={"n": 16})},
)
