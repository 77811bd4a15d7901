"""YAML files that people write: read with their lines, so that an error can name file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alpha_umi.documents import parse_yaml, read_text

_MAX_NODES = 500_000  # with aliases written out


@dataclass(frozen=True, slots=True)
class YamlFile:
    """What a file holds, and where: `values`, and the nodes that they were made from; both None in an empty file."""

    values: Any
    root: yaml.Node | None

    def find_line(self, keys: Iterable[str | int]) -> int:
        """Return the line of a key, counted from 1; of the nearest one around it if the file does not have it."""
        node, line = self.root, self.root.start_mark.line + 1 if self.root else 1
        for key in map(str, keys):
            found = next(((place, value) for name, place, value in _list_items(node) if name == key), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line

    def find_repeated_keys(self) -> Iterator[tuple[int, str]]:
        """Yield line and name of every key that its mapping has twice."""
        yield from _find_repeated_keys(self.root)


def read_yaml(path: Path, advice: str = "correct the path or the file", loader_type: Any = yaml.SafeLoader) -> YamlFile:
    """Read a file with a loader that takes it for data alone, as `SafeLoader` and `BaseLoader` do; see `read_text`.

    Raises:
        ConfigError: If it cannot be read.
        ValueError: If a value is none of its kind.
        yaml.YAMLError: If it is not valid YAML, nested too deeply, or stands for too many values.
    """
    text = read_text(path, advice)
    parse_yaml(text, _MAX_NODES)  # the loaders' own recursion has no bound, in C not even an error
    loader = loader_type(text)
    root = loader.get_single_node()
    return YamlFile(loader.construct_document(root) if root else None, root)


def _list_items(node: yaml.Node | None) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """Return name or position of each item, where it begins, and its value."""
    if isinstance(node, yaml.MappingNode):
        items = [(str(name.value), name, value) for name, value in node.value]
        return sorted(items, key=lambda item: _is_merged(item[1], node))
    if isinstance(node, yaml.SequenceNode):
        return [(str(i), value, value) for i, value in enumerate(node.value)]
    return []


def _is_merged(place: yaml.Node, node: yaml.Node) -> bool:
    """Tell whether a key came into a mapping by a merge key; it then stands where its anchor is."""
    return bool(place.start_mark.index < node.start_mark.index)


def _find_repeated_keys(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    seen: set[str] = set()
    for name, place, value in _list_items(node):
        if node and _is_merged(place, node):
            continue
        if name in seen:
            yield place.start_mark.line + 1, name
        seen.add(name)
        yield from _find_repeated_keys(value)
