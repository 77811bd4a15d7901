"""Answers in the form that the caller wants, and reasons where there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, field_validator
from typing_extensions import TypedDict

from alpha_umi import as_runnable, create_umi_agent
from alpha_umi.errors import ConfigError
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.nodes.state import Strategy

QUESTION: Any = {"messages": [HumanMessage("What is 2 + 3?")]}
CALL = 'Action: add\nAction Input: {"a": 2, "b": 3}'
GOOD = '{"value": 5, "unit": "pieces"}'


class Sum(BaseModel):
    """A sum."""

    value: int
    unit: str

    @field_validator("unit")
    @classmethod
    def _check(cls, unit: str) -> str:
        if unit == "boom":
            raise RuntimeError("The validator is broken.")
        return unit


@dataclass
class SumData:
    value: int
    unit: str


class SumDict(TypedDict):
    value: int
    unit: str


SCHEMA = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "unit": {"type": "string"}},
    "required": ["value", "unit"],
}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def make_agent(answer: str = GOOD, response_format: Any = Sum, **options: Any) -> UmiAgent:
    plans = ["I add.\nNext: caller.", "I know.\nNext: conclusion."]
    script = replay({"planner": plans, "caller": [CALL], "summarizer": [answer]})
    options = {"approvals": False, "response_format": response_format, **options}
    return create_umi_agent(ScriptedChatModel(script=script), [add], **options)


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        (Sum, Sum(value=5, unit="pieces")),
        (SumData, SumData(5, "pieces")),
        (SumDict, {"value": 5, "unit": "pieces"}),
        (SCHEMA, {"value": 5, "unit": "pieces"}),
    ],
)
async def test_an_answer_has_the_form_that_is_wanted(response_format: Any, expected: Any, strategy: Strategy) -> None:
    agent = make_agent(response_format=response_format, strategy=strategy, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    for result in (agent.invoke(QUESTION, config), await agent.ainvoke(QUESTION, config)):
        assert result["structured_response"] == expected
        assert type(result["structured_response"]) is type(expected)
        assert (result["answer"], result["finish"], result["reason"]) == (GOOD, "answer", None)
    assert agent.get_state(config).values["structured_response"] == json.loads(GOOD)
    (part,) = [part for part in agent.copy().stream(QUESTION, config, stream_mode="values")][-1:]
    assert part["structured_response"] == expected


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@pytest.mark.parametrize("response_format", [Sum, SumData, SumDict, SCHEMA])
@pytest.mark.parametrize("answer", ["The sum is 5.", '{"value": "many", "unit": "x"}', '{"value": 5', "[5]", ""])
def test_an_answer_of_another_form_is_a_reason(answer: str, response_format: Any, strategy: Strategy) -> None:
    result = make_agent(answer, response_format, strategy=strategy).invoke(QUESTION)
    assert (result["structured_response"], result["answer"]) == (None, None)
    assert result["finish"] == "give up"
    assert ("does not fit the response format" if answer else "wrote nothing") in result["reason"]


def test_a_validator_that_fails_is_a_reason() -> None:
    result = make_agent('{"value": 5, "unit": "boom"}').invoke(QUESTION)
    assert "The validator is broken." in result["reason"]


def test_an_answer_that_was_cut_off_is_a_reason_and_no_earlier_turn_shows_through() -> None:
    answers = iter([AIMessage(GOOD), AIMessage('{"value": 5, "un', response_metadata={"finish_reason": "length"})])
    planner = ScriptedChatModel(script=replay({"planner": ["I know.\nNext: conclusion."]}))
    models: Any = {"planner": planner, "caller": planner, "summarizer": GenericFakeChatModel(messages=answers)}
    agent = create_umi_agent(models, [], response_format=Sum, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    assert agent.invoke(QUESTION, config)["structured_response"] == Sum(value=5, unit="pieces")
    result = agent.invoke(QUESTION, config)
    assert result["structured_response"] is None
    assert "It was cut off." in result["reason"]


def test_giving_up_leaves_the_structured_response_empty() -> None:
    script = replay({"planner": ["No tool fits.\nNext: give up."]})
    result = create_umi_agent(ScriptedChatModel(script=script), [], response_format=Sum).invoke(QUESTION)
    assert (result["structured_response"], result["reason"]) == (None, "No tool fits.")


def test_without_a_response_format_there_is_no_structured_response() -> None:
    assert make_agent(response_format=None).invoke(QUESTION)["structured_response"] is None


def test_a_pipe_carries_the_structured_response() -> None:
    reply = as_runnable(make_agent()).invoke("What is 2 + 3?")
    assert reply.response_metadata["structured_response"] == Sum(value=5, unit="pieces")


class ToolCallingModel(GenericFakeChatModel):
    """Calls the tool that it is given, as models do that have no other way to structured output."""

    bound: Any = None

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        return self.bind(tools=tools, **kwargs)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.bound = (messages, kwargs)
        return super()._generate(messages, *args, **kwargs)


def test_a_chat_model_is_held_to_the_form_by_what_it_has() -> None:
    call = {"name": "Sum", "args": {"value": 5, "unit": "pieces"}, "id": "1"}
    summarizer = ToolCallingModel(messages=iter([AIMessage("", tool_calls=[call])]), disable_streaming=True)
    planner = ScriptedChatModel(script=replay({"planner": ["I know.\nNext: conclusion."]}))
    models: Any = {"planner": planner, "caller": planner, "summarizer": summarizer}
    result = create_umi_agent(models, [], response_format=Sum).invoke(QUESTION)
    assert result["structured_response"] == Sum(value=5, unit="pieces")
    messages, kwargs = summarizer.bound
    assert "JSON Schema" in messages[-1].text
    assert '"unit"' in messages[-1].text
    assert kwargs["tools"]


@pytest.mark.parametrize("given", [int, {"type": "array"}, {"type": 3}, "Sum"])
def test_a_response_format_that_cannot_be_used_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="response format"):
        create_umi_agent("hf:smollm2-135m", [], response_format=given)
