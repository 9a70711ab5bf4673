"""Reads YAML that nobody vouches for: data without aliases and tags, limits of size and depth, a line for errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from clusterbench.collectives.topology.graph import TopologyError

DEEPEST = 64
"""Levels of lists and mappings inside one another."""
MOST_NODES = 4_000_000


@dataclass(slots=True)
class Node:
    """One value and the file and line where it begins: a text, a list, or a mapping, of which two are None."""

    where: str
    text: str | None = None
    items: list[Node] | None = None
    entries: dict[str, Node] | None = None
    _key: str | None = field(default=None, repr=False)
    """Of a mapping that is being read: the key whose value comes next."""

    def error(self, message: str) -> TopologyError:
        """An error that names the file and line."""
        return TopologyError(f"{self.where}: {message}")

    def scalar(self, what: str) -> str:
        """The text of a single value. Raises `TopologyError`."""
        if self.text is None:
            raise self.error(f"{what} is {self.shape()}; expected a single value")
        return self.text

    def sequence(self, what: str) -> list[Node]:
        """What a list holds; a mapping stands for a list of one, as to Slurm. Raises `TopologyError`."""
        if self.entries is not None:
            return [self]
        if self.items is None:
            raise self.error(f"{what} is {self.shape()}; expected a list")
        return self.items

    def mapping(self, what: str, *known: str) -> dict[str, Node]:
        """The entries of a mapping of which only these keys are known. Raises `TopologyError`."""
        if self.entries is None:
            raise self.error(f"{what} is {self.shape()}; expected a mapping of {', '.join(known)}")
        for key, node in self.entries.items():
            if key not in known:
                raise node.error(f"{what} has {key[:40]!r}; expected {', '.join(known)}")
        return self.entries

    def shape(self) -> str:
        """What it is, in words."""
        if self.text is not None:
            return repr(self.text[:40])
        return "a list" if self.items is not None else "a mapping"


def read_yaml(text: str, where: str) -> Node:
    """The value of a document; keys are texts, each once.

    Raises `TopologyError` for what is not well formed, for aliases, anchors and tags, for several documents, and for
    more than `DEEPEST` levels or `MOST_NODES` values.
    """
    import yaml

    # The parser in C is an order of magnitude faster, and not in every build of PyYAML; neither constructs objects.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _tree(yaml.parse(text, Loader=loader), where)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise TopologyError(f"{where}{line}: {error.problem or error.context}; expected YAML") from None
    except yaml.reader.ReaderError as error:  # its position counts bytes or characters, as it is written in C or not
        found = chr(int(error.character))
        number = text.count("\n", 0, max(0, text.find(found))) + 1
        raise TopologyError(f"{where}, line {number}: a character {found!r}; expected YAML") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise TopologyError(f"{where}: {' '.join(str(error).split())[:200]}; expected YAML") from None


def _tree(events: Iterator[Any], where: str) -> Node:
    import yaml

    root: Node | None = None
    waiting: list[Node] = []
    for count, event in enumerate(events):
        at = f"{where}, line {event.start_mark.line + 1}"
        if isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            waiting.pop()
        elif isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise TopologyError(f"{at}: a second document; expected one")
        elif isinstance(event, yaml.NodeEvent):
            node = _node(event, at)
            if count > MOST_NODES:
                raise node.error(f"more than {MOST_NODES} values; expected at most that")
            if waiting:
                _put(waiting[-1], node)
            else:
                root = node
            if node.text is None:
                waiting.append(node)
            if len(waiting) > DEEPEST:
                raise node.error(f"values inside one another {DEEPEST + 1} deep; expected at most {DEEPEST}")
    if root is None:
        raise TopologyError(f"{where}: empty; expected YAML")
    return root


def _node(event: Any, at: str) -> Node:
    import yaml

    if event.anchor is not None:
        raise TopologyError(f"{at}: an anchor or alias {event.anchor[:40]!r}; expected YAML without any")
    if event.tag is not None:
        raise TopologyError(f"{at}: a tag {event.tag[:40]!r}; expected YAML without any")
    if isinstance(event, yaml.ScalarEvent):
        return Node(at, text=event.value)
    return Node(at, items=[]) if isinstance(event, yaml.SequenceStartEvent) else Node(at, entries={})


def _put(parent: Node, node: Node) -> None:
    """Put a value into the list or mapping that is being read."""
    if parent.items is not None:
        parent.items.append(node)
    elif parent.entries is not None:
        if parent._key is None:
            key = node.scalar("a key")
            if key in parent.entries:
                raise node.error(f"a second {key[:40]!r}; expected each key once")
            parent._key = key
        else:
            parent.entries[parent._key] = node
            parent._key = None
