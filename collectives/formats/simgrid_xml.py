"""SimGrid's platform files, version 4 and 4.1: zones, clusters, and links with routes over them.

Read are zones of routing Full, Floyd, Dijkstra and Cluster, and clusters of topology FLAT, TORUS, FAT_TREE and
DRAGONFLY, with the routes that SimGrid takes. A link that both directions share (SHARED) has its bandwidth once. A link
that gives its bandwidth to every message (FATPIPE) is read as one without an end to it; a route on which it would bind
is refused when it is asked for. Refused are radio (WIFI), coordinates (Vivaldi) and routes that bypass others.

Written is one zone of routing Full with the route of each pair of ranks, so that SimGrid takes the same. Units:
`collectives/topology/simgrid/values.py`.
"""

from __future__ import annotations

from clusterbench.collectives.topology.file import Format
from clusterbench.collectives.topology.simgrid.reader import read
from clusterbench.collectives.topology.simgrid.writer import write
from clusterbench.collectives.topology.xml_tree import root_tag


def _recognises(text: str) -> bool:
    return root_tag(text) == "platform"


FORMAT = Format(
    name="simgrid-xml",
    summary="SimGrid platform: zones, clusters, links and routes",
    source="SimGrid 3.32 to 3.36: simgrid.dtd, src/kernel/xml/, src/kernel/routing/",
    recognises=_recognises,
    read=read,
    write=write,
)
