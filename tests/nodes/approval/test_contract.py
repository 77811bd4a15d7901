"""Request and answers as others write and read them: LangChain's middleware, and the detector of agent-chat-ui."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Interrupt

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.nodes.approval import name_decisions
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

CONFIG: Any = {"configurable": {"thread_id": "t"}}
QUESTION: Any = {"messages": "Pay."}
DECISIONS: list[Any] = [
    {"type": "approve"},
    {"type": "reject", "message": "No."},
    {"type": "edit", "edited_action": {"name": "pay", "args": {"sum": 7}}},
    {"type": "respond", "message": "Paid by hand."},
]


def pay(sum: int) -> str:
    """Pay a sum."""
    return f"Paid {sum}."


def ask(
    n_calls: int = 1, strategy: Any = "react", n_steps: int = 1, mode: Any = "batched"
) -> tuple[Any, list[Interrupt]]:
    """Return an agent that waits with a question, and the question."""
    call = 'Action: pay\nAction Input: {"sum": %d}'
    script: Any = {
        "planner": ["I pay.\nNext: caller."] * n_steps + ["Done.\nNext: conclusion."],
        "caller": ["\n".join(call % (10 * step + n) for n in range(n_calls)) for step in range(n_steps)],
        "summarizer": ["Paid."],
    }
    agent = create_umi_agent(
        ScriptedChatModel(script=replay(script)),
        [pay],
        checkpointer=InMemorySaver(),
        defaults=UmiContext(strategy=strategy, interrupt_mode=mode),
    )
    return agent, list(agent.invoke(QUESTION, CONFIG)["__interrupt__"])


def is_shown_by_agent_chat_ui(question: Any) -> bool:
    """Say whether agent-chat-ui draws its approval form for an interrupt, as the server's JSON has it."""
    value = question.get("value")
    if not isinstance(value, dict):
        return False
    actions, reviews = value.get("action_requests"), value.get("review_configs")
    return (
        isinstance(actions, list)
        and isinstance(reviews, list)
        and bool(actions and reviews)
        and all(isinstance(each.get("name"), str) and isinstance(each.get("args"), dict) for each in actions)
        and all(isinstance(each.get("action_name"), str) for each in reviews)
        and all(isinstance(each.get("allowed_decisions"), list) for each in reviews)
        and {each["name"] for each in actions} <= {each["action_name"] for each in reviews}
    )


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@pytest.mark.parametrize("n_calls", [1, 2])
def test_request_is_one_that_agent_chat_ui_shows_and_its_answer_is_taken(strategy: Any, n_calls: int) -> None:
    agent, (question,) = ask(n_calls, strategy)
    assert is_shown_by_agent_chat_ui({"id": question.id, "value": question.value})
    answer = {"decisions": [{"type": "approve"}] * n_calls}  # it sends no ids
    result = agent.invoke(Command(resume=answer), CONFIG)
    assert "__interrupt__" not in result
    assert result["answer"] == "Paid."


def test_request_about_one_call_is_also_one_of_langchains_per_call_mode() -> None:
    middleware = pytest.importorskip("langchain.agents.middleware.human_in_the_loop")
    _, (question,) = ask()
    fields = getattr(middleware, "ToolApprovalRequest", None)
    assert {*(fields.__annotations__ if fields else ("type", "tool_call_id", "name", "args", "description"))} <= {
        *question.value
    }
    assert (question.value["type"], question.value["name"], question.value["args"]) == (
        "tool_approval",
        "pay",
        {"sum": 0},
    )
    _, (batch,) = ask(2)
    assert "type" not in batch.value


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision["type"])
@pytest.mark.parametrize("by_id", [False, True])
def test_one_decision_answers_a_question_about_one_call(decision: Any, by_id: bool) -> None:
    agent, (question,) = ask()
    resume = {question.id: decision} if by_id else decision
    result = agent.invoke(Command(resume=resume), CONFIG)
    said = next(message.text for message in result["messages"] if isinstance(message, ToolMessage))
    assert result["answer"] == "Paid."
    assert {"approve": "Paid 0.", "reject": "No.", "edit": "Paid 7.", "respond": "Paid by hand."}[
        decision["type"]
    ] in said


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_calls_are_asked_about_one_by_one_in_per_call_mode(strategy: Any) -> None:
    agent, (first,) = ask(2, strategy, mode="per_call")
    (second,) = agent.invoke(Command(resume={first.id: {"type": "approve"}}), CONFIG)["__interrupt__"]
    assert [(each.value["type"], each.value["args"]) for each in (first, second)] == [
        ("tool_approval", {"sum": 0}),
        ("tool_approval", {"sum": 1}),
    ]
    assert second.id != first.id
    assert agent.invoke(Command(resume={"type": "reject"}), CONFIG)["answer"] == "Paid."
    said = [message for message in agent.get_state(CONFIG).values["messages"] if isinstance(message, ToolMessage)]
    assert {(message.status, "Paid" in message.text) for message in said} == {("success", True), ("error", False)}


@pytest.mark.parametrize("n_calls", [1, 2])
def test_response_schema_takes_the_answers_and_no_others(n_calls: int) -> None:
    _, (question,) = ask(n_calls)
    schema: Any = question.response_schema
    ids = [action["id"] for action in question.value["action_requests"]]
    for decision in DECISIONS:
        assert jsonschema_rs.is_valid(schema, {"decisions": [decision] * n_calls})
        assert jsonschema_rs.is_valid(schema, {"decisions": [{**decision, "id": ids[-1]}]})
        assert jsonschema_rs.is_valid(schema, decision) == (n_calls == 1)
    wrong: list[Any] = [
        "yes",
        {"decisions": []},
        {"decisions": [{"type": "accept"}]},
        {"decisions": [{"type": "edit"}]},
    ]
    for each in wrong:
        assert not jsonschema_rs.is_valid(schema, each)
    assert not jsonschema_rs.is_valid(schema, {"decisions": [{"type": "approve", "id": "another"}]})
    no_number = {"type": "edit", "edited_action": {"name": "pay", "args": {"sum": "seven"}}}
    assert not jsonschema_rs.is_valid(schema, {"decisions": [no_number]})


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_answer_without_ids_is_about_the_question_that_was_asked_and_no_later_one(strategy: Any) -> None:
    agent, (first,) = ask(strategy=strategy, n_steps=2)
    result = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), CONFIG)
    (second,) = result["__interrupt__"]
    assert second.value["args"] != first.value["args"]
    assert agent.invoke(None, CONFIG)["__interrupt__"][0].value["args"] == second.value["args"]
    assert agent.invoke(Command(resume={"type": "approve"}), CONFIG)["answer"] == "Paid."


def test_decisions_are_named_only_where_they_can_mean_one_question() -> None:
    questions = [Interrupt({"action_requests": [{"id": f"call {n}"}]}, id=f"{n}") for n in (1, 2)]
    approve: Any = {"type": "approve"}
    named = {"decisions": [{"type": "approve", "id": "call 1"}]}
    assert name_decisions(approve, questions[:1]) == named
    assert name_decisions({"decisions": [approve]}, questions[:1]) == named
    assert name_decisions({"1": approve}, questions) == {"1": named}
    for kept in (approve, {"decisions": [approve]}):
        assert name_decisions(kept, questions) == kept
        assert name_decisions(kept, []) == kept
    for kept in ({"decisions": [approve, approve]}, {"decisions": [{**approve, "id": "call 3"}]}, "yes"):
        assert name_decisions(kept, questions[:1]) == kept
