"""STAR: dialogues of people who play user and assistant, `{"events"}` in JSON Lines; the first line is `{"apis"}`.

A query becomes a call, the item that it found the observation, and what the assistant (the "wizard") says an answer, so
that a question for a missing value is an answer without a call. Constraints that are no equality are written as texts
such as ``>= 3``. A dialogue ends before a query that its API does not allow. Other APIs are offered as well.

Source: RasaHQ/STAR.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.explain import NO_TOOL, ExplainedDialogue, explain_refusal
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.data.split import called_tools
from alpha_umi.training.data.tool_specs import draw_tools, fit_value, make_schema, make_spec
from alpha_umi.yaml_files import read_yaml

_MAX_OPTIONS = 8
_N_DISTRACTORS = (2, 8)
_EXPRESSION = re.compile(r"api\.(\w+)\((.*)\)", re.DOTALL)
_SIGNS = {"is_at_least": ">=", "is_at_most": "<=", "is_less_than": "<", "is_greater_than": ">", "is_not": "!="}
_ASKING = re.compile(r"(?:[a-z]+_)?ask_(?!confirm|continue|question$|more_|search_)(\w+)")


class _RefusedQuery(ValueError):
    """A query that cannot be written as a call."""


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per dialogue in which something is looked up or done."""
    apis: _Apis | None = None
    for where, record in read_records(location, tally.skip):
        with tally.reading(where):
            if apis is None:
                apis = _Apis(record)
                continue
            turns = _read_turns(record["events"], apis, tally)
            if not any(step.calls for turn in turns for step in turn.steps):
                tally.drop("nothing is looked up or done")
                continue
            rng = random.Random(f"{seed} {record['id']}".encode("utf-8", "replace"))
            name = f"star-{record['id']}"
            tools = draw_tools(apis.specs, called_tools(Trajectory((), turns)), _N_DISTRACTORS, rng)
            yield Example(name, "star", Trajectory(tools, turns), where, task_id=str(record["id"]), group=name)


def _read_turns(events: list[Record], apis: _Apis, tally: Tally) -> tuple[Turn, ...]:
    dialogue = ExplainedDialogue()
    request: str | None = None
    query: Record = {}
    for event in events:
        if "user" in event:
            request = event["user"].strip()
            dialogue.ask(request)
        elif request is None:
            continue
        elif "query" in event:
            query = event
        elif "item" in event:
            try:
                arguments = apis.read_arguments(query)
            except _RefusedQuery as error:
                tally.repair(f"dialogue cut before a query {error}")
                break
            dialogue.call(query["query"], arguments, _write_item(event))
        elif answer := event["wizard"].strip():
            dialogue.answer(answer, _explain_answer(event.get("label") or "", request))
    return dialogue.turns


def _explain_answer(label: str, request: str) -> str:
    """Say why the assistant answers at once: what it was told to say is labelled, ``ask_name``."""
    if label == "out_of_scope":
        return explain_refusal(request)
    asking = _ASKING.fullmatch(label)
    return f"The request does not say the {asking[1].replace('_', ' ')}." if asking else NO_TOOL


def _write_item(event: Record) -> str:
    """Write what a query has found: an item, and how many there are where that was counted."""
    item = {key: value for key, value in (event["item"] or {}).items() if key != "APIName"}
    count = event.get("n", -1)
    return json.dumps(({"count": count} if count >= 0 else {}) | item, ensure_ascii=False)


class _Apis:
    """What can be queried, and how."""

    def __init__(self, record: Record) -> None:
        if "apis" not in record:
            raise TrajectoryError("the first line has no 'apis'; STAR's file begins with the definitions of its APIs.")
        known = read_yaml(Path(__file__).with_suffix(".yaml")).values
        definitions = {_name_api(api, known["names"]): api for api in record["apis"]}
        self._fields = {name: {each["Name"]: each for each in api["input"]} for name, api in definitions.items()}
        self.specs = {
            name: _make_tool(name, known["descriptions"].get(name, ""), api) for name, api in definitions.items()
        }

    def read_arguments(self, query: Record) -> dict[str, Any]:
        """Return the arguments of a query.

        Raises:
            _RefusedQuery: If the API does not take them; the message says why.
        """
        fields = self._fields.get(query.get("query", ""))
        if fields is None:
            raise _RefusedQuery("of an unknown API")
        arguments: dict[str, Any] = {}
        for slot, text in (pair for constraint in query["constraints"] for pair in constraint.items()):
            value = _read_value(text, fields.get(slot, {}))
            if value is not None:
                arguments[slot] = _combine(arguments[slot], value) if slot in arguments else value
        if not self.specs[query["query"]].make_validator().is_valid(arguments):
            raise _RefusedQuery("that its API does not allow")
        return arguments


def _name_api(api: Mapping[str, Any], names: Mapping[str, str]) -> str:
    name = str(api["function"])
    if name == "generic_sample":
        name = "weather" if api["db"] == "weather" else f"{api['db']}_search"
    return names.get(name, name)


def _make_tool(name: str, description: str, api: Mapping[str, Any]) -> ToolSpec:
    required = api["required"]
    properties = {field["Name"]: _make_property(field, field["Name"] in required) for field in api["input"]}
    schema = make_schema(properties, required) | {"additionalProperties": False}
    return make_spec(name, description, schema)


def _make_property(field: Mapping[str, Any], is_required: bool) -> dict[str, Any]:
    description, options = field["ReadableName"], field.get("Categories", [])
    listed = f", one of: {', '.join(options)}" if len(options) <= _MAX_OPTIONS else f", as in: {', '.join(options[:3])}"
    kind = field["Type"]
    if kind == "Boolean":
        return {"type": "boolean", "description": description}
    if kind == "CategoricalMultiple":
        return {"type": "array", "items": {"type": "string"}, "description": f"{description}{listed}"}
    if kind == "Integer" and is_required:
        return {"type": "integer", "description": description}
    if kind == "Integer":
        return {"type": ["integer", "string"], "description": f"{description}, or a bound such as >= 3"}
    if is_required and 0 < len(options) <= _MAX_OPTIONS:
        return {"type": "string", "enum": options, "description": description}
    return {"type": "string", "description": f"{description}{listed if options else ''}"}


def _read_value(text: str, field: Mapping[str, Any]) -> Any:
    """Return the value of one constraint; None if it restricts nothing.

    Example:
        >>> _read_value('api.is_at_least(3)', {"Type": "Integer"})
        '>= 3'
    """
    match = _EXPRESSION.fullmatch(text.strip())
    operator, raw = (match[1], match[2]) if match else ("is_equal_to", text)
    value = _parse_value(raw)
    if operator in _SIGNS:
        return f"{_SIGNS[operator]} {value}"
    if operator == "contains":
        return [value]
    if operator == "is_one_of" and isinstance(value, list):
        return None if set(field.get("Categories", ())) <= set(value) else " or ".join(map(str, value))
    if operator != "is_equal_to":
        raise _RefusedQuery(f"with {operator}")
    kind = {"Integer": "integer", "Boolean": "boolean", "CategoricalMultiple": "array"}.get(field.get("Type", ""))
    if kind == "array":
        return value if isinstance(value, list) or value is None else [value]
    return fit_value(value, {"type": kind or "string"})


def _parse_value(raw: str) -> Any:
    try:
        value = json.loads({"True": "true", "False": "false"}.get(raw, raw))
    except json.JSONDecodeError:
        value = raw
    return value.strip() if isinstance(value, str) else value


def _combine(one: Any, two: Any) -> Any:
    """Return the value of two constraints on one slot: two bounds, or two entries of a list."""
    if one == two:
        return one
    if isinstance(one, list) and isinstance(two, list):
        return [*one, *two]
    if all(isinstance(value, str) and value.split(" ")[0] in _SIGNS.values() for value in (one, two)):
        return f"{one} and {two}"
    raise _RefusedQuery("with two values for one slot")
