"""Agents in processes of their own that are sent SIGTERM while they stream; all of them talk as slowly as people."""

from __future__ import annotations

import sys
from typing import Any

from alpha_umi.cli import main
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.graph.factory import create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.nodes.models.specs import SCHEMES, Scheme
from alpha_umi.tools import declare_effects

SCRIPT: Any = {
    "planner": ["I note it.\nNext: caller.", "I think about it. " * 30 + "\nNext: conclusion."],
    "caller": ['Action: note\nAction Input: {"text": "x"}'],
    "summarizer": ["Noted."],
}


@declare_effects("once")
def note(text: str) -> str:
    """Note a text."""
    with open("effects", "a", encoding="utf-8") as file:
        file.write(f"{text}\n")
    return "noted"


def make_model(*_: Any) -> ScriptedChatModel:
    """Return a model that says what it thinks for a minute."""
    return ScriptedChatModel(script=replay(SCRIPT), delay_s=0.05)


def read_words(content: Any) -> str:
    """Return what a chunk says, thoughts included."""
    parts = [content] if isinstance(content, str) else [each.get(each["type"], "") for each in content]
    return "".join(map(str, parts))


def embed(where: str, thread: str) -> None:
    """Stream an answer to standard output."""
    with open_checkpointer(where) as saver:
        agent = create_umi_agent(make_model(), [note], approvals=False, checkpointer=saver)
        question: Any = {"messages": "Note x."}
        config: Any = {"configurable": {"thread_id": thread}}
        for message, _ in agent.stream(question, config, stream_mode="messages"):
            sys.stdout.write(read_words(getattr(message, "content", "")))
            sys.stdout.flush()


if __name__ == "__main__":
    schemes: Any = SCHEMES
    schemes["slow"] = Scheme("", "", make_model)
    if sys.argv[1] == "embed":
        embed(*sys.argv[2:])
    else:
        main()
