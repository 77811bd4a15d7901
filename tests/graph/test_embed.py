"""The compiled graph inside LangChain apps."""

import copy
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import add as join
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from alpha_umi import UmiContext, as_runnable, as_tool, create_umi_agent
from alpha_umi.errors import InputError
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.format.shown import read_shown
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.nodes.state import Strategy

QUESTION: Any = {"messages": [HumanMessage("What is 2 + 3?")]}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def make_agent(strategy: Strategy = "react", **options: Any) -> UmiAgent:
    script = replay(
        {
            "planner": ["I add.\nNext: caller.", "I know.\nNext: conclusion."],
            "caller": ['Action: add\nAction Input: {"a": 2, "b": 3}'],
            "summarizer": ["The sum is 5."],
        }
    )
    return create_umi_agent(ScriptedChatModel(script=script), [add], strategy=strategy, **options)


@pytest.fixture
def agent() -> UmiAgent:
    return make_agent()


@pytest.fixture
def quitter() -> UmiAgent:
    script = replay({"planner": ["No tool fits.\nNext: give up."]})
    return create_umi_agent(ScriptedChatModel(script=script), [add])


async def test_embed_every_runnable_method_works(agent: UmiAgent) -> None:
    assert agent.invoke(QUESTION)["answer"] == "The sum is 5."
    assert (await agent.ainvoke(QUESTION))["answer"] == "The sum is 5."
    assert [result["answer"] for result in agent.batch([QUESTION] * 3)] == ["The sum is 5."] * 3
    assert [result["answer"] for result in await agent.abatch([QUESTION] * 3)] == ["The sum is 5."] * 3
    assert list(agent.stream(QUESTION, stream_mode="values"))[-1]["answer"] == "The sum is 5."
    assert [value async for value in agent.astream(QUESTION, stream_mode="values")][-1]["answer"] == "The sum is 5."


async def test_embed_events_carry_tokens_of_every_role(agent: UmiAgent) -> None:
    text: dict[str, str] = {}
    async for event in agent.astream_events(QUESTION, version="v2"):
        if event["event"] == "on_chat_model_stream":
            role: Any = event["name"].removesuffix("_model")
            text[role] = text.get(role, "") + read_shown(event["data"]["chunk"], role)
    assert set(text) == {"planner", "caller", "summarizer"}
    assert all(text.values())
    assert text["summarizer"] == "The sum is 5."


async def test_embed_in_a_pipe_between_prompt_and_parser(agent: UmiAgent) -> None:
    chain = ChatPromptTemplate.from_template("What is {a} + {b}?") | as_runnable(agent) | StrOutputParser()
    assert chain.invoke({"a": 2, "b": 3}) == "The sum is 5."
    assert await chain.ainvoke({"a": 2, "b": 3}) == "The sum is 5."
    assert "".join(chain.stream({"a": 2, "b": 3})) == "The sum is 5."


def test_embed_runnable_takes_text_and_messages(agent: UmiAgent) -> None:
    runnable = as_runnable(agent)
    for value in ("What is 2 + 3?", [("human", "What is 2 + 3?")], [HumanMessage("What is 2 + 3?")]):
        reply = runnable.invoke(value)
        assert reply.text == "The sum is 5."
        assert reply.response_metadata["finish"] == "answer"


def test_embed_runnable_says_why_there_is_no_answer(quitter: UmiAgent) -> None:
    reply = as_runnable(quitter).invoke("What is the weather?")
    assert reply.text == "No answer: No tool fits."
    assert reply.response_metadata["finish"] == "give up"


def test_embed_as_subgraph_of_a_graph_over_messages(agent: UmiAgent) -> None:
    parent = StateGraph(MessagesState)
    parent.add_node("umi", agent)
    parent.add_edge(START, "umi")
    parent.add_edge("umi", END)
    messages = parent.compile().invoke(QUESTION)["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert messages[-1].text == "The sum is 5."


async def test_embed_as_tool_of_another_agent(agent: UmiAgent) -> None:
    call = AIMessage("", tool_calls=[{"name": "sums", "args": {"query": "What is 2 + 3?"}, "id": "1"}])

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **_: Any) -> Any:
            return self

    tool = as_tool(agent, name="sums", description="Adds numbers.")
    for result in (
        create_agent(Model(messages=iter([call, AIMessage("Five.")])), [tool]).invoke(QUESTION),
        await create_agent(Model(messages=iter([call, AIMessage("Five.")])), [tool]).ainvoke(QUESTION),
    ):
        observation = next(message for message in result["messages"] if isinstance(message, ToolMessage))
        assert (observation.text, observation.status) == ("The sum is 5.", "success")
        assert result["messages"][-1].text == "Five."


@dataclass
class ForeignData:
    max_steps: str = "foreign"


class ForeignModel(BaseModel):
    strategy: str = "foreign"


class WiderContext(UmiContext):
    user_id: str = "u"


class ForeignDict(TypedDict, total=False):
    user_id: str
    max_steps: int


def put_into_graph(agent: UmiAgent, context: type[Any] | None = None, state: type[Any] = MessagesState) -> Any:
    graph = StateGraph(state, context_schema=context)
    graph.add_node("umi", agent)
    graph.add_edge(START, "umi")
    return graph.compile(store=InMemoryStore())


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@pytest.mark.parametrize(
    ("schema", "context"),
    [
        (ForeignData, ForeignData()),
        (ForeignModel, {"strategy": "foreign"}),
        (WiderContext, {"user_id": "u", "max_steps": 1}),
        (ForeignDict, {"user_id": "u"}),
        (ForeignDict, {}),
        (None, None),
    ],
)
async def test_embed_passes_over_the_context_of_the_graph_around(
    strategy: Strategy, schema: type[Any] | None, context: Any
) -> None:
    graph = put_into_graph(make_agent(strategy), schema)
    config: Any = {"configurable": {"user_id": "u", "max_steps": "foreign", "model": 3}}
    assert len(graph.invoke(QUESTION, config, context=context)["messages"]) == 4
    assert len((await graph.ainvoke(QUESTION, config, context=context))["messages"]) == 4


def test_embed_takes_known_keys_of_a_mapping(agent: UmiAgent) -> None:
    graph = put_into_graph(agent, ForeignDict)
    steps = graph.stream(QUESTION, context={"user_id": "u", "max_steps": 3}, stream_mode="debug", subgraphs=True)
    settings = [
        step["payload"]["input"]["settings"] for _, step in steps if "settings" in str(step["payload"].get("input"))
    ]
    assert settings[-1]["max_steps"] == 3
    with pytest.raises(InputError, match=r"max_steps: .*Correct them, or give the keys other names"):
        graph.invoke(QUESTION, context={"max_steps": "many"})


@dataclass
class DataState:
    messages: Annotated[list[Any], add_messages]
    settings: str = "foreign"
    decision: list[str] = field(default_factory=list)


class ModelState(BaseModel):
    messages: Annotated[list[Any], add_messages]
    tree: int = 7
    gate: Annotated[list[int], join] = []


class DictState(MessagesState):
    settings: str
    ran: Annotated[list[int], join]
    answer: str


@pytest.mark.parametrize("state", [DataState, ModelState, DictState])
def test_embed_passes_over_foreign_keys_of_the_state_around(agent: UmiAgent, state: type[Any]) -> None:
    result = put_into_graph(agent, None, state).invoke({**QUESTION, "settings": "foreign"})
    assert result["messages"][-1].text == "The sum is 5."
    assert result.get("settings", "foreign") == "foreign"


class ListState(MessagesState):
    answer: Annotated[list[str], join]
    finish: Annotated[int, join]
    reason: Annotated[dict[str, str], lambda a, b: a | b]


class CheckedState(BaseModel):
    messages: Annotated[list[Any], add_messages]
    answer: int = 3
    finish: str | None = None
    reason: str = ""


@dataclass
class JoiningState:
    messages: Annotated[list[Any], join]
    answer: Annotated[list[str], join] = field(default_factory=list)
    finish: str = ""


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@pytest.mark.parametrize("state", [ListState, CheckedState, JoiningState])
async def test_embed_leaves_keys_alone_that_mean_something_else(state: type[Any], strategy: Strategy) -> None:
    graph = StateGraph(state)
    graph.add_node("umi", make_agent(strategy))
    graph.add_node("after", lambda _: {})  # it has the state checked
    graph.add_edge(START, "umi").add_edge("umi", "after")
    compiled: Any = graph.compile()
    given: Any = {"messages": [HumanMessage("What is 2 + 3?")]}
    events = [event async for event in compiled.astream_events(given, version="v2")]
    for result in (compiled.invoke(given), await compiled.ainvoke(given), events[-1]["data"]["output"]):
        assert [message.type for message in result["messages"]] == ["human", "ai", "tool", "ai"]
        assert result.get("answer") in (None, [], 3)
        assert result.get("finish") in (None, 0, "answer")
        assert result.get("reason") in (None, {}, "")


def test_embed_gives_the_graph_around_what_it_knows(agent: UmiAgent, quitter: UmiAgent) -> None:
    class State(MessagesState):
        answer: str
        finish: Annotated[str, lambda _, new: new]

    result = put_into_graph(agent, None, State).invoke(QUESTION)
    assert (result["answer"], result["finish"]) == ("The sum is 5.", "answer")
    result = put_into_graph(quitter, None, State).invoke(QUESTION)
    assert (result["answer"], result["finish"]) == (None, "give up")


def test_embed_called_within_a_node_gives_all_that_it_has(agent: UmiAgent) -> None:
    def ask(state: Any, config: RunnableConfig) -> Any:
        return {"answer": [agent.invoke(QUESTION)["answer"], agent.invoke(QUESTION, config)["answer"]]}

    compiled: Any = StateGraph(ListState).add_node("ask", ask).add_edge(START, "ask").compile()
    assert compiled.invoke(QUESTION)["answer"] == ["The sum is 5."] * 2
    compiled = StateGraph(ListState).add_node("ask", lambda state: agent.invoke(state)).add_edge(START, "ask").compile()
    assert compiled.invoke(QUESTION)["answer"] == []


PEOPLE = ["Alice", "Bob"]


class Answers(TypedDict):
    told: Annotated[dict[str, str], lambda known, new: known | new]


class Late(BaseCallbackHandler):
    """Lets the first question of a batch begin last, and later that of the other person."""

    run_inline = True
    n_begun = 0

    def on_chain_start(self, serialized: Any, inputs: Any, **_: Any) -> None:
        if PEOPLE[self.n_begun >= len(PEOPLE)] in str(inputs):
            time.sleep(0.2)
        self.n_begun += inputs.keys() == {"messages"}


def make_bank(paid: list[str], strategy: Strategy, *, fails: bool) -> UmiAgent:
    """Pay to whom the question names, once a person agrees; the model may fail once, when all is paid."""
    failures = iter([fails])

    def pay(to: str) -> str:
        """Pay."""
        paid.append(to)
        return f"account of {to}"

    def say(role: Any, messages: list[BaseMessage]) -> str:
        text = "\n".join(message.text for message in messages)
        name = next(name for name in PEOPLE if f"Pay {name}." in text)
        if role == "planner" and f"account of {name}" in text:
            if len(paid) == len(PEOPLE) and next(failures, False):
                raise ConnectionError
            return "It is paid.\nNext: conclusion."
        plan = {"planner": "I pay.\nNext: caller.", "caller": f'Action: pay\nAction Input: {{"to": "{name}"}}'}
        return plan.get(role) or " and ".join(name for name in PEOPLE if f"account of {name}" in text)

    defaults = UmiContext(approve_tools=True)
    return create_umi_agent(ScriptedChatModel(script=say), [pay], strategy=strategy, defaults=defaults)


def make_fan_out(bank: Any, kind: str) -> Any:
    """Ask the bank for all people side by side, in one thread."""
    if kind == "parallel calls":
        calls = "\n".join(f'Action: bank\nAction Input: {{"query": "Pay {name}."}}' for name in PEOPLE)
        plans = ["Both.\nNext: caller.", "Done.\nNext: conclusion."]
        script = replay({"planner": plans, "caller": [calls], "summarizer": ["Done."]})
        tool = as_tool(bank, name="bank")
        return create_umi_agent(ScriptedChatModel(script=script), [tool], approvals=False, checkpointer=InMemorySaver())
    graph: Any = StateGraph(Answers)
    late = Late()

    def ask(state: Any) -> Any:
        return {"told": {state["name"]: bank.invoke({"messages": f"Pay {state['name']}."})["answer"]}}

    def ask_all(_: Any) -> Any:
        results = bank.batch([{"messages": f"Pay {name}."} for name in PEOPLE], {"callbacks": [late]})
        return {"told": dict(zip(PEOPLE, (result["answer"] for result in results), strict=True))}

    if kind == "batch":
        graph.add_node("all", ask_all).add_edge(START, "all")
    elif kind == "two nodes":
        for name in PEOPLE:
            graph.add_node(name, lambda _, name=name: ask({"name": name})).add_edge(START, name)
    else:
        graph.add_node("one", ask)
        graph.add_conditional_edges(START, lambda _: [Send("one", {"name": name}) for name in PEOPLE], ["one"])
    return graph.compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@pytest.mark.parametrize("kind", ["parallel calls", "send", "two nodes", "batch"])
def test_embed_agents_side_by_side_share_nothing(kind: str, strategy: Strategy) -> None:
    paid: list[str] = []
    graph = make_fan_out(make_bank(paid, strategy, fails=kind != "parallel calls"), kind)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    value: Any = {"messages": "Pay both."} if kind == "parallel calls" else {"told": {}}
    result: Any = {"__interrupt__": []}
    while "__interrupt__" in result:
        try:
            result = graph.invoke(value, config)
        except ConnectionError:
            value = None
        else:
            questions = {question.id: question.value["action_requests"] for question in result.get("__interrupt__", ())}
            value = Command(resume={key: {"decisions": [agree(*asked)]} for key, asked in questions.items()})
    observed = [message.text for message in result.get("messages", ()) if isinstance(message, ToolMessage)]
    assert result.get("told", dict(zip(PEOPLE, observed, strict=False))) == {name: name for name in PEOPLE}
    assert sorted(paid) == PEOPLE


def agree(action: Any) -> Any:
    return {"id": action["id"], "type": "approve"}


def test_embed_runnable_counts_the_tokens_of_the_whole_turn() -> None:
    script: dict[Role, list[str]] = {
        "planner": ["No idea.\nNext: give up.", "I add.\nNext: caller.", "I know.\nNext: conclusion."],
        "caller": ['Action: add\nAction Input: {"a": 2, "b": 3}'],
        "summarizer": ["The sum is 5."],
    }
    model = ScriptedChatModel(script=script)
    agent = create_umi_agent(model, [add], defaults=UmiContext(max_restarts=1))
    usage = UsageMetadataCallbackHandler()
    reply = as_runnable(agent).invoke("What is 2 + 3?", {"callbacks": [usage]})
    assert len(model.requests) == 5
    assert reply.usage_metadata == usage.usage_metadata["scripted"]


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_embed_runnable_raises_where_a_person_has_to_decide(strategy: Strategy) -> None:
    agent = make_agent(strategy, approvals=True, checkpointer=InMemorySaver())
    runnable = as_runnable(agent)
    with pytest.raises(InputError, match="decision on calls of add"):
        runnable.invoke("What is 2 + 3?", {"configurable": {"thread_id": "1"}})
    with pytest.raises(InputError, match="decision on calls of add"):
        list(runnable.stream("What is 2 + 3?", {"configurable": {"thread_id": "2"}}))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda agent: copy.deepcopy([agent])[0]])
@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
def test_agent_that_was_copied_answers_in_the_same_threads(strategy: Strategy, duplicate: Callable[[Any], Any]) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    question: Any = {"messages": "What is 2 + 3?"}
    agent = make_agent(strategy, checkpointer=InMemorySaver(), approvals=False)
    agent.invoke(question, config)
    copied = duplicate(agent)
    n_messages = len(agent.get_state(config).values["messages"])
    result = copied.invoke(question, config)
    assert (type(copied), result["finish"]) == (type(agent), "answer")
    assert len(result["messages"]) == 2 * n_messages


def test_agent_cannot_be_pickled_and_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="create_umi_agent"):
        pickle.dumps(make_agent("react"))
