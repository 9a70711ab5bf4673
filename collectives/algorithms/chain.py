"""Chain: the vector travels along a line of all ranks, cut into segments that follow one another.

broadcast goes from the root through ranks root + 1, root + 2, … (mod p); reduce comes back the same way, each rank
adding its own. While a rank sends segment i it receives segment i + 1, so for large vectors the time goes to nβ, half
of what any algorithm needs that splits and collects; but the last rank is p − 1 rounds away. With one segment it is the
slowest algorithm there is; the number of segments of least time is sqrt((p−2)nβ/α).

Source: J. Pješivac-Grbović et al., "Performance analysis of MPI collective operations", Cluster Comput. 10(2), 2007,
section 3, doi 10.1007/s10586-007-0012-0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import AUTO, Algorithm, Call, Option
from clusterbench.collectives.building.pipelining import pipelined
from clusterbench.collectives.schedule import Phase, Schedule, phase


def _phases(ranks: int, root: int, segments: int, reduces: bool) -> Iterator[Phase]:
    if ranks == 1:
        return
    link = np.arange(ranks - 1, dtype=np.int64)
    near, far = (root + link) % ranks, (root + link + 1) % ranks
    one = phase(
        src=far if reduces else near,
        dst=near if reduces else far,
        chunk=0,
        reduce=reduces,
        step=1,
        modulus=segments,
    )
    yield from pipelined(one, link[::-1] if reduces else link, segments)


def _build(call: Call) -> Schedule:
    collective, ranks, segments = call.collective, call.ranks, call.segments()
    return Schedule(
        collective,
        ranks,
        chunks=segments,
        phases=lambda: _phases(ranks, call.root, segments, collective.reduces),
        root=call.root,
    )


ALGORITHM = Algorithm(
    name="chain",
    summary="a line of all ranks along which segments follow one another",
    cost={
        "broadcast": "(p−2+s)(α + n/s β), s segments",
        "reduce": "(p−2+s)(α + n/s β + n/s γ), s segments",
    },
    source="Pješivac-Grbović et al. 2007, doi 10.1007/s10586-007-0012-0",
    build=_build,
    options={"segments": Option("into how many segments the vector is cut, or auto: by size and links", AUTO)},
)
