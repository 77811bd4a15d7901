"""What an agent says when it is built so that nobody can be asked."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from alpha_umi import create_umi_agent, declare_effects
from alpha_umi.nodes.models.scripted import ScriptedChatModel


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
