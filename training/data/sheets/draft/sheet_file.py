"""A file of sheets as people like to read it: written, added to, with what they wrote left as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from alpha_umi.documents import parse_document
from alpha_umi.errors import ConfigError
from alpha_umi.files import write_atomically
from alpha_umi.training.data.sheets.load import PlainLoader
from alpha_umi.yaml_files import YamlFile, read_yaml

_PLAIN = re.compile(r"[A-Za-z][\w ./'+-]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no"})
_HEAD = """\
# A first draft, written by `alpha-umi sheet`: correct it (docs/tool-sheets.md), then look at what comes of it:
#   alpha-umi sheet check {path}
domain: {domain}
tools:
"""


def load_items(path: Path) -> list[Mapping[str, Any]]:
    """Return what a file says of its tools; nothing if there is no file.

    Raises:
        ConfigError: If it cannot be read.
    """
    return [item for item in _list_tools(_read(path)) if isinstance(item, Mapping)] if path.exists() else []


class FileItem(Protocol):
    """What is written of one tool."""

    item: dict[str, Any]
    comments: list[str]


def add_items(path: Path, domain: str, items: Sequence[FileItem]) -> None:
    """Write tools with their comments behind those that a file has; make the file if there is none.

    Raises:
        ConfigError: If the file cannot be added to, since something follows its tools.
    """
    if not items:
        return
    before = _HEAD.format(path=path, domain=render_value(domain))
    n_before = 0
    if path.exists():
        before, n_before = path.read_text("utf-8"), len(_list_tools(_read(path)))
        before = before if before.endswith("\n") else f"{before}\n"
    text = before + "".join(render_item(each.item, each.comments) for each in items)
    _require_readable(path, text, n_before + len(items))
    with write_atomically(path) as file:
        file.write(text)


def add_wordings(path: Path, tool: str, wordings: Sequence[str]) -> None:
    """Write wordings behind those of a tool; nothing else of the file changes.

    Raises:
        ConfigError: If the file has no such tool.
    """
    if not wordings:
        return
    sheet = _read(path)
    numbers = [
        i
        for i, item in enumerate(_list_tools(sheet))
        if isinstance(item, Mapping) and item.get("tool", item.get("name")) == tool
    ]
    node = _find_node(sheet.root, ("tools", numbers[0], "ask")) if numbers else None
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise ConfigError(f"{path} has no wordings of {tool!r}; write `ask:` with one there.")
    text = path.read_text("utf-8")
    last = node.value[-1].end_mark.index
    if node.flow_style:
        added = "".join(f", {render_value(wording, quote=True)}" for wording in wordings)
    else:
        indent = " " * node.start_mark.column
        added = "".join(f"\n{indent}- {render_value(wording, quote=True)}" for wording in wordings)
        rest = text[last:].partition("\n")[0]
        last += len(rest) if rest.lstrip().startswith("#") else 0
    text = text[:last] + added + text[last:]
    _require_readable(path, text, len(_list_tools(sheet)))
    with write_atomically(path) as file:
        file.write(text)


def _find_node(node: yaml.Node | None, keys: Sequence[str | int]) -> yaml.Node | None:
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            node = node.value[key]
        elif isinstance(node, yaml.MappingNode):
            node = next((value for name, value in node.value if name.value == key), None)
    return node


def _read(path: Path) -> YamlFile:
    try:
        return read_yaml(path, loader_type=PlainLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} cannot be added to, it is not valid YAML: {error}") from error


def _list_tools(sheet: YamlFile) -> list[Any]:
    tools = sheet.values.get("tools") if isinstance(sheet.values, Mapping) else None
    return tools if isinstance(tools, list) else []


def _require_readable(path: Path, text: str, n_tools: int) -> None:
    try:
        values = parse_document(text, str(path), "")
    except ConfigError:
        values = None
    found = len(values["tools"]) if isinstance(values, Mapping) and isinstance(values.get("tools"), list) else -1
    if found != n_tools:
        raise ConfigError(
            f"{path} cannot be added to; let 'tools:' be its last key, with an item a line as '- tool: …'."
        )


def render_item(item: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """Return one tool as an item of the list ``tools``."""
    lines: list[str] = [f"# {comment}" for comment in comments]
    for i, (key, value) in enumerate(item.items()):
        opening = "- " if i == 0 else "  "
        if key == "parameters" and value:
            lines += [
                f"{opening}{key}:",
                *(f"    {render_value(name)}: {render_value(each)}" for name, each in value.items()),
            ]
        elif key == "ask":
            lines += [f"{opening}{key}:", *(f"  - {render_value(wording, quote=True)}" for wording in value)]
        else:
            lines.append(f"{opening}{key}: {render_value(value, quote=key in ('answer', 'again', 'fails'))}")
    return "\n".join(lines) + "\n"


def render_value(value: Any, *, quote: bool = False) -> str:
    """Return a value on one line.

    Example:
        >>> render_value({"from": ["a", "7"], "optional": True})
        '{from: [a, "7"], optional: true}'
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{render_value(key)}: {render_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(render_value(each, quote=quote) for each in value)}]"
    if isinstance(value, str):
        is_plain = not quote and _PLAIN.fullmatch(value) and value.lower() not in _WORDS and value == value.strip()
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
