"""Taskmaster-4: coffee orders, `{"utterances"}` in JSON Lines, with the API calls that each utterance led to.

Source: google-research-datasets/Taskmaster, TM-4-2024.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.explain import ExplainedDialogue
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.data.split import called_tools
from alpha_umi.training.data.tool_specs import draw_tools, fit_arguments, parse_tools
from alpha_umi.yaml_files import read_yaml

_N_DISTRACTORS = (1, 4)
_QUOTED_TWICE = re.compile(r'""([^",:]+)""')


class _Malformed(ValueError):
    """A request or response that cannot be read."""


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per order."""
    specs = {tool.name: tool for tool in parse_tools(read_yaml(Path(__file__).with_suffix(".yaml")).values)}
    for where, record in read_records(location, tally.skip):
        with tally.reading(where):
            turns = _read_turns(record["utterances"], specs, tally)
            rng = random.Random(f"{seed} {record['id']}".encode("utf-8", "replace"))
            tools = draw_tools(specs, called_tools(Trajectory((), turns)), _N_DISTRACTORS, rng)
            name = f"taskmaster4-{record['id']}"
            yield Example(name, "taskmaster4", Trajectory(tools, turns), where, task_id=str(record["id"]))


def _read_turns(utterances: Sequence[Record], specs: Mapping[str, ToolSpec], tally: Tally) -> tuple[Turn, ...]:
    dialogue = ExplainedDialogue()
    for utterance in utterances:
        if utterance["speaker"] == "user":
            dialogue.ask(utterance["text"].strip())
        if not dialogue.turns:
            continue
        try:
            calls = list(_read_calls(utterance.get("annotations") or (), specs, tally))
        except _Malformed as error:
            tally.repair(f"dialogue cut before {error}")
            break
        for call in calls:
            dialogue.call(*call)
        if utterance["speaker"] != "user":
            dialogue.answer(utterance["text"].strip())
    return dialogue.turns


def _read_calls(
    annotations: Sequence[Record], specs: Mapping[str, ToolSpec], tally: Tally
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield name, arguments and result of each call of an utterance.

    It has ``api_call``, ``request`` (not for all), ``api_response`` and ``response``.
    """
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
            yield name, arguments, json.dumps(_parse(text, tally), ensure_ascii=False)


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
