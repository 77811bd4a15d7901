"""Arguments that LangChain's tools take from the graph, and tools that answer with commands or for the agent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, tool
from langgraph import types
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from langgraph.types import Command as Alias
from pydantic import BaseModel

from alpha_umi import Trajectory, create_umi_agent
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools import Toolbox
from alpha_umi.tools.isolation import isolate

CALL = "Next: caller."
END = "Next: conclusion."


def make_agent(*tools: Any, calls: Sequence[str] = ("{}",), answers: Sequence[str] = ("Done.",), **options: Any) -> Any:
    names = [getattr(each, "name", getattr(each, "__name__", "")) for each in tools]
    acts = ["\n".join(f"Action: {name}\nAction Input: {call}" for name in names) for call in calls]
    script: Any = {"planner": [CALL, END], "caller": acts, "summarizer": answers}
    return create_umi_agent(ScriptedChatModel(script=script), tools, **options)


def ask(agent: Any, **options: Any) -> Any:
    return agent.invoke({"messages": [HumanMessage("Who?")]}, **options)


def observe(agent: Any, **options: Any) -> ToolMessage:
    (message,) = [each for each in ask(agent, **options)["messages"] if isinstance(each, ToolMessage)]
    return message


def read_state(n: int, state: Annotated[dict[str, Any], InjectedState]) -> str:
    """Read the state."""
    state["messages"].clear()
    return f"{n} {state['n_steps']}"


def read_field(n: int, messages: Annotated[list[Any], InjectedState("messages")]) -> str:
    """Read a field of the state."""
    return f"{n} {messages[0].text}"


def read_missing(n: int, who: Annotated[str, InjectedState("who")]) -> str:
    """Read a field that is not there."""
    raise AssertionError("it ran")


def read_optional(n: int, who: Annotated[str, InjectedState("who")] = "nobody") -> str:
    """Read a field that may not be there."""
    return f"{n} {who}"


def read_store(n: int, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Read the store."""
    item = store.get(("users",), "ann")
    return f"{n} {item.value['town'] if item else None}"


def read_runtime(n: int, runtime: ToolRuntime) -> str:
    """Read the runtime."""
    runtime.stream_writer({"seen": n})
    return (
        f"{n} {runtime.state['messages'][0].text} {bool(runtime.tool_call_id)} {runtime.config['configurable']['who']}"
    )


async def read_value(n: int, who: Annotated[str, InjectedToolArg]) -> str:
    """Read a value of the caller."""
    return f"{n} {who}"


class StateTool(BaseTool):
    name: str = "state_tool"
    description: str = "Read the state."

    def _run(self, n: int, state: Annotated[dict[str, Any], InjectedState]) -> str:
        return f"{n} {len(state['messages'])}"


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (read_state, "7 1"),
        (read_field, "7 Who?"),
        (read_optional, "7 nobody"),
        (read_store, "7 Graz"),
        (read_runtime, "7 Who? True ann"),
        (read_value, "7 ann"),
        (StateTool(), "7 2"),
    ],
)
@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_tool_is_given_what_no_model_writes(function: Any, text: str, strategy: Any) -> None:
    store = InMemoryStore()
    store.put(("users",), "ann", {"town": "Graz"})
    agent = make_agent(function, calls=['{"n": 7}'], store=store, strategy=strategy)
    assert set(Toolbox([function]).specs[0].parameters["properties"]) == {"n"}
    result = ask(agent, config={"configurable": {"who": "ann"}})
    assert [each.text for each in result["messages"] if isinstance(each, ToolMessage)] == [text]
    assert result["answer"] == "Done."


async def test_tool_is_given_it_in_async_runs() -> None:
    agent = make_agent(read_field, calls=['{"n": 7}'])
    result = await agent.ainvoke({"messages": [HumanMessage("Who?")]})
    assert result["messages"][2].text == "7 Who?"


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (read_missing, "read_missing cannot run: it needs 'who' of the graph's state, which holds answer, "),
        (read_store, "it needs a store, and the agent has none: give create_umi_agent a store"),
        (read_value, "it needs 'who': give it in the run's config"),
    ],
)
def test_tool_that_is_not_given_it_does_not_run(function: Any, problem: str) -> None:
    message = observe(make_agent(function, calls=['{"n": 7}']))
    assert message.status == "error"
    assert problem in message.text


def test_model_cannot_write_what_is_given() -> None:
    forged = Toolbox([read_value]).execute("read_value", {"n": 1, "who": "root"}, "1")
    assert forged.status == "error"


def test_toolbox_alone_gives_what_it_has() -> None:
    toolbox = Toolbox([read_value, read_state])
    config: Any = {"configurable": {"who": "ann"}}
    assert toolbox.execute("read_value", {"n": 1}, "1", config).text == "1 ann"
    assert toolbox.execute("read_state", {"n": 1}, "1", config).status == "error"


def test_isolated_tool_cannot_be_given_anything() -> None:
    with pytest.raises(ConfigError, match="its argument 'state' is filled from this one"):
        isolate()(read_state)


def remember(name: str, call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Remember a name."""
    return Command(update={"messages": [ToolMessage(f"{name} is kept", tool_call_id=call_id)], "user": name})


def report(name: str) -> Command[Any]:
    """Report."""
    return Command(update={"messages": [{"role": "user", "content": "one"}, HumanMessage("two")]})


def list_both(name: str, call_id: Annotated[str, InjectedToolCallId]) -> list[Any]:
    """Return several."""
    return [Command(update={"user": name}), ToolMessage("both", tool_call_id=call_id, status="error")]


class Update(BaseModel):
    messages: list[Any]
    user: str = ""


def tell_more(name: str, call_id: Annotated[str, InjectedToolCallId]) -> list[Any]:
    """Return several."""
    return [Command(update={"messages": [ToolMessage("one", tool_call_id=call_id)]}), {"n": 2}]


def list_pairs(name: str) -> Command[Any]:
    """Return pairs."""
    return Command(update=[("messages", [{"n": 2}]), ("user", name)], goto=())


def fill_model(name: str) -> Command[Any]:
    """Return a model."""
    return Command(update=Update(messages=[HumanMessage("one")], user=name))


def resume_other(name: str) -> str:
    """Resume another graph, whose command this is."""
    return str(plot(graph=Command(resume=name)).resume)


def plot(graph: Any) -> Any:
    return graph


@pytest.mark.parametrize(
    ("function", "text", "status"),
    [
        (remember, "Ann is kept", "success"),
        (report, "one\ntwo", "success"),
        (list_both, "both", "error"),
        (tell_more, 'one\n{"n":2}', "success"),
        (list_pairs, '{"n":2}', "success"),
        (fill_model, "one", "success"),
        (resume_other, "Ann", "success"),
    ],
)
def test_messages_of_a_command_are_the_observation(
    function: Any, text: str, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "alpha_umi.tools"):
        message = observe(make_agent(function, calls=['{"name": "Ann"}']))
    assert (message.text, message.status) == (text, status)
    assert bool(message.tool_call_id)
    assert ("not: update of 'user'" in caplog.text) == (function not in (report, tell_more, resume_other))


def transfer() -> Command[Any]:
    """Transfer."""
    return Command(goto="other", graph=Command.PARENT, update={"messages": []})


def transfer_to_one() -> Command[Literal["other"]]:
    """Transfer."""
    return make_command()


def make_command(**parts: Any) -> Command[Any]:
    return Command(**{"goto": "other", "update": {"messages": "gone"}, **parts})


def transfer_in_secret() -> Command[Any]:
    """Transfer."""
    return make_command()


def transfer_by_alias() -> Any:
    """Transfer."""
    return Alias(goto="other")


def transfer_by_helper() -> Any:
    """Transfer."""
    return go_on()


def go_on() -> Any:
    def make() -> Any:
        return types.Command(goto=["other"])

    return make()


@pytest.mark.parametrize(
    "function",
    [transfer, transfer_to_one, tool(transfer), tool(transfer_to_one), transfer_by_alias, transfer_by_helper],
)
def test_command_that_goes_to_a_node_is_refused_before_the_tool_can_run(function: Any) -> None:
    with pytest.raises(ConfigError, match="goes to a node, which alpha-UMi cannot follow"):
        make_agent(function)


def test_command_that_ran_is_never_reported_as_failed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "alpha_umi.tools"):
        message = observe(make_agent(transfer_in_secret))
    assert (message.text, message.status) == ("gone", "success")
    assert "not: goto" in caplog.text


@tool(return_direct=True)
def look_up(code: int) -> str:
    """Look up."""
    if code < 0:
        raise ValueError("no such code")
    return f"Page {code}"


def make_direct_agent(calls: Sequence[str], **options: Any) -> Any:
    return make_agent(look_up, calls=calls, **options)


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_result_of_a_direct_tool_is_the_answer(strategy: Any) -> None:
    result = ask(make_direct_agent(['{"code": 3}'], strategy=strategy))
    assert (result["answer"], result["finish"]) == ("Page 3", "answer")
    assert result["messages"][-1].text == "Page 3"
    steps = Trajectory.from_messages(result["messages"]).turns[0].steps
    assert [step.decision for step in steps] == ["caller", "conclusion"]


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_a_step_is_the_answer_where_all_its_tools_are_direct_and_none_failed(strategy: Any) -> None:
    def ask_step(*calls: str, tools: Sequence[Any] = (look_up, remember)) -> Any:
        script: Any = {"planner": [CALL, END], "caller": ["\n".join(calls)], "summarizer": ["Done."]}
        return ask(create_umi_agent(ScriptedChatModel(script=script), tools, strategy=strategy))["answer"]

    good, bad = (f'Action: look_up\nAction Input: {{"code": {code}}}' for code in (3, -3))
    other = 'Action: remember\nAction Input: {"name": "Ann"}'
    assert ask_step(good, good.replace("3", "4")) == "Page 3\n\nPage 4"
    for calls in ([bad], [good, bad], [bad, good], [good, other], [good, "Action: none\nAction Input: {}"]):
        assert ask_step(*calls) == "Done."


def test_thread_goes_on_after_a_direct_answer() -> None:
    agent = make_direct_agent(['{"code": 3}'])
    first = ask(agent)
    script: Any = {"planner": [END], "caller": [], "summarizer": ["Again 3."]}
    later = create_umi_agent(ScriptedChatModel(script=script), [look_up])
    assert later.invoke({"messages": [*first["messages"], HumanMessage("Again?")]})["answer"] == "Again 3."
