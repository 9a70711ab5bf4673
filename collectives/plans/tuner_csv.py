"""The rules file of NCCL's example tuner plugin: which algorithm, protocol and channels for which call.

A line is `collective,min_bytes,max_bytes,algorithm,protocol,channels,nNodes,nRanks[,numPipeOps[,regBuff]]`; the first
that fits a call holds. Channels −1 keeps NCCL's own number; −1 elsewhere fits any. A `#` at the start of a line makes
it a comment. Source: `ext-tuner/example/plugin.c` of NVIDIA/nccl (`plugins/tuner/example` later). The plugin is
loaded by NCCL_TUNER_PLUGIN and reads the file that NCCL_TUNER_CONFIG_FILE names, else `nccl_tuner.conf`.

The plugin reads an unknown name as all-reduce, ring or simple, a number that is none as 0, an empty field as none at
all, and passes over a line with too few, each in silence: here they are refused. A line may have up to 254
characters.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

from clusterbench.collectives.plans.rules import RulesError, read_text, write_text

COLLECTIVES = {
    "broadcast": "broadcast", "reduce": "reduce", "allgather": "all_gather", "reducescatter": "reduce_scatter",
    "allreduce": "all_reduce",
}  # fmt: skip
"""The plugin's collectives, and what they are called here."""
ALGORITHMS = ("tree", "ring", "collnet_direct", "collnet_chain", "nvls", "nvls_tree", "pat")
PROTOCOLS = ("ll", "ll128", "simple")
MOST_LINE = 254
"""Characters: the plugin's buffer of 256 holds the end of the line and of the text, too."""
FIELDS = (
    "collective", "min_bytes", "max_bytes", "algorithm", "protocol", "channels", "nNodes", "nRanks", "numPipeOps",
    "regBuff",
)  # fmt: skip
_REQUIRED = 8
_LARGEST_SIZE = 2**64 - 1
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class TunerRule:
    """A rule for calls of `min_bytes` to `max_bytes` bytes, both included; −1 fits any, and keeps NCCL's channels."""

    collective: str
    min_bytes: int
    max_bytes: int
    algorithm: str
    protocol: str
    channels: int = -1
    nodes: int = -1
    ranks: int = -1
    pipe_operations: int = -1
    registered: int = -1
    """Whether the user's buffer can be registered: 1, 0, or either."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("collective", self.collective, tuple(COLLECTIVES)),
            ("algorithm", self.algorithm, ALGORITHMS),
            ("protocol", self.protocol, PROTOCOLS),
        ):
            if value not in known:
                raise RulesError(f"{name} {value[:40]!r}; expected one of {', '.join(known)}")
        for name, size in (("min_bytes", self.min_bytes), ("max_bytes", self.max_bytes)):
            if not 0 <= size <= _LARGEST_SIZE:
                raise RulesError(f"{name} {size}; expected 0 to {_LARGEST_SIZE}")
        if self.min_bytes > self.max_bytes:
            raise RulesError(f"min_bytes {self.min_bytes} and max_bytes {self.max_bytes}; expected the first no larger")
        for name, number, low, high in (
            ("channels", self.channels, 1, _LARGEST),
            ("nNodes", self.nodes, 1, _LARGEST),
            ("nRanks", self.ranks, 1, _LARGEST),
            ("numPipeOps", self.pipe_operations, 0, _LARGEST),
            ("regBuff", self.registered, 0, 1),
        ):
            if number != -1 and not low <= number <= high:
                raise RulesError(f"{name} {number}; expected -1 or {low} to {high}")

    def fits(self, collective: str, size_bytes: int, nodes: int, ranks: int) -> bool:
        """Whether it holds for a call, whatever its pipelining and registration."""
        return (
            self.collective == collective
            and self.min_bytes <= size_bytes <= self.max_bytes
            and self.nodes in (-1, nodes)
            and self.ranks in (-1, ranks)
        )


def read_tuner_rules(path: Path | str) -> tuple[TunerRule, ...]:
    """The rules in a file, in its order. Raises `RulesError`, naming file and line, for what the plugin misreads."""
    return parse_tuner_rules(read_text(path), str(path))


def write_tuner_rules(path: Path | str, rules: tuple[TunerRule, ...], comment: str = "") -> None:
    """Write rules behind a line of comment; reading them back gives the same. Raises `RulesError`."""
    write_text(path, tuner_rules_text(rules, comment))


def tuner_rules_text(rules: tuple[TunerRule, ...], comment: str = "") -> str:
    """The text of a file, with all fields in every line."""
    lines = [f"# {comment}"[:MOST_LINE]] if comment else []
    lines += ["# " + ",".join(FIELDS), *(",".join(map(str, astuple(rule))) for rule in rules)]
    return "\n".join([*lines, ""])


def parse_tuner_rules(text: str, file: str) -> tuple[TunerRule, ...]:
    """The rules in a text. Raises `RulesError`."""
    rules = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("#") or not line:
            continue
        try:
            rules.append(_rule(line))
        except RulesError as error:
            raise RulesError(f"{file}, line {number}: {error}") from None
    return tuple(rules)


def _rule(line: str) -> TunerRule:
    if len(line.encode()) > MOST_LINE:
        raise RulesError(
            f"{len(line.encode())} bytes; expected at most {MOST_LINE}, as the plugin cuts a longer line in two"
        )
    fields = [field.strip(" \t") for field in line.removesuffix("\r").split(",")]
    if not _REQUIRED <= len(fields) <= len(FIELDS):
        raise RulesError(f"{len(fields)} fields; expected {_REQUIRED} to {len(FIELDS)}: {','.join(FIELDS)}")
    for name, field in zip(FIELDS, fields, strict=False):
        if not field:
            raise RulesError(f"{name} is empty; expected a value, as the plugin passes over it and shifts the others")
    numbers = [_number(name, field) for name, field in list(zip(FIELDS, fields, strict=False))[1:] if _is_number(name)]
    return TunerRule(fields[0], numbers[0], numbers[1], fields[3], fields[4], *numbers[2:])


def _is_number(name: str) -> bool:
    return name not in ("collective", "algorithm", "protocol")


def _number(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise RulesError(f"{name} {text[:40]!r}; expected a whole number")
    return int(text)
