"""What a planner's certainty is, and what a run does where it is low; several models for a role."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import Field

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.cli.eval_runs import MeasuredAgent
from alpha_umi.errors import ConfigError
from alpha_umi.graph.config import load_settings
from alpha_umi.nodes.format.certainty import measure_certainty, read_certainty
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.nodes.models.specs import load_models
from alpha_umi.nodes.state import UmiInput, Unsure

CALL = '{"name": "add", "arguments": {"a": 3, "b": 4}}'
QUESTION: UmiInput = {"messages": [HumanMessage("What is 3 + 4?")]}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Certain(ScriptedChatModel):
    """Says how certain each of its plans is."""

    certainties: Sequence[dict[str, float]] = ()

    def _make_result(self, messages: list[BaseMessage], text: str) -> ChatResult:
        result = super()._make_result(messages, text)
        n_plans = sum(request.kwargs["role"] == "planner" for request in self.requests)
        if self.requests[-1].kwargs["role"] == "planner":
            result.generations[0].message.response_metadata["certainty"] = self.certainties[n_plans - 1]
        return result


class Broken(ScriptedChatModel):
    script: Any = ()

    def _choose(self, *_: Any) -> str:
        raise ConnectionError("The server is down.")


def make_planner(*certainties: dict[str, float], says: str = "I call add.\nNext: caller.") -> Certain:
    plans = [says, *["Done.\nNext: conclusion."] * (len(certainties) - 1)]
    script: dict[Role, list[str]] = {"planner": plans, "caller": [CALL], "summarizer": ["7."]}
    return Certain(script=script, certainties=certainties)


SURE, UNSURE = {"decision": 1.0, "tool": 0.9}, {"decision": 0.9, "tool": 0.5}


def run(models: Any, then: Any = None, **kwargs: Any) -> dict[str, Any]:
    context = UmiContext(unsure=Unsure(below=0.7, then=then)) if then else UmiContext()
    return create_umi_agent(models, [add], defaults=context, **kwargs).invoke(QUESTION)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["I call", " add.", "\nNext:", " caller."], {"decision": 0.25, "tool": 0.25}),
        (["I call a", "dd", ".\nNext: caller."], {"decision": 0.5, "tool": 0.25}),
        (["add is wrong, I call ", "subtract", ".", "\nNext: caller."], {"decision": 0.5, "tool": 0.25}),
        (["No tool adds.\n", "Next", ": ", "give up."], {"decision": 0.125}),
        (["This reads like address.", "\nNext: caller."], {"decision": 0.5}),
        (["add it up.", "\nNext: conclusion."], {"decision": 0.5}),
        (["I call add."], {}),
        ([], {}),
    ],
)
def test_the_probabilities_of_decision_and_tool_are_measured(tokens: list[str], expected: dict[str, float]) -> None:
    written = [(token, math.log(0.5)) for token in tokens]
    assert measure_certainty(written, ["add", "subtract"]) == expected


def test_without_tools_only_the_decision_is_measured() -> None:
    assert measure_certainty([("Hi.\nNext: caller.", 0.0)], []) == {"decision": 1.0}


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"logprobs": None},
        {"logprobs": {"content": None}},
        {"logprobs": {"content": [{"token": "Next: caller"}]}},
        {"logprobs": {"content": [{"token": "Next: caller", "logprob": None}]}},
    ],
)
def test_a_server_that_tells_no_probabilities_leaves_it_unknown(metadata: dict[str, Any]) -> None:
    assert read_certainty(metadata, ["add"]) == {}


def test_every_plan_keeps_its_certainty_in_the_thread() -> None:
    plan, _, conclusion = run(make_planner(SURE, {"decision": 0.8}))["messages"][1:]
    assert plan.tool_calls
    assert plan.response_metadata["certainty"] == SURE
    assert conclusion.response_metadata["certainty"] == {"decision": 0.8}


def test_an_unsure_plan_is_given_up_where_the_settings_say_so() -> None:
    outcome = run(make_planner(UNSURE), "give up")
    assert (outcome["finish"], outcome["answer"]) == ("give up", None)
    assert "unsure" in outcome["reason"]
    assert "0.45" in outcome["reason"]
    assert run(make_planner(SURE, SURE), "give up")["finish"] == "answer"
    assert run(make_planner(UNSURE, UNSURE))["finish"] == "answer"


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_a_person_is_asked_about_the_calls_of_an_unsure_plan(strategy: Any) -> None:
    asks = UmiContext(unsure=Unsure(below=0.7, then="ask"), strategy=strategy)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    for certainty, is_asked in ((UNSURE, True), (SURE, False)):
        model = make_planner(certainty, SURE)
        agent = create_umi_agent(model, [add], defaults=asks, approvals=False, checkpointer=InMemorySaver())
        result = agent.invoke(QUESTION, config)
        assert ("__interrupt__" in result) == is_asked
        if is_asked:
            (request,) = result["__interrupt__"][0].value["action_requests"]
            assert request["reason"] == "the planner is unsure of its plan (0.45, below 0.7)"
            result = agent.invoke(Command(resume={"decisions": [{"type": "approve", "id": request["id"]}]}), config)
        assert result["answer"] == "7."


def test_an_unsure_plan_is_made_by_the_next_model() -> None:
    small, large = make_planner(UNSURE, SURE), make_planner({}, says="I call add for 3 and 4.\nNext: caller.")
    outcome = run({"planner": [small, large], "caller": small, "summarizer": small}, "escalate")
    assert "for 3 and 4" in str(outcome["messages"][1].content)
    assert "certainty" not in outcome["messages"][1].response_metadata
    assert outcome["messages"][1].usage_metadata["input_tokens"] > outcome["messages"][3].usage_metadata["input_tokens"]
    assert [len(large.requests), outcome["finish"]] == [1, "answer"]


def test_no_second_model_is_asked_where_the_first_is_sure_or_nothing_says_to() -> None:
    for certainty, then in ((SURE, "escalate"), (UNSURE, None)):
        small, large = make_planner(certainty, SURE), make_planner({})
        assert run({"planner": [small, large], "caller": small, "summarizer": small}, then)["finish"] == "answer"
        assert not large.requests


@pytest.mark.parametrize("is_async", [False, True])
def test_the_next_model_of_any_role_is_asked_where_one_fails(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "alpha_umi")
    works = make_planner(SURE, SURE)
    agent = create_umi_agent([Broken(), works], [add])
    outcome = asyncio.run(agent.ainvoke(QUESTION)) if is_async else agent.invoke(QUESTION)
    assert outcome["answer"] == "7."
    for role in ("planner", "caller", "summarizer"):
        assert f"{role}'s model failed" in caplog.text
    with pytest.raises(ConnectionError):
        create_umi_agent([Broken(), Broken()], [add]).invoke(QUESTION)


def test_what_with_fallbacks_makes_is_taken() -> None:
    assert run(Broken().with_fallbacks([make_planner(SURE, SURE)]))["answer"] == "7."


def test_a_file_may_list_the_models_of_a_role(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("planner: ['Hi. Next: give up.']\ncaller: []\nsummarizer: []\n")
    config = tmp_path / "agent.yaml"
    for text in (
        "[scripted:{0}, scripted:{0}]",
        "{{planner: [scripted:{0}], caller: scripted:{0}, summarizer: scripted:{0}}}",
    ):
        config.write_text(f"models: {text.format(script)}\nunsure: {{below: 0.5, then: give up}}\n")
        settings = load_settings(config)
        assert settings.make_context().unsure == Unsure(below=0.5, then="give up")
        assert run(load_models(settings.models))["finish"] == "give up"
    with pytest.raises(ConfigError, match="list for planner is empty"):
        load_models([])


def test_what_measures_single_models_refuses_lists() -> None:
    model = make_planner(SURE)
    settings = load_settings(None)
    assert MeasuredAgent(load_models(model), settings).get_single_models()["caller"] is model
    with pytest.raises(ConfigError, match="give no list"):
        MeasuredAgent(load_models([model, model]), settings).get_single_models()


class Server(GenericFakeChatModel):
    """A chat model of someone else's, with OpenAI's field."""

    logprobs: bool | None = None
    asked: list[bool] = Field(default_factory=list)

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(kwargs.get("logprobs", False))
        return super()._generate(*args, **kwargs)


def test_a_server_is_asked_for_probabilities_only_where_they_are_used() -> None:
    tokens = [{"token": "I call add.\n", "logprob": math.log(0.5)}, {"token": "Next: caller", "logprob": 0.0}]
    plan = AIMessage("I call add.\nNext: caller", response_metadata={"logprobs": {"content": tokens}})
    for then, asked, finish in (("give up", [True], "give up"), (None, [False, False, False, False], "answer")):
        replies = iter([plan, AIMessage(CALL), AIMessage("Done.\nNext: conclusion."), AIMessage("7.")])
        model = Server(messages=replies, asked=[])
        assert run(model, then)["finish"] == finish
        assert model.asked == asked


def test_only_known_settings_and_probabilities_are_taken() -> None:
    for wrong in ({"below": 1.5, "then": "ask"}, {"below": 0.5, "then": "hope"}, {"below": 0.5}):
        with pytest.raises(ValueError, match="unsure"):
            UmiContext.model_validate({"unsure": wrong})
