"""Taskmaster-4: coffee orders, `{"utterances"}` in JSON Lines, with the API calls that each utterance led to.

Source: google-research-datasets/Taskmaster, TM-4-2024.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.explain import DONE, NO_TOOL, explain_calls
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.data.split import called_tools
from alpha_umi.training.data.tool_specs import fit_arguments, make_schema, make_spec

_N_DISTRACTORS = (1, 4)
_QUOTED_TWICE = re.compile(r'""([^",:]+)""')


def _describe(text: str, kind: str = "string", **items: Any) -> dict[str, Any]:
    return {"type": kind, "description": text, **items}


_CHOICE = make_schema({"attribute_id": _describe("Which attribute."), "option": _describe("What is chosen.")}, ())
_CHOICES = _describe("Choices, such as size or milk.", "array", items=_CHOICE)
_ADDONS = _describe("Things that are added.", "array", items={"type": "object"})
_TOOLS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "get_menu_items": (
        "Find drinks and food on the menu.",
        {
            "query": _describe("What is looked for."),
            "fields": _describe("What to tell about each.", "array", items={"type": "string"}),
        },
        ("query",),
    ),
    "get_addons": (
        "Find what can be chosen for an item or for the order, such as milk, size or syrup.",
        {
            "query": _describe("What is looked for."),
            "menu_item_id": _describe("Item on the menu."),
            "scope": _describe("What the choice is about, if not an item."),
        },
        ("query",),
    ),
    "add_order_item": (
        "Put an item of the menu on an order; without an order a new one is begun.",
        {
            "menu_item_id": _describe("Item on the menu."),
            "quantity": _describe("How many.", "integer"),
            "attributes": _CHOICES,
            "addons": _ADDONS,
            "notes": _describe("A wish in words, or whom it is for."),
            "order_id": _describe("The order, if there is one."),
        },
        ("menu_item_id", "quantity"),
    ),
    "update_order_item": (
        "Change an item on an order.",
        {"order_item_id": _describe("Item on the order."), "attributes": _CHOICES, "addons": _ADDONS},
        ("order_item_id",),
    ),
    "update_order": (
        "Change an order as a whole, such as whether it is eaten here.",
        {"order_id": _describe("The order."), "attributes": _CHOICES},
        ("order_id",),
    ),
    "get_order_details": ("Show what is on an order.", {"order_id": _describe("The order.")}, ("order_id",)),
    "finish_order": ("Send an order off to be made.", {"order_id": _describe("The order.")}, ("order_id",)),
    "show_menu": ("Show the menu to the customer.", {}, ()),
}


class _Malformed(ValueError):
    """A request or response that cannot be read."""


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per order."""
    specs = {
        name: make_spec(name, text, make_schema(properties, required))
        for name, (text, properties, required) in _TOOLS.items()
    }
    for where, record in read_records(location, tally.skip):
        with tally.reading(where):
            turns = _read_turns(record["utterances"], specs, tally)
            used = called_tools(Trajectory((), turns))
            rng = random.Random(f"{seed} {record['id']}".encode("utf-8", "replace"))
            others = [name for name in specs if name not in used]
            chosen = [*sorted(used), *rng.sample(others, min(rng.randint(*_N_DISTRACTORS), len(others)))]
            tools = tuple(specs[name] for name in rng.sample(chosen, len(chosen)))
            name = f"taskmaster4-{record['id']}"
            yield Example(name, "taskmaster4", Trajectory(tools, turns), where, task_id=str(record["id"]))


def _read_turns(utterances: Sequence[Record], specs: dict[str, ToolSpec], tally: Tally) -> tuple[Turn, ...]:
    turns: list[tuple[str, list[Step]]] = []
    n_calls = 0
    for utterance in utterances:
        if utterance["speaker"] == "user":
            turns.append((utterance["text"].strip(), []))
        if not turns:
            continue
        request, steps = turns[-1]
        try:
            calls = list(_read_calls(utterance.get("annotations") or (), specs, n_calls, tally))
        except _Malformed as error:
            tally.repair(f"dialogue cut before {error}")
            break
        n_calls += len(calls)
        for call in calls:
            results = [call.observation.text for step in steps for call in step.calls if call.observation]
            steps.append(Step(explain_calls([call], request, results, number=len(steps) + 1), "caller", (call,)))
        if utterance["speaker"] != "user":
            steps.append(Step(DONE if steps else NO_TOOL, "conclusion", answer=utterance["text"].strip()))
    return tuple(Turn(instruction, tuple(steps)) for instruction, steps in turns)


def _read_calls(
    annotations: Sequence[Record], specs: dict[str, ToolSpec], n_calls: int, tally: Tally
) -> Iterator[Call]:
    """Yield the calls of one utterance: ``api_call``, ``request`` (not for all), ``api_response``, ``response``."""
    name, arguments = "", dict[str, Any]()
    for annotation in annotations:
        kind, text = annotation["k"], annotation["v"]
        if kind == "api_call":
            name, arguments = text, {}
        elif kind == "request":
            arguments = fit_arguments(_parse(text, tally), specs.get(name))
        elif kind == "response":
            if name not in specs or not specs[name].make_validator().is_valid(arguments):
                raise _Malformed("a call that its API does not allow")
            n_calls += 1
            response = json.dumps(_parse(text, tally), ensure_ascii=False)
            yield Call(f"call_{n_calls}", name, arguments, Observation(response))


def _parse(text: str, tally: Tally) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        _Malformed: If it is none, even after values that are quoted twice are repaired.
    """
    repaired = _QUOTED_TWICE.sub(r'"\1"', text)
    try:
        value = json.loads(repaired)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise _Malformed("a request or response that is no JSON object")
    if repaired != text:
        tally.repair("value quoted twice")
    return value
