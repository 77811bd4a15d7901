"""Rationales for records that have none, in the form that the generated tasks have, and dialogues made of such."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Turn
from alpha_umi.training.data.clean import describe_calls

DONE = "All parts are done."
NO_TOOL = "No tool is needed."
_MAX_QUOTE_CHARS = 120
_MIN_TELLING_CHARS = 2
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


class ExplainedDialogue:
    """The turns of a dialogue of people, made as it is read: what is asked, called with which result, and said."""

    def __init__(self) -> None:
        """Begin without a turn; what comes before the first request has no place."""
        self._turns: list[tuple[str, list[Step]]] = []
        self._n_calls = 0

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns so far."""
        return tuple(Turn(request, tuple(steps)) for request, steps in self._turns)

    def ask(self, request: str) -> None:
        """Begin a turn."""
        self._turns.append((request, []))

    def call(self, name: str, arguments: dict[str, Any], result: str) -> None:
        """Add a step with one call."""
        request, steps = self._turns[-1]
        self._n_calls += 1
        call = Call(f"call_{self._n_calls}", name, arguments, Observation(result))
        results = [call.observation.text for step in steps for call in step.calls if call.observation]
        rationale = explain_calls([call], request, results, number=len(steps) + 1)
        steps.append(Step(rationale, "caller", (call,)))

    def answer(self, text: str, why: str = NO_TOOL) -> None:
        """Add an answer; `why` there is one if it is the first step of its turn."""
        steps = self._turns[-1][1]
        steps.append(Step(DONE if steps else why, "conclusion", answer=text))


def explain_calls(calls: Sequence[Call], request: str, results: Iterable[str] = (), *, number: int = 1) -> str:
    """Say what leads to calls: the words of the request that they are about, and a value from an earlier result.

    Args:
        calls: One step's calls.
        request: The user's words.
        results: What earlier calls for this request returned.
        number: Of the step, from 1.

    Example:
        >>> explain_calls([Call("1", "find_road", {"to": "Rome"})], "Hello. How do I get to Rome?")
        'Part 1 (How do I get to Rome): …'
    """
    values = [text for call in calls for text in _list_values(call.arguments)]
    found = "\n".join(results)
    passed_on = [
        f" with {value}"
        for value in values
        if len(value) >= _MIN_TELLING_CHARS and value in found and value not in request
    ]
    hints = _list_words([*values, *(call.name for call in calls)])
    return f"Part {number} ({quote_request(request, hints)}){''.join(passed_on[:1])}: {describe_calls(calls)}"


def explain_refusal(request: str) -> str:
    """Say that no tool does what is asked for."""
    return f"Part 1 ({quote_request(request, ())}): no tool can do this."


def quote_request(request: str, hints: Iterable[str]) -> str:
    """Return the sentence of a request with the most words of `hints`, or the longest of several, cut to a bound."""
    wanted = set(hints)
    sentences = [sentence for sentence in _SENTENCE.split(request.strip()) if sentence.strip()] or [request]
    best = max(sentences, key=lambda sentence: (len(wanted.intersection(_list_words([sentence]))), len(sentence)))
    if len(best) > _MAX_QUOTE_CHARS:
        best = best[:_MAX_QUOTE_CHARS].rpartition(" ")[0] or best[:_MAX_QUOTE_CHARS]
    return best.strip().rstrip("?.!=,: ")


def _list_values(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _list_values(part)
    elif value is not None:
        yield str(value)


def _list_words(texts: Iterable[str]) -> set[str]:
    return {word.lower() for text in texts for word in _WORD.findall(text)}
