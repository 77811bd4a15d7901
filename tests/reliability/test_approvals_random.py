"""Random answers, old and new, at any point of a thread: no call runs that none of them let run."""

from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools import declare_effects

THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}
QUESTION: Any = {"messages": [{"role": "user", "content": "Pay."}]}

STEPS = [(1, 2), (3,), (1, 4)]
JUNK = st.sampled_from(
    [{}, {"decisions": None}, {"decisions": [{}]}, "approve", True, [], {"decisions": [{"type": "approve", "id": "x"}]}]
)


class Person:
    """Sends answers of every sort to one thread, and remembers which calls they let run."""

    def __init__(self, strategy: Any) -> None:
        self.did: list[tuple[str, int]] = []
        self.allowed: set[tuple[str, int]] = set()
        self._sent: list[Any] = []
        self._seen: dict[str, Any] = {}
        script: Any = {
            "planner": [*["I go on.\nNext: caller."] * 3, "Done.\nNext: conclusion."],
            "caller": ["\n".join(f'Action: pay\nAction Input: {{"sum": {sum}}}' for sum in step) for step in STEPS],
            "summarizer": ["Done."],
        }

        @declare_effects("none")  # so that no ledger hides what the gate lets through
        def pay(sum: int, id: Annotated[str, InjectedToolCallId]) -> str:
            """Pay a sum."""
            self.did.append((id, sum))
            return "paid"

        model = ScriptedChatModel(script=replay(script))
        context = UmiContext(approve_tools=True, repeat_limit=None, failure_limit=None, strategy=strategy)
        self._agent = create_umi_agent(model, [pay], defaults=context, approvals=False, checkpointer=InMemorySaver())
        self._agent.invoke(QUESTION, THREAD)

    def act(self, data: st.DataObject) -> None:
        """Go on with the thread, from its end or from any point of its past."""
        config = THREAD
        if data.draw(st.integers(0, 4)) == 0:
            config = data.draw(st.sampled_from([past.config for past in self._agent.get_state_history(THREAD)]))
        asked = [
            action for each in self._agent.get_state(config).interrupts for action in each.value["action_requests"]
        ]
        self._seen |= {action["id"]: action for action in asked}
        kinds = ["nothing", "junk", *["old"] * bool(self._sent), *["new"] * 5 * bool(asked)]
        kind = data.draw(st.sampled_from(kinds))
        if kind == "nothing":
            self._agent.invoke(None, config)
            return
        value = data.draw({"junk": JUNK, "old": st.sampled_from(self._sent or [None]), "new": draw_answer(asked)}[kind])
        self._sent.append(value)
        self._allow(value, asked)
        self._agent.invoke(Command(resume=value), config)

    def _allow(self, value: Any, asked: list[Any]) -> None:
        """Note what an answer lets run: what it names; without names, what is asked there and then."""
        decisions = value.get("decisions") if isinstance(value, dict) else None
        for i, decision in enumerate(decisions or ()):
            action = self._seen.get(decision.get("id", ""))
            if "id" not in decision and len(decisions or ()) == len(asked):
                action = asked[i]
            if action and decision.get("type") == "approve":
                self.allowed.add((action["tool_call_id"], action["args"]["sum"]))
            elif action and decision.get("type") == "edit":
                self.allowed.add((action["tool_call_id"], decision["edited_action"]["args"]["sum"]))


@st.composite
def draw_answer(draw: st.DrawFn, asked: list[Any]) -> Any:
    """Decide on some of the calls by their ids, or on all of them without."""
    if not asked:
        return {"decisions": []}
    is_named = draw(st.booleans())
    some = st.lists(st.sampled_from(asked), min_size=1, unique_by=lambda action: str(action["id"]))
    decisions = []
    for action in draw(some) if is_named else asked:
        kind = draw(st.sampled_from(["approve", "approve", "reject", "edit", "respond"]))
        decision: Any = {"id": action["id"], "type": kind, "message": "so"}
        if kind == "edit":
            decision["edited_action"] = {"args": {"sum": draw(st.integers(100, 200))}}
        decisions.append(decision if is_named else {key: decision[key] for key in decision if key != "id"})
    return {"decisions": decisions}


@pytest.mark.parametrize("strategy", ["react", "dfsdt"])
@settings(max_examples=15)
@given(data=st.data())
def test_no_sequence_of_answers_runs_a_call_that_no_person_let_run(strategy: Any, data: st.DataObject) -> None:
    person = Person(strategy)
    for _ in range(data.draw(st.integers(2, 6))):
        person.act(data)
        assert set(person.did) <= person.allowed
