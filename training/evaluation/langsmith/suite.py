"""A suite as LangSmith sees it: its examples, the tools that each of them offers, and its exact checks."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from alpha_umi.errors import InputError
from alpha_umi.nodes.format.openai_messages import from_openai, to_openai
from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.tools.convert import ToolLike, spec_from_tool
from alpha_umi.tools.load import load_tools
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.evaluation.evaluator import make_answer_scorer
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.judge import Judge, judge_run
from alpha_umi.training.evaluation.questions.file import load_questions
from alpha_umi.training.evaluation.questions.score import (
    list_effects,
    make_question_scorer,
    make_question_tasks,
    make_reference,
)
from alpha_umi.training.evaluation.suites import EvalOutcome, EvalTask, load_suite


class EvalSuite:
    """Tasks with known answers, as ``alpha-umi eval tasks`` and ``alpha-umi eval push`` know them.

    Args:
        name: ``builtin``, ``world``, ``world:SHEETS`` or ``gsm8k:FILE``; `from_questions` is for your own.
        n_tasks: How many; by default 300, of gsm8k all.
        seed: Of ``builtin`` and ``world``.

    Raises:
        ConfigError: At the first use, if there is no such suite.
    """

    def __init__(self, name: str = "builtin", *, n_tasks: int | None = None, seed: int = 1) -> None:
        """Make no task yet."""
        kind, _, place = name.partition(":")
        self.name = f"{kind}-{Path(place).stem}" if kind == "gsm8k" else f"{Path(place).stem or kind}-{seed}"
        self._load: Callable[[Path], Sequence[EvalTask]] = partial(_load, name, n_tasks, seed)
        self._scorer = make_answer_scorer()
        self._tasks: Mapping[str, EvalTask] | None = None
        self._lock = Lock()

    @classmethod
    def from_questions(
        cls, path: str | Path, tools: Sequence[str | ToolLike], *, n_tasks: int | None = None
    ) -> EvalSuite:
        """Read a file of questions for your tools, as ``alpha-umi check`` does; tools with effects are not run.

        Raises:
            ConfigError: If a tool cannot be loaded, or the file says what none of them takes.
        """
        suite, loaded = cls(), load_tools(tools)
        file = load_questions(Path(path), [spec_from_tool(tool) for tool in loaded])
        tasks = [
            replace(task, right=make_reference(question))
            for task, question in zip(make_question_tasks(file, loaded), file.questions, strict=True)
        ]
        suite.name = Path(path).stem
        suite._load = lambda _: tasks[:n_tasks]
        suite._scorer = make_question_scorer(file, list_effects(loaded))
        return suite

    @property
    def tasks(self) -> Mapping[str, EvalTask]:
        """The tasks by key; files that some of them are about stay as long as this suite."""
        with self._lock:  # examples are run in several threads
            if self._tasks is None:
                folder = tempfile.mkdtemp()
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                self._tasks = {task.key: task for task in self._load(Path(folder))}
            return self._tasks

    def make_tools(self, inputs: Mapping[str, Any]) -> Sequence[BaseTool]:
        """Return the tools that an example offers, for `alpha_umi.as_target`.

        Raises:
            InputError: If the example is none of this suite.
        """
        return self._find(inputs).make_tools()

    def check(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
        """Score a run as ``alpha-umi eval tasks`` does, as an evaluator of LangSmith.

        The feedback is ``success``, with the cause of a failure as its comment, and the suite's own checks, such as
        ``calls_exact`` and ``wrong_effect`` of ``world``. A run that failed is none.

        Raises:
            InputError: If the example is none of this suite.
            TrajectoryError: If the outputs have messages that cannot be read.
        """
        outcome = EvalOutcome(read_run(inputs, outputs), Usage(), outputs.get("finish"))
        row = self._scorer.score(self._find(inputs), outcome)
        success = {"key": "success", "score": row["success"], "comment": row["cause"]}
        return {"results": [success, *({"key": key, "score": score} for key, score in row["checks"].items())]}

    def _find(self, inputs: Mapping[str, Any]) -> EvalTask:
        key = inputs.get("task")
        if key not in self.tasks:
            raise InputError(
                f"Task {key!r} is not among the {len(self.tasks):,} of suite {self.name!r}. Give EvalSuite the suite, "
                "seed and number of tasks of 'alpha-umi eval push'."
            )
        return self.tasks[str(key)]


def _load(name: str, n_tasks: int | None, seed: int, folder: Path) -> Sequence[EvalTask]:
    return load_suite(name, n_tasks=n_tasks, seed=seed, folder=folder)


def make_example(task: EvalTask) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return inputs and reference outputs of a task.

    The inputs are the request as ``messages``, what the user says next as ``follow_ups``, the ``tools`` in OpenAI's
    form and the key of the ``task``. The reference has ``messages`` and ``answer`` of the right way, where the suite
    knows them; ``expected``, the texts that the answer must hold, None if giving up is right; and ``finish``.
    """
    first, *follow_ups = task.instructions
    right = task.right
    tools = (right and right.tools) or Toolbox(task.make_tools()).specs
    inputs = {
        "messages": [{"role": "user", "content": first}],
        **({"follow_ups": follow_ups} if follow_ups else {}),
        "tools": [tool.to_openai() for tool in tools],
        "task": task.key,
    }
    expected = None if task.expected is None else list(task.expected)
    known = {"messages": to_openai(right)} | ({"answer": right.answer} if right.answer else {}) if right else {}
    return inputs, {**known, "expected": expected, "finish": "give up" if expected is None else "answer"}


def read_run(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Trajectory:
    """Return what an agent did with an example; of a run that failed only the request.

    Raises:
        TrajectoryError: If its messages cannot be read.
    """
    tools = tuple(map(ToolSpec.from_openai, inputs.get("tools") or ()))
    if "messages" not in outputs:
        asked = from_openai(inputs["messages"], tools)
        return Trajectory(tools, (*asked.turns, *map(Turn, inputs.get("follow_ups") or ())))
    return from_openai(outputs["messages"], tools, gave_up=outputs.get("finish") == "give up")


def make_judging(model: BaseChatModel, n_votes: int = 4) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """Make an evaluator that asks a judge whether a run did what its user asked for, as ``alpha-umi eval live`` does.

    Its feedback has the key ``judge``, the verdict as its value, the score 1, 0, or None where the judge was unsure,
    and what it wrote as comment.

    Args:
        model: Any chat model that does not decode greedily, or all votes are the same.
        n_votes: How often it is asked.

    Returns:
        ``evaluator(inputs, outputs)``.
    """
    judge = Judge(model, n_votes, identity={})

    def judging(inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
        verdict, votes = judge_run(judge, read_run(inputs, outputs))
        score = {"solved": 1, "unsolved": 0}.get(verdict)
        comment = "\n\n".join(vote.texts[-1] for vote in votes) or "There is no answer."
        return {"key": "judge", "score": score, "value": verdict, "comment": comment}

    return judging
