"""Other names for tools and arguments, so that a model reads what it is offered instead of knowing it by heart.

Within one trajectory a name becomes the same other name everywhere: in schemas, calls, rationales and error messages.
Names are written in another style (``get_weather`` → ``weather.get``), or masked (``func_3``) where a description says
what is meant. A name that the user or a result speaks of is kept.

Source: Hammer, arXiv 2410.04587 (names are masked there).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.arguments import render_violations
from alpha_umi.tools.spec.schema import map_schema
from alpha_umi.tools.spec.step_bound import list_children, list_in_place
from alpha_umi.training.data.clean import describe_calls

Style: TypeAlias = Callable[[list[str]], str]

_MASKED_SHARE = 0.25
_MAX_NAME_CHARS = 64
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_PREFIXES = ("api_", "my_", "v2_", "svc.", "tools/", "mcp__", "core:", "app-")
# Names are also told by these keywords, or tied to a place that this file does not know.
_TIED = frozenset(
    {"patternProperties", "propertyNames", "dependentRequired", "dependentSchemas", "dependencies", "discriminator"}
    | {"$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"}
)
_DATA = ("const", "enum", "default", "example", "examples")
_REFERENCE = re.compile(r"#|#/(\$defs|definitions)/([^/~%]+)")


def vary_names(trajectory: Trajectory, rng: random.Random) -> Trajectory:
    """Return the trajectory with other names; a call that fitted its tool's schema fits the new one.

    Example:
        ``I call get_weather.`` becomes ``I call weather.get.``, and its argument ``city`` perhaps ``p_city``.
    """
    fixed, arguments = "\n".join(_list_fixed_texts(trajectory)), "\n".join(_list_arguments(trajectory))
    tools = [tool.name for tool in trajectory.tools]
    spoken = {found[0] for found in _compile(tools, ()).finditer(f"{fixed}\n{arguments}") if not _is_word(found[0])}
    described = {tool.name for tool in trajectory.tools if tool.description.strip()}
    new_tools = _draw_names([name for name in tools if name not in spoken], described, _TOOL_STYLES, "func", tools, rng)

    properties = _list_properties(trajectory.tools)
    kept = {name for name in properties if re.search(rf"(?<!\w){re.escape(name)}=", f"{fixed}\n{arguments}")}
    kept |= {name for tool in trajectory.tools for name in _list_tied(tool)}
    taken = {*properties, *re.findall(r'"([^"\\]*)": ', arguments)}
    described = {name for name, is_described in properties.items() if is_described}
    names = [name for name in properties if name not in kept]
    new_arguments = _draw_names(names, described, _ARGUMENT_STYLES, "arg", taken, rng)
    return _Renamer(trajectory.tools, new_tools, new_arguments).rename(trajectory)


def _list_fixed_texts(trajectory: Trajectory) -> Iterator[str]:
    """Yield the texts that stay as they are."""
    yield trajectory.system
    for turn in trajectory.turns:
        yield turn.instruction
        for step in turn.steps:
            yield step.answer or ""
            yield from (call.observation.text for call in step.calls if call.observation and not _is_error(call))


def _list_arguments(trajectory: Trajectory) -> Iterator[str]:
    for turn in trajectory.turns:
        for step in turn.steps:
            yield from (json.dumps(call.arguments, ensure_ascii=False) for call in step.calls)


def _is_error(call: Call) -> bool:
    return call.observation is not None and call.observation.is_error


def _list_properties(tools: Iterable[ToolSpec]) -> dict[str, bool]:
    """Return the names of all arguments, top-level and nested, and whether each is described wherever it occurs."""
    found: dict[str, bool] = {}

    def look(schema: dict[str, Any]) -> dict[str, Any]:
        for name, part in _get_properties(schema).items():
            is_described = isinstance(part, Mapping) and bool(part.get("description"))
            found[name] = is_described and found.get(name, True)
        return schema

    for tool in tools:
        map_schema(tool.parameters, look)
    return found


def _list_tied(tool: ToolSpec) -> Collection[str]:
    """Return the names of a tool's arguments if its schema says more about names than can be followed here."""
    is_tied = False

    def look(schema: dict[str, Any]) -> dict[str, Any]:
        nonlocal is_tied
        reference = schema.get("$ref")
        is_tied |= not _TIED.isdisjoint(schema)
        is_tied |= isinstance(reference, str) and not _REFERENCE.fullmatch(reference)
        is_tied |= any("{" in json.dumps(schema[key]).replace("{}", "") for key in _DATA if key in schema)
        return schema

    map_schema(tool.parameters, look)
    return _list_properties([tool]) if is_tied else ()


def _get_properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _get_required(schema: Mapping[str, Any]) -> list[str]:
    required = schema.get("required")
    return required if isinstance(required, list) else []


def _draw_names(
    names: Sequence[str],
    described: AbstractSet[str],
    styles: Sequence[Style],
    mask: str,
    taken: Iterable[str],
    rng: random.Random,
) -> dict[str, str]:
    """Return the new name of each name that gets one; no new name is among those `taken`."""
    used, new = set(taken), dict[str, str]()
    fitting = [style for style in styles if 2 * sum(_restyle(name, style) != name for name in names) >= len(names)]
    style, is_masked = rng.choice(fitting or styles), rng.random() < _MASKED_SHARE
    pattern = rng.choice((f"{mask}_{{}}", f"{mask}{{}}", f"{mask[0]}{{}}"))
    numbers = rng.sample(range(1, 2 * len(names) + 9), len(names))
    for name, number in zip(names, numbers, strict=True):
        other = pattern.format(number) if is_masked and name in described else _restyle(name, style)
        if other not in used:
            used.add(other)
            new[name] = other
    return new


def _restyle(name: str, style: Style) -> str:
    words = [word.lower() for word in _WORD.findall(name)]
    other = style(words) if words else name
    return other if len(other) <= _MAX_NAME_CHARS else name


def _write_camel(words: list[str]) -> str:
    return words[0] + "".join(word.capitalize() for word in words[1:])


def _write_pascal(words: list[str]) -> str:
    return "".join(word.capitalize() for word in words)


def _write_dotted(words: list[str]) -> str:
    """Put the thing before what is done to it: ``order.get``."""
    return f"{words[-1]}.{'_'.join(words[:-1])}" if len(words) > 1 else words[0]


def _abbreviate(words: list[str]) -> str:
    return "_".join(word[0] + re.sub("[aeiou]", "", word[1:])[:3] if len(word) > 4 else word for word in words)


def _wrap(before: str, after: str, words: list[str]) -> str:
    return f"{before}{'_'.join(words)}{after}"


_PLAIN_STYLES: tuple[Style, ...] = ("_".join, "-".join, _write_camel, _write_pascal, _abbreviate)
_TOOL_STYLES: tuple[Style, ...] = (*_PLAIN_STYLES, _write_dotted, *(partial(_wrap, prefix, "") for prefix in _PREFIXES))
_ARGUMENT_STYLES: tuple[Style, ...] = (
    *_PLAIN_STYLES,
    *(partial(_wrap, *around) for around in (("p_", ""), ("in_", ""), ("the_", ""), ("", "_value"), ("", "_param"))),
)


def _compile(tools: Iterable[str], arguments: Iterable[str], *, in_documents: bool = False) -> re.Pattern[str]:
    """Return what finds mentions of names, and nothing else, in sentences.

    A tool whose name is an ordinary word is meant only next to words of calling.
    """
    known = sorted(tools, key=len, reverse=True)
    called = f"(?:{_join(filter(_is_word, known))})"
    begins = "(?:" + "|".join(f"(?<={words})" for words in ("call ", "calls ", "calling ", "arguments of ", "`")) + ")"
    parts = [rf"(?<![\w.:/-])(?:{_join(name for name in known if not _is_word(name))})(?![\w:/-]|\.\w)"]
    parts += [rf"{begins}{called}(?![\w-])", rf"(?<![\w-]){called}(?=`? tool\b|`? function\b|\(| failed:)"]
    parts += [rf"(?<![\w.?&/-])(?P<argument>{_join(arguments)})(?==)"]
    if in_documents:
        telling = _join(name for name in arguments if not _is_word(name))
        parts += [rf"(?<![\w.:/-])(?P<documented>{telling})(?![\w:/-])"]
    return re.compile("|".join(parts))


def _is_word(name: str) -> bool:
    """Say whether a name may stand in a sentence that does not speak of it."""
    return name.isalpha() and (name.islower() or name.istitle())


def _join(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, names)) or "(?!)"


class _Renamer:
    """Writes new names for old ones."""

    def __init__(
        self, tools: Sequence[ToolSpec], new_tools: Mapping[str, str], new_arguments: Mapping[str, str]
    ) -> None:
        self._tools, self._arguments = new_tools, new_arguments
        self._mentions = _compile(new_tools, new_arguments)
        self._mentions_in_documents = _compile(new_tools, new_arguments, in_documents=True)
        self._old = {tool.name: tool for tool in tools}
        self._new = {tool.name: self._rename_tool(tool) for tool in tools}

    def rename(self, trajectory: Trajectory) -> Trajectory:
        turns = tuple(Turn(turn.instruction, tuple(map(self._rename_step, turn.steps))) for turn in trajectory.turns)
        return replace(trajectory, tools=tuple(self._new.values()), turns=turns)

    def _rename_tool(self, tool: ToolSpec) -> ToolSpec:
        description = self._rename_text(tool.description, self._mentions_in_documents)
        parameters = map_schema(tool.parameters, self._rename_schema)
        return replace(tool, name=self._tools.get(tool.name, tool.name), description=description, parameters=parameters)

    def _rename_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        renamed = dict(schema)
        if properties := _get_properties(schema):
            renamed["properties"] = {self._arguments.get(name, name): part for name, part in properties.items()}
        if required := _get_required(schema):
            renamed["required"] = [self._arguments.get(name, name) for name in required]
        if isinstance(text := schema.get("description"), str):
            renamed["description"] = self._rename_text(text, self._mentions_in_documents)
        return renamed

    def _rename_step(self, step: Step) -> Step:
        calls = tuple(map(self._rename_call, step.calls))
        old, new = (describe_calls(each).removeprefix("I ") if each else "" for each in (step.calls, calls))
        parts = step.rationale.split(old) if old else [step.rationale]
        rationale = new.join(self._rename_text(part, self._mentions) for part in parts)
        return replace(step, rationale=rationale, calls=calls)

    def _rename_call(self, call: Call) -> Call:
        old = self._old.get(call.name)
        arguments, observation = call.arguments, call.observation
        if old is None or isinstance(arguments, str):
            return call
        renamed = self._rename_value(arguments, [old.parameters], old.parameters)
        if observation and observation.is_error:
            text = self._rename_text(observation.text, self._mentions)
            if observation.text == render_violations(old, old.make_validator(), arguments):
                new = self._new[call.name]
                text = render_violations(new, new.make_validator(), renamed) or text
            observation = replace(observation, text=text)
        return replace(call, name=self._tools.get(call.name, call.name), arguments=renamed, observation=observation)

    def _rename_value(self, value: Any, schemas: Iterable[Any], root: Mapping[str, Any]) -> Any:
        """Rename the keys that the schemas of a value declare; any other key is data."""
        if not isinstance(value, dict | list):
            return value
        applied = _follow(schemas, root)
        inside: dict[Any, list[Any]] = {}
        for key, part in (child for schema in applied for child in list_children(schema, value)):
            inside.setdefault(key, []).append(part)
        if isinstance(value, list):
            return [self._rename_value(part, inside.get(i, ()), root) for i, part in enumerate(value)]
        declared = {name for schema in applied for name in (*_get_properties(schema), *_get_required(schema))}
        return {
            self._arguments.get(key, key) if key in declared else key: self._rename_value(
                part, inside.get(key, ()), root
            )
            for key, part in value.items()
        }

    def _rename_text(self, text: str, mentions: re.Pattern[str]) -> str:
        return mentions.sub(lambda found: (self._arguments if found.lastgroup else self._tools)[found[0]], text)


def _follow(schemas: Iterable[Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return all schemas that apply to the value to which these apply."""
    found: dict[int, Mapping[str, Any]] = {}
    pending = list(schemas)
    while pending:
        schema = pending.pop()
        if not isinstance(schema, Mapping) or id(schema) in found:
            continue
        found[id(schema)] = schema
        pending += list_in_place(schema)
        if match := _REFERENCE.fullmatch(str(schema.get("$ref", ""))):
            pending.append(root.get(match[1], {}).get(match[2]) if match[1] else root)
    return list(found.values())
