"""YAML as OpenAPI means it: YAML 1.2 that says what JSON could say, so ``no`` is a text and so is ``2020-01-01``.

PyYAML's loader reads YAML 1.1, takes seven times as long, and its C composer overflows the stack on deep nesting, so
only its parser is used. Merge keys (``<<``) are no part of YAML 1.2, but people use them, so they are applied.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

_MAX_DEPTH = 200
_MAX_NODES = 5_000_000  # with aliases written out: a few lines of them can mean a billion values
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "<<"


def parse_yaml(text: str) -> Any:
    r"""Return the values of a document of one part.

    Raises:
        yaml.YAMLError: If it is no YAML, nested too deeply, contains itself, or merges what is no mapping.

    Example:
        >>> parse_yaml("country: no\nsince: 1999-12-31\nparts: [1, 2.5, null]")
        {'country': 'no', 'since': '1999-12-31', 'parts': [1, 2.5, None]}
    """
    root: list[Any] = []
    stack: list[_YamlCollection] = [_YamlCollection(root)]
    anchors: dict[str, Any] = {}
    sizes: dict[int, int] = {}
    for event in yaml.parse(text, Loader=_YamlLoader):
        if stack[-1].n_nodes > _MAX_NODES:
            raise yaml.YAMLError(f"it stands for more than {_MAX_NODES:,} values, {event.start_mark}")
        if isinstance(event, yaml.CollectionEndEvent):
            closed = stack.pop()
            closed.merge()
            stack[-1].n_nodes += closed.n_nodes
            sizes[id(closed.value)] = closed.n_nodes
            if closed.anchor:
                anchors[closed.anchor] = closed.value
        elif isinstance(event, yaml.CollectionStartEvent):
            value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            stack[-1].add(value)
            stack.append(_YamlCollection(value, event.anchor))
            if len(stack) > _MAX_DEPTH:
                raise yaml.YAMLError(f"nested more than {_MAX_DEPTH} deep, {event.start_mark}")
        elif isinstance(event, yaml.ScalarEvent):
            value = _read_scalar(event)
            stack[-1].add(value, is_merge=value == _MERGE and event.implicit[0])
            stack[-1].n_nodes += 1
            if event.anchor:
                anchors[event.anchor] = value
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise yaml.YAMLError(f"*{event.anchor} names nothing complete, {event.start_mark}")
            stack[-1].add(anchors[event.anchor])
            stack[-1].n_nodes += sizes.get(id(anchors[event.anchor]), 1)
    return root[0] if root else None


class _YamlCollection:
    """A list or mapping that is being filled."""

    def __init__(self, value: Any, anchor: str | None = None) -> None:
        self.value = value
        self.anchor = anchor
        self.n_nodes = 1
        self._key: tuple[str | None] | None = None  # (None,) is the merge key
        self._merged: list[Any] = []

    def add(self, item: Any, *, is_merge: bool = False) -> None:
        """Append to a list; to a mapping, alternately the key and its value."""
        if isinstance(self.value, list):
            self.value.append(item)
        elif self._key is None:
            self._key = (None if is_merge else _write_key(item),)
        else:
            if self._key[0] is None:
                self._merged.append(item)
            else:
                self.value[self._key[0]] = item
            self._key = None

    def merge(self) -> None:
        """Add what merge keys name: what the mapping itself says wins, and of a list what comes first."""
        own = dict(self.value) if self._merged else {}
        for item in self._merged:
            for part in reversed(item) if isinstance(item, list) else [{} if item is None else item]:
                if not isinstance(part, dict):
                    raise yaml.YAMLError("a merge key (<<) names something other than mappings")
                self.value.update(part)
        if own:
            self.value.update(own)


def _write_key(key: Any) -> str:
    """Return a key as JSON would hold it; documents write ``200:`` for ``"200":``."""
    if isinstance(key, dict | list):
        raise yaml.YAMLError("a key is a list or a mapping")
    return key if isinstance(key, str) else json.dumps(key)


def _read_scalar(event: Any) -> Any:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
