"""Why tasks fail: the first thing that went wrong, by comparing what the agent did with the right way.

Each request is compared by itself, the calls in the order in which they were made. Only calls that ran are compared.
Where a suite does not know the right way, the cause is what can be seen without it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from alpha_umi.nodes.format.trajectory import Call, Step, Turn
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.suites import EvalOutcome, EvalTask, holds, list_ran_calls, read_tokens

Cause: TypeAlias = Literal[
    "prompt too long",
    "gave up though it could be done",
    "asked or gave up for a value that was said",
    "called though nothing fits",
    "called though a required value was not said",
    "called though no tool was needed",
    "wrong tool",
    "part left out",
    "answered without a call",
    "part done twice",
    "call that nobody asked for",
    "argument left out",
    "argument that nobody asked for",
    "result of an earlier call not passed on",
    "wrong value: invented, not in the request",
    "wrong value: other words of the request",
    "wrong value: form (date, number, case, choice)",
    "call not accepted by the tool and never repaired",
    "answered or asked where giving up was right",
    "gave up where an answer or a question was right",
    "step limit, or no progress",
    "right calls, but the answer lacks a value",
    "wrong answer; the right calls are not known",
    "something else",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)
N_KEYS = 2
"""How many tasks are named for each cause."""
_LIMITS = ("step limit", "no progress", "search limit")
_ASKS = re.compile(r"\?\s*$|\bplease\b|\btell me\b|\blet me know\b", re.IGNORECASE)
_NOT_SAID = re.compile(r"\b(?:not|never|nowhere) (?:say|says|said|tell|told|given?|mention(?:ed)?)\b", re.IGNORECASE)
_EDGES = " \t\n.,;:!?'\"()"


def find_cause(task: EvalTask, outcome: EvalOutcome) -> Cause | None:
    """Return the first thing that went wrong; None if nothing did."""
    if task.right is None:
        return _find_visible(task, outcome)
    runs = outcome.trajectory.turns
    told: list[str] = []
    for number, right in enumerate(task.right.turns):
        is_last = number == len(task.right.turns) - 1
        run = runs[number] if number < len(runs) else Turn(right.instruction)
        request = "\n".join(turn.instruction for turn in task.right.turns[: number + 1])
        stopped = is_last and outcome.finish in _LIMITS
        pair = _RequestPair(run, right, request, tuple(told), stopped=stopped, by_result=task.check is None)
        if cause := pair.find_cause():
            return cause
        told += [call.observation.text for call in list_ran_calls([right]) if call.observation]
    if task.expected is not None and not task.is_answered_by(outcome.trajectory.answer):
        return "right calls, but the answer lacks a value"
    return None


def _find_visible(task: EvalTask, outcome: EvalOutcome) -> Cause | None:
    run = outcome.trajectory
    if run.end is None or outcome.finish in _LIMITS:
        return "step limit, or no progress"
    if task.expected is None:
        return None if run.gave_up else "answered or asked where giving up was right"
    if task.is_answered_by(run.answer):
        return None
    if run.gave_up or is_asking(run.end):
        return "gave up though it could be done"
    calls = [call for turn in run.turns for step in turn.steps for call in step.calls]
    if calls and not any(map(_is_done, calls)):
        return "call not accepted by the tool and never repaired"
    return "wrong answer; the right calls are not known"


@dataclass(frozen=True, slots=True)
class _RequestPair:
    """What the agent did for one request, and the right way.

    Args:
        run: What it did.
        right: What was right.
        request: All that the user has said so far.
        told: Observations of the right calls for earlier requests.
        stopped: Whether the agent was stopped.
        by_result: Whether a call is as good as the right one if it returned the same.
    """

    run: Turn
    right: Turn
    request: str
    told: tuple[str, ...]
    stopped: bool
    by_result: bool

    def find_cause(self) -> Cause | None:
        wanted, made = list_ran_calls([self.right]), list_ran_calls([self.run])
        if not wanted:
            return self._explain_needless() if made else self._explain_end()
        if _get_end(self.right).decision != "give up":  # a failed call only matters where it is the reason to give up
            wanted, made = [*filter(_is_done, wanted)], [*filter(_is_done, made)]
        remaining, done, extra = list(wanted), list[Call](), list[Call]()
        for call in made:
            match = next((each for each in remaining if self._is_same(call, each)), None)
            if match is None:
                extra.append(call)
            else:
                remaining.remove(match)
                done.append(match)
        if extra:
            return self._explain_call(extra[0], remaining, done)
        return self._explain_rest(remaining, done) if remaining else self._explain_end()

    def _is_same(self, call: Call, wanted: Call) -> bool:
        if call.name != wanted.name:
            return False
        if self.by_result and call.observation == wanted.observation is not None:
            return True
        return _write(call.arguments) == _write(wanted.arguments)

    def _explain_needless(self) -> Cause:
        """Say why no call was right."""
        if _lacks_value(self.right):
            return "called though a required value was not said"
        if _get_end(self.right).decision == "give up":
            return "called though nothing fits"
        return "called though no tool was needed"

    def _explain_call(self, call: Call, remaining: Sequence[Call], done: Sequence[Call]) -> Cause:
        if any(self._is_same(call, each) for each in done):
            return "part done twice"
        if nearest := find_nearest(call, remaining):
            return self._explain_arguments(call, nearest)
        return "wrong tool" if remaining else "call that nobody asked for"

    def _explain_arguments(self, call: Call, wanted: Call) -> Cause:
        values, right = flatten(call.arguments), flatten(wanted.arguments)
        if right.keys() - values.keys():
            return "argument left out"
        if values.keys() - right.keys():
            return "argument that nobody asked for"
        wrong = next((path for path in right if _write(values[path]) != _write(right[path])), None)
        if wrong is None:
            return "something else"
        calls = list_ran_calls([self.right])
        earlier = [call.observation.text for call in calls[: calls.index(wanted)] if call.observation]
        return explain_value(values[wrong], right[wrong], self.request, [*self.told, *earlier])

    def _explain_rest(self, remaining: Sequence[Call], done: Sequence[Call]) -> Cause:
        """Say why parts are missing though all calls that ran were right."""
        wanted = {call.name for call in (*remaining, *done)}
        known = {call.name for call in done} - {call.name for call in remaining}
        failed = [
            call for step in self.run.steps for call in step.calls if not _is_done(call) and call.name not in known
        ]
        end = self.run.steps[-1] if self.run.steps else None
        if any(call.name not in wanted for call in failed):
            return "wrong tool"
        if end is not None and not self.stopped and (end.decision == "give up" or is_asking(end)):
            if is_asking(end) or _says_not_said(end) or _leaves_out(failed, remaining):
                return "asked or gave up for a value that was said"
            if not failed:
                return "gave up though it could be done"
        if failed:
            return "call not accepted by the tool and never repaired"
        if end is None or self.stopped or end.decision == "caller":
            return "step limit, or no progress"
        return "part left out" if done else "answered without a call"

    def _explain_end(self) -> Cause | None:
        """Compare how the request ended; no call is missing, and none is too many."""
        end, right = self.run.steps[-1] if self.run.steps else None, _get_end(self.right)
        if end is None or self.stopped or end.decision == "caller":
            return "step limit, or no progress"
        if right.decision == "give up":
            return None if end.decision == "give up" else "answered or asked where giving up was right"
        if end.decision == "give up":
            needs_calls = bool(list_ran_calls([self.right]))
            return (
                "gave up though it could be done" if needs_calls else "gave up where an answer or a question was right"
            )
        return None


def explain_value(made: Any, wanted: Any, request: str, observations: Iterable[str]) -> Cause:
    """Say what is wrong with the value of an argument.

    A value is *said* if the request has its words, in any notation of dates and numbers. If the right one is not, the
    agent had to take it from an observation, or to put the words into the form that the tool wants.

    Args:
        made: The value that was passed.
        wanted: The right one.
        request: All that the user has said.
        observations: What the right calls before this one returned.
    """
    value, right = _say(made), _say(wanted)
    is_said = holds(request, right)
    if not is_said and any(holds(text, right) for text in observations):
        return "result of an earlier call not passed on"
    if value.strip(_EDGES) == right.strip(_EDGES) and type(made) is type(wanted):
        return "wrong value: other words of the request"  # a comma too many
    if not is_said or read_tokens(value) == read_tokens(right):
        return "wrong value: form (date, number, case, choice)"
    is_part = isinstance(made, str) and value.strip(_EDGES).casefold() in request.casefold()  # 89 of B89
    if is_part or set(read_tokens(value)) <= set(read_tokens(request)):
        return "wrong value: other words of the request"
    return "wrong value: invented, not in the request"


def refuses_wrongly(task: EvalTask, outcome: EvalOutcome) -> bool | None:
    """Tell whether the agent gave up or asked instead of making the calls; None if not all of them can be made."""
    if task.right is None:
        return None
    wanted = [[*filter(_is_done, list_ran_calls([turn]))] for turn in task.right.turns]
    if not all(wanted) or task.right.gave_up:
        return None
    for calls, turn in zip(wanted, outcome.trajectory.turns, strict=False):
        end = turn.steps[-1] if turn.steps else None
        n_done = sum(map(_is_done, list_ran_calls([turn])))
        if end and (end.decision == "give up" or (is_asking(end) and n_done < len(calls))):
            return True
    return False


def score_parts(task: EvalTask, outcome: EvalOutcome, checks: Mapping[str, float]) -> dict[str, float]:
    """Return what one outcome adds to the shares that depend on what the request needs.

    - ``false_refusal``: gave up or asked, of the tasks whose calls all can be made.
    - ``single_exact``: the call is exact, of the requests that need one call.
    - ``parts_right``: all calls are exact and the answer is right, of the requests that need two or three.
    - ``nothing_fits_refused``: gave up, of the requests that no tool fits.

    The second and the third need the check ``calls_exact``.
    """
    right, run = task.right, outcome.trajectory
    if right is None:
        return {}
    scores: dict[str, float] = {}
    if (refused := refuses_wrongly(task, outcome)) is not None:
        scores["false_refusal"] = float(refused)
    n_calls = len(list_ran_calls(right.turns))
    if right.gave_up and not n_calls and not _lacks_value(right.turns[-1]):
        scores["nothing_fits_refused"] = float(run.gave_up)
    if "calls_exact" in checks and not right.gave_up and len(right.turns) == 1:
        if n_calls == 1:
            scores["single_exact"] = checks["calls_exact"]
        elif n_calls in (2, 3):
            scores["parts_right"] = checks["calls_exact"] * task.is_answered_by(run.answer)
    return scores


def rank_causes(rows: Iterable[Record]) -> list[Record]:
    """Return the causes of failure, the commonest first, each with its count and the keys of some tasks."""
    keys: defaultdict[Cause, list[str]] = defaultdict(list)
    for row in rows:
        cause: Cause | None = "prompt too long" if row["error"] is not None else row.get("cause")
        if cause is not None:
            keys[cause].append(row["key"])
    ranked = sorted(keys, key=lambda cause: (-len(keys[cause]), CAUSES.index(cause)))
    return [{"cause": cause, "n": len(keys[cause]), "keys": keys[cause][:N_KEYS]} for cause in ranked]


def _get_end(turn: Turn) -> Step:
    return turn.steps[-1]


def _is_done(call: Call) -> bool:
    """Tell whether a call ran and did not fail."""
    return isinstance(call.arguments, dict) and not (call.observation and call.observation.is_error)


def is_asking(step: Step) -> bool:
    """Tell whether a step asks the user back."""
    return step.decision == "conclusion" and bool(_ASKS.search(step.answer or ""))


def _says_not_said(step: Step) -> bool:
    """Tell whether a rationale says, after the words of the user that it may quote, that something was not said."""
    return bool(_NOT_SAID.search(step.rationale.rpartition("): ")[2]))


def _lacks_value(right: Turn) -> bool:
    """Tell whether the right way ends because the request does not say a value."""
    n_refused = sum(len(step.calls) for step in right.steps) - len(list_ran_calls([right]))
    return n_refused > 0 or _says_not_said(_get_end(right))


def _leaves_out(calls: Iterable[Call], wanted: Sequence[Call]) -> bool:
    """Tell whether a call lacks an argument of the right one."""
    pairs = [(call, find_nearest(call, wanted)) for call in calls]
    return any(near and flatten(near.arguments).keys() - flatten(call.arguments).keys() for call, near in pairs)


def find_nearest(call: Call, wanted: Sequence[Call]) -> Call | None:
    """Return the wanted call of the same tool that has most arguments in common."""
    made = flatten(call.arguments).items()

    def count_equal(other: Call) -> int:
        values = flatten(other.arguments)
        return sum(path in values and _write(values[path]) == _write(value) for path, value in made)

    return max((each for each in wanted if each.name == call.name), key=count_equal, default=None)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of nested objects and arrays by path."""
    if not isinstance(value, dict | list):
        return {prefix: value}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return {path: leaf for key, part in parts for path, leaf in flatten(part, f"{prefix}/{key}").items()}


def _write(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _say(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
