"""Threads that grow over a model's window: what prompts hold of them, and that the state loses nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import Field

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.errors import ContextOverflow, ModelNotAvailable
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.graph.config import load_settings
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.request import RoleRequest, measure_prompt
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.nodes.state import History

THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}
SCRIPT: dict[Role, list[str]] = {
    "planner": ["I call add.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": ['Action: add\nAction Input: {"a": 2, "b": 3}'],
    "summarizer": ["It is 5."],
}
PADDING = "please " * 30
WINDOW = 900


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def make_agent(model: Any = None, **options: Any) -> UmiAgent:
    options = {"approvals": False, "checkpointer": InMemorySaver(), **options}
    return create_umi_agent(model or make_model(), [add], **options)


def make_model(**fields: Any) -> ScriptedChatModel:
    return ScriptedChatModel(**{"script": replay(SCRIPT), "profile": {"max_input_tokens": WINDOW}, **fields})


def ask(agent: UmiAgent, number: int, config: RunnableConfig = THREAD, **kwargs: Any) -> dict[str, Any]:
    return dict(agent.invoke({"messages": [HumanMessage(f"Question {number}: 2 + 3, {PADDING}?")]}, config, **kwargs))


def list_questions(messages: Sequence[BaseMessage]) -> list[int]:
    """Return the numbers of the questions in a prompt or a state."""
    return [int(number) for message in messages for number in re.findall(r"Question (\d+)", message.text)]


def list_prompts(model: ScriptedChatModel) -> list[list[int]]:
    return [list_questions(request.messages) for request in model.requests]


def test_prompts_lose_whole_old_turns_and_the_state_none() -> None:
    model = make_model()
    agent = make_agent(model)
    for number in range(12):
        result = ask(agent, number)
        assert result["answer"] == "It is 5."
        assert list_questions(result["messages"]) == list(range(number + 1))
    prompts = list_prompts(model)
    assert all(len(prompt) >= 1 and prompt == list(range(prompt[0], prompt[-1] + 1)) for prompt in prompts)
    begins = [prompt[0] for prompt in prompts]
    assert begins == sorted(begins)
    assert 2 <= len(set(begins)) <= 5  # so that a beginning serves several turns
    sizes = [sum(len(message.text) for message in request.messages) / 4 for request in model.requests]
    assert max(sizes) <= 0.8 * WINDOW


def test_without_a_setting_everything_is_sent() -> None:
    model = make_model()
    agent = make_agent(model, defaults=UmiContext(history=None))
    for number in range(8):
        ask(agent, number)
    assert list_prompts(model)[-1] == list(range(8))


async def test_bounds_in_tokens_need_no_known_window() -> None:
    model = make_model(profile=None)
    agent = make_agent(model, defaults=UmiContext(history=History(trigger=600, keep=400)))
    for number in range(8):
        await agent.ainvoke({"messages": [HumanMessage(f"Question {number}: {PADDING}?")]}, THREAD)
    begins = [prompt[0] for prompt in list_prompts(model)]
    assert begins == sorted(begins)
    assert len(set(begins)) > 1


class Narrow(ScriptedChatModel):
    """Refuses what is too long, as servers do, and does not say what its window is."""

    def _choose(self, messages: list[BaseMessage], stop: Any, kwargs: Any) -> str:
        if sum(len(message.text) for message in messages) > 4 * WINDOW:
            raise ContextOverflowError("The prompt is too long.")
        return super()._choose(messages, stop, kwargs)


def test_a_prompt_that_a_server_refuses_as_too_long_is_sent_again_without_old_turns() -> None:
    model = Narrow(script=replay(SCRIPT))
    agent = make_agent(model)
    for number in range(12):
        assert ask(agent, number)["answer"] == "It is 5."
    begins = [prompt[0] for prompt in list_prompts(model)]
    assert begins == sorted(begins)
    assert 1 < len(set(begins)) < 8


def test_a_question_that_is_too_long_alone_stays_an_error() -> None:
    agent = make_agent(Narrow(script=replay(SCRIPT)))
    ask(agent, 0)
    with pytest.raises(ContextOverflowError, match="too long"):
        agent.invoke({"messages": [HumanMessage("x" * 4 * WINDOW)]}, THREAD)
    assert ask(agent, 1, {"configurable": {"thread_id": "2"}})["answer"] == "It is 5."


def test_where_prompts_begin_survives_a_reload(tmp_path: Path) -> None:
    model, other = make_model(), make_model()
    with open_checkpointer(tmp_path / "threads.sqlite") as saver:
        agent = make_agent(model, checkpointer=saver)
        for number in range(6):
            ask(agent, number)
    with open_checkpointer(tmp_path / "threads.sqlite") as saver:
        ask(make_agent(other, checkpointer=saver), 6)
    assert list_prompts(model)[-1][0] == list_prompts(other)[0][0] > 0


def test_a_fork_has_the_prompts_of_where_it_begins() -> None:
    model = make_model()
    agent = make_agent(model)
    for number in range(10):
        ask(agent, number)
    begins = {prompt[-1]: prompt[0] for prompt in list_prompts(model)}
    early = next(
        snapshot
        for snapshot in agent.get_state_history(THREAD)
        if not snapshot.next and list_questions(snapshot.values["messages"])[-1] == 4
    )
    ask(agent, 5, early.config)
    assert list_prompts(model)[-1] == list(range(begins[5], 6))
    assert begins[5] < begins[9]


def test_a_message_that_was_removed_is_the_beginning_of_nothing() -> None:
    model = make_model()
    agent = make_agent(model)
    for number in range(6):
        ask(agent, number)
    begin = list_prompts(model)[-1][0]
    state = agent.get_state(THREAD).values
    agent.update_state(THREAD, {"messages": [RemoveMessage(id=state["shortened"]["start"])]})
    assert ask(agent, 6)["answer"] == "It is 5."
    assert begin not in list_prompts(model)[-1]


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_an_approval_in_the_middle_changes_no_prompt(strategy: Any) -> None:
    model, asked = make_model(), make_model()
    agent, asking = (
        make_agent(each, strategy=strategy, approvals=approvals) for each, approvals in ((model, False), (asked, True))
    )
    for number in range(8):
        ask(agent, number)
        result = ask(asking, number)
        assert result["__interrupt__"]
        result = asking.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
        assert result["answer"] == "It is 5."
        assert list_questions(result["messages"]) == list(range(number + 1))
    assert list_prompts(asked) == list_prompts(model)
    assert list_prompts(model)[-1][0] > 0


def test_a_history_that_is_handed_over_whole_begins_as_it_would_have_in_a_thread() -> None:
    model, other = make_model(), make_model()
    agent, stateless = make_agent(model), make_agent(other, checkpointer=None)
    messages: list[Any] = []
    for number in range(10):
        ask(agent, number)
        question = HumanMessage(f"Question {number}: 2 + 3, {PADDING}?")
        messages = stateless.invoke({"messages": [*messages, question]})["messages"]
        for message in messages:
            message.id = None
    begins = [prompt[0] for prompt in list_prompts(other)]
    assert begins == sorted(begins)
    assert len(set(begins)) <= 5
    assert begins[-1] > 0


def test_the_setting_is_read_from_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("history: {trigger: 2000, keep: 0.25}\n")
    assert load_settings(file).make_context().history == History(trigger=2000, keep=0.25)
    file.write_text("history: null\n")
    assert load_settings(file).make_context().history is None


SUMMARIZE = UmiContext(history=History(then="summarize"))


def say(role: Role, messages: list[BaseMessage]) -> str:
    """Do as the script says, and sum up which questions were asked."""
    if "Summarize what I asked" not in read_question(messages):
        return replay(SCRIPT)(role, messages)
    before = [int(n) for message in messages for n in re.findall(r"asked (\d+)", message.text)]
    return f"You asked {', asked '.join(map(str, sorted({*before, *list_questions(messages)})))}."


def read_question(messages: Sequence[BaseMessage]) -> str:
    return str(
        [message.text for message in messages if getattr(message, "role", message.type) in ("user", "human")][-1]
    )


def list_summaries(model: ScriptedChatModel) -> list[list[BaseMessage]]:
    asked = (request.messages for request in model.requests)
    return [messages for messages in asked if "Summarize what I asked" in read_question(messages)]


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_old_turns_are_summed_up_once_for_several_turns(strategy: Any) -> None:
    model = make_model(script=say)
    agent = make_agent(model, defaults=SUMMARIZE, strategy=strategy)
    for number in range(12):
        result = ask(agent, number)
        assert result["answer"] == "It is 5."
        assert list_questions(result["messages"]) == list(range(number + 1))
    shortened = agent.get_state(THREAD).values["shortened"]
    last = model.requests[-1].messages
    begin = list_questions(last)[0]
    # each summary holds what the one before it held
    assert shortened["summary"] == f"You asked {', asked '.join(map(str, range(begin)))}."
    texts = [message.text for message in last]
    assert texts[1:4] == ["What came out so far?", "All parts are done.\nNext: conclusion.", shortened["summary"]]
    begins = {prompt[0] for prompt in list_prompts(model)}
    assert 2 <= len(list_summaries(model)) == len(begins) - 1 <= 5


async def test_a_summary_is_counted_named_and_not_streamed() -> None:
    model = make_model(script=say)
    agent = make_agent(model, defaults=SUMMARIZE)
    for number in range(12):
        n_before, n_summaries = len(model.requests), len(list_summaries(model))
        usage, names, text = UsageMetadataCallbackHandler(), list[str](), ""
        config: RunnableConfig = {**THREAD, "callbacks": [usage]}
        question = HumanMessage(f"Question {number}: 2 + 3, {PADDING}?")
        async for event in agent.astream_events({"messages": [question]}, config, version="v2"):
            if event["event"] == "on_chat_model_start":
                names.append(event["name"])
        state = agent.get_state(THREAD).values
        assert state["usage"] == usage.usage_metadata["scripted"]
        assert state["n_queries"] == len(model.requests) - n_before == len(names)
        assert names.count("summary_model") == len(list_summaries(model)) - n_summaries
        for chunk, _ in agent.stream({"messages": [question]}, THREAD, stream_mode="messages"):
            text += chunk.text if isinstance(chunk, AIMessageChunk) else ""
        assert text == "It is 5."
    assert len(list_summaries(model)) > 2


def test_a_summary_survives_a_reload_and_belongs_to_its_fork(tmp_path: Path) -> None:
    model, other = make_model(script=say), make_model(script=say)
    with open_checkpointer(tmp_path / "threads.sqlite") as saver:
        agent = make_agent(model, checkpointer=saver, defaults=SUMMARIZE)
        for number in range(6):
            ask(agent, number)
        summary = agent.get_state(THREAD).values["shortened"]["summary"]
    with open_checkpointer(tmp_path / "threads.sqlite") as saver:
        agent = make_agent(other, checkpointer=saver, defaults=SUMMARIZE)
        ask(agent, 6)
        assert not list_summaries(other)
        assert summary in [message.text for message in other.requests[-1].messages]
        forked = next(
            snapshot
            for snapshot in agent.get_state_history(THREAD)
            if not snapshot.next and len(list_questions(snapshot.values["messages"])) == 2
        )
        ask(agent, 2, forked.config)
        assert summary not in [message.text for message in other.requests[-1].messages]


def test_old_turns_are_dropped_where_no_summary_can_be_had(caplog: pytest.LogCaptureFixture) -> None:
    def fail(role: Role, messages: list[BaseMessage]) -> str:
        if "Summarize what I asked" in read_question(messages):
            raise ConnectionError("The server is down.")
        return say(role, messages)

    agent = make_agent(make_model(script=fail), defaults=SUMMARIZE)
    for number in range(6):
        assert ask(agent, number)["answer"] == "It is 5."
    assert agent.get_state(THREAD).values["shortened"]["summary"] is None
    assert "Old turns were not summarised: ConnectionError('The server is down.')" in caplog.text


def test_a_general_model_reads_and_writes_summaries_too() -> None:
    def answer(messages: list[BaseMessage]) -> str:
        system = messages[0].text
        role: Role = (
            "planner" if "the planner of" in system else "caller" if "the caller of" in system else "summarizer"
        )
        if role == "planner":
            return SCRIPT["planner"]["Done so far" in messages[-1].text]
        return SCRIPT["caller"][0] if role == "caller" else say("summarizer", messages)

    class General(GenericFakeChatModel):
        prompts: list[list[BaseMessage]] = Field(default_factory=list)

        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            self.prompts.append(messages)
            return ChatResult(generations=[ChatGeneration(message=AIMessage(answer(messages)))])

    model = General(messages=iter([]), profile={"max_input_tokens": WINDOW})
    agent = make_agent(model, defaults=SUMMARIZE)
    for number in range(12):
        assert ask(agent, number)["answer"] == "It is 5."
    summary = agent.get_state(THREAD).values["shortened"]["summary"]
    assert summary.startswith("You asked 0, asked 1, ")
    assert [message.text for message in model.prompts[-1][1:3]] == ["What came out so far?", summary]


class Watched(LocalChatModel):
    """Remembers its prompts and how long they were."""

    seen: list[tuple[int, RoleRequest, int]] = Field(default_factory=list)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        result = super()._generate(messages, *args, **kwargs)
        (generation,) = result.generations
        usage = generation.message.usage_metadata if isinstance(generation.message, AIMessage) else None
        request = RoleRequest(messages, {name: kwargs[name] for name in ("role", "tools")})
        self.seen.append((usage["input_tokens"] if usage else 0, request, measure_prompt(self, request).n_tokens))
        return result


@pytest.mark.slow
def test_the_model_that_ships_goes_on_in_a_long_thread() -> None:
    try:
        resolve("smollm2-135m")
    except ModelNotAvailable as error:
        pytest.skip(str(error))
    model = Watched(model="smollm2-135m-umi")
    history = History(then="summarize", trigger=700, keep=550)
    agent = create_umi_agent(
        model, ["builtin:calculator"], defaults=UmiContext(history=history), checkpointer=InMemorySaver()
    )
    answers = []
    for number in range(2, 9):
        result = agent.invoke({"messages": [HumanMessage(f"What is {number} * 12?")]}, THREAD)
        answers.append((result["finish"], str(number * 12) in (result["answer"] or "")))
    assert answers == [("answer", True)] * 7
    assert len(result["messages"]) == 7 * 4
    prompts = [(n_tokens, request) for n_tokens, request, _ in model.seen]
    assert all(n_tokens == measured for n_tokens, _, measured in model.seen)
    assert max(n_tokens for n_tokens, _ in prompts) < 800
    assert agent.get_state(THREAD).values["shortened"]["summary"] in [m.text for m in model.seen[-1][1].messages]
    with pytest.raises(ContextOverflow, match="Offer fewer tools"):
        agent.invoke({"messages": [HumanMessage("one two " * 8192)]}, THREAD)
