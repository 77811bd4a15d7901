"""The worst steps and tasks of a run, put into words for people to read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, zip_longest

from alpha_umi.nodes.format.render import render_calls
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.page import Case
from alpha_umi.training.evaluation.records import Output, Prediction
from alpha_umi.training.evaluation.strict import FAULTS, StepScore, score_step

_MAX_TITLE = 110
_MAX_TOOLS = 30


def make_step_cases(predictions: Sequence[Prediction], n_cases: int) -> list[Case]:
    """Return the worst lost steps: of each kind of fault in turn, and of each trajectory one at most."""
    lost: defaultdict[str, list[tuple[float, Prediction, StepScore]]] = defaultdict(list)
    for prediction in predictions:
        score = score_step(prediction)
        if score.fault is not None:
            work = score.values.get("arg_f1", score.values.get("rouge_l", 0.0))
            lost[score.fault].append((work, prediction, score))
    ranks = [sorted(lost[fault], key=lambda entry: (entry[0], entry[1].key)) for fault in FAULTS]
    chosen: dict[str, Case] = {}
    for entry in chain.from_iterable(zip_longest(*ranks)):
        if entry is not None and entry[1].example not in chosen and len(chosen) < n_cases:
            chosen[entry[1].example] = _make_step_case(entry[1], entry[2])
    return _unfold_first(list(chosen.values()))


def _make_step_case(prediction: Prediction, score: StepScore) -> Case:
    names = list(prediction.offered)
    rest = f" … and {len(names) - _MAX_TOOLS} more" if len(names) > _MAX_TOOLS else ""
    fields = [
        ("Step", f"{prediction.key}, step {prediction.step + 1}"),
        ("Instruction", prediction.instruction),
        ("Last observation", prediction.observation),
        ("Tools on offer", ", ".join(names[:_MAX_TOOLS]) + rest),
        ("Right", _join(prediction.reference)),
        ("Predicted", _join(prediction.predicted)),
        ("Predicted from the reference plan", _join(prediction.isolated) if prediction.isolated else ""),
        ("Scores", ", ".join(f"{name} {value:.2f}" for name, value in score.values.items())),
    ]
    return Case(_cut(f"{score.fault}: {prediction.instruction}"), [(name, text) for name, text in fields if text])


def _join(output: Output) -> str:
    return "\n".join(text for text in (output.plan, output.call, output.answer) if text is not None) or "(nothing)"


def make_task_cases(rows: Sequence[Record], n_cases: int) -> list[Case]:
    """Return failed tasks, of each kind in turn."""
    failed: defaultdict[str, list[Record]] = defaultdict(list)
    for row in rows:
        if not row["success"]:
            failed[row["kind"]].append(row)
    mixed = [row for row in chain.from_iterable(zip_longest(*failed.values())) if row is not None]
    return _unfold_first([_make_task_case(row) for row in mixed[:n_cases]])


def _make_task_case(row: Record) -> Case:
    instruction = row["instructions"][-1]
    outcome = "gave up" if row["gave_up"] else (row["answer"] or "no answer")
    expected = "to be given up" if row["expected"] is None else "\n".join(row["expected"]) or "any answer"
    fields = [
        ("Task", row["key"]),
        ("Instructions", "\n".join(row["instructions"])),
        ("Expected", expected),
        ("Outcome", outcome),
        ("Error", row["error"] or ""),
        ("What happened", "\n".join(_tell(Trajectory.from_row(row["trajectory"])))),
    ]
    return Case(_cut(f"{row['kind']}: {instruction}"), [(name, text) for name, text in fields if text])


def _tell(trajectory: Trajectory) -> Iterator[str]:
    for turn in trajectory.turns:
        yield f"user: {turn.instruction}"
        for step in turn.steps:
            yield f"planner: {step.rationale} Next: {step.decision}."
            for call in step.calls:
                yield f"caller: {' '.join(render_calls([call]).split())}"
                yield f"observation: {call.observation.text if call.observation else '(none)'}"
            if step.answer is not None:
                yield f"summarizer: {step.answer}"


def _unfold_first(cases: list[Case]) -> list[Case]:
    return [replace(case, open=i == 0) for i, case in enumerate(cases)]


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TITLE else f"{text[: _MAX_TITLE - 1]}…"
