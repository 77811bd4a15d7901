"""What an agent says when it is built so that nobody can be asked."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from alpha_umi import create_umi_agent, declare_effects
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.nodes.models.specs import load_models
from benchmarks.effects import measure, run_question


def pay(sum: int) -> str:
    """Pay a sum."""
    return f"Paid {sum}."


@declare_effects("none")
def look() -> str:
    """Look."""
    return "Nothing."


@pytest.mark.parametrize(
    ("tools", "options", "is_told"),
    [
        ([pay, look], {}, True),
        ([look, "builtin:calculator"], {}, False),
        ([pay], {"approvals": False}, False),
        ([pay], {"approvals": True}, False),
        ([pay], {"checkpointer": InMemorySaver()}, False),
    ],
)
def test_an_agent_that_cannot_ask_says_about_which_calls(
    tools: Any, options: Any, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "alpha_umi")
    create_umi_agent(ScriptedChatModel(script=[]), tools, **options)
    told = [record.getMessage() for record in caplog.records if "nobody" in record.getMessage()]
    assert len(told) == is_told
    assert all("Calls of pay may" in text and "checkpointer=" in text for text in told)


def test_of_seven_tools_of_ones_own_no_effect_takes_place_that_nobody_approved() -> None:
    calls = [
        ("charge_fine", '"member": "Tom Berg", "amount": 100'),
        ("reserve_book", '"title": "Dune", "member": "Ann Lee"'),
    ]
    script: Any = {
        "planner": [*["I go on.\nNext: caller."] * 2, "Done.\nNext: conclusion."],
        "caller": [f"Action: {name}\nAction Input: {{{arguments}}}" for name, arguments in calls],
        "summarizer": ["Dune is reserved."],
    }
    wanted = {"ask": "Reserve Dune for Ann Lee.", "does": [{"reserve_book": {"title": "Dune", "member": "Ann Lee"}}]}
    outcome = run_question(wanted, load_models(ScriptedChatModel(script=script)))
    assert outcome.asked == ["charge_fine(amount=100, member=Tom Berg)", "reserve_book(member=Ann Lee, title=Dune)"]
    assert outcome.ran == outcome.approved == ["reserve_book(member=Ann Lee, title=Dune)"]
    assert (outcome.unapproved, outcome.is_right, all(outcome.reasons)) == ([], True, True)
    assert "  that nobody approved            0" in [*measure([outcome])]
