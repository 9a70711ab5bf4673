"""The rules file of Open MPI's `tuned` component, in its classic format, versions 1 and 2.

Whole numbers with space between, `#` to the end of a line ignored: how many collectives; for each its id and how many
communicator sizes; for each of these the size and how many rules; a rule is the message size in bytes from which it
holds, the algorithm, its fan-in or fan-out, the segment size in bytes, and in version 2, whose file begins with
`rule-file-version-2`, perhaps the most requests in flight. What is missing, or algorithm 0, leaves the choice to Open
MPI's own fixed rules. Sources: Open MPI's documentation, "Tuning Collectives" (docs.open-mpi.org, v5.0.x and later),
and `ompi/mca/coll/tuned/coll_tuned_dynamic_file.c`, which ignores a whole file for one mistake: Open MPI 5.0.11 as it
is shipped does so in silence.

It is loaded by `--mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_dynamic_rules_filename FILE`. Version 2 needs
Open MPI 5.0.7; earlier ones would not read it. JSON, which 6.0 takes besides, is not read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from clusterbench.collectives.plans.rules import RulesError, read_text, write_text

COLLECTIVE_IDS = {
    "allgather": 0, "allgatherv": 1, "allreduce": 2, "alltoall": 3, "alltoallv": 4, "barrier": 6, "bcast": 7,
    "exscan": 8, "gather": 9, "reduce": 11, "reduce_scatter": 12, "reduce_scatter_block": 13, "scan": 14, "scatter": 15,
}  # fmt: skip
"""The ids of the collectives that `tuned` has; documentation as above."""

ALGORITHMS = {
    "allgather": ("linear", "bruck", "recursive_doubling", "ring", "neighbor", "two_proc", "sparbit"),
    "allgatherv": ("default", "bruck", "ring", "neighbor", "two_proc", "sparbit"),
    "allreduce": (
        "basic_linear", "nonoverlapping", "recursive_doubling", "ring", "segmented_ring", "rabenseifner",
    ),
    "alltoall": ("linear", "pairwise", "modified_bruck", "linear_sync", "two_proc"),
    "alltoallv": ("basic_linear", "pairwise"),
    "barrier": ("linear", "double_ring", "recursive_doubling", "bruck", "two_proc", "tree"),
    "bcast": (
        "basic_linear", "chain", "pipeline", "split_binary_tree", "binary_tree", "binomial", "knomial",
        "scatter_allgather", "scatter_allgather_ring",
    ),
    "exscan": ("linear", "recursive_doubling"),
    "gather": ("basic_linear", "binomial", "linear_sync"),
    "reduce": ("linear", "chain", "pipeline", "binary", "binomial", "in-order_binary", "rabenseifner"),
    "reduce_scatter": ("non-overlapping", "recursive_halving", "ring", "butterfly"),
    "reduce_scatter_block": ("basic_linear", "recursive_doubling", "recursive_halving", "butterfly"),
    "scan": ("linear", "recursive_doubling"),
    "scatter": ("basic_linear", "binomial", "linear_nb"),
}  # fmt: skip
"""The algorithms 1, 2, … of each collective, as `ompi_info --param coll tuned -l 9` of Open MPI 5.0.11 lists them; 0 is
its fixed rules. Later releases have more at the end (6.0: `direct-messaging`, `allgather_reduce`, `knomial`)."""

_IDS = range(22)
"""Those of all collectives of MPI, neighbourhood collectives included."""
_LARGEST = 2**63 - 1
"""Numbers are read as `long`."""
_VERSION = re.compile(r"rule-file-version-(\d{1,9})(?!\d)")
_FIELDS = ("bytes", "algorithm", "fan-in/out", "segment size")


@dataclass(frozen=True, slots=True)
class TunedRule:
    """What to do from a message size on."""

    from_bytes: int
    """As Open MPI counts it for the collective: of an all-gather or an all-to-all, the data of all ranks."""
    algorithm: int
    """As in `ALGORITHMS`, from 1; 0 is Open MPI's fixed rules."""
    fan: int = 0
    segment_bytes: int = 0
    requests: int | None = None
    """The most requests in flight of an all-to-all; None leaves it to `coll_tuned_alltoall_max_requests`."""


@dataclass(frozen=True, slots=True)
class TunedRules:
    """The rules of a file: for each collective's id, for each communicator size, in ascending order of bytes."""

    collectives: dict[int, dict[int, tuple[TunedRule, ...]]]

    def __post_init__(self) -> None:
        for number, sizes in self.collectives.items():
            _check_collective(number, sizes)

    @property
    def version(self) -> int:
        """The oldest version of the format that can say these rules."""
        rules = (rule for sizes in self.collectives.values() for of in sizes.values() for rule in of)
        return 2 if any(rule.requests is not None for rule in rules) else 1


def _check_collective(number: int, sizes: dict[int, tuple[TunedRule, ...]]) -> None:
    where = f"collective {number}"
    if number not in _IDS:
        raise RulesError(f"{where}: expected an id from 0 to {_IDS.stop - 1}")
    if any(b <= a for a, b in zip(list(sizes), list(sizes)[1:], strict=False)):
        raise RulesError(f"{where}: communicator sizes {list(sizes)[:20]}; expected them ascending")
    for size, rules in sizes.items():
        _check_range(f"{where}: communicator size", size)
        starts = [rule.from_bytes for rule in rules]
        if starts and (starts[0] or starts != sorted(set(starts))):
            raise RulesError(f"{where}, communicator size {size}: rules from {starts[:20]} bytes; expected 0 and "
                             "ascending, as Open MPI ignores a file without")  # fmt: skip
        for rule in rules:
            numbers = (rule.from_bytes, rule.algorithm, rule.fan, rule.segment_bytes)
            for name, value in zip((*_FIELDS, "requests"), (*numbers, rule.requests or 0), strict=True):
                _check_range(f"{where}, communicator size {size}, from {rule.from_bytes} bytes: {name}", value)


def _check_range(what: str, value: int) -> None:
    if not 0 <= value <= _LARGEST:
        raise RulesError(f"{what} is {value}; expected 0 to {_LARGEST}")


def read_tuned_rules(path: Path | str) -> TunedRules:
    """The rules in a file. Raises `RulesError` wherever Open MPI would ignore the file, or would not do as it says."""
    return parse_tuned_rules(read_text(path), str(path))


def write_tuned_rules(path: Path | str, rules: TunedRules) -> None:
    """Write rules, in the oldest version that can say them. Raises `RulesError`."""
    write_text(path, tuned_rules_text(rules))


def tuned_rules_text(rules: TunedRules) -> str:
    """The text of a file, with a comment behind each number that is not a rule's."""
    names = {number: name for name, number in COLLECTIVE_IDS.items()}
    lines = ["rule-file-version-2"] if rules.version > 1 else []
    lines.append(f"{len(rules.collectives)} # collectives")
    for number, sizes in rules.collectives.items():
        lines += [f"{number} # {names.get(number, 'collective')}", f"{len(sizes)} # communicator sizes"]
        for size, of in sizes.items():
            lines += [f"{size} # communicator size", f"{len(of)} # rules: bytes, algorithm, fan, segment size"]
            for rule in of:
                requests = "" if rule.requests is None else f" {rule.requests}"
                lines.append(f"{rule.from_bytes} {rule.algorithm} {rule.fan} {rule.segment_bytes}{requests}")
    return "\n".join([*lines, ""])


def parse_tuned_rules(text: str, file: str) -> TunedRules:
    """The rules in a text. Raises `RulesError`, naming file and line."""
    found = _VERSION.match(text)
    version = int(found[1]) if found else 1
    if not 1 <= version <= 2:
        raise RulesError(f"{file}, line 1: rule-file-version-{version}; expected 1 or 2, the classic ones")
    if text.lstrip().startswith("{"):
        raise RulesError(f"{file}, line 1: JSON, the format of Open MPI 6.0; expected the classic one")
    numbers = _Numbers(text[found.end() :] if found else text, file)
    collectives: dict[int, dict[int, tuple[TunedRule, ...]]] = {}
    for _ in range(numbers.next("the number of collectives", _IDS.stop)):
        number = numbers.next("the id of a collective", _IDS.stop - 1)
        if number in collectives:
            raise numbers.error(f"collective {number} a second time; expected each once")
        sizes: dict[int, tuple[TunedRule, ...]] = {}
        collectives[number] = sizes
        for _ in range(numbers.next("the number of communicator sizes", 2**31 - 1)):
            size = numbers.next("a communicator size", 2**31 - 1)
            if sizes and size <= max(sizes):
                raise numbers.error(f"communicator size {size} behind {max(sizes)}; expected them ascending")
            sizes[size] = _rules(numbers, version)
    numbers.end()
    return TunedRules(collectives)


def _rules(numbers: _Numbers, version: int) -> tuple[TunedRule, ...]:
    count = numbers.next("the number of rules", 2**31 - 1)
    announced = f"rule {{}} of the {count} that line {numbers.line} announces"
    rules: list[TunedRule] = []
    for number in range(1, count + 1):
        rule = _rule(numbers, version)
        where = announced.format(number)
        if not rules and rule.from_bytes:
            raise numbers.error(f"{where} is for {rule.from_bytes} bytes and more; expected 0, without which Open MPI "
                                "ignores the whole file")  # fmt: skip
        if rules and rule.from_bytes <= rules[-1].from_bytes:
            raise numbers.error(f"{where} is for {rule.from_bytes} bytes, behind {rules[-1].from_bytes}; expected them "
                                "ascending")  # fmt: skip
        rules.append(rule)
    return tuple(rules)


def _rule(numbers: _Numbers, version: int) -> TunedRule:
    start = numbers.next("the bytes of a rule", _LARGEST)
    algorithm, fan, segment = (numbers.next(f"the {name} of a rule", 2**31 - 1) for name in _FIELDS[1:])
    requests = None
    if version > 1 and numbers.goes_on:
        requests = numbers.next("the requests of a rule", 2**31 - 1)
    return TunedRule(start, algorithm, fan, segment, requests)


class _Numbers:
    """The numbers of a text, one by one."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._words = [
            (number, word)
            for number, line in enumerate(text.split("\n"), start=1)
            for word in line.partition("#")[0].split()
        ]
        self._at = 0

    @property
    def line(self) -> int:
        """The line of the last number."""
        return self._words[self._at - 1][0]

    @property
    def goes_on(self) -> bool:
        """Whether another number stands on the line of the last one."""
        return self._at < len(self._words) and self._words[self._at][0] == self.line

    def next(self, what: str, most: int) -> int:
        if self._at == len(self._words):
            raise RulesError(f"{self._file}: ends where {what} is expected")
        self._at += 1
        word = self._words[self._at - 1][1]
        if not (word.isascii() and word.isdigit() and len(word) < 20 and int(word) <= most):
            raise self.error(f"{word[:40]!r}; expected {what}, a whole number from 0 to {most}")
        return int(word)

    def end(self) -> None:
        if self._at < len(self._words):
            self._at += 1
            raise self.error(f"{self._words[self._at - 1][1][:40]!r} behind the last rule; expected the end")

    def error(self, message: str) -> RulesError:
        """An error at the last number."""
        return RulesError(f"{self._file}, line {self.line}: {message}")
