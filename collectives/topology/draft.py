"""A topology in the making: vertices, links and warnings one by one, as a file of one machine is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clusterbench.collectives.topology.graph import Kind, Topology, TopologyError, links, topology

SOLE_HOST = 0


class Draft:
    """What has been read of a file so far; `where` is its name, which errors begin with."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.names: list[str] = []
        self.kinds: list[Kind] = []
        self._hosts: list[int] = []
        self._seen: set[str] = set()
        self._reducing: list[bool] = []
        self._src: list[int] = []
        self._dst: list[int] = []
        self._bandwidth: list[float] = []
        self._warnings: dict[str, None] = {}

    def vertex(self, kind: Kind, name: str, place: str, host: int = SOLE_HOST, reducing: bool = False) -> int:
        """A new vertex, by its number; `place` is the file and line that it is read from.

        Raises `TopologyError` where the name is taken.
        """
        if name in self._seen:
            raise TopologyError(f"{place}: a second {name!r}; expected names that do not clash")
        self._seen.add(name)
        self.names.append(name)
        self.kinds.append(kind)
        self._hosts.append(host)
        self._reducing.append(reducing)
        return len(self.names) - 1

    def link(self, src: int, dst: int, bandwidth: float) -> None:
        """One direction, in bytes/s."""
        self._src.append(src)
        self._dst.append(dst)
        self._bandwidth.append(bandwidth)

    def join(self, a: int, b: int, bandwidth: float) -> None:
        """Both directions, each of this many bytes/s."""
        self.link(a, b, bandwidth)
        self.link(b, a, bandwidth)

    def warn(self, sentence: str) -> None:
        """What is guessed; the same sentence counts once."""
        self._warnings[sentence] = None

    def finished(
        self, *, ranks: Sequence[int] | None, ports: Sequence[int], port_bandwidth: Sequence[float], source: str
    ) -> Topology:
        """The topology, of the name of the file. Raises `TopologyError`."""
        return topology(
            name=self.where,
            kinds=np.asarray(self.kinds, np.int8),
            names=self.names,
            links=links(self._src, self._dst, self._bandwidth),
            ranks=ranks,
            hosts=self._hosts,
            reducing=self._reducing,
            ports=np.asarray(ports, np.int64),
            port_bandwidth=np.asarray(port_bandwidth, np.float64),
            source=source,
            warnings=tuple(self._warnings),
        )
