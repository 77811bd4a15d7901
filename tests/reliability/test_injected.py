"""A short version of the table of ``make faults``, and what an agent says whose model writes nothing."""

from __future__ import annotations

from importlib import import_module
from itertools import chain
from typing import Any

import pytest

from alpha_umi import create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel


def test_faults_of_tools_models_and_the_clock_do_no_damage() -> None:
    injecting, meeting, strangers = map(import_module, ("injecting", "meeting", "strangers"))
    rows = chain(
        injecting.inject_tool_faults(1, 0),
        injecting.inject_model_faults(3, 1),
        injecting.inject_clock_jumps(2, 1),
        injecting.inject_drips(1),
        meeting.inject_pairs(2, 1),
        meeting.inject_meetings(1, 1),
        meeting.inject_forks(1),
        meeting.inject_detours(5, 1),
        strangers.inject_names(2, 1),
        strangers.inject_echoes(2, 1),
        strangers.inject_passwords(20, 1),
        strangers.inject_arguments(1, 1),
        strangers.inject_tokens(5, 1),
        strangers.inject_files(5, 1),
    )
    damages = dict(rows)
    assert len(damages) == 25
    assert all(damage.n_kills for fault, damage in damages.items() if "isolated" not in fault)
    assert [(fault, damage) for fault, damage in damages.items() if not damage.is_none] == []


PLAN, CALL, CONCLUDE = "I add.\nNext: caller.", 'Action: add\nAction Input: {"a": 1}', "Done.\nNext: conclusion."


@pytest.mark.parametrize(
    ("script", "finish", "reason"),
    [
        ({"planner": ["", PLAN, CONCLUDE], "caller": [CALL], "summarizer": ["2"]}, "answer", None),
        ({"planner": ["", ""]}, "give up", "The planner wrote no decision ('Next: …') in 2 attempts."),
        ({"planner": [PLAN, PLAN, CONCLUDE], "caller": ["", CALL], "summarizer": ["2"]}, "answer", None),
        ({"planner": [PLAN] * 9, "caller": [""] * 9}, "give up", "Stopped without progress"),
        ({"planner": [CONCLUDE], "summarizer": [""]}, "give up", "The summarizer wrote nothing."),
    ],
)
def test_role_that_writes_nothing_is_asked_again_or_given_up_with_a_reason(
    script: Any, finish: str, reason: str | None
) -> None:
    def add(a: int) -> int:
        """Add one."""
        return a + 1

    question: Any = {"messages": "Add."}
    result = create_umi_agent(ScriptedChatModel(script=script), [add]).invoke(question)
    assert result["finish"] == finish
    assert (result["reason"] or "").startswith(reason or "")
