"""The two records of the suite: `Run`, the environment of one invocation, and `Measurement`, one tidy row of it.

Times are seconds and sizes are bytes everywhere; units are a matter of the line that prints them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, Self, TypeVar

SCHEMA_VERSION = 1
"""Version of the fields below. Readers accept this and every older version, and refuse a newer one."""

Evidence = Literal["measured", "emulated", "simulated", "compiled"]
Origin = Literal["own", "imported"]
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "INVALID"]

EVIDENCE: tuple[Evidence, ...] = ("measured", "emulated", "simulated", "compiled")
ORIGINS: tuple[Origin, ...] = ("own", "imported")
VERDICTS: tuple[Verdict, ...] = ("PASS", "FAIL", "INCONCLUSIVE", "INVALID")
GRAVITY: tuple[Verdict, ...] = ("INVALID", "FAIL", "INCONCLUSIVE", "PASS")
"""The verdicts, the gravest first: the one of several rows taken together."""
COMPLETE_CODES = (0, 3, 4)
"""Exit codes of a command that ran all it was to run: good; wrong data or an impossible result; below a threshold."""


class RecordError(ValueError):
    """A record that cannot be: the message names the field, what was found and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row: what ran, how large it was, what came out, how it was judged, and where.

    A field that does not apply, or for which there are too few samples, is None; text that does not apply is empty.
    """

    # what
    run_id: str
    suite: str
    """`kernels`, `collectives`, `point-to-point`, `pairs`, or `roof` (the ceilings that the kernels are judged by)."""
    name: str
    """The kernel or the collective, by its name in the catalogue: `triad`, `all_reduce`."""
    algorithm: str = ""
    transport: str = ""
    backend: str = ""
    """`numba`, `numba-cuda`, `triton`, `cupy`, `numpy`; for collectives what holds the buffers."""
    dtype: str = ""
    """NumPy's (or ml_dtypes') name: float32, bfloat16."""
    op: str = ""
    """Reduction: sum, prod, min, max, avg; empty where nothing is reduced."""
    root: int = -1
    placement: str = ""
    """`out_of_place` or `in_place`; empty for kernels."""

    # how large
    count: int = 0
    """Elements a rank, as nccl-tests prints them; for kernels the elements of the leading dimension."""
    size_bytes: int = 0
    """nccl-tests' size for collectives (see `rates.collective_size_bytes`), compulsory traffic for kernels."""
    shape: str = ""
    """A problem as text: of a kernel `n=1048576` or `m=512,n=512,k=512`; of messages `bytes=8,src=0,dst=1`; of an
    all_to_all_v `bytes=4096,traffic=skewed:1,seed=7`. Empty where the size says all."""
    ranks: int = 1
    nodes: int = 1

    # what came out
    median_s: float | None = None
    ci95_low_s: float | None = None
    ci95_high_s: float | None = None
    min_s: float | None = None
    mean_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    n: int = 0
    """Samples behind the figures above."""
    batch: int = 1
    """Calls timed together in one sample; the sample is their mean."""
    warmup: int = 0
    """Calls run and not counted before the first sample."""
    sample_unit: str = ""
    """What one sample is, in words."""
    stop: str = ""
    """Why sampling ended: `precision`, `budget` or `fixed`."""

    # rates, at the median
    algbw: float | None = None
    """size / time, bytes/s."""
    busbw: float | None = None
    """algbw times the collective's factor, bytes/s."""
    bytes_per_s: float | None = None
    flop_per_s: float | None = None

    # the judge
    bound_s: float | None = None
    bound_share: float | None = None
    """bound_s / median_s: 1 means that nothing can be faster."""
    bound_by: str = ""
    """The resource that sets the bound, in words."""
    expected_s: float | None = None
    expected_share: float | None = None
    wrong: int | None = None
    """Wrong elements over all ranks; None where the data was not checked."""
    error_over_bound: float | None = None
    """Largest error divided by its derived bound; over 1 is a failure."""
    verdict: Verdict | None = None
    reason: str = ""
    culprit: str = ""

    # where
    host: str = ""
    device: str = ""
    topology: str = ""
    evidence: Evidence = "measured"
    origin: Origin = "own"
    note: str = ""
    """Remarks with semicolons between; see `results/notes.py`."""
    started_at: str = ""
    """ISO 8601 with zone; order by `instant`."""

    def __post_init__(self) -> None:
        if self.evidence not in EVIDENCE:
            raise RecordError(f"evidence is {self.evidence!r}; expected one of {', '.join(EVIDENCE)}")
        if self.origin not in ORIGINS:
            raise RecordError(f"origin is {self.origin!r}; expected one of {', '.join(ORIGINS)}")
        if self.verdict is not None and self.verdict not in VERDICTS:
            raise RecordError(f"verdict is {self.verdict!r}; expected one of {', '.join(VERDICTS)}")

    def as_row(self) -> dict[str, Any]:
        """The fields as a flat dictionary of JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}  # `asdict` would copy each value deeply

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Read a row written by this or an older version; fields it does not know yet take their defaults.

        Raises `RecordError` for a missing key field or one that this version does not know.
        """
        return _from_row(cls, row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One invocation: when, what command, and the environment it ran in (taken from an allow-list)."""

    run_id: str
    started_at: str
    finished_at: str = ""
    command: str = ""
    status: str = ""
    """`running`, `finished` (all was run, whatever it found) or `failed` (a part could not be run), see `status_of`; of
    a part also `stopped`, where another part went on with what it was to measure."""
    exit_code: int | None = None
    seed: int | None = None
    schema_version: int = SCHEMA_VERSION
    environment: dict[str, Any] = field(default_factory=dict)
    """Nested JSON values: versions, CPU, memory, MPI, devices, thread level, pinning, allow-listed variables."""
    failures: tuple[str, ...] = ()
    """Parts that failed or were skipped, with the reason, in words."""

    def as_row(self) -> dict[str, Any]:
        """The fields as a dictionary of JSON values."""
        return {**asdict(self), "failures": list(self.failures)}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Read what `as_row` wrote, in this or an older version."""
        return _from_row(cls, {**row, "failures": tuple(row.get("failures", ()))})


def gravest(verdicts: Iterable[object]) -> Verdict | None:
    """The gravest of several verdicts; None where none of them is a verdict (missing ones count for nothing)."""
    found = {verdict for verdict in verdicts if isinstance(verdict, str)}
    return next((verdict for verdict in GRAVITY if verdict in found), None)


def status_of(exit_codes: Iterable[int]) -> str:
    """The `Run.status` of a run whose parts ended with these codes: `finished` where all was run, else `failed`.

    Wrong data and a value below its threshold are findings, not failures: see `COMPLETE_CODES`.
    """
    return "finished" if all(code in COMPLETE_CODES for code in exit_codes) else "failed"


def instant(text: str) -> float | None:
    """The seconds since 1970 of an ISO 8601 time, or None where `text` is none; without a zone it is taken as UTC.

    Times are ordered by this, never as text: those of older journals have local offsets.
    """
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


Record = TypeVar("Record", bound=Measurement | Run)


def _from_row(cls: type[Record], row: dict[str, Any]) -> Record:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(row) - known)
    if unknown:
        raise RecordError(f"{cls.__name__} has no field {unknown[0]!r}; it was written by a newer version")
    try:
        return cls(**row)
    except TypeError as error:
        raise RecordError(f"{cls.__name__} is incomplete: {error}") from error
