"""Rationales for records that have none: short, regular, naming the tool and every value the caller has to copy."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from alpha_umi.nodes.format.trajectory import Call, Step

_MAX_VALUE_CHARS = 80
_MAX_RATIONALE_CHARS = 500
_SENTENCE = re.compile(r"(?<=[.!?:])\s+|\n+")
READY = "I have what I need to answer."


def describe_calls(calls: Sequence[Call]) -> str:
    """Say which tools are called with which values; a value too long to repeat is named only.

    Example:
        >>> describe_calls([Call("1", "get_weather", {"city": "Oslo", "days": 2})])
        'I call get_weather with city="Oslo", days=2.'
    """
    return "I call " + " and ".join(map(_describe, calls)) + "."


def fill_rationale(step: Step) -> Step:
    """Return `step` with a templated rationale if it has none."""
    if step.rationale.strip():
        return step
    return replace(step, rationale=describe_calls(step.calls) if step.calls else READY)


def shorten_rationale(rationale: str, name: str = "") -> str:
    """Keep whole leading sentences up to a budget, and the first that says `name` wherever it stands.

    A planner that repeats the whole answer, or thinks for pages, does so again at every step it is trained for.
    """
    if len(rationale) <= _MAX_RATIONALE_CHARS:
        return rationale
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


def _describe(call: Call) -> str:
    if not isinstance(call.arguments, dict) or not call.arguments:
        return call.name
    return f"{call.name} with " + ", ".join(f"{key}{_describe_value(value)}" for key, value in call.arguments.items())


def _describe_value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"={text}" if len(text) <= _MAX_VALUE_CHARS else " as found above"
