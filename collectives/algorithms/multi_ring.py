"""Multi-ring: several rings of different strides at once, each with its share of every part.

The ring of stride s visits ranks 0, s, 2s, … (mod p) and is one ring where s and p have no common divisor. Rings of
different strides share no pair of ranks in the same direction, and strides below p/2 share none at all, so these are
taken first; then their opposites, p − s. Where a network joins those pairs by separate links, k rings divide the time
on the wire by k. There are φ(p) such strides, for p = 6 only 1 and 5: of more rings than that, several have the same
stride, and then the same links.

Source: W. Wang et al., "TopoOpt: co-optimizing network topology and parallelization strategy for distributed training
jobs", NSDI 2023, section 4.3 (ring permutations by numbers coprime to p), doi 10.48550/arXiv.2202.00433; the ring
itself: P. Patarasuk and X. Yuan, 2009, doi 10.1016/j.jpdc.2008.09.002.
"""

from __future__ import annotations

import math
from itertools import islice

from clusterbench.collectives.algorithm import Algorithm, Call, Option
from clusterbench.collectives.building.rings import ring_passes
from clusterbench.collectives.schedule import Schedule

MOST_RINGS = 64
"""More have more messages a round than any network has links at a rank."""


def strides(ranks: int, rings: int) -> list[int]:
    """The strides of so many rings over `ranks` ranks, different ones as far as there are any."""
    below_half = (s for s in range(1, ranks // 2 + 1) if math.gcd(s, ranks) == 1)
    found = list(islice(below_half, rings)) or [1]
    found += [ranks - s for s in found if ranks - s not in found and ranks > 2][: rings - len(found)]
    return [found[ring % len(found)] for ring in range(rings)]


def _build(call: Call) -> Schedule:
    collective, ranks = call.collective, call.ranks
    rings = call.integer("rings", 1, MOST_RINGS)
    used = strides(ranks, rings)
    return Schedule(collective, ranks, ranks * rings, phases=lambda: ring_passes(collective.name, ranks, used))


ALGORITHM = Algorithm(
    name="multi-ring",
    summary="several rings of different strides, each with its share of the vector",
    cost={
        "all_reduce": "2(p−1)α + 2(p−1)/p n/k β + (p−1)/p nγ, k rings on links of their own",
        "reduce_scatter": "(p−1)α + (p−1)/p n/k β + (p−1)/p nγ, k rings on links of their own",
        "all_gather": "(p−1)α + (p−1)/p n/k β, k rings on links of their own",
    },
    source="Wang et al. 2023, doi 10.48550/arXiv.2202.00433",
    build=_build,
    options={"rings": Option(f"how many rings, 1 to {MOST_RINGS}", "2")},
)
