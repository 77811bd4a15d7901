"""What others have published (``tables.yaml``), and the metrics of Table 1 with the arithmetic of the paper's scripts.

The metrics are for comparison with the paper's numbers only; our own are in `strict`.

Source: X-PLUG/Multi-LLM-Agent:GLPFT/inference_utils/toolbench/{infer_pipeline,evaluate-multi_agent}.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from statistics import fmean
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import yaml
from pydantic import TypeAdapter

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.training.evaluation.examples import Prediction, StepOutput

NO_ANSWER = "none"
"""What the published scripts score instead of a missing answer."""

PAPER_METRICS = ("plan_acc", "act_em", "hallu", "arg_f1", "rouge_l")
"""In the order of Table 1."""

PlanKind: TypeAlias = Literal["call", "finish", "give up"]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class StaticRow:
    """One model in Table 1."""

    model: str
    in_domain: tuple[float, float, float, float, float]
    out_of_domain: tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One model in Table 2: pass and win rates by group, None where unknown, and their averages.

    The model that the others are compared with has no win rate.
    """

    model: str
    average_passed: float
    passed: tuple[float, float, float, float, float, float] | None = None
    won: tuple[float, float, float, float, float, float] | None = None
    average_won: float | None = None


@dataclass(frozen=True, slots=True)
class PeerRow:
    """Another model of this size on questions of the same kinds; None where unknown."""

    model: str
    shares: tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class PaperTable(Generic[Row]):
    """A table, in percent; `columns` maps our names (metrics, or ToolBench's query files) to the paper's."""

    source: str
    columns: dict[str, str]
    rows: tuple[Row, ...]


@cache
def load_table_1() -> PaperTable[StaticRow]:
    """Read the paper's static evaluation."""
    return TypeAdapter(PaperTable[StaticRow]).validate_python(_read_tables()["static"])


@cache
def load_table_2() -> PaperTable[LiveRow]:
    """Read the paper's pass and win rates."""
    return TypeAdapter(PaperTable[LiveRow]).validate_python(_read_tables()["live"])


@cache
def load_peers() -> PaperTable[PeerRow]:
    """Read what models of this size reach elsewhere, beside our shares of tasks."""
    return TypeAdapter(PaperTable[PeerRow]).validate_python(_read_tables()["tasks"])


def _read_tables() -> Any:
    return yaml.safe_load(files("alpha_umi.training.evaluation").joinpath("tables.yaml").read_text("utf-8"))


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
        "rouge_l": _mean(
            rouge_l(_or(pred.answer, NO_ANSWER), _or(ref.answer, NO_ANSWER))
            for each, ref, pred in steps
            if ref.plan == "finish" and each.reference.answer is not None
        ),
    }


def read_output(output: StepOutput) -> Reading:
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


def _or(text: str | None, otherwise: str) -> str:
    return otherwise if text is None else text


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None


@lru_cache(maxsize=10_000)  # the same answer is scored by several metrics
def rouge_l(prediction: str, reference: str) -> float:
    """Return the ROUGE-L F of an answer, in [0, 1]; a text without a sentence counts as the word ``none``."""
    texts = [text if text.strip(".") else NO_ANSWER for text in (prediction, reference)]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + len(prediction.split()) + len(reference.split()))  # the package recurses at each word
    try:
        return float(load_rouge().get_scores(texts[0], texts[1])[0]["rouge-l"]["f"])
    finally:
        sys.setrecursionlimit(limit)


@cache
def load_rouge() -> Any:
    """Import the package ``rouge``; called before a run, so that it is not missed at its end.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        from rouge import Rouge  # type: ignore[import-untyped]  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        raise ConfigError("Evaluation needs the package 'rouge'; run: pip install 'alpha-umi[eval]'.") from error
    return Rouge(metrics=["rouge-l"])
