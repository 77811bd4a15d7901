from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from alpha_umi.errors import ConfigError, ContextOverflow
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.request import RoleRequest
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.training.data.dataset import Example
from alpha_umi.training.evaluation.examples import make_queries
from alpha_umi.training.evaluation.result_folder import PREDICTIONS
from alpha_umi.training.evaluation.static import RoleModels, describe_model, evaluate_static, generate_many, predict
from tests.training.evaluation.conftest import MakeOracle, MakeRun

BATCH_SIZE = 3


def read_keys(out: Path) -> list[str]:
    return [json.loads(line)["key"] for line in (out / PREDICTIONS).read_text().splitlines()]


def test_a_perfect_model_gets_full_marks(tmp_path: Path, examples: list[Example], make_oracle: MakeOracle) -> None:
    metrics = evaluate_static(dict.fromkeys(ROLES, make_oracle()), examples, tmp_path, batch_size=BATCH_SIZE)
    assert metrics["paper"] == pytest.approx(
        {"plan_acc": 1.0, "act_em": 1.0, "hallu": 0.0, "arg_f1": 1.0, "rouge_l": 1.0}, abs=1e-6
    )
    assert metrics["strict"]["step_acc"]["value"] == 1.0
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    assert read_keys(tmp_path) == [query.key for query in make_queries(examples)]
    assert metrics["usage"]["output_tokens"] > 0


def test_a_model_that_says_nothing_gets_none(tmp_path: Path, examples: list[Example], make_oracle: MakeOracle) -> None:
    silent = make_oracle(lambda role, text: "")
    metrics = evaluate_static(dict.fromkeys(ROLES, silent), examples, tmp_path)
    assert metrics["strict"]["step_acc"]["value"] == 0.0
    assert metrics["confusion"]["give up"]["none"] == 1


def test_caller_and_summarizer_go_on_from_what_the_planner_wrote(
    examples: list[Example], make_oracle: MakeOracle
) -> None:
    """With another rationale the oracle does not know the prompt, so the pipeline fails and the roles alone do not."""

    def change(role: Role, text: str) -> str:
        return f"Well. {text}" if role == "planner" else text

    call, _, answer, *_ = predict(RoleModels(dict.fromkeys(ROLES, make_oracle(change))), make_queries(examples))
    assert call.predicted.plan == "Well. I add 1.\nNext: caller."
    assert (call.predicted.call, call.predicted.answer) == ("What?", None)
    assert call.isolated is not None
    assert call.isolated.call == call.reference.call
    assert (answer.predicted.call, answer.predicted.answer) == (None, "What?")
    assert answer.isolated is not None
    assert answer.isolated.answer == "The sum is 3."


def test_a_plan_without_a_decision_goes_to_the_caller(examples: list[Example], make_oracle: MakeOracle) -> None:
    undecided = make_oracle(lambda role, text: "Hm." if role == "planner" else text)
    first, *_ = predict(RoleModels(dict.fromkeys(ROLES, undecided)), make_queries(examples), isolated=False)
    assert first.predicted.call == "What?"
    assert first.isolated is None


def test_the_same_prompt_is_asked_once(examples: list[Example], make_oracle: MakeOracle) -> None:
    model = make_oracle()
    list(predict(RoleModels(dict.fromkeys(ROLES, model)), make_queries(examples)))
    roles = [request.kwargs["role"] for request in model.requests]
    assert (roles.count("planner"), roles.count("caller"), roles.count("summarizer")) == (10, 5, 4)
    assert {request.kwargs["temperature"] for request in model.requests} == {0}


def test_a_prediction_says_what_was_shown(examples: list[Example], make_oracle: MakeOracle) -> None:
    _, second, *_ = predict(RoleModels(dict.fromkeys(ROLES, make_oracle())), make_queries(examples))
    assert (second.step, second.source, second.instruction) == (1, "hand", "Add it all up.")
    assert (second.observation, second.offered) == ("The sum is 1.", ("add", "find_city"))
    assert second.prompt_chars > 100


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, examples: list[Example], make_oracle: MakeOracle) -> None:
    n_calls = 0

    def die(role: Role, text: str) -> str:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 12:
            raise KeyboardInterrupt
        return text

    with pytest.raises(KeyboardInterrupt):
        evaluate_static(dict.fromkeys(ROLES, make_oracle(die)), examples, tmp_path, batch_size=BATCH_SIZE)
    done = read_keys(tmp_path)
    assert 0 < len(done) < 10
    assert not (tmp_path / "metrics.json").exists()
    model = make_oracle()
    resumed = evaluate_static(dict.fromkeys(ROLES, model), examples, tmp_path, batch_size=BATCH_SIZE)
    assert sum(request.kwargs["role"] == "planner" for request in model.requests) == 10 - len(done)
    assert len(set(read_keys(tmp_path))) == len(read_keys(tmp_path)) == 10
    assert resumed == evaluate_static(dict.fromkeys(ROLES, make_oracle()), examples, tmp_path / "whole")


def test_a_larger_limit_goes_on(tmp_path: Path, examples: list[Example], make_oracle: MakeOracle) -> None:
    models = dict.fromkeys(ROLES, make_oracle())
    assert evaluate_static(models, examples, tmp_path, limit=1)["n_steps"] == 3
    assert evaluate_static(models, examples, tmp_path)["n_steps"] == 10
    assert evaluate_static(models, examples, tmp_path, limit=1)["n_steps"] == 3


def test_other_models_data_or_settings_are_refused(
    tmp_path: Path, examples: list[Example], make_oracle: MakeOracle
) -> None:
    models = dict.fromkeys(ROLES, make_oracle())
    evaluate_static(models, examples, tmp_path)
    with pytest.raises(ConfigError, match="data"):
        evaluate_static(models, examples[1:], tmp_path)
    with pytest.raises(ConfigError, match="isolated"):
        evaluate_static(models, examples, tmp_path, isolated=False)
    with pytest.raises(ConfigError, match="checkpoint"):
        evaluate_static(models, examples, tmp_path, identity={"checkpoint": "abc"})
    other = models["planner"].model_copy(update={"model_name": "other"})
    with pytest.raises(ConfigError, match="models"):
        evaluate_static({**models, "caller": other}, examples, tmp_path)


def test_prompts_that_do_not_fit_are_counted_as_wrong(
    tmp_path: Path, examples: list[Example], make_oracle: MakeOracle
) -> None:
    def overflow(role: Role, text: str) -> str:
        if role == "planner" and "I add 5" in text:
            raise ContextOverflow("too long")
        return text

    metrics = evaluate_static(dict.fromkeys(ROLES, make_oracle(overflow)), examples, tmp_path)
    assert metrics["n_overflowed"] == 1
    assert metrics["strict"]["plan_acc"]["value"] == 0.9


def test_a_checkpoint_that_was_trained_anew_is_another_model(tmp_path: Path) -> None:
    (tmp_path / "umi.json").write_text("{}")
    model = LocalChatModel(model=str(tmp_path))
    before = describe_model(model)
    (tmp_path / "umi.json").write_text('{"stages": {}}')
    assert describe_model(model) != before


def test_wrong_tool_names_cost_the_calls_and_not_the_plans(make_run: MakeRun) -> None:
    spoiled = json.loads((make_run("a", lambda role, text: text.replace("add", "sub")) / "metrics.json").read_text())
    assert spoiled["paper"]["act_em"] == 0.0
    assert spoiled["paper"]["plan_acc"] == 1.0


def make_requests(*texts: str) -> list[RoleRequest]:
    return [RoleRequest([HumanMessage(text)], {"role": "planner"}) for text in texts]


def test_replies_come_in_order_with_their_usage() -> None:
    model = ScriptedChatModel(script=lambda role, messages: f"{role} {messages[0].text}", delay_s=0.001)
    texts = [str(i) * i for i in range(1, 9)]
    replies = generate_many(model, make_requests(*texts))
    assert [reply.text for reply in replies] == [f"planner {text}" for text in texts]
    assert all(reply.usage.output_tokens > 0 for reply in replies)
    assert generate_many(model, []) == []


def test_a_prompt_that_does_not_fit_costs_the_others_nothing() -> None:
    def say(role: Role, messages: list[BaseMessage]) -> str:
        if "long" in messages[0].text:
            raise ContextOverflow("too long")
        return "fine"

    replies = generate_many(ScriptedChatModel(script=say), make_requests("short", "long", "short"))
    assert [(reply.text, reply.overflowed) for reply in replies] == [("fine", False), ("", True), ("fine", False)]


def test_other_errors_end_the_run() -> None:
    with pytest.raises(ConfigError, match="no output left"):
        generate_many(ScriptedChatModel(script={"planner": ["one"]}), make_requests("a", "b"))


class BatchedModel(ScriptedChatModel):
    """Answers all at once."""

    def generate_many(
        self, requests: Sequence[RoleRequest], *, on_progress: Callable[[int], None] | None = None
    ) -> list[AIMessage | ContextOverflow]:
        if on_progress:
            on_progress(len(requests))
        return [AIMessage(f"{i} of {len(requests)}") for i, _ in enumerate(requests)]


def test_a_model_with_batches_of_its_own_is_asked_once() -> None:
    done: list[int] = []
    replies = generate_many(BatchedModel(script=()), make_requests("a", "b"), on_progress=done.append)
    assert done == [2]
    assert [reply.text for reply in replies] == ["0 of 2", "1 of 2"]
