"""What every trajectory goes through, whatever its source: nothing that a role must not learn stays in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, cast

from alpha_umi.nodes.format.parsing import fold, parse_answer, parse_calls, parse_plan
from alpha_umi.nodes.format.reasoning import split_reasoning
from alpha_umi.nodes.format.render import render_calls
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.tools.observation import NO_OUTPUT, cut, make_storable
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Example, Tally

_NEXT = re.compile(r"(?<![^\W_])next([*_`]{0,4}[ \t]{0,4}):", re.IGNORECASE)

_MAX_RATIONALE_CHARS = 500
_SENTENCE = re.compile(r"(?<=[.!?:])\s+|\n+")
READY = "I have what I need to answer."


def clean(example: Example, tally: Tally, *, max_observation_chars: int) -> Trajectory | None:
    """Return the trajectory as it may be trained on, or None if nothing of it is left.

    Removed are failed calls that no tool could have answered, and what follows the end of a turn. Where such a call did
    not fail, later steps may rest on it, so the trajectory ends before it. Missing rationales are written from the
    calls, and observations are cut as `alpha_umi.tools.toolbox.Toolbox` cuts them.
    """
    tally.place = example.where
    if not example.trajectory.tools:
        tally.drop("no tools")
        return None
    tools: dict[str, ToolSpec] = {}
    for tool in example.trajectory.tools:
        tools.setdefault(tool.name, tool)
    if len(tools) < len(example.trajectory.tools):
        tally.repair("second tool of one name removed")
    turns = [
        replace(turn, steps=tuple(_clean_steps(turn.steps, tools, tally, max_observation_chars)))
        for turn in _remove_lost_calls(example.trajectory.turns, tools, tally)
    ]
    while turns and not turns[-1].steps:
        turns.pop()
    if not turns:
        tally.drop("no usable step")
        return None
    if not any(step.weight for turn in turns for step in turn.steps):
        tally.drop("every step has weight 0")
        return None
    if not all(turn.instruction.strip() for turn in turns):
        tally.drop("no instruction")
        return None
    return Trajectory(tuple(tools.values()), tuple(turns), example.trajectory.system)


def _clean_steps(steps: Sequence[Step], tools: Mapping[str, ToolSpec], tally: Tally, max_chars: int) -> Iterator[Step]:
    for i, step in enumerate(steps):
        calls = tuple(_clean_observation(_order(call, tools), tally, max_chars) for call in step.calls)
        if not step.weight:
            tally.repair("step with weight 0 kept as context, not trained")
        if step.decision == "caller" and not calls:
            tally.repair("step without a call removed")
            continue
        answer = parse_answer(step.answer or "") or None
        yield replace(step, calls=calls, rationale=_clean_rationale(step.rationale, calls, tally), answer=answer)
        if step.decision != "caller":
            if steps[i + 1 :]:
                tally.repair("steps after the end of a turn removed")
            return


def _remove_lost_calls(turns: Sequence[Turn], tools: Mapping[str, ToolSpec], tally: Tally) -> Iterator[Turn]:
    """Leave out failed calls that cannot be used, and all from the first on whose result later steps may rest on."""
    for turn in turns:
        steps: list[Step] = []
        for step in turn.steps:
            kept: list[Call] = []
            for call in step.calls:
                fault = _find_fault(call, tools.keys())
                if not fault:
                    kept.append(call)
                    continue
                if call.observation is None or not call.observation.is_error:
                    tally.repair(f"trajectory cut before a call {fault}")
                    yield replace(turn, steps=tuple(steps))
                    return
                tally.repair(f"call {fault} removed")
            steps.append(replace(step, calls=tuple(kept)))
        yield replace(turn, steps=tuple(steps))


def _find_fault(call: Call, tool_names: AbstractSet[str]) -> str:
    if isinstance(call.arguments, str):
        return "with malformed arguments"
    if call.name not in tool_names:
        return "of a tool that does not exist"
    (read, *_) = parse_calls(render_calls([call]))
    return "" if read.arguments == call.arguments else "with arguments that no caller can write"


def _order(call: Call, tools: Mapping[str, ToolSpec]) -> Call:
    """Put the arguments into the order of the schema, in which the caller's grammar has them."""
    places = {name: i for i, name in enumerate(tools[call.name].parameters.get("properties", ()))}
    arguments = cast(Mapping[str, Any], call.arguments)
    return replace(
        call, arguments={name: arguments[name] for name in sorted(arguments, key=lambda n: places.get(n, 99))}
    )


def _clean_observation(call: Call, tally: Tally, max_chars: int) -> Call:
    if call.observation is None:
        return call
    text = make_storable(call.observation.text).strip()
    if not text:
        tally.repair("empty observation marked")
    if len(text) > max_chars:
        tally.repair("long observation cut")
    return replace(call, observation=replace(call.observation, text=cut(text or NO_OUTPUT, max_chars)))


def _clean_rationale(rationale: str, calls: Sequence[Call], tally: Tally) -> str:
    rationale = split_reasoning(rationale)[1]
    if not rationale.strip():
        tally.repair("missing rationale written from the calls")
        rationale = describe_calls(calls) if calls else READY
    if parse_plan(rationale).decision is not None:
        tally.repair("decision inside a rationale disarmed")
        for found in reversed([*_NEXT.finditer(fold(rationale))]):
            rationale = f"{rationale[: found.start()]}next{found[1]}{rationale[found.end() :]}"
    return rationale.strip()


def describe_calls(calls: Sequence[Call]) -> str:
    """Say which tools are called; with which arguments is for the caller to find.

    Example:
        >>> describe_calls([Call("1", "get_weather", {"city": "Oslo", "days": 2})])
        'I call get_weather.'
    """
    return f"I call {' and '.join(call.name for call in calls)}."


def quote_part(number: int, words: str, request: str) -> str:
    """Begin a rationale with the part it is about, as the request words it: a small model copies before it decides.

    Example:
        >>> quote_part(2, "What time is it?", "Add 2 and 3, and what time is it?")
        'Part 2 (what time is it)'
    """
    words = words.rstrip("?.!= ")
    found = re.search(re.escape(words), request, re.IGNORECASE)
    return f"Part {number} ({found[0] if found else words})"


def shorten_rationale(rationale: str, name: str = "", *, tally: Tally | None = None) -> str:
    """Keep whole leading sentences up to a budget, and the first that says `name`, wherever it is.

    A planner that repeats the whole answer, or thinks for pages, does so again at every step it is trained for.
    """
    if len(rationale) <= _MAX_RATIONALE_CHARS:
        return rationale
    if tally is not None:
        tally.repair("long thought shortened")
    sentences = [sentence for sentence in _SENTENCE.split(rationale) if sentence.strip()]
    naming = next((sentence for sentence in sentences if name and name in sentence), "")[:_MAX_RATIONALE_CHARS]
    kept: list[str] = []
    budget = _MAX_RATIONALE_CHARS - len(naming)
    for sentence in sentences:
        budget -= len(sentence) + 1
        if budget < 0:
            break
        kept.append(sentence)
    if naming and naming not in kept:
        kept.append(naming)
    return " ".join(kept) or rationale[:_MAX_RATIONALE_CHARS].rsplit(" ", 1)[0]
