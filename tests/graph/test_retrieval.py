"""An agent with thousands of tools: what it is told about, what it can find, and that nothing else can be called."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from alpha_umi import Toolbox, ToolSpec, UmiContext, create_umi_agent
from alpha_umi.errors import ConfigError
from alpha_umi.graph.config import RetrievalSettings, UmiSettings
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.graph.factory import make_agent
from alpha_umi.nodes.models.request import RoleRequest
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.nodes.state import Strategy
from alpha_umi.tools import make_tool
from alpha_umi.tools.retrieval import ToolRetriever

N_TOOLS = 4_000
THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}
CALL, DONE = "One more.\nNext: caller.", "Done.\nNext: conclusion."


def make_call(name: str, **arguments: Any) -> str:
    return f"Action: {name}\nAction Input: {json.dumps(arguments)}"


WEATHER = make_call("get_weather", city="Oslo")
FIND = make_call("find_tools", query="weather forecast")


def now() -> str:
    """Tell the time."""
    return "noon"


@pytest.fixture(scope="module")
def toolbox() -> Toolbox:
    """Thousands of fakes, two tools of use, and one that is always offered."""
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    fakes = [ToolSpec(f"fake_{i}", f"Polish widget {i}.") for i in range(N_TOOLS)]
    tools = [make_tool(spec, lambda: "polished") for spec in fakes]
    tools.append(make_tool(ToolSpec("get_weather", "Forecast for a city.", city), lambda city: f"Sun in {city}."))
    tools.append(make_tool(ToolSpec("book_flight", "Book a flight to a city.", city), lambda city: f"To {city}."))
    return Toolbox([*tools, now])


@pytest.fixture(scope="module")
def retriever(toolbox: Toolbox) -> ToolRetriever:
    return ToolRetriever([spec for spec in toolbox.specs if spec.name != "now"], embeddings=None, top_k=3)


def make_model(planner: Sequence[str], caller: Sequence[str], n_answers: int = 1) -> ScriptedChatModel:
    return ScriptedChatModel(script={"planner": planner, "caller": caller, "summarizer": ["Done."] * n_answers})


def ask(agent: UmiAgent, text: str, **kwargs: Any) -> dict[str, Any]:
    return dict(agent.invoke({"messages": [HumanMessage(text)]}, THREAD, **kwargs))


def observe(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message.status, message.text) for message in result["messages"] if isinstance(message, ToolMessage)]


def names_of(request: RoleRequest) -> list[str]:
    return [tool.name for tool in request.kwargs["tools"]]


def documented(request: RoleRequest) -> list[str]:
    lines = request.messages[0].text.splitlines()
    return [json.loads(line)["name"] for line in lines if line.startswith("{")]


def is_prefix(before: RoleRequest, after: RoleRequest) -> bool:
    """Tell whether a prompt goes on where another ended."""
    texts = [[(message.type, message.text) for message in request.messages] for request in (before, after)]
    return texts[1][: len(texts[0])] == texts[0]


def test_agent_is_told_about_the_tools_that_fit(toolbox: Toolbox, retriever: ToolRetriever) -> None:
    model = make_model([CALL, DONE], [WEATHER])
    result = ask(create_umi_agent(model, toolbox, retriever=retriever), "What is the weather forecast?")
    assert observe(result) == [("success", "Sun in Oslo.")]
    for request in model.requests:
        assert names_of(request) == documented(request) == ["now", "find_tools", "get_weather"]


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_agent_finds_further_tools_and_its_prompt_only_grows(
    toolbox: Toolbox, retriever: ToolRetriever, strategy: Strategy
) -> None:
    model = make_model([CALL, CALL, DONE], [FIND, WEATHER])
    agent = create_umi_agent(model, toolbox, retriever=retriever, strategy=strategy)
    result = ask(agent, "Polish widget 17.")
    (_, found), answer = observe(result)
    assert '{"name":"get_weather","description":"Forecast for a city.","arguments":{"city":"string"}}' in found
    assert answer == ("success", "Sun in Oslo.")
    first, *_, last = model.requests
    assert "get_weather" not in names_of(first)
    assert names_of(last) == [*names_of(first), "get_weather"]
    assert documented(last) == documented(first) == names_of(first)
    planner = [request for request in model.requests if request.kwargs["role"] == "planner"]
    assert all(is_prefix(before, after) for before, after in pairwise(planner))


def test_agent_cannot_call_a_tool_that_was_not_offered(toolbox: Toolbox, retriever: ToolRetriever) -> None:
    model = make_model([CALL, DONE], [WEATHER])
    agent = create_umi_agent(model, toolbox, retriever=retriever, approvals=False, checkpointer=InMemorySaver())
    result = ask(agent, "Polish widget 17.", context=UmiContext(approve_tools=True))
    ((status, text),) = observe(result)
    assert status == "error"
    assert "no tool named 'get_weather'" in text
    assert "find_tools" in text
    assert "__interrupt__" not in result, "nobody is asked about a call that cannot run"


def test_agent_takes_back_what_an_abandoned_chain_found(toolbox: Toolbox, retriever: ToolRetriever) -> None:
    model = make_model([CALL, "No.\nNext: give up.", CALL, DONE], [FIND, WEATHER])
    agent = create_umi_agent(model, toolbox, retriever=retriever)
    result = ask(agent, "Polish widget 17.", context=UmiContext(max_restarts=1))
    assert [status for status, _ in observe(result)] == ["error"]
    assert "get_weather" not in names_of(model.requests[-1])


def test_agent_that_finds_nothing_is_told_so(toolbox: Toolbox, retriever: ToolRetriever) -> None:
    model = make_model([CALL, DONE], [make_call("find_tools", query="zebra")])
    result = ask(create_umi_agent(model, toolbox, retriever=retriever), "Hello?")
    assert observe(result) == [("success", "No tool fits. Search with other words, or go on with the tools there are.")]
    assert documented(model.requests[0]) == ["now", "find_tools"]


def test_agent_offers_only_what_an_observation_can_document(toolbox: Toolbox) -> None:
    long = [ToolSpec(f"long_{i}", f"Weather forecast. {'Very long. ' * 10}") for i in range(5)]
    small = Toolbox([make_tool(spec, lambda: "") for spec in long], max_observation_chars=400)
    model = make_model([CALL, DONE], [FIND])
    result = ask(create_umi_agent(model, small, retriever=ToolRetriever(long, embeddings=None)), "Hello?")
    ((_, text),) = observe(result)
    assert len(text) <= 400
    assert text.endswith("}")
    names = names_of(model.requests[-1])
    assert 1 < len(names) < 6
    assert all(f'"{name}"' in text for name in names[1:])


def test_thread_keeps_its_prompt_while_nothing_new_fits(toolbox: Toolbox, retriever: ToolRetriever) -> None:
    model = make_model([CALL, DONE, DONE], [WEATHER], 2)
    agent = create_umi_agent(model, toolbox, retriever=retriever, approvals=False, checkpointer=InMemorySaver())
    ask(agent, "What is the weather forecast?")
    ask(agent, "And the weather tomorrow?")
    assert is_prefix(model.requests[-3], model.requests[-2])


def test_thread_keeps_the_tools_it_called_beside_those_of_the_new_question(
    toolbox: Toolbox, retriever: ToolRetriever
) -> None:
    model = make_model([CALL, DONE, CALL, CALL, DONE], [WEATHER, make_call("book_flight", city="Oslo"), WEATHER], 2)
    agent = create_umi_agent(model, toolbox, retriever=retriever, approvals=False, checkpointer=InMemorySaver())
    ask(agent, "What is the weather forecast?")
    result = ask(agent, "Then book me a flight.")
    assert [status for status, _ in observe(result)] == ["success"] * 3
    assert documented(model.requests[-1]) == ["now", "find_tools", "get_weather", "book_flight"]


def test_resumed_thread_keeps_what_was_offered_and_found(toolbox: Toolbox, retriever: ToolRetriever) -> None:
    saver = InMemorySaver()
    model = make_model([CALL, CALL, DONE], [FIND, WEATHER])
    agent = create_umi_agent(model, toolbox, retriever=retriever, approvals=False, checkpointer=saver)
    ask(agent, "Polish widget 17.", context=UmiContext(approve_tools=True))
    agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    before = names_of(model.requests[-1])
    # another process, whose index finds something else by now
    other = ToolRetriever([spec for spec in toolbox.specs if spec.name == "book_flight"], embeddings=None)
    resumed = make_model([DONE], [])
    agent = create_umi_agent(resumed, toolbox, retriever=other, approvals=False, checkpointer=saver)
    result = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    assert observe(result)[-1] == ("success", "Sun in Oslo.")
    assert names_of(resumed.requests[-1]) == before


async def test_agent_finds_further_tools_async(toolbox: Toolbox, retriever: ToolRetriever) -> None:
    model = make_model([CALL, CALL, DONE], [FIND, WEATHER])
    agent = create_umi_agent(model, toolbox, retriever=retriever)
    result = await agent.ainvoke({"messages": [HumanMessage("Polish widget 17.")]})
    assert observe(result)[-1] == ("success", "Sun in Oslo.")


def test_agent_refuses_a_retriever_of_other_tools(toolbox: Toolbox) -> None:
    with pytest.raises(ConfigError, match="does not have, such as 'stranger'"):
        create_umi_agent(make_model([], []), toolbox, retriever=ToolRetriever([ToolSpec("stranger")], embeddings=None))


def test_agent_refuses_a_second_find_tools() -> None:
    def find_tools() -> str:
        """Search."""
        return ""

    tools = Toolbox([find_tools])
    with pytest.raises(ConfigError, match="Two tools are named 'find_tools'"):
        create_umi_agent(make_model([], []), tools, retriever=ToolRetriever(tools.specs, embeddings=None))


def test_settings_turn_retrieval_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.yaml"
    script.write_text('planner: ["Easy.\\nNext: conclusion."]\nsummarizer: ["Hi."]\ncaller: ["-"]\n')
    settings = UmiSettings(
        models=f"scripted:{script}",
        tools=["builtin:*"],
        retrieval=RetrievalSettings(top_k=1, embeddings=None),
    )
    agent = make_agent(settings, checkpointer=InMemorySaver())
    ask(agent, "Convert 3 miles to km, which are units of length.")
    assert agent.get_state(THREAD).values["offered"] == ["find_tools", "convert_units"]
