"""The metrics of the paper's Table 1, with the arithmetic of its published scripts, quirks included.

Kept apart from our own definitions (`alpha_umi.training.evaluation.strict`): these are for comparison with the paper's
numbers and with nothing else.

Source: X-PLUG/Multi-LLM-Agent:GLPFT/inference_utils/toolbench/{infer_pipeline,evaluate-multi_agent}.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, TypeAlias

from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.training.evaluation.records import Output, Prediction
from alpha_umi.training.evaluation.rouge_l import NO_ANSWER, rouge_l

PAPER_METRICS = ("plan_acc", "act_em", "hallu", "arg_f1", "rouge_l")
"""In the order of Table 1."""

PlanKind: TypeAlias = Literal["call", "finish", "give up"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One step as the published scripts read it; unwritten parts are None."""

    plan: PlanKind
    action: str | None = None
    action_input: str | None = None
    answer: str | None = None


def score_published(predictions: Sequence[Prediction]) -> dict[str, float | None]:
    """Return the five metrics as shares in [0, 1]; None where there is nothing to average.

    - ``plan_acc``: share of decisions equal to the reference's; no ``Next:`` is read as a call.
    - ``act_em``: share of exact tool names among the steps whose reference is a call.
    - ``hallu``: share of all steps with a predicted name that is neither missing nor offered.
    - ``arg_f1``: mean over reference calls, see `score_arguments`.
    - ``rouge_l``: mean ROUGE-L over reference answers; a missing answer is scored as the word ``none``.
    """
    steps = [(each, read_output(each.reference), read_output(each.predicted)) for each in predictions]
    calls = [(ref, pred) for _, ref, pred in steps if ref.plan == "call"]
    return {
        "plan_acc": _mean(ref.plan == pred.plan for _, ref, pred in steps),
        "act_em": _mean(_or(ref.action, NO_ANSWER) == _or(pred.action, NO_ANSWER) for ref, pred in calls),
        "hallu": _mean(pred.action not in (None, NO_ANSWER, *each.offered) for each, _, pred in steps),
        "arg_f1": _mean(score for ref, pred in calls if (score := score_arguments(ref, pred)) is not None),
        "rouge_l": _mean(_score_answers(steps)),
    }


def read_output(output: Output) -> Reading:
    """Read a step from its texts, put together as the published pipeline does.

    What follows the first decision is cut off, a plan without one goes to the caller, and the last ``Action:``, the
    last ``Action Input:`` and what follows the last ``conclusion:`` count.
    """
    plan = parse_plan(output.plan)
    decision = plan.decision or "caller"
    tail = {"caller": output.call, "conclusion": output.answer, "give up": ""}[decision] or ""
    tail = NO_ANSWER if tail.strip() in ("", ".", ",") else tail
    if decision == "give up" or "Next: give up" in tail:
        return Reading("give up")
    if decision == "conclusion" or "Next: conclusion" in tail:
        return Reading("finish", answer=tail.rpartition("conclusion: ")[2].replace("</s>", ""))
    call = tail.split("</s>")[0]
    _, has_input, action_input = call.rpartition("Action Input:")
    _, has_action, action = call.rpartition("Action:")
    return Reading(
        "call",
        action=action.partition("Action Input:")[0].strip() if has_action else NO_ANSWER,
        action_input=action_input.strip() if has_input else "{}",
    )


def score_arguments(reference: Reading, predicted: Reading) -> float | None:
    """Return the F1 of a call's arguments; None if the reference does not parse, which drops it.

    0 if the name differs. Else with ``full`` equal values and ``half`` values that differ under the same key,
    precision and recall are ``(0.5 · half + full) / n``. No arguments where there should be none score 1.
    """
    if _or(reference.action, NO_ANSWER) != _or(predicted.action, NO_ANSWER):
        return 0.0
    try:
        wanted = json.loads(_or(reference.action_input, "{}"))
    except (ValueError, RecursionError):
        return None
    try:
        given = json.loads(_or(predicted.action_input, "{}"))
    except (ValueError, RecursionError):
        return 0.0
    if wanted == {}:
        return float(given == {})
    return _score_objects(wanted, given)


def _score_objects(wanted: Any, given: Any) -> float:
    if not isinstance(wanted, dict) or not isinstance(given, dict):
        return 0.0
    matched = sum(1.0 if given[key] == value else 0.5 for key, value in wanted.items() if key in given)
    if not matched:
        return 0.0
    recall, precision = matched / len(wanted), matched / len(given)
    return 2 * recall * precision / (recall + precision)


def _score_answers(steps: Iterable[tuple[Prediction, Reading, Reading]]) -> Iterator[float]:
    for each, reference, predicted in steps:
        if reference.plan == "finish" and each.reference.answer is not None:
            yield rouge_l(_or(predicted.answer, NO_ANSWER), _or(reference.answer, NO_ANSWER))


def _or(text: str | None, otherwise: str) -> str:
    return otherwise if text is None else text


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None
