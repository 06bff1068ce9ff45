"""The YAML of a grid, which may come from a stranger: plain values, no key twice, and no more than a file can say."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

import yaml

_LARGEST = 2**22  # bytes
_DEEPEST = 20
_MOST_VALUES = 1_000_000  # with aliases written out


def load_yaml(path: Path) -> Any:
    """The plain values of a YAML file.

    Raises:
        ValueError: not YAML, a key twice, a tag that would run code, values nested too deeply, aliases that expand to
            too much, or a file too large; in one line.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST:,} bytes; split the grid")
    try:
        return yaml.load(content, _PlainLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as fault:
        text = " ".join(str(fault).split())
        raise ValueError(f"{path} is not YAML: {text if len(text) <= 500 else text[:500] + ' ...'}") from None


def short(value: Any) -> str:
    """A value for a message, cut where it is long."""
    return _SHORT.repr(value)


_MERGE = "tag:yaml.org,2002:merge"
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


class _PlainLoader(yaml.SafeLoader):
    """YAML's plain values, and no key twice: the later would silently replace the earlier."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # of nodes that are complete, with their aliases written out
        self._merged: set[int] = set()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, of bounded depth and size; an alias counts as all that it stands for."""
        event = self.peek_event()
        mark = event.start_mark
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.MarkedYAMLError(None, None, f"values nested more than {_DEEPEST} deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if id(node) not in self._sizes:
            if isinstance(event, yaml.AliasEvent):
                raise yaml.MarkedYAMLError(None, None, "an alias to what it stands in", mark)
            parts = _parts(node) if isinstance(node, yaml.CollectionNode) else []
            self._sizes[id(node)] = 1 + sum(self._sizes[id(part)] for part in parts)
        if self._sizes[id(node)] > _MOST_VALUES:
            raise yaml.MarkedYAMLError(None, None, f"aliases that expand to over {_MOST_VALUES:,} values", mark)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in what `<<` merges, once no key that is written here is there twice; what is written here wins."""
        if id(node) in self._merged:
            return
        self._merged.add(id(node))
        written = set()
        for key, _ in node.value:
            value = "<<" if key.tag == _MERGE else self.construct_object(key, deep=True)
            try:
                twice = value in written
                written.add(value)
            except TypeError:
                raise yaml.MarkedYAMLError(None, None, "a key that is a list or a mapping", key.start_mark) from None
            if twice:
                raise yaml.MarkedYAMLError(None, None, f"the key {short(value)} occurs twice", key.start_mark)
        super().flatten_mapping(node)


def _parts(node: yaml.CollectionNode) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value)
