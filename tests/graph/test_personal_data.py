"""Models, traces and logs see no personal data; tools and the caller do."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langchain_core.tracers import LangChainTracer
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command
from pydantic import BaseModel, SecretStr

from alpha_umi import RedactionRule, UmiContext, ask_when, create_umi_agent, declare_effects
from alpha_umi.errors import InputError
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.graph.config import load_settings
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.graph.factory import make_agent
from alpha_umi.nodes.models.scripted import Outputs, ScriptedChatModel, replay
from alpha_umi.nodes.state import Strategy
from tests.langsmith_sink import run_sink

ANN, BOB, EVE = "ann@shop.example", "bob@corp.example", "eve@corp.example"
FIRST = "[REDACTED_EMAIL_1]"
QUESTION: Any = {"messages": [HumanMessage(f"Write to {ANN}.", id="q")]}
THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}
SCRIPT: Outputs = {
    "planner": [f"I write to {FIRST}.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": [f'Action: write_mail\nAction Input: {{"to": "{FIRST}"}}'],
    "summarizer": [f"I wrote to {FIRST}, and [she] is told."],
}
sent: list[str] = []
_logger = logging.getLogger("my_tools")


@declare_effects("none")
def write_mail(to: str) -> str:
    """Write a mail.

    Args:
        to: The address.
    """
    sent.append(to)
    _logger.warning("Sent to %s", to)
    if to == EVE:
        raise ValueError(f"{to} is not known, ask {BOB}")
    return f"Sent to {to}, copy to {BOB}."


@pytest.fixture(autouse=True)
def _nothing_sent() -> None:
    sent.clear()


class Spy(BaseCallbackHandler):
    """Everything that callbacks are told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *args, **kwargs: self.seen.append((name, f"{args!r} {kwargs!r}"))
        return super().__getattribute__(name)

    def find(self, *values: str) -> list[str]:
        return [name for name, text in self.seen if any(value in text for value in values)]


def make(script: Any = SCRIPT, tools: Any = (write_mail,), **fields: Any) -> tuple[UmiAgent, ScriptedChatModel]:
    model = ScriptedChatModel(script=replay(script) if isinstance(script, dict) else script)
    return create_umi_agent(model, list(tools), **{"redaction": ["email"], **fields}), model


def ask(text: str) -> Any:
    return {"messages": [HumanMessage(text)]}


def read_requests(model: ScriptedChatModel) -> str:
    return "\n".join(str(request.messages) for request in model.requests)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
async def test_tools_and_caller_get_values_models_and_callbacks_do_not(strategy: Strategy, is_async: bool) -> None:
    agent, model = make(strategy=strategy)
    spy = Spy()
    config: RunnableConfig = {"callbacks": [spy]}
    result = await agent.ainvoke(QUESTION, config) if is_async else agent.invoke(QUESTION, config)
    assert result["answer"] == f"I wrote to {ANN}, and [she] is told."
    assert sent == [ANN]
    assert [message.text for message in result["messages"]][::2] == [
        QUESTION["messages"][0].text,
        f"Sent to {ANN}, copy to {BOB}.",
    ]
    assert result["messages"][1].tool_calls[0]["args"] == {"to": ANN}
    assert {"on_chain_start", "on_tool_start", "on_tool_end", "on_chain_end"} <= {name for name, _ in spy.seen}
    assert spy.find(ANN, BOB) == []
    assert FIRST in read_requests(model)
    assert "[REDACTED_EMAIL_2]" in read_requests(model)
    assert ANN not in read_requests(model)
    assert BOB not in read_requests(model)


def test_langsmith_receives_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_DISABLE_RUN_COMPRESSION", "true")
    with run_sink() as sink:
        client = sink.make_client()
        tracer = LangChainTracer(client=client, project_name="test")
        make()[0].invoke(QUESTION, {"callbacks": [tracer]})
        tracer.wait_for_futures()
        client.flush()
    text = json.dumps([*sink.runs.values()])
    assert FIRST in text
    assert "**********" in text
    assert ANN not in text
    assert BOB not in text


@pytest.mark.parametrize("n_characters", [1, 2, 3, 5, 8, 13, 60])
def test_answer_is_streamed_with_values_however_it_is_cut(n_characters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha_umi.nodes.models.scripted.CHARACTERS_PER_TOKEN", n_characters)
    for options in ({}, {"version": "v2"}, {"subgraphs": True}):
        agent, _ = make()
        parts: list[Any] = [*agent.stream(QUESTION, stream_mode="messages", **options)]
        chunks = [part["data"][0] if isinstance(part, dict) else part[-1][0] if options else part[0] for part in parts]
        shown = "".join(chunk.text for chunk in chunks if isinstance(chunk, AIMessageChunk))
        assert shown == f"I wrote to {ANN}, and [she] is told."
        assert [chunk.text for chunk in chunks if isinstance(chunk, ToolMessage)] == [f"Sent to {ANN}, copy to {BOB}."]


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
@pytest.mark.parametrize("n_characters", [1, 4, 60])
def test_events_of_messages_show_values(n_characters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha_umi.nodes.models.scripted.CHARACTERS_PER_TOKEN", n_characters)
    events: list[Any] = [*make()[0].stream_events(QUESTION, version="v3")]
    written = [event["params"]["data"][0] for event in events if event["method"] == "messages"]
    deltas = [each["delta"] for each in written if isinstance(each, dict) and each["event"] == "content-block-delta"]
    assert "".join(delta.get("text", "") for delta in deltas) == f"I wrote to {ANN}, and [she] is told."
    assert "REDACTED" not in str(events)


@pytest.mark.parametrize(
    "options", [{"stream_mode": "values"}, {"stream_mode": ["updates", "debug"], "subgraphs": True}]
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_stream_shows_values_and_none_the_secrets(options: Any, version: Any) -> None:
    agent, _ = make(strategy="dfsdt", checkpointer=InMemorySaver())
    text = str([*agent.stream(QUESTION, THREAD, version=version, **options)])
    assert ANN in text
    assert BOB in text
    assert "SecretStr" not in text
    assert "REDACTED" not in text


def test_thread_is_kept_redacted_and_read_with_values(tmp_path: Path) -> None:
    path = tmp_path / "threads.sqlite"
    with open_checkpointer(path) as saver:
        make(checkpointer=saver)[0].invoke(QUESTION, THREAD)
    script = {
        "planner": ["I write again.\nNext: caller.", "Done.\nNext: conclusion."],
        "caller": ['Action: write_mail\nAction Input: {"to": "[REDACTED_EMAIL_2]"}'],
        "summarizer": ["To [REDACTED_EMAIL_2]; you are [REDACTED_EMAIL_3]."],
    }
    with open_checkpointer(path) as saver:
        agent, model = make(script, checkpointer=saver)
        result = agent.invoke(ask(f"I am {EVE}. Write to the other."), THREAD)
        assert result["answer"] == f"To {BOB}; you are {EVE}."
        assert sent == [ANN, BOB]
        assert ANN in str(agent.get_state(THREAD).values["messages"])
        assert "originals" not in agent.get_state(THREAD).values
        assert all("REDACTED" not in str(state.values) for state in agent.get_state_history(THREAD))
        stored = saver.get_tuple(THREAD)
        assert stored is not None
        channels = stored.checkpoint["channel_values"]
        assert ANN not in str(channels)
        assert channels["originals"][FIRST] == SecretStr(ANN)
        agent.update_state(THREAD, {"messages": [HumanMessage(f"Also {ANN} and zoe@x.example")]}, as_node="entry")
        assert "[REDACTED_EMAIL_1] and [REDACTED_EMAIL_4]" in str(saver.get_tuple(THREAD))
    assert ANN not in read_requests(model)


@pytest.mark.parametrize(("strategy", "by_id"), [("react", False), ("react", True), ("dfsdt", False)])
def test_person_sees_values_and_an_edit_is_redacted(strategy: Strategy, by_id: bool) -> None:
    rule = ask_when(lambda call: call["args"]["to"].endswith("shop.example"))
    agent, model = make(strategy=strategy, approvals=[rule], checkpointer=InMemorySaver())
    spy = Spy()
    config: RunnableConfig = {**THREAD, "callbacks": [spy]}
    (asked,) = agent.invoke(QUESTION, config)["__interrupt__"]
    assert asked.value["action_requests"][0]["args"] == {"to": ANN}
    assert ANN in str(asked.response_schema)
    assert agent.get_state(config).interrupts[0].value == asked.value
    edit = {"type": "edit", "edited_action": {"name": "write_mail", "args": {"to": "zoe@x.example"}}}
    answer = {"decisions": [edit]}
    result = agent.invoke(Command(resume={asked.id: answer} if by_id else answer), config)
    assert sent == ["zoe@x.example"]
    assert result["messages"][1].tool_calls[0]["args"] == {"to": "zoe@x.example"}
    assert spy.find(ANN, BOB, "zoe@x.example") == []
    assert "zoe@x.example" not in read_requests(model)


def test_rules_about_arguments_hold_for_values() -> None:
    free = ask_when(lambda call: not call["args"]["to"].endswith("shop.example"))
    result = make(approvals=[free], checkpointer=InMemorySaver())[0].invoke(QUESTION, THREAD)
    assert (result["finish"], sent) == ("answer", [ANN])


def test_calls_of_one_step_make_different_texts() -> None:
    @declare_effects("none")
    def find_mail(name: str) -> str:
        """Find the address of a person.

        Args:
            name: The name.
        """
        return f"{name}@corp.example"

    calls = "\n".join(f'Action: find_mail\nAction Input: {{"name": "{name}"}}' for name in ("bob", "eve", "zoe"))
    script = {**SCRIPT, "caller": [calls], "summarizer": ["[REDACTED_EMAIL_2], [REDACTED_EMAIL_3], [REDACTED_EMAIL_4]"]}
    result = make(script, [find_mail])[0].invoke(QUESTION)
    found = [message.text for message in result["messages"] if isinstance(message, ToolMessage)]
    assert found == ["bob@corp.example", "eve@corp.example", "zoe@corp.example"]
    assert sorted(result["answer"].split(", ")) == found


def test_error_of_a_tool_is_redacted_in_callbacks_and_observation() -> None:
    spy = Spy()
    agent, model = make()
    result = agent.invoke(ask(f"Write to {EVE}."), {"callbacks": [spy]})
    assert result["messages"][2].text == f"write_mail failed: ValueError: {EVE} is not known, ask {BOB}"
    assert "on_tool_error" in {name for name, _ in spy.seen}
    assert spy.find(EVE, BOB) == []
    assert BOB not in read_requests(model)


def test_logs_of_a_tool_hide_what_it_was_given(caplog: pytest.LogCaptureFixture) -> None:
    make()[0].invoke(QUESTION)
    assert [record.getMessage() for record in caplog.records if record.name == "my_tools"] == ["Sent to [redacted]"]


def test_tool_arguments_are_checked_as_values() -> None:
    @tool
    def write_mail(to: Annotated[str, "address"], state: Annotated[dict[str, Any], InjectedState]) -> str:
        """Write a mail."""
        return f"{to} of {state['messages'][0].text} {len(to)}"

    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"to": {"type": "string", "pattern": "^[a-z]+@"}},
        "required": ["to"],
    }
    assert isinstance(write_mail, BaseTool)
    result = make(tools=[write_mail])[0].invoke(QUESTION)
    assert result["messages"][2].text == f"{ANN} of Write to {ANN}. {len(ANN)}"

    @declare_effects("none")
    @tool(args_schema=schema)
    def write_strictly(to: str) -> str:
        """Write a mail."""
        return f"To {to}"

    script = {**SCRIPT, "caller": [SCRIPT["caller"][0].replace("write_mail", "write_strictly")]}
    result = make(script, [write_strictly])[0].invoke(QUESTION)
    assert result["messages"][2].text == f"To {ANN}"


def test_input_that_is_blocked_is_refused_and_a_result_is_withheld() -> None:
    spy = Spy()
    agent, _ = make(redaction=[RedactionRule(pii_type="email", strategy="block")])
    with pytest.raises(InputError, match=r"The input is refused: it holds personal data .*\(email\)") as raised:
        agent.invoke(QUESTION, {"callbacks": [spy]})
    assert ANN not in str(raised.value)
    assert spy.seen == []
    script = {**SCRIPT, "caller": ['Action: write_mail\nAction Input: {"to": "Ann"}']}
    agent, _ = make(script, redaction=[RedactionRule(pii_type="email", strategy="block")])
    result = agent.invoke(ask("Write to Ann."), {"callbacks": [spy]})
    assert result["messages"][2].status == "error"
    assert "what it said is withheld" in result["messages"][2].text
    assert spy.find(BOB) == []


def test_what_is_not_restored_is_gone_for_all() -> None:
    agent, _ = make(redaction=[RedactionRule(pii_type="email", restore=False)], checkpointer=InMemorySaver())
    result = agent.invoke(QUESTION, THREAD)
    assert result["messages"][0].text == "Write to [REDACTED_EMAIL]."
    assert sent == [FIRST]
    assert ANN not in str(agent.get_state(THREAD))
    agent, model = make(redaction=lambda text: text.replace("ann", "xxx"))
    assert agent.invoke(QUESTION)["messages"][0].text == "Write to xxx@shop.example."
    assert ANN not in read_requests(model)


def test_structured_answer_is_checked_and_given_as_values() -> None:
    class Mail(BaseModel):
        to: str

        def model_post_init(self, _: object) -> None:
            if not self.to.endswith(".example"):
                raise ValueError(f"{self.to} is no address")

    script = {**SCRIPT, "summarizer": [json.dumps({"to": FIRST})]}
    spy = Spy()
    result = make(script, response_format=Mail)[0].invoke(QUESTION, {"callbacks": [spy]})
    assert result["structured_response"] == Mail(to=ANN)
    assert spy.find(ANN) == []


def test_agent_in_another_graph_takes_and_gives_values() -> None:
    rule = UmiContext(approve_tools=True)
    agent, model = make(defaults=rule)
    outer = StateGraph(MessagesState)
    outer.add_node("agent", agent)
    outer.add_edge(START, "agent")
    graph = outer.compile(checkpointer=InMemorySaver())
    (asked,) = graph.invoke(QUESTION, THREAD)["__interrupt__"]
    action = asked.value["action_requests"][0]
    decision = {"id": action["id"], "type": "edit", "edited_action": {"name": "write_mail", "args": {"to": EVE}}}
    result = graph.invoke(Command(resume={"decisions": [decision]}), THREAD)
    assert sent == [EVE]
    assert result["messages"][-1].text == f"I wrote to {ANN}, and [she] is told."
    assert ANN not in read_requests(model)
    assert EVE not in read_requests(model)


def test_result_of_a_once_call_is_found_again_with_its_values(tmp_path: Path) -> None:
    @declare_effects("once")
    def write_mail(to: str) -> str:
        """Write a mail.

        Args:
            to: The address.
        """
        sent.append(to)
        return f"Sent to {to}, copy to {BOB}."

    with open_checkpointer(tmp_path / "threads.sqlite") as saver:
        agent, _ = make(tools=[write_mail], approvals=False, checkpointer=saver)
        agent.invoke(QUESTION, THREAD)
        before = next(state for state in agent.get_state_history(THREAD) if state.next == ("tools",))
        model = ScriptedChatModel(script=replay({**SCRIPT, "planner": SCRIPT["planner"][1:]}))
        again = create_umi_agent(model, [write_mail], redaction=["email"], approvals=False, checkpointer=saver)
        result = again.invoke(None, before.config)
    assert sent == [ANN]
    assert result["messages"][2].text == f"Sent to {ANN}, copy to {BOB}."
    assert BOB not in read_requests(model)
    assert "[REDACTED_EMAIL_2]" in read_requests(model)


def test_configuration_names_types_and_rules(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    config = tmp_path / "config.yaml"
    config.write_text(
        f"models: scripted:{tmp_path / 'script.json'}\ntools: [{__name__}:write_mail]\n"
        "redaction: [email, {pii_type: staff, detector: 'E-[0-9]+', strategy: hash}]\n"
    )
    agent = make_agent(load_settings(config))
    assert agent.invoke(QUESTION)["messages"][0].text == QUESTION["messages"][0].text
    config.write_text("redaction: [email, {pii_type: ip, strategy: hide}]\n")
    with pytest.raises(ValueError, match=r"line 1: redaction\.1\.strategy: Input should be 'redact'"):
        load_settings(config)


async def test_many_threads_keep_apart() -> None:
    agent, _ = make(
        lambda role, messages: SCRIPT[role][0] if "Sent" not in str(messages) else SCRIPT[role][-1],
        checkpointer=InMemorySaver(),
    )

    async def ask_as(i: int) -> str:
        question = ask(f"Write to user{i}@x.example.")
        return str((await agent.ainvoke(question, {"configurable": {"thread_id": str(i)}}))["answer"])

    answers = await asyncio.gather(*map(ask_as, range(20)))
    assert answers == [f"I wrote to user{i}@x.example, and [she] is told." for i in range(20)]
