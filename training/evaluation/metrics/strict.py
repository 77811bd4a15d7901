"""Our own metrics: nothing is dropped, a missing name is a wrong one, and every lost step has one role to blame.

Whether a metric applies to a step depends on the reference alone, so that two models are averaged over the same steps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from operator import itemgetter
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from alpha_umi.nodes.format.parsing import ParsedCall, parse_calls, parse_plan
from alpha_umi.nodes.format.trajectory import Decision
from alpha_umi.training.evaluation.examples import Prediction, StepOutput
from alpha_umi.training.evaluation.metrics.published import rouge_l

ANSWER_THRESHOLD = 0.5
"""An answer with a lower ROUGE-L counts as lost; a convention, as free text has no exact answer."""

Fault: TypeAlias = Literal[
    "planner: decision", "planner: rationale", "caller: name", "caller: arguments", "summarizer: answer"
]
FAULTS: tuple[Fault, ...] = get_args(Fault)
Grouped = TypeVar("Grouped")
STRICT_METRICS = ("step_acc", "plan_acc", "act_em", "hallu", "arg_f1", "call_em", "rouge_l")
ROLE_METRICS = {
    "planner": ("plan_acc",),
    "caller": ("caller.act_em", "caller.hallu", "caller.arg_f1", "caller.call_em"),
    "summarizer": ("summarizer.rouge_l",),
}
"""The roles by themselves: caller and summarizer continue from the reference plan."""


@dataclass(frozen=True, slots=True)
class Act:
    """What a step comes down to."""

    decision: Decision | None
    calls: tuple[ParsedCall, ...] = ()
    answer: str = ""


@dataclass(frozen=True, slots=True)
class StepScore:
    """One scored step: values by metric, in [0, 1], the right decision and the one made, and whose fault it is if lost.

    A metric that does not apply to the step is absent.
    """

    values: dict[str, float]
    reference: Decision
    decision: Decision | None
    fault: Fault | None


def read_act(output: StepOutput, decision: Decision | None) -> Act:
    """Read a step as the agent would: only the role that the decision names acts."""
    calls = parse_calls(output.call) if decision == "caller" and output.call is not None else ()
    answer = (output.answer or "").strip() if decision == "conclusion" else ""
    return Act(decision, calls, answer)


def score_step(prediction: Prediction) -> StepScore:
    """Score one step.

    - ``step_acc``: nobody lost the step; a call must be exact, an answer reach `ANSWER_THRESHOLD`.
    - ``plan_acc``: the decision is right.
    - ``act_em``, ``call_em``: over reference calls, the tool names, or the whole calls, are exact.
    - ``hallu``: some call names no tool, or one that is not offered.
    - ``arg_f1``: over reference calls, see `score_calls`.
    - ``rouge_l``: over reference answers; 0 for a missing one.
    - ``caller.…`` and ``summarizer.…``: the same for the role alone, given the reference plan.
    """
    wanted = read_act(prediction.reference, prediction.decision)
    done = read_act(prediction.predicted, parse_plan(prediction.predicted.plan).decision)
    alone = None if prediction.isolated is None else read_act(prediction.isolated, prediction.decision)
    has_answer = wanted.decision == "conclusion" and prediction.reference.answer is not None
    values = {"plan_acc": float(done.decision == wanted.decision), "hallu": _is_hallucinated(done, prediction.offered)}
    values |= _score_work(wanted, done, has_answer=has_answer)
    own: dict[str, float] = {}
    if alone is not None:
        own = _score_work(wanted, alone, has_answer=has_answer)
        if wanted.calls:
            own["hallu"] = _is_hallucinated(alone, prediction.offered)
        values |= {f"{'summarizer' if name == 'rouge_l' else 'caller'}.{name}": value for name, value in own.items()}
    fault = _find_fault(values, own)
    values["step_acc"] = float(fault is None)
    return StepScore(values, prediction.decision, done.decision, fault)


def _score_work(wanted: Act, done: Act, *, has_answer: bool) -> dict[str, float]:
    """Score what caller or summarizer did."""
    if wanted.calls:
        names = [Counter(call.name for call in act.calls) for act in (wanted, done)]
        arg_f1 = score_calls(wanted.calls, done.calls)
        exact = len(wanted.calls) == len(done.calls) and arg_f1 == 1.0
        return {"act_em": float(names[0] == names[1]), "arg_f1": arg_f1, "call_em": float(exact)}
    if has_answer:
        return {"rouge_l": rouge_l(done.answer, wanted.answer) if done.answer else 0.0}
    return {}


def _find_fault(values: dict[str, float], own: dict[str, float]) -> Fault | None:
    """Say whose mistake lost a step.

    Caller or summarizer are not to blame for what they get right from the reference plan: then it was the rationale.
    """
    if not values["plan_acc"]:
        return "planner: decision"
    if values.get("call_em", 1.0) < 1.0:
        metric = "call_em" if values["act_em"] else "act_em"
        if own.get(metric, 0.0):
            return "planner: rationale"
        return "caller: arguments" if values["act_em"] else "caller: name"
    if values.get("rouge_l", 1.0) < ANSWER_THRESHOLD:
        return "planner: rationale" if own.get("rouge_l", 0.0) >= ANSWER_THRESHOLD else "summarizer: answer"
    return None


def score_calls(wanted: Sequence[ParsedCall], done: Sequence[ParsedCall]) -> float:
    """Return the F1 of calls made in one step, in any order; they are paired off from the best match on."""
    pairs = [(score_call(call, other), i, j) for i, call in enumerate(wanted) for j, other in enumerate(done)]
    total = 0.0
    paired: tuple[set[int], set[int]] = (set(), set())
    for score, i, j in sorted(pairs, reverse=True):
        if i not in paired[0] and j not in paired[1]:
            total += score
            paired[0].add(i)
            paired[1].add(j)
    return 2 * total / (len(wanted) + len(done))


def score_call(wanted: ParsedCall, done: ParsedCall) -> float:
    """Return the F1 of one call's arguments: the published formula, but values must be equal as JSON.

    Arguments that do not parse must be equal as text.
    """
    if wanted.name != done.name:
        return 0.0
    if not isinstance(wanted.arguments, dict) or not isinstance(done.arguments, dict):
        return float(wanted.arguments == done.arguments)
    if not wanted.arguments and not done.arguments:
        return 1.0
    common = wanted.arguments.keys() & done.arguments.keys()
    matched = sum(1.0 if is_equal(wanted.arguments[key], done.arguments[key]) else 0.5 for key in common)
    return 2 * matched / (len(wanted.arguments) + len(done.arguments))


def is_equal(left: Any, right: Any) -> bool:
    """Compare as JSON does: 1 is 1.0, but not true."""
    return left == right and _canonical(left) == _canonical(right)


def _canonical(value: Any) -> str:
    return json.dumps(json.loads(json.dumps(value), parse_int=float), sort_keys=True)


def _is_hallucinated(act: Act, offered: Collection[str]) -> float:
    return float(any(call.name not in offered for call in act.calls))


def list_worst_steps(predictions: Iterable[Prediction], n_steps: int) -> list[tuple[Prediction, StepScore]]:
    """Return the worst lost steps: of each kind of fault in turn, and of each trajectory one at most."""
    lost: dict[str, list[tuple[float, str, Prediction, StepScore]]] = {fault: [] for fault in FAULTS}
    for prediction in predictions:
        score = score_step(prediction)
        if score.fault is not None:
            work = score.values.get("arg_f1", score.values.get("rouge_l", 0.0))
            lost[score.fault].append((work, prediction.key, prediction, score))
    chosen: dict[str, tuple[Prediction, StepScore]] = {}
    for _, _, prediction, score in take_in_turn(sorted(steps, key=itemgetter(0, 1)) for steps in lost.values()):
        chosen.setdefault(prediction.example, (prediction, score))
    return list(chosen.values())[:n_steps]


def take_in_turn(groups: Iterable[Iterable[Grouped]]) -> Iterator[Grouped]:
    """Yield the first of each group, then the second of each, and so on."""
    return (item for item in chain.from_iterable(zip_longest(*groups)) if item is not None)
