"""The agent in a real `langgraph dev` server, driven by the public clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from benchmarks.load import run_server

QUESTION: Any = {"messages": [{"role": "user", "content": "What is 6 times 7?"}]}
SCRIPT = {
    "planner": ["I multiply.\nNext: caller.", "The product is known.\nNext: conclusion."],
    "caller": ['Action: calculator\nAction Input: {"expression": "6*7"}'],
    "summarizer": ["It is 42."],
}
SLOW_AGENT = """
from alpha_umi import create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

SCRIPT = {"planner": ["I think about it. " * 100 + "Next: conclusion."], "summarizer": ["Done."]}
graph = create_umi_agent(ScriptedChatModel(script=replay(SCRIPT), delay_s=0.1), [], name="slow")
"""
CAREFUL_AGENT = """
from alpha_umi import ask_when, create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

CALL = 'Action: calculator\\nAction Input: {"expression": "%s"}'
SCRIPT = {
    "planner": ["I multiply.\\nNext: caller.", "Known.\\nNext: conclusion."],
    "caller": ["\\n".join(CALL % expression for expression in ("1+1", "6*7", "6*8"))],
    "summarizer": ["Done."],
}
graph = create_umi_agent(
    ScriptedChatModel(script=replay(SCRIPT)),
    ["builtin:calculator"],
    approvals=[ask_when(lambda call: "*" in call["args"]["expression"], source="builtin")],
    name="careful",
)
"""
STRUCTURED_AGENT = """
from pydantic import BaseModel
from alpha_umi import create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

class Product(BaseModel):
    value: int

SCRIPT = {"planner": ["Easy.\\nNext: conclusion."], "summarizer": ['{"value": 42}']}
graph = create_umi_agent(ScriptedChatModel(script=replay(SCRIPT)), [], response_format=Product, name="structured")
"""
UNDECLARED_AGENT = """
from alpha_umi import create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

SCRIPT = {
    "planner": ["I look and pay.\\nNext: caller.", "Known.\\nNext: conclusion."],
    "caller": ['Action: calculator\\nAction Input: {"expression": "1+1"}\\nAction: pay\\nAction Input: {"sum": 5}'],
    "summarizer": ["Done."],
}

def pay(sum: int) -> str:
    'Pay a sum.'
    with open("paid.txt", "a") as file:
        file.write("paid ")
    return f"Paid {sum}."

graph = create_umi_agent(ScriptedChatModel(script=replay(SCRIPT)), ["builtin:calculator", pay], name="undeclared")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("server")
    (home / "script.yaml").write_text(yaml.safe_dump(SCRIPT))
    (home / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "models": f"scripted:{home / 'script.yaml'}",
                "tools": ["builtin:calculator"],
                "limits": {"max_steps": 5},
            }
        )
    )
    (home / "slow_agent.py").write_text(SLOW_AGENT)
    (home / "careful_agent.py").write_text(CAREFUL_AGENT)
    (home / "structured_agent.py").write_text(STRUCTURED_AGENT)
    (home / "undeclared_agent.py").write_text(UNDECLARED_AGENT)
    graphs = {name: f"{name}_agent:graph" for name in ("slow", "careful", "undeclared", "structured")} | {
        "agent": "alpha_umi.graph.agent:graph"
    }
    (home / "langgraph.json").write_text(
        json.dumps({"dependencies": ["."], "graphs": graphs, "http": {"app": "alpha_umi.graph.served:app"}})
    )
    environment = {"ALPHA_UMI_CONFIG": str(home / "config.yaml")}
    with run_server(home, n_jobs=4, environment=environment) as running:
        yield running.url


@pytest.fixture
def paid(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the undeclared agent writes when it pays."""
    found = tmp_path_factory.getbasetemp().glob("server*")  # one is a link to the newest
    (path,) = {path.resolve() for path in found if (path / "langgraph.json").is_file()}
    return path / "paid.txt"


@pytest.fixture
async def client(server: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server) as client:
        yield client


async def new_thread(client: LangGraphClient) -> str:
    return str((await client.threads.create())["thread_id"])


async def test_server_answers_a_stateless_run(client: LangGraphClient) -> None:
    result: Any = await client.runs.wait(None, "agent", input=QUESTION)
    assert (result["answer"], result["finish"]) == ("It is 42.", "answer")


async def test_server_streams_values_updates_and_messages(client: LangGraphClient) -> None:
    seen: dict[str, list[Any]] = {}
    stream = client.runs.stream(None, "agent", input=QUESTION, stream_mode=["values", "updates", "messages-tuple"])
    async for part in stream:
        seen.setdefault(part.event, []).append(part.data)
    assert "error" not in seen
    nodes = [name for update in seen["updates"] for name in update]
    assert nodes == ["entry", "planner", "caller", "approval", "tools", "planner", "summarizer"]
    assert seen["values"][-1]["answer"] == "It is 42."
    chunks = [chunk for chunk, _ in seen["messages"] if chunk["type"] == "AIMessageChunk"]
    texts = [block["text"] for chunk in chunks for block in chunk["content"] if block["type"] == "text"]
    assert len(texts) > 1
    assert "".join(texts) == "It is 42."
    assert {chunk["id"] for chunk in chunks} == {
        message["id"] for message in seen["values"][-1]["messages"] if message["type"] == "ai"
    }


async def test_server_keeps_state_history_and_travels_in_time(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    await client.runs.wait(thread, "agent", input=QUESTION)
    state: Any = await client.threads.get_state(thread)
    values: Any = state["values"]
    assert [message["type"] for message in values["messages"]] == ["human", "ai", "tool", "ai"]
    assert values["settings"]["max_steps"] == 5  # of the configuration, since the run brought no context
    history = await client.threads.get_history(thread, limit=50)
    before_tools = next(past for past in history if past["next"] == ["tools"])
    replayed: Any = await client.runs.wait(
        thread, "agent", input=None, checkpoint_id=before_tools["checkpoint"]["checkpoint_id"]
    )
    assert replayed["answer"] == "It is 42."
    assert len(await client.threads.get_history(thread, limit=50)) > len(history)


@pytest.mark.parametrize("approve", [False, True])
async def test_server_travels_to_the_beginning_with_the_settings_of_the_run(
    client: LangGraphClient, approve: bool
) -> None:
    thread = await new_thread(client)
    await client.runs.wait(thread, "agent", input=QUESTION, context={"approve_tools": approve})
    history = await client.threads.get_history(thread, limit=50)
    beginning = next(past for past in history if past["next"] == ["entry"])
    checkpoint_id = beginning["checkpoint"]["checkpoint_id"]
    replayed: Any = await client.runs.wait(thread, "agent", input=None, checkpoint_id=checkpoint_id)
    assert ("__interrupt__" in replayed) == approve


@pytest.mark.parametrize(
    ("decision", "observation"),
    [
        ({"type": "approve"}, "42"),
        ({"type": "reject", "message": "not now"}, "not now"),
        ({"type": "edit", "edited_action": {"name": "calculator", "args": {"expression": "6*9"}}}, "54"),
        ({"type": "respond", "message": "about forty"}, "about forty"),
    ],
)
async def test_server_asks_for_approval_and_resumes(
    client: LangGraphClient, decision: dict[str, Any], observation: str
) -> None:
    thread = await new_thread(client)
    await client.runs.wait(thread, "agent", input=QUESTION, context={"approve_tools": True})
    state = await client.threads.get_state(thread)
    assert state["next"] == ["approval"]
    request = state["tasks"][0]["interrupts"][0]["value"]["action_requests"][0]
    assert (request["name"], request["args"]) == ("calculator", {"expression": "6*7"})
    result: Any = await client.runs.wait(thread, "agent", command={"resume": {"decisions": [decision]}})
    tools = [message for message in result["messages"] if message["type"] == "tool"]
    assert observation in tools[0]["content"]
    assert result["finish"] == "answer"


async def test_server_asks_about_calls_that_may_change_something_and_after_time_travel_about_no_more(
    client: LangGraphClient,
) -> None:
    thread = await new_thread(client)
    await client.runs.wait(thread, "undeclared", input=QUESTION)
    for checkpoint in (None, (await client.threads.get_history(thread, limit=50))[-1]["checkpoint"]):
        if checkpoint:
            await client.runs.wait(thread, "undeclared", input=None, checkpoint=checkpoint)
        (request,) = await read_requests(client, thread)
        assert (request["name"], request["args"]) == ("pay", {"sum": 5})
        assert "effects" in request["reason"]
        assert request["reason"] in request["description"]
        decisions = [{"type": "approve", "id": request["id"]}]
        result: Any = await client.runs.wait(thread, "undeclared", command={"resume": {"decisions": decisions}})
        assert [each["content"] for each in result["messages"] if each["type"] == "tool"] == ["2", "Paid 5."]


async def test_server_takes_decisions_one_by_one_and_refuses_wrong_ones(client: LangGraphClient) -> None:
    async def answer(*decisions: Any) -> list[Any]:
        """Resume without a context and return what is asked then."""
        await client.runs.wait(thread, "careful", command={"resume": {"decisions": list(decisions)}})
        return await read_requests(client, thread)

    thread = await new_thread(client)
    await client.runs.wait(thread, "careful", input=QUESTION, context={"approve_tools": False})
    first, second = await read_requests(client, thread)
    assert [first["args"], second["args"]] == [{"expression": "6*7"}, {"expression": "6*8"}]
    assert await answer({"type": "approve"}) == [first, second]
    assert await answer({"id": "0" * 32, "type": "approve"}) == [first, second]
    wrong = {"id": first["id"], "type": "edit", "edited_action": {"args": {"expression": 6}}}
    assert await answer(wrong, {"id": second["id"], "type": "approve"}) == [first, second]
    assert await answer({"id": second["id"], "type": "reject", "message": "no"}) == [first]
    assert await answer({"id": second["id"], "type": "approve"}) == [first]
    assert await answer({"id": first["id"], "type": "approve"}) == []
    values: Any = (await client.threads.get_state(thread))["values"]
    observations = {message["content"] for message in values["messages"] if message["type"] == "tool"}
    assert {"2", "42"} <= observations
    assert "48" not in observations


async def read_requests(client: LangGraphClient, thread: str) -> list[Any]:
    state = await client.threads.get_state(thread)
    asked: list[Any] = [question["value"] for task in state["tasks"] for question in task["interrupts"]]
    return [action for value in asked for action in value["action_requests"]]


async def test_server_cancels_a_run_and_the_thread_goes_on(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    run = await client.runs.create(thread, "slow", input=QUESTION)
    while (await client.runs.get(thread, run["run_id"]))["status"] == "pending":
        await asyncio.sleep(0.1)
    await client.runs.cancel(thread, run["run_id"], wait=True)
    assert (await client.runs.get(thread, run["run_id"]))["status"] in ("interrupted", "error")
    result: Any = await client.runs.wait(thread, "agent", input=QUESTION)
    assert result["answer"] == "It is 42."


async def test_server_runs_two_threads_at_once_without_crossing_them(client: LangGraphClient) -> None:
    async def ask(question: str) -> Any:
        thread = await new_thread(client)
        payload: Any = {"messages": [{"role": "user", "content": question}]}
        return await client.runs.wait(thread, "agent", input=payload)

    first, second = await asyncio.gather(ask("first"), ask("second"))
    assert [first["messages"][0]["content"], second["messages"][0]["content"]] == ["first", "second"]
    assert first["answer"] == second["answer"] == "It is 42."


async def test_server_offers_the_context_as_an_editable_assistant(client: LangGraphClient) -> None:
    assistant = (await client.assistants.search(graph_id="agent"))[0]
    schemas = await client.assistants.get_schemas(assistant["assistant_id"])
    context = schemas["context_schema"]
    assert context is not None
    assert {"max_steps", "approve_tools", "temperature", "strategy"} <= set(context["properties"])
    changed = await client.assistants.create("agent", context={"approve_tools": True}, name="careful")
    thread = await new_thread(client)
    await client.runs.wait(thread, changed["assistant_id"], input=QUESTION)
    assert (await client.threads.get_state(thread))["next"] == ["approval"]


async def test_server_refuses_bad_input_with_a_readable_error(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    result: Any = await client.runs.wait(thread, "agent", input={"messages": []}, raise_error=False)
    assert "There is no message to answer" in json.dumps(result)


async def test_server_graph_is_usable_as_a_remote_graph(client: LangGraphClient) -> None:
    remote = RemoteGraph("agent", client=client)
    result = await remote.ainvoke(QUESTION)
    assert result["answer"] == "It is 42."


async def test_server_offers_the_agent_over_mcp(server: str) -> None:
    async with (
        streamable_http_client(f"{server}/mcp") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert tools["alpha-umi"].inputSchema["required"] == ["messages"]
        result = await session.call_tool("alpha-umi", QUESTION)
        assert [part.text for part in result.content] == ["It is 42."]  # type: ignore[union-attr]  # it sends text
        assert result.structuredContent is None
        structured = await session.call_tool("structured", QUESTION)
        assert structured.structuredContent == {"value": 42}
        assert not structured.isError
        wrong = await session.call_tool("alpha-umi", {"messages": []})
        assert wrong.isError


async def test_server_runs_nothing_unasked_where_nobody_can_be_asked(
    client: LangGraphClient, server: str, paid: Path
) -> None:
    """Not without a thread, and not over MCP: a tool that may change something leaves no trace there."""

    def count_paid() -> int:
        return paid.read_text().count("paid") if paid.exists() else 0

    n_paid = count_paid()
    with pytest.raises(Exception, match="waits for a person's approval"):  # the SDK has no class for it
        await client.runs.wait(None, "undeclared", input=QUESTION)
    async with (
        streamable_http_client(f"{server}/mcp") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        assert (await session.call_tool("undeclared", QUESTION)).isError
    assert n_paid == count_paid()


async def test_server_gives_the_answer_over_a2a(client: LangGraphClient, server: str) -> None:
    assistant = (await client.assistants.search(graph_id="agent", metadata={"created_by": "system"}))[0]["assistant_id"]
    message = {"role": "user", "parts": [{"kind": "text", "text": "What is 6 times 7?"}], "messageId": "1"}
    call = {"jsonrpc": "2.0", "id": "1", "method": "message/send", "params": {"message": message}}
    async with httpx.AsyncClient(timeout=60) as http:
        reply = await http.post(f"{server}/a2a/{assistant}", json=call, headers={"accept": "application/json"})
    (artifact,) = reply.json()["result"]["artifacts"]
    assert [part["text"] for part in artifact["parts"]] == ["It is 42."]


async def test_server_gives_structured_answers(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    result: Any = await client.runs.wait(thread, "structured", input=QUESTION)
    assert (result["structured_response"], result["finish"]) == ({"value": 42}, "answer")
    values: Any = (await client.threads.get_state(thread))["values"]
    assert values["structured_response"] == {"value": 42}


async def test_server_searches_a_tree_when_the_context_says_so(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    trees: list[Any] = []
    stream = client.runs.stream(
        thread,
        "agent",
        input=QUESTION,
        context={"strategy": "dfsdt", "approve_tools": True},
        stream_mode=["custom", "updates"],
        stream_subgraphs=True,
    )
    events = {part.event async for part in stream}
    assert any(event.startswith("updates|dfsdt") for event in events)
    state = await client.threads.get_state(thread)
    assert state["next"] == ["dfsdt"]
    (question,) = state["tasks"][0]["interrupts"]
    assert question["value"]["action_requests"][0]["name"] == "calculator"
    schema: Any = question["response_schema"]
    assert schema["anyOf"][0]["properties"]["type"] == {"const": "approve"}
    decision: Any = {"resume": {"decisions": [{"type": "approve"}]}}  # as agent-chat-ui sends it, without an id
    resumed = client.runs.stream(thread, "agent", command=decision, stream_mode="custom", stream_subgraphs=True)
    async for part in resumed:
        if part.event.startswith("custom"):
            trees.append(part.data["tree"])
    values: Any = (await client.threads.get_state(thread))["values"]
    assert values["answer"] == "It is 42."
    assert [node["status"] for node in values["tree"]["nodes"]] == ["open", "open", "answer"]
    assert [tree["cursor"] for tree in trees] == [1, 2]
