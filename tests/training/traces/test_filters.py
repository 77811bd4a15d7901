"""Turns that are kept because a checker, or a judge, takes them for right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langchain_core.messages import BaseMessage

from alpha_umi.nodes.durability.checkpointers import DurableSaver
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools.convert import ToolLike, declare_effects
from alpha_umi.tools.load import load_tools
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.evaluation.judge import Judge
from alpha_umi.training.evaluation.questions import load_questions
from alpha_umi.training.traces import (
    export_traces,
    make_finish_filter,
    make_question_filter,
    read_threads,
)
from tests.training.traces.conftest import CATALOGUE, ask, count_all, count_stock, export, make_agent, thread

QUESTIONS = """
questions:
- question: How many bolts?
  calls: {count_stock: {item: bolts}}
  answer: 1200
- question: How many nuts?
  calls: {count_stock: {item: nuts}}
- question: Sing.
  refuse: no tool
"""
TOOLS: Sequence[ToolLike] = [declare_effects("none")(count_stock), count_all]


def test_only_right_turns_are_kept(saver: DurableSaver, tmp_path: Path) -> None:
    agent = make_agent(saver)
    for question in ("How many bolts?", "How many nuts?", "How many screws?"):
        agent.invoke(ask(question), thread())
    make_agent(saver, replay({"planner": ["No tool can do this.\nNext: give up."]})).invoke(ask("Sing."), thread())
    (tmp_path / "questions.yaml").write_text(QUESTIONS)
    file = load_questions(tmp_path / "questions.yaml", [*CATALOGUE.values()])
    filters = [make_finish_filter(["answer", "give up"]), make_question_filter(file, load_tools(TOOLS))]
    (found,), tally = export(saver, tmp_path / "out.jsonl", *filters)
    assert [[step.weight for step in turn.steps] for turn in found.turns] == [[1, 1], [0, 0], [0, 0], [1]]
    wrong, unknown = sorted(tally.dropped, reverse=True)
    assert wrong.startswith("wrong turn: wrong value")
    assert unknown == f"question that is not in {tmp_path / 'questions.yaml'}"


def test_a_judge_is_asked_once_about_each_turn(saver: DurableSaver, tmp_path: Path) -> None:
    agent, asked = make_agent(saver), list[str]()
    for question in ("How many bolts?", "How many nuts?"):
        agent.invoke(ask(question), thread())

    def say(role: Role, messages: list[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        return f"VERDICT: {'unsolved' if 'nuts' in messages[-1].text else 'solved'}"

    judge = Judge(ScriptedChatModel(script=say, role="summarizer"), 1, identity={})
    for _ in range(2):
        tally = Tally()
        traces = read_threads(saver, ["t"], CATALOGUE, tally)
        done = export_traces(traces, tmp_path / "out.jsonl", [make_finish_filter(["answer"])], tally, judge=judge)
        assert (done.n_trajectories, done.n_turns) == (1, 1)
        assert tally.dropped == {"turn that the judge takes for unsolved": 1}
    assert len(asked) == 2
