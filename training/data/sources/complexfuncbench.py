"""ComplexFuncBench: a first line `{"specs"}`, then tasks whose `$var1.path$` references are resolved from responses.

The tasks have neither rationales nor answers: rationales are templated, the trajectory ends with the decision to
answer. Calls in a row that do not need each other's results are made in one step. Only few sequences of tools occur,
so a sequence stays in one split.

Source: the task files of the package nestful-wrapper.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.base import Example, Tally
from alpha_umi.training.data.fields import clean_name, fit_value, make_schema, make_spec, parse_type
from alpha_umi.training.data.files import Record, blame, read_records
from alpha_umi.training.data.rationales import READY, describe_calls

_REFERENCE = re.compile(r"\$(\w+)((?:\.\w+)+)\$")
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],]', re.DOTALL)
_MAX_PARALLEL = 4
_MIN_TELLING_CHARS = 4


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per task, cut before the first call whose references its responses do not answer."""
    records = read_records(location)
    where, first = next(records, (location, {}))
    with blame(where):
        if not isinstance(first.get("specs"), list):
            raise TrajectoryError("the first line must hold the tools as 'specs'.")
        specs = {spec["name"]: _make_tool(spec) for spec in first["specs"]}
    for where, record in records:
        with blame(where):
            name = f"complexfuncbench-{record['id']}"
            tools = tuple(specs[name] for name in record["tools"])
            sequence = ">".join(call["name"] for call in record["calls"])
            calls = list(_resolve_calls(record, specs, tally, where))
            steps = _make_steps(calls)
            if len(calls) == len(record["calls"]):
                steps.append(Step(READY, "conclusion"))
            trajectory = Trajectory(tools, (Turn(record["input"].strip(), tuple(steps)),))
        yield Example(name, "complexfuncbench", trajectory, where, group=sequence)


def _make_tool(spec: Record) -> ToolSpec:
    properties = {}
    for name, value in spec["parameters"].items():
        kept = {key: value[key] for key in ("enum", "description") if value.get(key)}
        properties[name] = parse_type(value.get("type")) | kept
    required = [name for name, value in spec["parameters"].items() if value.get("required")]
    return make_spec(spec["name"], spec.get("description"), make_schema(properties, required))


def _resolve_calls(
    record: Record, specs: Mapping[str, ToolSpec], tally: Tally, where: str
) -> Iterator[tuple[Call, frozenset[str]]]:
    """Yield each call with the ids of the calls whose results it uses."""
    responses: dict[str, _Response] = {}
    for i, raw in enumerate(record["calls"], 1):
        schema = specs[raw["name"]].parameters["properties"]
        try:
            resolved = _resolve(raw["arguments"], responses)
        except LookupError:
            tally.repair("trajectory cut before a reference that the shortened response does not answer", where)
            return
        arguments = {name: fit_value(value, schema.get(name)) for name, value in resolved.items()}
        response = _Response(f"call_{i}", raw["response"])
        call = Call(response.call_id, clean_name(raw["name"]), arguments, Observation(response.text))
        yield call, frozenset(_find_needs(raw["arguments"], record["input"], responses))
        responses[raw["label"]] = response


class _Response:
    """A response, of which longer ones were cut off after 1,500 characters."""

    def __init__(self, call_id: str, raw: Any) -> None:
        self.call_id = call_id
        self.text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)
        self.value = _parse_cut_json(self.text)


def _resolve(value: Any, responses: Mapping[str, _Response]) -> Any:
    """Replace every reference in `value`.

    Raises:
        LookupError: If a response does not hold what is referred to.
    """
    if isinstance(value, dict):
        return {key: _resolve(item, responses) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, responses) for item in value]
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    path = match[2].lstrip(".").split(".")
    for start in _walk(responses[match[1]].value):
        with suppress(LookupError, TypeError):
            return _follow(start, path)
    raise LookupError(value)


def _follow(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value[key]
    if isinstance(value, dict | list):
        raise LookupError(path)
    return value


def _walk(value: Any) -> Iterator[Any]:
    """Yield `value` and everything inside, outermost first: references leave out list positions and wrappers."""
    level = [value]
    while level:
        yield from level
        nested = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level = [child for children in nested for child in children]


def _find_needs(arguments: Any, instruction: str, responses: Mapping[str, _Response]) -> Iterator[str]:
    """Yield the ids of calls that are referred to, or whose response is where a value comes from."""
    for value in map(str, (node for node in _walk(arguments) if not isinstance(node, dict | list))):
        match = _REFERENCE.fullmatch(value)
        if match is not None:
            yield responses[match[1]].call_id
        elif len(value) >= _MIN_TELLING_CHARS and value not in instruction:
            yield from (response.call_id for response in responses.values() if value in response.text)


def _make_steps(calls: Iterable[tuple[Call, frozenset[str]]]) -> list[Step]:
    """Put calls in a row into one step as long as none needs the result of another in it."""
    groups: list[list[Call]] = []
    for call, needs in calls:
        if groups and len(groups[-1]) < _MAX_PARALLEL and needs.isdisjoint(other.id for other in groups[-1]):
            groups[-1].append(call)
        else:
            groups.append([call])
    return [Step(describe_calls(group), "caller", tuple(group)) for group in groups]


def _parse_cut_json(text: str) -> Any:
    """Parse JSON that may have been cut off: what comes before the last comma that was reached is complete."""
    with suppress(json.JSONDecodeError):
        return json.loads(text)
    closers: list[str] = []
    complete = "null"
    for match in _JSON_TOKEN.finditer(text):
        token = match[0]
        if token in "{[":
            closers.append("}" if token == "{" else "]")
        elif token in "}]":
            closers = closers[:-1]
        elif token == ",":
            complete = text[: match.start()] + "".join(reversed(closers))
    try:
        return json.loads(complete)
    except json.JSONDecodeError:
        return None
