"""Rows from the output of MPI benchmarks, OSU's and Intel's: names, sizes and statistics as ours.

Both print the bytes of one rank where ranks bring or get parts, and ours, nccl-tests' size, counts all parts together:

    size, as printed            allreduce, reduce, bcast, reduce_scatter
    that of one rank            allgather, gather, scatter, alltoall, their variants with `v`, reduce_scatter_block

MB are 10^6 bytes. The times that they print are means over calls, and minimum, maximum and average are over ranks: ours
is that of the slowest rank, so it is their maximum where there is one.

Source: util/osu_util_mpi.c of OSU Micro-Benchmarks 7.4; src_c/IMB_output.c and src_c/IMB_reduce_scatter_block.c of
intel/mpi-benchmarks, and its user guide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from clusterbench.results.notes import joined
from clusterbench.results.rates import algbw, busbw, count_for_size
from clusterbench.results.record import Measurement

_FAILED = (
    "MPI_ABORT was invoked", "BAD TERMINATION", "MPI_Abort(", "Segmentation fault", "DUE TO TIME LIMIT", "srun: error:",
    "slurmstepd: error:", "mpirun noticed", "mpiexec noticed", "mpirun has exited", "prterun has exited",
    "DATA VALIDATION ERROR",
)  # fmt: skip
"""What launchers and benchmarks say where a run failed."""
LIKE_A_ROW = re.compile(r"\d{1,19}(?:\s|$)")
"""How a line begins that is taken for a row below a header: with a size, or a number of repetitions."""
OUT_OF_PLACE = "out_of_place"
WINDOW = 64
"""Messages in flight in OSU's and our own measurements of bandwidth."""
_WHOLE = {"allreduce": "all_reduce", "reduce": "reduce", "bcast": "broadcast", "reduce_scatter": "reduce_scatter"}
_PARTS = {"allgather": "all_gather", "gather": "gather", "scatter": "scatter", "alltoall": "all_to_all"}
_VARIANTS = {f"{name}v": ours for name, ours in _PARTS.items()} | {"reduce_scatter_block": "reduce_scatter"}
_ITEM_BYTES = {"int8": 1, "uint8": 1, "int32": 4, "float32": 4, "float64": 8}
DTYPES = {
    "MPI_CHAR": "int8",
    "MPI_BYTE": "uint8",
    "MPI_INT": "int32",
    "MPI_FLOAT": "float32",
    "MPI_DOUBLE": "float64",
}
"""NumPy's name of a type, by MPI's."""
_DIRECTIONS = {"latency": 1, "one-way": 1, "two-way": 2, "sendrecv": 1}
"""busbw / algbw of messages, as in our own rows."""

MessageKind = Literal["latency", "one-way", "two-way", "sendrecv"]


def says_failed(line: str) -> bool:
    """Whether a line says that the run failed."""
    return any(words in line for words in _FAILED)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a benchmark measures, in our names."""

    name: str
    algorithm: str
    """`library`, or `library:` and MPI's function where that is not the plain one; of messages the kind of exchange."""
    of_one_rank: bool = False
    """Whether its sizes are those of one rank, of a collective whose size is that of all."""

    @property
    def is_message(self) -> bool:
        """Whether it is of messages, and not a collective."""
        return self.algorithm in _DIRECTIONS

    @property
    def directions(self) -> int:
        """In how many directions at once messages go: busbw / algbw."""
        return _DIRECTIONS[self.algorithm]

    @property
    def has_window(self) -> bool:
        """Whether several messages are in flight."""
        return self.algorithm in ("one-way", "two-way")

    def shape(self, pairs: int = 1, window: int = WINDOW) -> str:
        """What its rows' shapes have behind the size, as our own have: the ranks of a pair, or how many pairs."""
        if not self.is_message or self.algorithm == "sendrecv":
            return ""
        who = "src=0,dst=1" if pairs == 1 else f"pairs={pairs}"
        return f"{who},window={window}" if self.has_window else who

    @property
    def reduces(self) -> bool:
        """Whether anything is reduced."""
        return "reduce" in self.name


def collective(function: str) -> Benchmark | None:
    """The benchmark of an MPI function without `MPI_`, in small letters: `allreduce`, `iallgatherv`, `bcast_init`.

    None for one that is not among our collectives.
    """
    plain = function.removesuffix("_init")
    if plain not in {**_WHOLE, **_PARTS, **_VARIANTS}:
        plain = plain.removeprefix("i")
    name = {**_WHOLE, **_PARTS, **_VARIANTS}.get(plain)
    if name is None:
        return None
    usual = function in _WHOLE or function in _PARTS
    return Benchmark(name, "library" if usual else f"library:{function}", plain not in _WHOLE)


def message(kind: MessageKind) -> Benchmark:
    """The benchmark of a kind of exchange."""
    return Benchmark("sendrecv" if kind == "sendrecv" else "pingpong", kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all rows of one table share."""

    run_id: str
    benchmark: Benchmark
    ranks: int
    dtype: str
    op: str = ""
    root: int = -1
    transport: str = "library"
    backend: str = "cpu"
    shape: str = ""
    """What tells its rows from others of one size, such as `groups=4`."""
    started_at: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A row of a table."""

    line: int
    size_bytes: int
    """As the tool prints it."""
    time_s: float
    mean_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    n: int = 1
    batch: int = 1
    sample_unit: str
    wrong: int | None = None
    reason: str = ""
    """What is wrong, where anything is."""
    notes: tuple[str, ...] = ()


def measurement(setting: Setting, row: Figures) -> Measurement:
    """The row of a measurement."""
    benchmark, ranks = setting.benchmark, setting.ranks
    size_bytes = row.size_bytes * (ranks if benchmark.of_one_rank else 1)
    mean_s = row.time_s if row.mean_s is None else row.mean_s
    rates: dict[str, Any] = {"algbw": algbw(size_bytes, row.time_s)}
    item_bytes = _ITEM_BYTES[setting.dtype]
    if benchmark.is_message:
        count = size_bytes // item_bytes
        rates["busbw"] = rates["algbw"] * benchmark.directions
    else:
        count = count_for_size(benchmark.name, size_bytes, item_bytes, ranks) if size_bytes else 0
        rates["busbw"] = busbw(benchmark.name, size_bytes, row.time_s, ranks)
    return Measurement(
        run_id=setting.run_id,
        suite="point-to-point" if benchmark.is_message else "collectives",
        name=benchmark.name,
        algorithm=benchmark.algorithm,
        transport=setting.transport,
        backend=setting.backend,
        dtype=setting.dtype,
        op=setting.op if benchmark.reduces else "",
        root=setting.root,
        placement=OUT_OF_PLACE,
        count=count,
        size_bytes=size_bytes,
        shape=f"bytes={size_bytes},{setting.shape}" if setting.shape else "",
        ranks=ranks,
        median_s=row.time_s,
        mean_s=mean_s,
        p95_s=row.p95_s,
        p99_s=row.p99_s,
        n=row.n,
        batch=row.batch,
        sample_unit=row.sample_unit,
        stop="fixed",
        **rates,
        wrong=row.wrong,
        verdict=None if row.wrong is None else "FAIL" if row.wrong else "PASS",
        reason=row.reason,
        evidence="measured",
        origin="imported",
        note=joined((f"line {row.line}", *row.notes, *setting.notes)),
        started_at=setting.started_at,
    )
