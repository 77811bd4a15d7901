"""No call runs that no person let run: whatever is answered, forked, resumed or said by a rule."""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send

from alpha_umi import ApprovalRule, UmiContext, ask_when, create_umi_agent
from alpha_umi.errors import ConfigError, InputError
from alpha_umi.graph.config import load_settings
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.graph.factory import make_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools import declare_effects

THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}
QUESTION: Any = {"messages": [{"role": "user", "content": "Pay."}]}
ASK_ALL = UmiContext(approve_tools=True, repeat_limit=None, failure_limit=None)
STRATEGIES = ["react", "dfsdt"]


class Shop:
    """Tools that note what they did."""

    def __init__(self) -> None:
        self.did: list[Any] = []

    def pay(self, sum: int) -> str:
        """Pay a sum."""
        self.did.append(sum)
        return f"{sum} is paid."

    @declare_effects("none")
    def look(self, at: str) -> str:
        """Look at something."""
        self.did.append(at)
        return f"{at} is there."


def call(name: str, **arguments: Any) -> str:
    return f"Action: {name}\nAction Input: {json.dumps(arguments)}"


def build(steps: Sequence[Sequence[str]], **options: Any) -> tuple[UmiAgent, Shop]:
    """Return an agent that makes the calls of `steps` and then answers, and what its tools did."""
    shop = Shop()
    script = {
        "planner": [*["I go on.\nNext: caller."] * len(steps), "Done.\nNext: conclusion."],
        "caller": ["\n".join(step) for step in steps],
        "summarizer": ["Done."],
    }
    options = {"defaults": ASK_ALL, "checkpointer": InMemorySaver(), **options}
    model = ScriptedChatModel(script=replay(script))  # type: ignore[arg-type]  # the roles are spelled as they are
    return create_umi_agent(model, [shop.pay, shop.look], **options), shop


def read(result: Any) -> list[Any]:
    """Return the calls that are asked about."""
    return [action for each in result.get("__interrupt__", ()) for action in each.value["action_requests"]]


def decide(action: Any, kind: str, **more: Any) -> Any:
    return {"id": action["id"], "type": kind, **more}


def edit(action: Any, name: str | None = None, **args: Any) -> Any:
    return decide(action, "edit", edited_action={"args": args, **({"name": name} if name else {})})


def answer(*decisions: Any) -> Command[Any]:
    return Command(resume={"decisions": list(decisions)})


def observe(result: Any) -> list[tuple[str, str]]:
    return [(message.status, message.text) for message in result["messages"] if isinstance(message, ToolMessage)]


# Decisions


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_calls_are_decided_one_by_one_and_none_runs_before_all_are(strategy: Any) -> None:
    agent, shop = build([[call("pay", sum=1), call("pay", sum=2), call("pay", sum=3)]], strategy=strategy)
    asked = read(agent.invoke(QUESTION, THREAD))
    assert [action["args"]["sum"] for action in asked] == [1, 2, 3]
    rest = read(agent.invoke(answer(decide(asked[1], "approve")), THREAD))
    assert [action["args"]["sum"] for action in rest] == [1, 3]
    rest = read(agent.invoke(answer(decide(rest[1], "reject", message="too much")), THREAD))
    assert ([action["args"]["sum"] for action in rest], shop.did) == ([1], [])
    result = agent.invoke(answer(decide(rest[0], "approve")), THREAD)
    assert sorted(shop.did) == [1, 2]
    assert sorted(status for status, _ in observe(result)) == ["error", "success", "success"]
    assert "too much" in str(observe(result))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_a_checkpointer_nobody_could_answer_and_nothing_runs(strategy: Any) -> None:
    agent, shop = build([[call("pay", sum=1)]], checkpointer=None)
    with pytest.raises(ConfigError, match=r"create_umi_agent\(checkpointer=…\)"):
        agent.invoke(QUESTION, context=UmiContext(approve_tools=True, strategy=strategy))
    assert shop.did == []


def test_call_that_needs_no_person_waits_for_its_siblings() -> None:
    rules = [ApprovalRule(effects="none", ask="never")]
    agent, shop = build([[call("look", at="door"), call("pay", sum=1)]], defaults=UmiContext(approve_tools=rules))
    (action,) = read(agent.invoke(QUESTION, THREAD))
    assert (action["name"], shop.did) == ("pay", [])
    agent.invoke(answer(decide(action, "reject")), THREAD)
    assert shop.did == ["door"]


def test_all_calls_are_decided_at_once_in_order_without_ids() -> None:
    agent, shop = build([[call("pay", sum=1), call("pay", sum=2)]])
    agent.invoke(QUESTION, THREAD)
    agent.invoke(answer({"type": "reject"}, {"type": "approve"}), THREAD)
    assert shop.did == [2]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_respond_is_the_observation_and_the_tool_does_not_run(strategy: Any) -> None:
    agent, shop = build([[call("pay", sum=1)]], strategy=strategy)
    (action,) = read(agent.invoke(QUESTION, THREAD))
    result = agent.invoke(answer(decide(action, "respond", message="I paid it " + "myself " * 1000)), THREAD)
    ((status, text),) = observe(result)
    assert (status, shop.did, result["answer"]) == ("success", [], "Done.")
    assert text.startswith("I paid it myself")
    assert len(text) <= 4100, "it is cut as any other observation"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_edited_call_runs_as_the_person_wrote_it(strategy: Any) -> None:
    agent, shop = build([[call("pay", sum=1)]], strategy=strategy)
    (action,) = read(agent.invoke(QUESTION, THREAD))
    result = agent.invoke(answer(edit(action, "look", at="bill")), THREAD)
    assert shop.did == ["bill"]
    assert result["messages"][1].tool_calls[0]["args"] == {"at": "bill"}


@pytest.mark.parametrize(
    ("name", "args", "fault"),
    [
        (None, {"sum": "many"}, "expected integer"),
        (None, {"sum": 1, "to": "me"}, "no such argument"),
        ("steal", {"sum": 1}, "no tool named 'steal'"),
    ],
)
def test_edit_that_cannot_run_is_asked_again_and_decides_nothing_else(name: Any, args: Any, fault: str) -> None:
    agent, shop = build([[call("pay", sum=1), call("pay", sum=2)]])
    first, second = read(agent.invoke(QUESTION, THREAD))
    result = agent.invoke(answer(decide(second, "approve"), edit(first, name, **args)), THREAD)
    assert fault in result["__interrupt__"][0].value["error"]
    assert (read(result), shop.did) == ([first, second], [])


def test_edit_is_judged_by_the_rules_again() -> None:
    rules = [
        ApprovalRule(tool="look", allow=["approve", "reject"]),
        ApprovalRule(ask="unless", arguments={"properties": {"sum": {"maximum": 10}}}, allow=["edit", "reject"]),
    ]
    agent, shop = build([[call("pay", sum=50)]], defaults=UmiContext(approve_tools=rules))
    (action,) = read(agent.invoke(QUESTION, THREAD))
    result = agent.invoke(answer(edit(action, "look", at="safe")), THREAD)
    assert "let nobody write such a call of look" in result["__interrupt__"][0].value["error"]
    result = agent.invoke(answer(edit(action, sum=50)), THREAD)
    assert "changes nothing" in result["__interrupt__"][0].value["error"]
    result = agent.invoke(answer(decide(action, "approve")), THREAD)
    assert "not one of edit, reject" in result["__interrupt__"][0].value["error"]
    assert shop.did == []
    agent.invoke(answer(edit(action, sum=40)), THREAD)
    assert shop.did == [40], "the person wrote it"


def test_nobody_is_asked_about_a_call_that_cannot_run() -> None:
    agent, shop = build([[call("pay", sum="x")], [call("steal", sum=1)]])
    result = agent.invoke(QUESTION, THREAD)
    assert "__interrupt__" not in result
    assert [status for status, _ in observe(result)] == ["error", "error"]
    assert shop.did == []


# Rejections


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rejected_call_is_refused_when_it_is_made_again_in_the_turn(strategy: Any) -> None:
    steps = [[call("pay", sum=1)], [call("pay", sum=2)], [call("look", at="x"), call("pay", sum=1)]]
    agent, shop = build(steps, strategy=strategy)
    (action,) = read(agent.invoke(QUESTION, THREAD))
    (action,) = read(agent.invoke(answer(decide(action, "reject", message="no")), THREAD))
    (action,) = read(agent.invoke(answer(decide(action, "approve")), THREAD))
    assert action["name"] == "look", "the rejected one is not asked about"
    result = agent.invoke(answer(decide(action, "approve")), THREAD)
    assert shop.did == [2, "x"]
    assert any("rejected this very call before" in text for _, text in observe(result))


def test_rejected_call_is_refused_after_the_chain_began_afresh() -> None:
    shop = Shop()
    plans = ["I pay.\nNext: caller.", "No way.\nNext: give up.", "Again.\nNext: caller.", "Done.\nNext: conclusion."]
    model = ScriptedChatModel(
        script={"planner": plans, "caller": [call("pay", sum=1)] * 2, "summarizer": ["I could not."]}
    )
    agent = create_umi_agent(
        model,
        [shop.pay],
        defaults=UmiContext(approve_tools=True, max_restarts=1),
        approvals=False,
        checkpointer=InMemorySaver(),
    )
    (action,) = read(agent.invoke(QUESTION, THREAD))
    result = agent.invoke(answer(decide(action, "reject")), THREAD)
    assert (result["answer"], shop.did) == ("I could not.", [])


def test_rejected_call_is_asked_about_again_in_the_next_turn() -> None:
    agent, shop = build([[call("pay", sum=1)]])
    (action,) = read(agent.invoke(QUESTION, THREAD))
    agent.invoke(answer(decide(action, "reject")), THREAD)
    (action,) = read(agent.invoke(QUESTION, THREAD))
    agent.invoke(answer(decide(action, "approve")), THREAD)
    assert shop.did == [1]


def test_of_two_equal_calls_one_can_be_rejected() -> None:
    agent, shop = build([[call("pay", sum=1)] * 2, [call("pay", sum=1)]])
    first, second = read(agent.invoke(QUESTION, THREAD))
    assert first["id"] != second["id"]
    result = agent.invoke(answer(decide(first, "approve"), decide(second, "reject")), THREAD)
    assert (shop.did, result["answer"]) == ([1], "Done.")


# Old answers


@pytest.mark.parametrize("is_named", [False, True])
def test_answer_that_langgraph_kept_does_not_approve_the_next_call_of_a_search(is_named: bool) -> None:
    agent, shop = build([[call("pay", sum=1)], [call("pay", sum=2)]], strategy="dfsdt")
    (action,) = read(agent.invoke(QUESTION, THREAD))
    decision = decide(action, "approve")
    result = agent.invoke(answer(decision if is_named else {"type": "approve"}), THREAD)
    for _ in range(3):
        assert read(result)[0]["args"]["sum"] == 2
        assert shop.did == [1]
        result = agent.invoke(None, THREAD)  # LangGraph hands the old answer out again
    (action,) = read(result)
    agent.invoke(answer(decide(action, "approve")), THREAD)
    assert shop.did[-1] == action["args"]["sum"]


def test_answer_that_langgraph_kept_does_not_stop_one_that_names_the_question() -> None:
    agent, shop = build([[call("pay", sum=1)], [call("pay", sum=2)]], strategy="dfsdt")
    (action,) = read(agent.invoke(QUESTION, THREAD))
    result = agent.invoke(answer(decide(action, "approve")), THREAD)
    (question,) = result["__interrupt__"]
    (action,) = read(result)
    agent.invoke(Command(resume={question.id: {"decisions": [decide(action, "approve")]}}), THREAD)
    assert shop.did == [1, 2]


def test_agent_inside_another_graph_takes_no_old_answer() -> None:
    inner, shop = build([[call("pay", sum=1)], [call("pay", sum=2)]], checkpointer=None)
    graph = StateGraph(MessagesState)
    graph.add_node("agent", inner)
    graph.add_edge(START, "agent")
    graph.add_edge("agent", END)
    outer = graph.compile(checkpointer=InMemorySaver())
    (action,) = read(outer.invoke(QUESTION, THREAD))
    result = outer.invoke(answer(decide(action, "approve")), THREAD)
    assert read(outer.invoke(None, THREAD)) == read(result)
    assert read(outer.invoke(answer({"type": "approve"}), THREAD)) == read(result)
    assert shop.did == [1]


@pytest.mark.parametrize(("before", "after"), [("approve", "reject"), ("reject", "approve")])
@pytest.mark.parametrize("is_named", [False, True])
def test_new_answer_at_an_old_checkpoint_is_not_overruled_by_the_old_one(
    before: str, after: str, is_named: bool
) -> None:
    agent, shop = build([[call("look", at="x")]])
    (action,) = read(agent.invoke(QUESTION, THREAD))
    past = agent.get_state(THREAD).config
    agent.invoke(answer(decide(action, before)), THREAD)
    did = list(shop.did)
    result = agent.invoke(answer(decide(action, after) if is_named else {"type": after}), past)
    assert "two answers" in result["__interrupt__"][0].value["error"]
    assert shop.did == did
    agent.invoke(answer(decide(action, after)), THREAD)
    assert shop.did == did + ["x"] * (after == "approve")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_travelling_back_asks_again(strategy: Any) -> None:
    agent, shop = build([[call("look", at="x")]], strategy=strategy)
    asked = read(agent.invoke(QUESTION, THREAD))
    past = agent.get_state(THREAD).config
    agent.invoke(answer(*(decide(action, "approve") for action in asked)), THREAD)
    assert read(agent.invoke(None, past))[0]["args"] == {"at": "x"}
    assert shop.did == ["x"]


@pytest.mark.parametrize("as_node", ["caller", "approval"])
def test_call_that_was_changed_after_its_approval_is_asked_about(as_node: str) -> None:
    agent, shop = build([[call("pay", sum=1)]])
    (action,) = read(agent.invoke(QUESTION, THREAD))
    agent.invoke(answer(decide(action, "approve")), THREAD)
    past = next(past for past in agent.get_state_history(THREAD) if past.next == ("tools",))
    fork = agent.update_state(past.config, {"messages": [change(past.values["messages"][-1], sum=999)]}, as_node)
    (changed,) = read(agent.invoke(None, fork))
    assert (changed["args"], shop.did) == ({"sum": 999}, [1])
    assert changed["tool_call_id"] == action["tool_call_id"]
    result = agent.invoke(answer(decide(action, "approve")), THREAD)
    assert "is of no call" in result["__interrupt__"][0].value["error"]
    assert shop.did == [1]


def change(message: Any, **arguments: Any) -> AIMessage:
    (tool_call,) = message.tool_calls
    changed: AIMessage = message.model_copy(update={"tool_calls": [{**tool_call, "args": arguments}]})
    return changed


@pytest.mark.parametrize("is_named", [False, True])
def test_call_that_is_changed_together_with_its_approval_is_asked_about(is_named: bool) -> None:
    agent, shop = build([[call("pay", sum=1)]])
    (action,) = read(agent.invoke(QUESTION, THREAD))
    update = {"messages": [change(agent.get_state(THREAD).values["messages"][-1], sum=999)]}
    decision = decide(action, "approve") if is_named else {"type": "approve"}
    result = agent.invoke(Command(resume={"decisions": [decision]}, update=update), THREAD)
    assert (read(result)[0]["args"], shop.did) == ({"sum": 999}, [])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("saver", [InMemorySaver(), None])
@pytest.mark.parametrize("when", ["never made", "asked about", "rejected", "ran"])
async def test_call_that_is_sent_past_the_gate_does_not_run(saver: Any, strategy: Any, when: str) -> None:
    thread: RunnableConfig = {"configurable": {"thread_id": f"{strategy} {when}"}}
    agent, shop = build([[call("look", at="x")], [call("look", at="y")]], checkpointer=saver, strategy=strategy)
    name, task = "tools", {"name": "look", "arguments": {"at": "x"}, "id": "call_1", "approve": False}
    if saver and when != "never made":
        (action,) = read(agent.invoke(QUESTION, thread))
        task["id"] = action["tool_call_id"]
        if when != "asked about":
            kind = "approve" if when == "ran" else "reject"
            agent.invoke(answer(decide(action, kind)), thread)
    did = list(shop.did)
    for goto in (Send(name, task), [Send(name, task)] * 2, Send(name, {**task, "arguments": {"at": "z"}}), name):
        for update in ({"messages": "Look."}, None):
            with suppress(InputError):
                agent.invoke(Command(goto=goto, update=update), thread)
            with suppress(InputError):
                await agent.ainvoke(Command(goto=goto, update=update), thread)
    assert shop.did == did


# Rules


def test_rules_of_the_context_are_in_the_state_and_hold_when_resumed_without_it() -> None:
    rules = [{"tool": "look", "ask": "never"}, {"tool": "pay", "ask": "when", "arguments": {"required": ["sum"]}}]
    agent, shop = build([[call("look", at="x")], [call("pay", sum=1)], [call("pay", sum=2)]], defaults=UmiContext())
    context = UmiContext.model_validate({"approve_tools": rules})
    (action,) = read(agent.invoke(QUESTION, THREAD, context=context))
    assert shop.did == ["x"]
    json.dumps(agent.get_state(THREAD).values["settings"])
    (action,) = read(agent.invoke(answer(decide(action, "approve")), THREAD))
    assert (action["args"], shop.did) == ({"sum": 2}, ["x", 1])


def test_context_cannot_turn_off_the_rules_of_the_agent() -> None:
    agent, shop = build([[call("pay", sum=500)]], approvals=[ask_when(lambda call: call["args"]["sum"] > 100)])
    context = UmiContext(approve_tools=False)
    (action,) = read(agent.invoke(QUESTION, THREAD, context=context))
    assert (action["args"], shop.did) == ({"sum": 500}, [])


def test_rules_of_the_configuration_hold_whatever_the_context_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.yaml").write_text(
        json.dumps({"planner": ["Go.\nNext: caller."], "caller": [call("calculator", expression="2**9")]})
    )
    (tmp_path / "config.yaml").write_text(
        f"models: scripted:{tmp_path}/script.yaml\ntools: [builtin:calculator]\n"
        "approve_tools:\n  - {source: builtin, ask: unless, arguments: {properties: {expression: {maxLength: 3}}}}\n"
    )
    agent = make_agent(load_settings(tmp_path / "config.yaml"), checkpointer=InMemorySaver())
    assert read(agent.invoke(QUESTION, THREAD, context=UmiContext(approve_tools=False)))
    monkeypatch.setenv("ALPHA_UMI_APPROVE_TOOLS", "true")
    assert load_settings().approve_tools is True


def test_rule_that_changes_its_mind_does_not_open_the_gate() -> None:
    verdicts = [True]
    agent, shop = build([[call("pay", sum=1)]], approvals=[ask_when(lambda call: verdicts[-1])], defaults=UmiContext())
    (action,) = read(agent.invoke(QUESTION, THREAD))
    verdicts.append(False)
    assert read(agent.invoke(None, THREAD)) == [action]
    agent.invoke(answer(decide(action, "reject")), THREAD)
    assert shop.did == []


def test_process_without_the_rules_still_asks_about_what_waits() -> None:
    saver = InMemorySaver()
    agent, _ = build([[call("pay", sum=1)]], approvals=True, defaults=UmiContext(), checkpointer=saver)
    (action,) = read(agent.invoke(QUESTION, THREAD))
    other, shop = build([[call("pay", sum=1)]], defaults=UmiContext(), checkpointer=saver)
    assert (read(other.invoke(None, THREAD)), shop.did) == ([action], [])


async def test_approvals_work_async() -> None:
    agent, shop = build([[call("pay", sum=1), call("pay", sum=2)]])
    first, second = read(await agent.ainvoke(QUESTION, THREAD))
    (rest,) = read(await agent.ainvoke(answer(decide(first, "approve")), THREAD))
    assert (rest, shop.did) == (second, [])
    await agent.ainvoke(answer(edit(rest, sum=3)), THREAD)
    assert sorted(shop.did) == [1, 3]


# From outside the process


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_answer_and_no_kill_lets_an_unapproved_effect_take_place(strategy: str, tmp_path: Path) -> None:
    damage = import_module("answering").answer_at_random(str(tmp_path / "t.sqlite"), tmp_path, strategy, 2, seed=3)
    assert damage.n_kills >= 2
    assert damage.n_effects >= 1
    assert damage.is_none, damage
