"""How certain a planner was: the probabilities of what decides about its plan, from those of its tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from alpha_umi.nodes.format.parsing import parse_plan

ANNOUNCEMENT = "I call"
"""What `alpha_umi.training.data.clean.describe_calls` writes before a name."""
CERTAINTY = "certainty"
"""Where a message's ``response_metadata`` has what `measure_certainty` returns."""


def measure_certainty(tokens: Sequence[tuple[str, float]], names: Collection[str]) -> dict[str, float]:
    r"""Return the probability of the plan's decision and, where it calls a tool, that of the tool's name.

    Args:
        tokens: Texts and natural logarithms of probabilities, in order.
        names: Of the tools on offer.

    Returns:
        ``decision`` from "Next:" on; ``tool`` for the rationale's last name together with "I call" before it, where
        a planner that sees no tool writes something else. Empty if there is no decision.

    Example:
        >>> measure_certainty([("I call", -0.1), (" add.", -0.2), ("\\nNext:", 0.0), (" caller.", -0.5)], ["add"])
        {'decision': 0.607, 'tool': 0.741}
    """
    text = "".join(token for token, _ in tokens)
    plan = parse_plan(text)
    if plan.decision is None:
        return {}
    end = text.find(plan.rationale) + len(plan.rationale)
    start = len(text) - len(text[end:].lstrip())
    certainty = {"decision": _multiply(tokens, start, len(text))}
    name = rf"({ANNOUNCEMENT}\s+)?(?<![\w.:/-])({'|'.join(map(re.escape, names))})(?![\w/-])"
    if plan.decision == "caller" and names and (found := list(re.finditer(name, text[:end]))):
        certainty["tool"] = _multiply(tokens, *found[-1].span())
    return certainty


def get_probability(metadata: Mapping[str, Any]) -> float | None:
    """Return how probable the plan is whose message has this ``response_metadata``, None where nobody knows."""
    certainty = metadata.get(CERTAINTY)
    return certainty["decision"] * certainty.get("tool", 1.0) if certainty else None


def read_certainty(metadata: Mapping[str, Any], names: Collection[str]) -> dict[str, float]:
    """Return what a message's ``response_metadata`` says: measured by the model, or from a server's ``logprobs``."""
    if isinstance(known := metadata.get(CERTAINTY), dict):
        return known
    logprobs = metadata.get("logprobs")
    content = (logprobs.get("content") if isinstance(logprobs, dict) else None) or ()
    try:
        return measure_certainty([(str(each["token"]), float(each["logprob"])) for each in content], names)
    except (TypeError, KeyError, ValueError):
        return {}


def _multiply(tokens: Sequence[tuple[str, float]], start: int, end: int) -> float:
    """Return the probability of all tokens that overlap [start, end) of the text."""
    log_p, position = 0.0, 0
    for token, each in tokens:
        if position < end and position + len(token) > start:
            log_p += each
        position += len(token)
    return round(math.exp(min(log_p, 0.0)), 3)
