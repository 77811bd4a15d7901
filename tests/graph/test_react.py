"""The whole graph with the scripted model: routing, faults, limits, threads."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from alpha_umi import Trajectory, UmiContext, create_umi_agent
from alpha_umi.errors import InputError
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.format.shown import read_shown
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

CALL = 'Action: add\nAction Input: {"a": 2, "b": 3}'
QUESTION = HumanMessage("What is 2 + 3?")
PLANS = ["I add 2 and 3.\nNext: caller.", "The sum is known.\nNext: conclusion."]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def make_agent(
    planner: Sequence[str] = PLANS,
    caller: Sequence[str] = (CALL,),
    summarizer: Sequence[str] = ("The sum is 5.",),
    *,
    tools: Sequence[Callable[..., Any]] = (add,),
    **options: Any,
) -> UmiAgent:
    script: Mapping[Role, Sequence[str]] = {"planner": planner, "caller": caller, "summarizer": summarizer}
    return create_umi_agent(ScriptedChatModel(script=script), tools, **{"approvals": False, **options})


def read_words(message: BaseMessage) -> str:
    return read_shown(message, "planner") if isinstance(message, AIMessage) else ""


def ask(agent: UmiAgent, text: str = "What is 2 + 3?", **kwargs: Any) -> dict[str, Any]:
    return dict(agent.invoke({"messages": [HumanMessage(text)]}, **kwargs))


def kinds(messages: Sequence[BaseMessage]) -> list[str]:
    return [message.type for message in messages]


def test_react_answers_through_every_role() -> None:
    result = ask(make_agent())
    assert (result["answer"], result["finish"], result["reason"]) == ("The sum is 5.", "answer", None)
    assert kinds(result["messages"]) == ["human", "ai", "tool", "ai"]
    call, observation, answer = result["messages"][1:]
    assert call.tool_calls[0]["args"] == {"a": 2, "b": 3}
    assert (observation.text, observation.tool_call_id) == ("5", call.tool_calls[0]["id"])
    assert answer.text == "The sum is 5."
    trajectory = Trajectory.from_messages(result["messages"])
    assert [step.decision for step in trajectory.turns[0].steps] == ["caller", "conclusion"]
    assert trajectory.turns[0].steps[0].rationale == "I add 2 and 3."


async def test_react_answers_the_same_async() -> None:
    result = await make_agent().ainvoke({"messages": [HumanMessage("What is 2 + 3?")]})
    assert result["answer"] == "The sum is 5."
    assert kinds(result["messages"]) == ["human", "ai", "tool", "ai"]


def test_react_output_has_no_private_state() -> None:
    assert set(ask(make_agent())) == {"messages", "answer", "finish", "reason", "structured_response"}


def test_react_without_any_reason_says_so() -> None:
    assert ask(make_agent(["Next: give up."]))["reason"] == "The planner gave no reason."


def test_react_an_empty_answer_is_none() -> None:
    result = ask(make_agent(summarizer=["  "]))
    assert (result["answer"], result["finish"]) == (None, "give up")
    assert "summarizer wrote nothing" in result["reason"]


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@pytest.mark.parametrize("is_whole", [False, True])
async def test_streamed_text_has_the_id_of_the_message_it_ends_up_in(strategy: Any, is_whole: bool) -> None:
    script: Mapping[Role, Sequence[str]] = {
        "planner": ["Hm. ", *PLANS] * 2,
        "caller": [CALL] * 2,
        "summarizer": ["The sum is 5."] * 2,
    }
    model = ScriptedChatModel(script=script, disable_streaming=is_whole)
    agent = create_umi_agent(model, [add], strategy=strategy)
    options: Any = {"input": {"messages": [QUESTION]}, "stream_mode": ["messages", "values"], "subgraphs": True}
    for parts in (list(agent.stream(**options)), [part async for part in agent.astream(**options)]):
        shown: dict[str, str] = {}
        thoughts: dict[str, str] = {}
        for _, mode, value in parts:
            if mode == "messages":
                shown[value[0].id] = shown.get(value[0].id, "") + value[0].text
                thoughts[value[0].id] = thoughts.get(value[0].id, "") + read_words(value[0])
        _, call, observation, answer = parts[-1][2]["messages"]
        assert shown == {
            call.id: "",
            observation.id: "5",
            answer.id: "The sum is 5.",
        }
        assert thoughts == {call.id: "Hm. " + PLANS[0] + CALL, observation.id: "", answer.id: PLANS[1]}


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@pytest.mark.parametrize("is_whole", [False, True])
def test_the_text_of_a_stream_is_the_answer_alone(strategy: Any, is_whole: bool) -> None:
    script: Mapping[Role, Sequence[str]] = {"planner": PLANS, "caller": [CALL], "summarizer": ["The sum is 5."]}
    model = ScriptedChatModel(script=script, disable_streaming=is_whole)
    agent = create_umi_agent(model, [add], strategy=strategy)
    question: Any = {"messages": [QUESTION]}
    parts: list[Any] = [*agent.stream(question, stream_mode="messages", subgraphs=True)]
    chunks = [message for _, (message, _) in parts if isinstance(message, AIMessageChunk)]
    assert "".join(chunk.text for chunk in chunks) == "The sum is 5."
    last: Any = reduce(lambda merged, each: merged + each, [chunk for chunk in chunks if chunk.id == chunks[-1].id])
    assert [block["type"] for block in last.content] == ["reasoning", "text"]  # as chat windows put them together


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
def test_the_answer_alone_is_text_in_the_stream_of_events_too() -> None:
    agent = create_umi_agent(
        ScriptedChatModel(script={"planner": PLANS, "caller": [CALL], "summarizer": ["5."]}), [add]
    )
    question: Any = {"messages": [QUESTION]}
    run: Any = agent.stream_events(question, version="v3")
    texts = ["".join(message.text) for message in run.messages]
    assert [text for text in texts if text] == ["5."]


@pytest.mark.parametrize("opening", ["<think>", "", "[THINK]", "<|channel|>analysis<|message|>"])
@pytest.mark.parametrize("is_whole", [False, True])
async def test_thoughts_are_not_streamed(opening: str, is_whole: bool) -> None:
    ends = {"[THINK]": "[/THINK]", "<|channel|>analysis<|message|>": "<|end|><|channel|>final<|message|>"}
    thoughts = opening + "Action: x. Next: give up.\n" + ends.get(opening, "</think>") + "\n\n"
    script: Mapping[Role, Sequence[str]] = {
        "planner": [PLANS[1]] * 4,
        "summarizer": [thoughts + "It is 5 < [6] <b>."] * 4,
    }
    agent = create_umi_agent(ScriptedChatModel(script=script, disable_streaming=is_whole), [add])
    options: Any = {"input": {"messages": [QUESTION]}, "stream_mode": "messages"}
    if not opening:  # what a template opens is known after the first reply
        agent.invoke(options["input"])
    for parts in (list(agent.stream(**options)), [part async for part in agent.astream(**options)]):
        assert "".join(message.text for message, _ in parts) == "It is 5 < [6] <b>."
    events = [event async for event in agent.astream_events(options["input"], version="v2")]
    shown = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(shown).endswith("It is 5 < [6] <b>." * bool(shown))
    assert "Action: x" not in "".join(shown)
    kept = events[-1]["data"]["output"]["messages"][-1].additional_kwargs["reasoning_content"]
    assert kept.startswith("Action: x. Next: give up.")


@pytest.mark.parametrize("is_whole", [False, True])
def test_what_is_not_to_be_streamed_is_not(is_whole: bool) -> None:
    script: Mapping[Role, Sequence[str]] = {"planner": PLANS[1:], "summarizer": ["It is 5."]}
    agent = create_umi_agent(ScriptedChatModel(script=script, disable_streaming=is_whole, tags=["nostream"]), [add])
    question: Any = {"messages": [QUESTION]}
    parts: list[Any] = [*agent.stream(question, stream_mode="messages")]
    assert "It is 5." not in [message.text for message, _ in parts if isinstance(message, AIMessageChunk)]


@pytest.mark.parametrize("context", [None, {}, {"temperature": 0.5}, UmiContext(temperature=0.5)])
def test_react_context_overlays_the_defaults(context: Any) -> None:
    agent = make_agent([PLANS[0]] * 2, defaults=UmiContext(max_steps=1))
    assert ask(agent, context=context)["finish"] == "step limit"


def test_react_gives_up_with_the_planners_reason() -> None:
    result = ask(make_agent(["No tool can do this.\nNext: give up."]))
    assert (result["answer"], result["finish"], result["reason"]) == (None, "give up", "No tool can do this.")
    assert result["messages"][-1].text == ""


def test_react_retries_a_plan_without_decision_once() -> None:
    result = ask(make_agent(["I wonder.", *PLANS]))
    assert result["finish"] == "answer"
    assert kinds(result["messages"]) == ["human", "ai", "tool", "ai"]


def test_react_gives_up_when_the_planner_never_decides() -> None:
    result = ask(make_agent(["I wonder.", "I still wonder."]))
    assert result["finish"] == "give up"
    assert "no decision" in result["reason"]
    assert Trajectory.from_messages(result["messages"]).turns[0].steps[0].rationale == "I still wonder."


def test_react_bad_plans_in_different_steps_do_not_add_up() -> None:
    result = ask(make_agent(["hm", PLANS[0], "hm", PLANS[1]]))
    assert result["finish"] == "answer"


def test_react_concludes_at_the_step_limit() -> None:
    agent = make_agent([PLANS[0]] * 3, [CALL] * 2)
    result = ask(agent, context=UmiContext(max_steps=2))
    assert (result["finish"], result["answer"]) == ("step limit", "The sum is 5.")
    assert "2 steps" in result["reason"]
    assert kinds(result["messages"]).count("tool") == 2


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("I would rather not.", "There is no tool call"),
        ("", "There is no tool call"),
        ("Action: add\nAction Input: {broken", "Action Input is not valid JSON"),
        ('Action: subtract\nAction Input: {"a": 2}', "There is no tool named 'subtract'"),
        ('Action: add\nAction Input: {"a": "two", "b": 3}', '- a: got "two" (a string); expected integer\n'),
        ('Action: add\nAction Input: {"a": 2}', "- b: missing; expected integer\n"),
    ],
)
def test_react_tells_the_planner_what_is_wrong_with_a_call(call: str, expected: str) -> None:
    result = ask(make_agent([PLANS[0], *PLANS], [call, CALL]))
    fault = next(message for message in result["messages"] if isinstance(message, ToolMessage))
    assert fault.status == "error"
    assert expected in fault.text
    assert result["finish"] == "answer"
    assert Trajectory.from_messages(result["messages"]).turns[0].steps[0].calls[0].observation is not None


def test_react_keeps_what_a_model_thinks_apart_from_what_it_says() -> None:
    planner = ["<think>Next: conclusion.</think>" + PLANS[0], "Or Next: give up.\n</think>\n" + PLANS[1]]
    result = ask(make_agent(planner, ["<think>Action: x</think>" + CALL], ["<think>Five.</think>\nThe sum is 5."]))
    assert (result["answer"], kinds(result["messages"])) == ("The sum is 5.", ["human", "ai", "tool", "ai"])
    call, answer = result["messages"][1], result["messages"][3]
    assert call.additional_kwargs["reasoning_content"] == "Next: conclusion.\nAction: x"
    assert answer.additional_kwargs["reasoning_content"] == "Or Next: give up.\nFive."
    assert Trajectory.from_messages(result["messages"]).turns[0].steps[1].rationale == "The sum is known."


def test_react_tool_that_raises_becomes_an_observation() -> None:
    def burn() -> str:
        """Always fails."""
        raise RuntimeError("on fire")

    result = ask(make_agent(caller=["Action: burn\nAction Input: {}"], tools=[burn]))
    assert "on fire" in result["messages"][2].text
    assert result["messages"][2].status == "error"
    assert result["finish"] == "answer"


def test_react_runs_several_calls_of_one_step_in_order() -> None:
    two = f'{CALL}\nAction: add\nAction Input: {{"a": 10, "b": 20}}'
    result = ask(make_agent(caller=[two]))
    assert [message.text for message in result["messages"] if isinstance(message, ToolMessage)] == ["5", "30"]


def test_react_thread_keeps_its_turns_and_resets_its_counters() -> None:
    agent = make_agent(PLANS * 2, [CALL] * 2, ["first", "second"], checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    ask(agent, config=config, context=UmiContext(max_steps=1))
    result = ask(agent, "And again?", config=config, context=UmiContext(max_steps=1))
    assert (result["answer"], result["finish"]) == ("second", "answer")
    trajectory = Trajectory.from_messages(result["messages"])
    assert [turn.instruction for turn in trajectory.turns] == ["What is 2 + 3?", "And again?"]


def test_react_counts_the_tokens_of_both_roles_of_a_step() -> None:
    result = ask(make_agent())
    for message in result["messages"]:
        if isinstance(message, AIMessage):
            assert message.usage_metadata is not None
            assert message.usage_metadata["output_tokens"] > 0


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, "no message"),
        ({"question": "What is 2 + 3?"}, "no message"),
        ({"messages": []}, "no message"),
        ({"messages": [AIMessage("hello")]}, "'ai'"),
        ({"messages": [HumanMessage("  ")]}, "no text"),
        ({"messages": [ChatMessage(role="critic", content="x"), HumanMessage("hi")]}, "history"),
    ],
)
def test_react_refuses_input_it_cannot_answer(payload: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        make_agent().invoke(payload)  # type: ignore[call-overload]  # wrong on purpose


HANDOFF = AIMessage("", tool_calls=[{"name": "to_math", "args": {}, "id": "h"}], name="boss")
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ([AIMessage("Hello!", name="host"), QUESTION], "[host said: Hello!]\n\nWhat is 2 + 3?"),
        (
            [QUESTION, HANDOFF, ToolMessage("Over to you.", tool_call_id="h", name="to_math")],
            "What is 2 + 3?\n\n[boss called to_math with {}]\n\n[to_math returned: Over to you.]",
        ),
        (
            [QUESTION, AIMessage("<think>Hm.</think>I add nothing."), SystemMessage("Be brief.")],
            "What is 2 + 3?\n\n[The assistant said: I add nothing.]",
        ),
        (
            [AIMessage([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "See:"}, IMAGE]), QUESTION],
            "[The assistant said: See:\n(image_url, not shown)]\n\nWhat is 2 + 3?",
        ),
        (
            [QUESTION, AIMessage([{"type": "refusal", "refusal": "I do not add."}, {"type": "tool_use", "name": "f"}])],
            "What is 2 + 3?\n\n[The assistant said: I do not add.]",
        ),
        ([ToolMessage("7", tool_call_id="9"), QUESTION], "[A tool returned: 7]\n\nWhat is 2 + 3?"),
        (
            [HumanMessage("Hi"), AIMessage("Hi!"), ToolMessage("7", tool_call_id="9"), QUESTION],
            "What is 2 + 3?",
        ),
        ([HumanMessage(["What is 2 + 3?", IMAGE])], "What is 2 + 3?\n(image_url, not shown)"),
        ([HumanMessage([{"type": "text", "text": None}, "What is 2 + 3?"])], "What is 2 + 3?"),
        ([ToolMessage([{"sum": 7}], tool_call_id="9"), QUESTION], '[A tool returned: {"sum": 7}]\n\nWhat is 2 + 3?'),
    ],
)
def test_agent_answers_the_last_human_turn_of_any_history(strategy: Any, given: list[Any], asked: str) -> None:
    def write(role: Role, messages: list[BaseMessage]) -> str:
        n_asked = max(i for i, message in enumerate(messages) if message.role == "user")  # type: ignore[attr-defined]
        assert messages[n_asked].text == asked
        n_plans = sum(message.role == "planner" for message in messages[n_asked:])  # type: ignore[attr-defined]
        return {"planner": PLANS[min(n_plans, 1)], "caller": CALL, "summarizer": "5"}[role]

    agent = create_umi_agent(
        ScriptedChatModel(script=write), [add], strategy=strategy, approvals=False, checkpointer=InMemorySaver()
    )
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    result = agent.invoke({"messages": given}, config)
    assert (result["answer"], result["finish"]) == ("5", "answer")
    assert kinds(result["messages"]) == [*kinds(given), "ai", "tool", "ai"]


def test_messages_with_the_name_of_a_role_are_those_of_the_role() -> None:
    roles = ["Developer", "assistant", "user", "function", "model"]
    given: list[Any] = [ChatMessage(role=role, content=f"{role}!", id=role) for role in roles]
    given.insert(4, FunctionMessage(content="5", name="sum"))
    result = make_agent().invoke({"messages": given})
    assert kinds(result["messages"]) == ["system", "ai", "human", "tool", "tool", "ai", "ai", "tool", "ai"]
    (turn,) = Trajectory.from_history(result["messages"], last_given="model").turns
    assert turn.instruction == (
        "[The assistant said: assistant!]\n\nuser!\n\n[A tool returned: function!]\n\n[sum returned: 5]\n\n"
        "[The assistant said: model!]"
    )
    assert len(turn.steps) == 2


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_a_finished_thread_that_is_run_again_answers_anew_with_what_it_did_as_context(strategy: Any) -> None:
    model = ScriptedChatModel(
        script={"planner": PLANS * 2, "caller": [CALL] * 2, "summarizer": ["It is 5.", "Still 5."]}
    )
    agent = create_umi_agent(model, [add], strategy=strategy, approvals=False, checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    first = agent.invoke({"messages": [QUESTION]}, config)
    assert agent.invoke(None, config)["messages"] == first["messages"]
    second = agent.invoke({"messages": []}, config)
    assert (second["answer"], second["finish"]) == ("Still 5.", "answer")
    assert second["messages"][:4] == first["messages"]
    asked = next(message.text for message in model.requests[4].messages if message.role == "user")  # type: ignore[attr-defined]
    assert asked.startswith("What is 2 + 3?\n\n[The assistant said: I add 2 and 3.]\n[The assistant called add with")
    assert asked.endswith("[add returned: 5]\n\n[The assistant said: It is 5.]")


def test_agent_begins_again_without_touching_what_it_was_given() -> None:
    given: list[Any] = [QUESTION, HANDOFF, ToolMessage("Over to you.", tool_call_id="h", status="error")]
    agent = make_agent(["No.\nNext: give up.", *PLANS], defaults=UmiContext(max_restarts=1, failure_limit=1))
    result = agent.invoke({"messages": given})
    assert kinds(result["messages"]) == ["human", "ai", "tool", "ai", "tool", "ai"]


def test_react_refuses_a_context_out_of_bounds() -> None:
    with pytest.raises(ValueError, match="max_steps"):
        ask(make_agent(), context={"max_steps": 0})


APPROVE = {"decisions": [{"type": "approve"}]}


def interrupted(**options: Any) -> tuple[UmiAgent, RunnableConfig, dict[str, Any]]:
    agent = make_agent(checkpointer=InMemorySaver(), **options)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    result = ask(agent, config=config, context=UmiContext(approve_tools=True))
    return agent, config, result


def test_approval_waits_and_runs_the_tool_when_approved() -> None:
    agent, config, result = interrupted()
    request = result["__interrupt__"][0].value
    assert request["action_requests"][0]["name"] == "add"
    assert request["action_requests"][0]["args"] == {"a": 2, "b": 3}
    assert agent.invoke(Command(resume=APPROVE), config)["answer"] == "The sum is 5."


def test_approval_rejected_call_never_runs_and_the_planner_is_told() -> None:
    ran: list[int] = []

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        ran.append(a)
        return a + b

    agent, config, _ = interrupted(tools=[add])
    result = agent.invoke(Command(resume={"decisions": [{"type": "reject", "message": "too dear"}]}), config)
    assert ran == []
    assert "too dear" in result["messages"][2].text
    assert result["finish"] == "answer"


def test_approval_edited_call_runs_as_edited() -> None:
    agent, config, _ = interrupted()
    edit = {"type": "edit", "edited_action": {"name": "add", "args": {"a": 40, "b": 2}}}
    result = agent.invoke(Command(resume={"decisions": [edit]}), config)
    assert result["messages"][2].text == "42"
    assert result["messages"][1].tool_calls[0]["args"] == {"a": 40, "b": 2}


@pytest.mark.parametrize(
    "response", ["yes", 7, {"decisions": []}, {"decisions": ["approve"]}, {"decisions": [{"type": "edit"}]}]
)
def test_approval_asks_again_when_the_response_cannot_be_read(response: Any) -> None:
    agent, config, _ = interrupted()
    again = agent.invoke(Command(resume=response), config)
    assert "decisions" in again["__interrupt__"][0].value["error"]
    assert agent.invoke(Command(resume=APPROVE), config)["answer"] == "The sum is 5."


@pytest.mark.parametrize("context", [None, UmiContext(approve_tools=False)])
def test_approval_gate_survives_a_resume_without_its_context_or_with_another(context: Any) -> None:
    agent, config, _ = interrupted(planner=[PLANS[0], *PLANS], caller=[CALL, CALL.replace("3", "4")])
    second = agent.invoke(Command(resume=APPROVE), config, context=context)
    assert second["__interrupt__"][0].value["action_requests"][0]["name"] == "add"


@pytest.mark.parametrize("is_async", [False, True])
def test_approval_is_asked_for_by_the_context_of_a_run_that_ended_before_its_first_node(is_async: bool) -> None:
    agent = make_agent(PLANS, [CALL], ["The sum is 5."], checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    context = UmiContext(approve_tools=True)
    agent.invoke({"messages": [HumanMessage("2 + 3?")]}, config, context=context, interrupt_before=["entry"])
    resumed = asyncio.run(agent.ainvoke(None, config)) if is_async else agent.invoke(None, config)
    assert resumed["__interrupt__"][0].value["action_requests"][0]["name"] == "add"
    assert agent.invoke(Command(resume=APPROVE), config)["answer"] == "The sum is 5."


def test_approval_is_not_asked_for_where_a_resumed_run_is_given_a_context() -> None:
    agent = make_agent(PLANS, [CALL], ["The sum is 5."], checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    agent.invoke({"messages": [HumanMessage("2 + 3?")]}, config, interrupt_before=["entry"])
    assert agent.invoke(None, config, context=UmiContext(approve_tools=False))["answer"] == "The sum is 5."


def make_repeating_agent() -> UmiAgent:
    """Return an agent that does the same from the same point, however often."""
    script: Any = {"planner": PLANS, "caller": [CALL], "summarizer": ["The sum is 5."]}
    model = ScriptedChatModel(script=replay(script))
    return create_umi_agent(model, [add], approvals=False, checkpointer=InMemorySaver())


def list_beginnings(agent: UmiAgent, config: RunnableConfig) -> list[RunnableConfig]:
    """Return the checkpoints from which the whole turn is run again."""
    history = agent.get_state_history(config)
    found = [past.config for past in history if past.next in (("__start__",), ("entry",))]
    assert len(found) == 2
    return found


@pytest.mark.parametrize("context", [None, {}, UmiContext()])
def test_time_travel_asks_only_where_the_run_asked(context: Any) -> None:
    agent = make_repeating_agent()
    config: RunnableConfig = {"configurable": {"thread_id": "free"}}
    ask(agent, config=config)
    for past in list_beginnings(agent, config):
        assert agent.invoke(None, past, context=context)["answer"] == "The sum is 5."
    config = {"configurable": {"thread_id": "asked"}}
    ask(agent, config=config, context=UmiContext(approve_tools=True))
    for past in list_beginnings(agent, config):
        assert "__interrupt__" in agent.invoke(None, past, context=context)


@pytest.mark.parametrize("approve", [False, True])
def test_fork_with_another_question_keeps_the_settings(approve: bool) -> None:
    agent = make_repeating_agent()
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    ask(agent, config=config, context=UmiContext(approve_tools=approve))
    (past,) = [past for past in agent.get_state_history(config) if past.next == ("entry",)]
    asked = past.values["messages"][-1].model_copy(update={"content": "And 2 + 3?"})
    fork = agent.update_state(past.config, {"messages": [asked]})
    result = agent.invoke(None, fork)
    assert result["messages"][0].content == "And 2 + 3?"
    assert ("__interrupt__" in result) == approve


def test_settings_of_one_turn_are_not_those_of_the_next() -> None:
    agent = make_repeating_agent()
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    ask(agent, config=config, context=UmiContext(approve_tools=True))
    assert ask(agent, "Again: 2 + 3?", config=config)["finish"] == "answer"


def test_approval_pending_call_does_not_run_when_the_user_moves_on() -> None:
    agent, config, _ = interrupted(planner=[PLANS[0], PLANS[1]])
    result = ask(agent, "Never mind; what do you know?", config=config)
    assert kinds(result["messages"]) == ["human", "ai", "human", "ai"]
    assert result["finish"] == "answer"


def test_react_starts_afresh_after_giving_up() -> None:
    model = ScriptedChatModel(
        script={
            "planner": [PLANS[0], "No.\nNext: give up.", *PLANS],
            "caller": [CALL, CALL],
            "summarizer": ["The sum is 5."],
        }
    )
    agent = create_umi_agent(model, [add], approvals=False, checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    result = ask(agent, config=config, context=UmiContext(max_restarts=1))
    assert (result["finish"], result["reason"]) == ("answer", None)
    assert kinds(result["messages"]) == ["human", "ai", "tool", "ai"]
    assert agent.get_state(config).values["n_restarts"] == 1
    fresh = model.requests[3]
    assert fresh.messages == model.requests[0].messages
    assert fresh.kwargs["temperature"] > model.requests[0].kwargs["temperature"]


def test_react_gives_up_when_its_restarts_are_used_up() -> None:
    result = ask(make_agent(["One.\nNext: give up.", "Two.\nNext: give up."]), context=UmiContext(max_restarts=1))
    assert (result["finish"], result["reason"]) == ("give up", "Two.")
    assert kinds(result["messages"]) == ["human", "ai"]


def test_react_restart_keeps_earlier_turns() -> None:
    agent = make_agent([*PLANS, "No.\nNext: give up.", *PLANS], [CALL] * 2, ["5"] * 2, checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    first = ask(agent, config=config)
    second = ask(agent, "Again?", config=config, context=UmiContext(max_restarts=3))
    assert second["messages"][:4] == first["messages"]
    assert kinds(second["messages"]) == ["human", "ai", "tool", "ai"] * 2
