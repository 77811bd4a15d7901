"""Threads as training data: what is exported of them, and why the rest is not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from alpha_umi import Trajectory
from alpha_umi.errors import StorageError
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.nodes.durability.checkpointers import DurableSaver
from alpha_umi.nodes.durability.notes import RATING
from alpha_umi.nodes.models.scripted import replay
from alpha_umi.training.traces.filters import make_finish_filter, make_rating_filter
from alpha_umi.training.traces.trace import OF_ANOTHER, UNFINISHED
from tests.training.traces.conftest import CATALOGUE, SCRIPT, ask, export, make_agent, thread

GIVES_UP = replay({"planner": ["I cannot sing.\nNext: give up."]})
CALLS_ON = replay({**SCRIPT, "planner": ["I count.\nNext: caller."]})
BOTH_WAYS = [make_finish_filter(["answer", "give up"])]


def list_weights(trajectory: Trajectory) -> list[list[int]]:
    return [[step.weight for step in turn.steps] for turn in trajectory.turns]


def test_a_thread_is_exported_as_it_was(saver: DurableSaver, tmp_path: Path) -> None:
    agent = make_agent(saver)
    for question in ("How many bolts?", "And now?"):
        messages = agent.invoke(ask(question), thread())["messages"]
    (found,), tally = export(saver, tmp_path / "out.jsonl")
    row = Trajectory.from_messages(messages, [*CATALOGUE.values()]).to_row()
    assert found.to_row() == row
    assert (tally.kept, tally.dropped, tally.repaired) == (2, {}, {})


def test_turns_that_ended_otherwise_are_context_of_later_ones(saver: DurableSaver, tmp_path: Path) -> None:
    make_agent(saver, GIVES_UP).invoke(ask("Sing."), thread())
    make_agent(saver).invoke(ask("How many bolts?"), thread())
    make_agent(saver, CALLS_ON, max_steps=1).invoke(ask("How many nuts?"), thread())
    make_agent(saver, GIVES_UP).invoke(ask("Sing again."), thread())
    (found,), tally = export(saver, tmp_path / "out.jsonl")
    assert [turn.instruction for turn in found.turns] == ["Sing.", "How many bolts?"]
    assert list_weights(found) == [[0], [1, 1]]
    assert tally.kept == 1
    assert tally.dropped == {"turn that ended with 'give up'": 2, "turn that ended with 'step limit'": 1}
    assert tally.first["turn that ended with 'step limit'"].endswith("threads.sqlite, question 3")
    (found,), _ = export(saver, tmp_path / "out.jsonl", *BOTH_WAYS)
    assert list_weights(found) == [[1], [1, 1], [0, 0], [1]]


def test_of_a_thread_that_stopped_halfway_the_finished_turns_are_exported(saver: DurableSaver, tmp_path: Path) -> None:
    agent = make_agent(saver)
    agent.invoke(ask("How many bolts?"), thread())
    agent.invoke(ask("And now?"), thread(), interrupt_before=["tools"])
    make_agent(saver).invoke(ask("Never ends."), thread("other"), interrupt_before=["summarizer"])
    (found,), tally = export(saver, tmp_path / "out.jsonl")
    assert [turn.instruction for turn in found.turns] == ["How many bolts?"]
    assert (tally.kept, tally.dropped) == (1, {UNFINISHED: 2})


def decide(asked: Any, kind: str, **fields: Any) -> Command[Any]:
    call = asked["__interrupt__"][0].value["action_requests"][0]
    return Command(resume={"decisions": [{"id": call["id"], "type": kind, **fields}]})


@pytest.mark.parametrize(
    ("kind", "fields", "weights", "changed"),
    [
        ("approve", {}, [1, 1], {}),
        ("edit", {"edited_action": {"args": {"item": "nuts"}}}, [1, 1], {"call as a person edited it": 1}),
        (
            "edit",
            {"edited_action": {"name": "count_all", "args": {"item": "bolts"}}},
            [0, 1],
            {"step to which a person gave another tool, kept as context": 1},
        ),
        ("reject", {"message": "No."}, [0, 1], {"step whose call a person rejected, kept as context": 1}),
    ],
)
def test_what_a_person_changed_is_not_learnt_as_the_planners_own(
    saver: DurableSaver, tmp_path: Path, kind: str, fields: Any, weights: list[int], changed: dict[str, int]
) -> None:
    agent = make_agent(saver, approve_tools=True)
    asked = agent.invoke(ask("How many bolts?"), thread())
    agent.invoke(decide(asked, kind, **fields), thread())
    (found,), tally = export(saver, tmp_path / "out.jsonl")
    assert list_weights(found) == [weights]
    assert tally.repaired == changed
    (call,) = found.turns[0].steps[0].calls
    wanted = fields.get("edited_action", {"args": {"item": "bolts"}})
    assert (call.name, call.arguments) == (wanted.get("name", "count_stock"), wanted["args"])


def test_of_a_thread_that_went_back_in_time_the_last_branch_is_exported(saver: DurableSaver, tmp_path: Path) -> None:
    agent = make_agent(saver)
    for question in ("How many bolts?", "And now?"):
        agent.invoke(ask(question), thread())
    states = list(agent.get_state_history(thread()))
    before = next(state for state in states if len(state.values["messages"]) == 4 and not state.next)
    agent.invoke(ask("And nuts?"), before.config)
    (found,), tally = export(saver, tmp_path / "out.jsonl")
    assert [turn.instruction for turn in found.turns] == ["How many bolts?", "And nuts?"]
    assert tally.dropped == {"branch that was left by going back in time": 1}


def test_of_a_search_the_chain_that_led_to_the_answer_is_exported(saver: DurableSaver, tmp_path: Path) -> None:
    script = {**SCRIPT, "planner": ["No way.\nNext: give up.", *SCRIPT["planner"]]}
    agent = make_agent(saver, script, strategy="dfsdt")
    result = agent.invoke(ask("How many bolts?"), thread())
    assert result["finish"] == "answer"
    (found,), tally = export(saver, tmp_path / "out.jsonl")
    assert [step.decision for step in found.turns[0].steps] == ["caller", "conclusion"]
    assert (tally.kept, tally.dropped) == (1, {})


def test_threads_of_other_agents_and_of_other_tools_are_counted(saver: DurableSaver, tmp_path: Path) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("answer", lambda state: {"messages": [AIMessage("Hello.")]})
    graph.add_edge(START, "answer")
    graph.compile(checkpointer=saver).invoke({"messages": [HumanMessage("Hi!")]}, thread("foreign"))
    make_agent(saver).invoke(ask("How many bolts?"), thread("ours"))
    found, tally = export(saver, tmp_path / "out.jsonl")
    assert len(found) == 1
    assert tally.dropped == {OF_ANOTHER: 1}
    catalogue = {"count_all": CATALOGUE["count_all"]}
    found, tally = export(saver, tmp_path / "out.jsonl", names=("ours",), catalogue=catalogue)
    (reason,) = tally.dropped
    assert not found
    assert tally.first[reason].endswith("threads.sqlite: count_stock")


def damage(path: Path, which: str) -> None:
    """Cut what is stored of thread `t` in half: its newest state, or its first."""
    with closing(sqlite3.connect(path)) as connection:
        (id_,) = connection.execute(f"SELECT {which}(checkpoint_id) FROM checkpoints WHERE thread_id = 't'").fetchone()
        connection.execute(
            "UPDATE checkpoints SET checkpoint = substr(checkpoint, 1, 40) WHERE thread_id = 't' AND checkpoint_id = ?",
            (id_,),
        )
        connection.commit()


@pytest.mark.parametrize(("which", "n_found"), [("MAX", 1), ("MIN", 2)])
def test_damage_costs_one_thread_or_only_its_history(tmp_path: Path, which: str, n_found: int) -> None:
    path = tmp_path / "threads.sqlite"
    with open_checkpointer(path) as saver:
        for name in ("t", "whole"):
            make_agent(saver).invoke(ask("How many bolts?"), thread(name))
    damage(path, which)
    with open_checkpointer(path) as saver:
        found, tally = export(saver, tmp_path / "out.jsonl")
    assert len(found) == tally.kept == n_found
    assert len({**tally.dropped, **tally.repaired}) == 1
    assert any("thread 't'" in place for place in tally.first.values())


def test_a_database_that_goes_away_is_no_damaged_thread(saver: DurableSaver, tmp_path: Path) -> None:
    make_agent(saver).invoke(ask("How many bolts?"), thread())
    (tmp_path / "out.jsonl").write_text("before")
    with closing(sqlite3.connect(tmp_path / "threads.sqlite")) as connection:
        connection.execute("DROP TABLE writes")
        connection.execute("ALTER TABLE checkpoints RENAME TO gone")
    with pytest.raises(StorageError, match="cannot be read or written"):
        export(saver, tmp_path / "out.jsonl", names=("t",))
    assert (tmp_path / "out.jsonl").read_text() == "before"


def test_thumbs_say_which_turns_are_learnt(saver: DurableSaver, tmp_path: Path) -> None:
    agent = make_agent(saver)
    for question in ("Good?", "Bad?", "Neither?"):
        result = agent.invoke(ask(question), thread())
    ids = [message.id or "" for message in result["messages"] if isinstance(message, HumanMessage)]
    for id_, rating in zip(ids, (1, -1, None), strict=True):
        saver.notes.write("t", id_, {RATING: rating, "seconds": 1.0})
    finished = make_finish_filter(["answer"])
    (kept,), tally = export(saver, tmp_path / "out.jsonl", finished, make_rating_filter(is_wanted=False))
    assert list_weights(kept) == [[1, 1], [0, 0], [1, 1]]
    assert tally.dropped == {"turn with a thumb down": 1}
    (kept,), tally = export(saver, tmp_path / "out.jsonl", finished, make_rating_filter(is_wanted=True))
    assert list_weights(kept) == [[1, 1]]
    assert tally.dropped == {"turn with a thumb down": 1, "turn without a thumb up": 1}
