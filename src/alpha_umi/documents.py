"""Files that somebody wrote or changed: read whole, within bounds, and held to a schema.

An error names the file, the place in it, what belongs there and what to do. It is a `ConfigError` whatever is wrong
with the file: gone, no file, not to be read, no text, cut off, of another form, nested without end.

YAML is YAML 1.2 that says what JSON could say, so ``no`` is a text and so is ``2020-01-01``. PyYAML's loader reads YAML
1.1, takes seven times as long, and its C composer overflows the stack on deep nesting, so only its parser is used.
Merge keys (``<<``) are no part of YAML 1.2, but people use them, so they are applied.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from alpha_umi.errors import ConfigError

T = TypeVar("T")

_MAX_BYTES = 256 * 2**20
_MAX_FAULTS = 10
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
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_MERGE = "<<"
_NOTHING = object()


def read_text(path: Path, advice: str) -> str:
    """Return the text of a file.

    Args:
        path: What is read; a pipe or a device is refused, which might never end.
        advice: What to do if it cannot be read, as a clause.

    Raises:
        ConfigError: If it is no file, cannot be read, is too large, or is no UTF-8 text; a mark of byte order is none.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(
                f"{path} cannot be read, it is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no file'}; {advice}."
            )
        if status.st_size > _MAX_BYTES:
            raise ConfigError(f"{path} has {status.st_size:,} bytes, more than {_MAX_BYTES:,}; {advice}.")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} cannot be read, it is no UTF-8 text ({error.reason} at byte {error.start:,}); {advice}."
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ConfigError(f"{str(path)!a} cannot be read: {why}; {advice}.") from error


def check_files(folder: Path) -> None:
    """Refuse a folder with a pipe, device or broken link, which may be read without an end.

    Raises:
        ConfigError: Names the first.
    """
    for path in sorted(folder.glob("*")):
        if not (path.is_file() or path.is_dir()):
            raise ConfigError(f"{path} is neither a file nor a folder; copy the folder again.")


def read_document(path: Path, advice: str, schema: Any = Any) -> Any:
    """Return what a JSON or YAML file holds; a file whose name ends in ``.json`` is not taken for YAML.

    Args:
        path: What is read.
        advice: What to do if it cannot be used, as a clause.
        schema: A type that pydantic knows; the values are returned as they stand in the file.

    Raises:
        ConfigError: As `read_text`, and if it is neither JSON nor YAML, too deep, or not of the schema.
    """
    value = parse_document(read_text(path, advice), str(path), advice, is_json=path.suffix == ".json")
    check_document(value, str(path), advice, schema)
    return value


def parse_document(text: str, name: str, advice: str, *, is_json: bool = False) -> Any:
    """Return the values of a text in JSON or YAML; see `read_document`."""
    try:
        value = _parse_json(text) if is_json or text.lstrip()[:1] in ("{", "[") else _NOTHING
    except (ValueError, RecursionError) as error:
        if is_json or isinstance(error, RecursionError):
            raise ConfigError(f"{name} cannot be read, it is no JSON: {_describe(error)}; {advice}.") from error
        value = _NOTHING
    try:
        return parse_yaml(text) if value is _NOTHING else value
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        fault = _describe(error).replace("<unicode string>", name)
        raise ConfigError(
            f"{name} cannot be read, it is neither valid JSON nor valid YAML: {fault}; {advice}."
        ) from error


def check_document(value: Any, name: str, advice: str, schema: Any) -> None:
    """Refuse values that are not of a schema.

    Raises:
        ConfigError: Names each place and what belongs there. The values are not quoted: they may be secret.
    """
    try:
        TypeAdapter(schema).validate_python(value)
    except ValidationError as error:
        lines = [
            f"wrong at {'.'.join(map(str, each['loc'])) or 'the top level'}: {each['msg']}" for each in error.errors()
        ]
        raise ConfigError("\n".join([f"{name} cannot be used; {advice}:", *lines[:_MAX_FAULTS]])) from None


def _parse_json(text: str) -> Any:
    value = json.loads(text)
    if _HALF.search(text):  # half of a character, which no file and no screen takes
        json.dumps(value, ensure_ascii=False).encode()
    level = [value]
    for _ in range(_MAX_DEPTH):
        if not level:
            return value
        level = [part for each in level if isinstance(each, dict | list) for part in _list_parts(each)]
    raise RecursionError(f"nested more than {_MAX_DEPTH} deep")


def _list_parts(value: dict[str, Any] | list[Any]) -> list[Any]:
    parts = value.values() if isinstance(value, dict) else value
    return [part for part in parts if isinstance(part, dict | list)]


def _describe(error: Exception) -> str:
    return str(error) if not isinstance(error, RecursionError) else f"nested more than {_MAX_DEPTH} deep"


def parse_yaml(text: str, max_nodes: int = _MAX_NODES) -> Any:
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
        if stack[-1].n_nodes > max_nodes:
            raise yaml.YAMLError(f"it stands for more than {max_nodes:,} values, {event.start_mark}")
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
