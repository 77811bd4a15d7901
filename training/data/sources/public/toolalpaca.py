"""ToolAlpaca: a JSON array of APIs, each with its OpenAPI document and instances or golden answers.

Instances (`train_data.json`) hold whole runs. Golden answers hold right calls without results, so that such
a trajectory has templated rationales, no observations, and no answer.

Source: tangqiaoyu/ToolAlpaca: README.md (fields), build_dataset.py (which runs count), agent/custom_parser.py (steps).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.openapi.document import Document
from alpha_umi.tools.openapi.operations import Security, read_operations
from alpha_umi.tools.spec import ToolSpec, clean_name
from alpha_umi.training.data.clean import describe_calls, shorten_rationale
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.data.tool_specs import fit_arguments, make_schema, make_spec, parse_arguments

_ASK_USER = ToolSpec(
    "getDetails",
    "Ask the user for details that are missing from the request.",
    make_schema({"Question": {"type": "string", "description": "What to ask."}}, ["Question"]),
)
_ACTION = re.compile(r"(?:ASSISTANT )?Action\s*:", re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:ASSISTANT )?Thought\s*:\s*", re.IGNORECASE)
_FAILED = re.compile(r"Status Code: (?!2)\d{3}|Invalid JSON format|.{0,80}is not a valid action")
_HINT = "\nHint: "
_MAX_STEPS = 5
_BASE_URL = "http://localhost"


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per usable instance, or per golden answer where an API has no instances."""
    for where, api in read_records(location, tally.skip):
        with tally.reading(where):
            if "Documentation" not in api or "Function_Projection" not in api:
                raise TrajectoryError("no 'Documentation' and 'Function_Projection'; is this ToolAlpaca data?")
            name = clean_name(api["Name"])
            tools = {tool.name: tool for tool in _make_tools(api)}
            runs = list(_read_runs(api, tools, tally))
            for number, (instruction, steps) in enumerate(runs):
                if steps:
                    trajectory = Trajectory(tuple(tools.values()), (Turn(instruction, steps),))
                    yield Example(f"toolalpaca-{name}-{number}", "toolalpaca", trajectory, where)


def _read_runs(api: Record, tools: Mapping[str, ToolSpec], tally: Tally) -> Iterator[tuple[str, tuple[Step, ...]]]:
    """Yield instruction and steps of every run; no steps where it was dropped, so that numbers stay stable."""
    if instances := api.get("Instances"):
        for instance in instances:
            if not isinstance(instance, dict):
                tally.drop("instance that is no run")
                yield "", ()
                continue
            instruction = str(instance.get("input", "")).rsplit(_HINT, 1)[0].strip()
            yield instruction, _read_instance(instance, tools, tally)
        return
    for instruction, golden in zip(api.get("Instructions", ()), api.get("Golden_Answers", ()), strict=False):
        yield str(instruction).strip(), _read_golden(golden, tools)


def _read_instance(instance: Record, tools: Mapping[str, ToolSpec], tally: Tally) -> tuple[Step, ...]:
    raw_steps = instance.get("intermediate_steps") or []
    if not raw_steps or len(raw_steps) > _MAX_STEPS or not str(instance.get("output") or "").strip():
        tally.drop("no steps, no answer, or more than 5 steps")
        return ()
    if all(step[0][0] == _ASK_USER.name for step in raw_steps):
        tally.drop("only asks the user")
        return ()
    steps = []
    for i, ((name, text, written), observation) in enumerate(raw_steps, 1):
        observed = Observation(str(observation), is_error=bool(_FAILED.match(str(observation))))
        call = replace(_make_call(i, name, text, tools), observation=observed)
        rationale = shorten_rationale(_LABEL.sub("", _ACTION.split(written)[0]).strip(), call.name)
        steps.append(Step(rationale, "caller", (call,)))
    final_thought = shorten_rationale(_LABEL.sub("", str(instance.get("Final Thought") or "")).strip())
    answer = str(instance["output"]).strip()
    return (*steps, Step(final_thought, "conclusion", answer=answer))


def _read_golden(golden: Sequence[Record], tools: Mapping[str, ToolSpec]) -> tuple[Step, ...]:
    calls = [_make_call(i, raw["Action"], raw["Action_Input"], tools) for i, raw in enumerate(golden, 1)]
    return tuple(Step(describe_calls([call]), "caller", (call,)) for call in calls)


def _make_call(number: int, name: str, text: Any, tools: Mapping[str, ToolSpec]) -> Call:
    name, arguments = clean_name(name), parse_arguments(text)
    return Call(f"call_{number}", name, str(text) if arguments is None else fit_arguments(arguments, tools.get(name)))


def _make_tools(api: Record) -> Iterator[ToolSpec]:
    """Yield a specification per function, with the arguments that the OpenAPI document gives its operation."""
    try:
        document = Document(json.loads(api["Documentation"]), str(api["Name"]))
    except (json.JSONDecodeError, TypeError) as error:
        raise TrajectoryError(f"'Documentation' is not JSON text ({error}).") from error
    operations, _ = read_operations(document, Security(document, {}), _BASE_URL)
    specs = {(operation.url.removeprefix(_BASE_URL), operation.method): operation.spec for operation in operations}
    for name, (path, method) in api["Function_Projection"].items():
        spec = specs.get((path, method.upper()), ToolSpec(clean_name(name)))
        description = spec.description or api.get("Function_Description", {}).get(name, "").split("\nParameters:")[0]
        yield make_spec(name, description, spec.parameters)
    yield _ASK_USER
