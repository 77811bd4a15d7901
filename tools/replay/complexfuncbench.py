"""ComplexFuncBench: its file format, and its tasks as recorded tools.

A line ``{"specs"}`` is followed by tasks whose later calls refer to earlier responses (``$var1.path$``), without saying
to which of a response's items. So every item that fits makes one way to make that call. Responses are cut off after
1,500 characters; a task that needs what was cut away cannot be solved by anyone and is left out.

Source: the task files of the package nestful-wrapper.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic_core import from_json

from alpha_umi.errors import ConfigError
from alpha_umi.tools.replay import Recording, ReplayTask
from alpha_umi.tools.spec import ToolSpec, clean_name, log_omissions

Reference: TypeAlias = tuple[str, str]
"""Label of an earlier call, and a path of keys in its response."""

_REFERENCE = re.compile(r"\$(\w+)\.([\w.]+)\$")
_MAX_WAYS = 64
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def load_complexfuncbench(path: str | Path) -> list[ReplayTask]:
    """Return the tasks that can be solved; the others are left out and logged."""
    tasks, left_out = read_complexfuncbench(path)
    log_omissions(str(path), left_out)
    return tasks


def read_complexfuncbench(path: str | Path) -> tuple[list[ReplayTask], list[str]]:
    """Return the tasks of a user's copy that can be solved, and why others are left out, one line each.

    Raises:
        ConfigError: If it cannot be read; it is ``.jsonl`` or ``.jsonl.gz``.
    """
    file = Path(path).expanduser()
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        lines = data.decode().split("\n")
        specs = {spec["name"]: _make_spec(spec) for spec in json.loads(lines[0])["specs"]}
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise ConfigError(
            f"{str(path)!r} cannot be read as ComplexFuncBench ({type(error).__name__}: {error}); its first line must "
            'be {"specs": [tools]}, and each other line a task.'
        ) from error
    tasks: list[ReplayTask] = []
    left_out: list[str] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            tasks.append(_read_task(json.loads(line), specs))
        except _Unsolvable as error:
            left_out.append(f"line {number}: {error}")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            left_out.append(f"line {number} cannot be read: {type(error).__name__}: {error}")
    return tasks, left_out


def render_response(response: Any) -> str:
    """Return a recorded response as the text that a model reads."""
    return response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)


def parse_response(text: str) -> Any:
    """Parse JSON that may have been cut off; the number or text at the cut is left out, and other text is None.

    Example:
        >>> parse_response('{"id": "x", "prices": [12, 15, 1')
        {'id': 'x', 'prices': [12, 15]}
    """
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return from_json(re.sub(r"[\w.+-]+$", "", text), allow_partial=True)
    except ValueError:  # not JSON at all
        return None


def parse_reference(value: Any) -> Reference | None:
    """Return what a value refers to, None if it is a plain value.

    Example:
        >>> parse_reference("$var1.data.id$")
        ('var1', 'data.id')
    """
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return (match[1], match[2]) if match else None


def iter_nested(value: Any) -> Iterator[Any]:
    """Yield a value and everything in it, outermost first: references leave out wrappers and positions in lists."""
    level = [value]
    while level:
        yield from level
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
        ]


def find_references(arguments: Any) -> list[Reference]:
    """Return what the arguments of a call refer to, each once."""
    return list(dict.fromkeys(found for value in iter_nested(arguments) if (found := parse_reference(value))))


def get_plain(node: Any, path: str) -> Any:
    """Return the plain value at a path of keys, None if there is none."""
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return None if isinstance(node, dict | list) else node


def fill_references(value: Any, values: Mapping[Reference, Any]) -> Any:
    """Replace references by their values; one that has none stays."""
    if isinstance(value, dict):
        return {key: fill_references(part, values) for key, part in value.items()}
    if isinstance(value, list):
        return [fill_references(part, values) for part in value]
    reference = parse_reference(value)
    return values.get(reference, value) if reference else value


class _Unsolvable(Exception):
    """A task that nobody could solve; its message says why."""


def _make_spec(row: Mapping[str, Any]) -> ToolSpec:
    parameters: Mapping[str, Any] = row["parameters"]
    properties = {name: {key: part[key] for key in part if key != "required"} for name, part in parameters.items()}
    required = [name for name, part in parameters.items() if part.get("required")]
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return ToolSpec(clean_name(row["name"]), row.get("description") or "", schema)


def _read_task(row: Mapping[str, Any], specs: Mapping[str, ToolSpec]) -> ReplayTask:
    responses: dict[str, Any] = {}
    recordings: list[Recording] = []
    steps: dict[str, int] = {}
    sources: dict[int, frozenset[int]] = {}
    for step, call in enumerate(row["calls"]):
        spec = specs[call["name"]]
        validator = spec.make_validator()
        text = render_response(call["response"])
        references = find_references(call["arguments"])
        options = [_fit(arguments, spec) for arguments in _resolve(call["arguments"], references, responses)]
        allowed = [arguments for arguments in options if validator.is_valid(arguments)]
        if not allowed:
            raise _Unsolvable(f"call {step + 1} has arguments that {spec.name} does not allow")
        recordings += [Recording(spec.name, arguments, text, step=step) for arguments in allowed]
        sources[step] = frozenset(steps[label] for label, _ in references)
        responses[call["label"]] = parse_response(text)
        steps[call["label"]] = step
    tools = tuple(specs[name] for name in row["tools"])
    return ReplayTask(str(row["id"]), row["input"].strip(), tools, tuple(recordings), sources)


def _resolve(
    arguments: Mapping[str, Any], references: Sequence[Reference], responses: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return every way to fill in the references of a call, the first item of a response first."""
    paths: dict[str, list[str]] = {}
    for label, path in references:
        paths.setdefault(label, []).append(path)
    options = [_find_options(responses[label], label, wanted) for label, wanted in paths.items()]
    ways: dict[str, dict[str, Any]] = {}
    for chosen in itertools.islice(itertools.product(*options), _MAX_WAYS):
        values = {reference: value for option in chosen for reference, value in option.items()}
        way = fill_references(arguments, values)
        ways.setdefault(json.dumps(way), way)
    return list(ways.values())


def _find_options(response: Any, label: str, paths: Sequence[str]) -> list[dict[Reference, Any]]:
    """Return the values that the references to one response may have together: if possible, of one item."""
    found = [{(label, path): get_plain(node, path) for path in paths} for node in iter_nested(response)]
    together = [option for option in found if None not in option.values()]
    if together:
        return together
    alone = [
        [{reference: option[reference]} for option in found if option[reference] is not None]
        for reference in ((label, path) for path in paths)
    ]
    if not all(alone):
        raise _Unsolvable(f"what {label} refers to was cut away")
    mixed = itertools.islice(itertools.product(*alone), _MAX_WAYS)
    return [{key: value for part in parts for key, value in part.items()} for parts in mixed]


def _fit(arguments: dict[str, Any], spec: ToolSpec) -> dict[str, Any]:
    """Write a number as text, or the other way round, where the tool wants that."""
    fitted = dict(arguments)
    for name, value in arguments.items():
        kind = spec.parameters["properties"].get(name, {}).get("type")
        if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
            fitted[name] = str(value)
        elif kind == "number" and isinstance(value, str) and _NUMBER.fullmatch(value):
            fitted[name] = json.loads(value.lstrip("0") or "0") if "." not in value else float(value)
    return fitted
