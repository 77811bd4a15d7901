"""ComplexFuncBench: a first line `{"specs"}`, then tasks whose `$var1.path$` references are resolved from responses.

The tasks have neither rationales nor answers: rationales are templated, the trajectory ends with the decision to
answer. Calls in a row that do not need each other's results are made in one step. Only few sequences of tools occur,
so a sequence stays in one split.

Source: the task files of the package nestful-wrapper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.replay.complexfuncbench import (
    Reference,
    fill_references,
    find_references,
    get_plain,
    iter_nested,
    parse_reference,
    parse_response,
    render_response,
)
from alpha_umi.tools.spec import ToolSpec, clean_name
from alpha_umi.training.data.clean import READY, describe_calls
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.files import Record, blame, read_records
from alpha_umi.training.data.tool_specs import fit_arguments, make_schema, make_spec, parse_type

_MAX_PARALLEL = 4
_MIN_TELLING_CHARS = 4


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per task, cut before the first call whose references its responses do not answer."""
    records = read_records(location, tally.skip)
    where, first = next(records, (location, {}))
    with blame(where):
        if not isinstance(first.get("specs"), list):
            raise TrajectoryError("the first line must hold the tools as 'specs'.")
        specs = {spec["name"]: _make_tool(spec) for spec in first["specs"]}
    for where, record in records:
        with tally.reading(where):
            name = f"complexfuncbench-{record['id']}"
            tools = tuple(specs[name] for name in record["tools"])
            sequence = ">".join(call["name"] for call in record["calls"])
            calls = list(_resolve_calls(record, specs, tally))
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
    record: Record, specs: Mapping[str, ToolSpec], tally: Tally
) -> Iterator[tuple[Call, frozenset[str]]]:
    """Yield each call with the ids of the calls whose results it uses."""
    texts: dict[str, str] = {}
    responses: dict[str, Any] = {}
    ids: dict[str, str] = {}
    for i, raw in enumerate(record["calls"], 1):
        values = {reference: _look_up(reference, responses) for reference in find_references(raw["arguments"])}
        if None in values.values():
            tally.repair("trajectory cut before a reference that the shortened response does not answer")
            return
        arguments = fit_arguments(fill_references(raw["arguments"], values), specs[raw["name"]])
        label, text = raw["label"], render_response(raw["response"])
        needs = frozenset(ids[needed] for needed in _find_needs(raw["arguments"], record["input"], texts))
        yield Call(f"call_{i}", clean_name(raw["name"]), arguments, Observation(text)), needs
        texts[label], responses[label], ids[label] = text, parse_response(text), f"call_{i}"


def _look_up(reference: Reference, responses: Mapping[str, Any]) -> Any:
    """Return the first value that a reference may have; None if the response does not hold it."""
    label, path = reference
    nodes = iter_nested(responses[label]) if label in responses else ()
    return next((value for node in nodes if (value := get_plain(node, path)) is not None), None)


def _find_needs(arguments: Any, instruction: str, texts: Mapping[str, str]) -> Iterator[str]:
    """Yield the labels of calls that are referred to, or whose response is where a value comes from."""
    for value in (node for node in iter_nested(arguments) if not isinstance(node, dict | list)):
        if reference := parse_reference(value):
            yield reference[0]
        elif len(str(value)) >= _MIN_TELLING_CHARS and str(value) not in instruction:
            yield from (label for label, text in texts.items() if str(value) in text)


def _make_steps(calls: Iterable[tuple[Call, frozenset[str]]]) -> list[Step]:
    """Put calls in a row into one step as long as none needs the result of another in it."""
    groups: list[list[Call]] = []
    for call, needs in calls:
        if groups and len(groups[-1]) < _MAX_PARALLEL and needs.isdisjoint(other.id for other in groups[-1]):
            groups[-1].append(call)
        else:
            groups.append([call])
    return [Step(describe_calls(group), "caller", tuple(group)) for group in groups]
