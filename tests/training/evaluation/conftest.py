"""Examples of three short trajectories, and models that play them from memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from langchain_core.messages import BaseMessage

from alpha_umi.nodes.format.trajectory import ROLES, Call, Decision, Observation, Role, Step, Trajectory, Turn
from alpha_umi.nodes.models.request import make_request
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Example
from alpha_umi.training.evaluation.examples import Prediction, StepOutput, make_queries
from alpha_umi.training.evaluation.static import evaluate_static

Answerer: TypeAlias = Callable[[Role, str], str]
MakePrediction: TypeAlias = Callable[..., Prediction]
MakeOracle: TypeAlias = Callable[..., ScriptedChatModel]
MakeRun: TypeAlias = Callable[..., Path]


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Ten steps: calls, answers and one give-up; the second trajectory has two turns."""
    add, find = ToolSpec("add", "Adds."), ToolSpec("find_city", "Finds a city.")

    def call(index: int) -> Step:
        observation = Observation(f"The sum is {index}.")
        return Step(f"I add {index}.", "caller", (Call(f"c{index}", "add", {"a": index, "b": 1}, observation),))

    def end(text: str) -> Step:
        return Step("That is all.", "conclusion", answer=text)

    trajectories = [
        Trajectory((add, find), (Turn("Add it all up.", (call(1), call(2), end("The sum is 3."))),)),
        Trajectory((add, find), (Turn("Add 5.", (call(5), end("It is 6."))), Turn("And 7?", (call(7), end("8."))))),
        Trajectory((find,), (Turn("Sing to me.", (Step("No tool sings.", "give up"),)),)),
        Trajectory((add,), (Turn("Add 9.", (call(9), end("It is 10."))),)),
    ]
    return [Example(f"e{i}", "hand" if i < 3 else "other", each, f"test:{i}") for i, each in enumerate(trajectories)]


@pytest.fixture(scope="session")
def make_oracle(examples: list[Example]) -> MakeOracle:
    """Return a function that makes a model which knows all references; `change` may spoil what it says."""
    known: dict[tuple[Role, tuple[str, ...]], str] = {}
    probe = ScriptedChatModel(script=())

    def key(role: Role, trajectory: Trajectory) -> tuple[Role, tuple[str, ...]]:
        messages = make_request(probe, role, trajectory, temperature=0).messages
        return role, tuple(str(message.text) for message in messages)

    for query in make_queries(examples):
        known[key("planner", query.history)] = query.reference.plan
        after = query.extend(Step(query.step.rationale, query.step.decision))
        known[key("caller", after)] = query.reference.call or ""
        known[key("summarizer", after)] = query.reference.answer or ""

    def make(change: Answerer = lambda role, text: text) -> ScriptedChatModel:
        def say(role: Role, messages: list[BaseMessage]) -> str:
            return change(role, known.get((role, tuple(str(message.text) for message in messages)), "What?"))

        return ScriptedChatModel(script=say)

    return make


@pytest.fixture
def make_run(tmp_path: Path, examples: list[Example], make_oracle: MakeOracle) -> MakeRun:
    """Return a function that evaluates an oracle and returns the result folder."""

    def run(name: str, change: Answerer = lambda role, text: text) -> Path:
        evaluate_static(dict.fromkeys(ROLES, make_oracle(change)), examples, tmp_path / name)
        return tmp_path / name

    return run


@pytest.fixture
def make_prediction() -> MakePrediction:
    """Return a function that makes one prediction from its texts; the tools `f` and `g` are on offer."""

    def make(
        decision: Decision,
        reference: StepOutput,
        predicted: StepOutput,
        isolated: StepOutput | None = None,
        *,
        key: str = "e/0.0",
        step: int = 0,
        prompt_chars: int = 100,
    ) -> Prediction:
        example = key.partition("/")[0]
        return Prediction(
            key, example, "hand", step, prompt_chars, "Do it.", "", ("f", "g"), decision, reference, predicted, isolated
        )

    return make
