"""ToolBench's descriptions of APIs: from its tool folder, or from the list that comes with each of its queries.

Names, descriptions and argument names are made as ToolBench makes them, since models were trained on those and its
server expects them. Two of its faults are not repeated: optional arguments are offered also where none is required, and
a ``NUMBER`` may have decimals.

Source: OpenBMB/ToolBench, toolbench/inference/Downstream_tasks/rapidapi.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alpha_umi.documents import read_document
from alpha_umi.errors import ConfigError
from alpha_umi.tools.spec import Effects, ToolSpec

_MAX_NAME_CHARS = 64
_MAX_DESCRIPTION_CHARS = 256
_TYPES = {"NUMBER": "number", "BOOLEAN": "boolean"}
# Python keywords and builtins, which cannot name a function or an argument in ToolBench's own code.
_TAKEN = frozenset({"from", "class", "return", "false", "true", "id", "and", ""})


@dataclass(frozen=True, slots=True)
class ToolBenchApi:
    """One API of one tool; category and tool are named as their folder and file, the API as the server calls it."""

    spec: ToolSpec
    category: str
    tool: str
    api: str


def read_folder(folder: str | Path) -> tuple[list[ToolBenchApi], list[str]]:
    """Read ``CATEGORY/TOOL.json`` files; return the APIs, and what was left out, one line each.

    Raises:
        ConfigError: If there is no such folder, or nothing in it can be used.
    """
    root = Path(folder).expanduser()
    apis: list[ToolBenchApi] = []
    skipped: list[str] = []
    for path in sorted(root.glob("*/*.json")):
        where = f"{path.parent.name}/{path.name}"
        try:
            content = read_document(path, "it is left out")
        except ConfigError as error:
            skipped.append(str(error))
            continue
        rows = content.get("api_list") if isinstance(content, Mapping) else None
        if not isinstance(rows, list):
            skipped.append(f"{where} has no list 'api_list'")
            continue
        found, problems = _read_apis((path.parent.name, path.stem, row) for row in rows)
        apis += found
        skipped += [f"{where}, {problem}" for problem in problems]
    if not apis:
        raise ConfigError(
            f"{str(folder)!r} holds no ToolBench tool that can be used ({'; '.join(skipped[:3]) or 'no files'}). "
            "Give the folder that has one folder per category, with a JSON file per tool."
        )
    return _make_unique(apis, skipped), skipped


def read_api_list(rows: Iterable[Mapping[str, Any]]) -> tuple[list[ToolBenchApi], list[str]]:
    """Read the ``api_list`` of one of ToolBench's queries; return the APIs, and what was left out, one line each."""
    skipped: list[str] = []
    apis, problems = _read_apis(
        (str(row.get("category_name", "")), standardize(str(row.get("tool_name", ""))), row) for row in rows
    )
    skipped += problems
    return _make_unique(apis, skipped), skipped


def standardize(name: str) -> str:
    """Normalise a name as ToolBench does.

    Example:
        >>> standardize("Get Rates (v2)"), standardize("2nd-hand")
        ('get_rates_v2', 'get_2nd_hand')
    """
    # '^' survives in the original, by an oversight in its pattern, but cannot be part of a name.
    name = re.sub(r"_+", "_", re.sub(r"[^\u4e00-\u9fa5a-zA-Z0-9_]", "_", name)).lower().strip("_")
    return f"get_{name}" if name[:1].isdigit() else name


def make_name(name: str) -> str:
    """Normalise the name of an API or an argument as ToolBench does.

    Example:
        >>> make_name("ID"), make_name("Top 10")
        ('is_id', 'top_10')
    """
    name = standardize(name)
    return f"is_{name}" if name in _TAKEN else name


def _read_apis(rows: Iterable[tuple[str, str, Any]]) -> tuple[list[ToolBenchApi], list[str]]:
    apis: list[ToolBenchApi] = []
    problems: list[str] = []
    for i, (category, tool, row) in enumerate(rows):
        try:
            apis.append(_read_api(category, tool, row))
        except (KeyError, TypeError, AttributeError, ValueError, ConfigError) as error:
            problems.append(f"API {i + 1} is left out: {type(error).__name__}: {error}")
    return apis, problems


def _read_api(category: str, tool: str, row: Mapping[str, Any]) -> ToolBenchApi:
    """Read an entry of a tool's file, or of a query's list, which has other names for two of the keys."""
    written = row["name"] if "name" in row else row["api_name"]
    api = make_name(written)
    name = f"{api}_for_{tool}"[-_MAX_NAME_CHARS:]
    description = f'This is the subfunction for tool "{tool}", you can use this tool.'
    written_description = (row.get("description") or row.get("api_description") or "").strip()
    if written_description:
        shown = written_description.replace(written, name)[:_MAX_DESCRIPTION_CHARS]
        description += f'The description of this function is: "{shown}"'
    required = dict(map(_read_parameter, row.get("required_parameters") or ()))
    optional = dict(map(_read_parameter, row.get("optional_parameters") or ()))
    schema = {"type": "object", "properties": {**required, **optional, **required}, "required": list(required)}
    effects: Effects = "none" if str(row.get("method", "")).upper() in ("GET", "HEAD") else "once"
    return ToolBenchApi(ToolSpec(name, description, schema, effects, "toolbench"), category, tool, api)


def _read_parameter(parameter: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    schema = {
        "type": _TYPES.get(parameter.get("type") or "", "string"),
        "description": (parameter.get("description") or "")[:_MAX_DESCRIPTION_CHARS],
    }
    default = parameter.get("default", "")
    return make_name(parameter["name"]), schema if default in ("", None) else {**schema, "example_value": default}


def _make_unique(apis: Iterable[ToolBenchApi], skipped: list[str]) -> list[ToolBenchApi]:
    """Leave out APIs that the server cannot distinguish, and number those that only the model could not."""
    unique: dict[tuple[str, str, str], ToolBenchApi] = {}
    taken: set[str] = set()
    for api in apis:
        key = (api.category, api.tool, api.api)
        if key in unique:
            skipped.append(f"{api.category}/{api.tool} has two APIs named {api.api!r}; the second is left out")
            continue
        name, n = api.spec.name, 1
        while name in taken:
            n += 1
            name = f"{api.spec.name}_{n}"[-_MAX_NAME_CHARS:]
        taken.add(name)
        unique[key] = replace(api, spec=replace(api.spec, name=name)) if n > 1 else api
    return list(unique.values())
