"""A search problem with a scripted player: places to look into, and plans that depend on where one stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.messages import BaseMessage, ChatMessage, HumanMessage

from alpha_umi import UmiContext, create_umi_agent, declare_effects
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.scripted import ScriptedChatModel

Plans: TypeAlias = Mapping[str, Sequence[str]]
"""By path (``hall/cellar``), the plans made there, one after the other; the last is repeated."""

QUESTION: Any = {"messages": [HumanMessage("Where is the key?")]}
ENDS = {"conclude": "I know where it is.\nNext: conclusion.", "give up": "Nothing here.\nNext: give up.", "hm": "Hm."}

# The first branch fails in each: by giving up, one level deeper, by a failing tool, in circles, too deep.
SUITE: dict[str, Plans] = {
    "gives up": {"": ["attic", "cellar"], "attic": ["give up"], "cellar": ["conclude"]},
    "gives up deeper": {
        "": ["hall"],
        "hall": ["attic", "cellar"],
        "hall/attic": ["give up"],
        "hall/cellar": ["conclude"],
    },
    "both below fail": {
        "": ["hall", "cellar"],
        "hall": ["attic", "roof"],
        "hall/attic": ["give up"],
        "hall/roof": ["give up"],
        "cellar": ["conclude"],
    },
    "no decision": {"": ["attic", "cellar"], "attic": ["hm"], "cellar": ["conclude"]},
    "circles": {"": ["hall", "cellar"], "hall": ["hall"], "cellar": ["conclude"]},
}


@declare_effects("none")
def look(place: str) -> str:
    """Look into a place."""
    if place == "fire":
        raise RuntimeError("too hot")
    return "the key" if place == "cellar" else f"dust of the {place}"


def find_path(messages: Sequence[BaseMessage]) -> str:
    """Return the places of the current turn."""
    roles = [message.role if isinstance(message, ChatMessage) else "" for message in messages]
    questions = [i for i, message in enumerate(messages) if roles[i] == "user" and not is_hint(message)]
    turn = [message.text for i, message in enumerate(messages) if i > questions[-1] and roles[i] == "caller"]
    return "/".join(re.findall(r'"place":\s*"(\w+)"', " ".join(turn)))


def is_hint(message: BaseMessage) -> bool:
    return bool(message.additional_kwargs.get("hint"))


def make_player(plans: Plans, before: Callable[[], None] = lambda: None) -> ScriptedChatModel:
    """Play by `plans`; stateless, so that another process can go on."""

    def say(role: Role, messages: list[BaseMessage]) -> str:
        before()
        if role == "planner":
            n_tried = len(re.findall(r"^\d+\. ", messages[-1].text, re.MULTILINE)) if is_hint(messages[-1]) else 0
            choices = plans.get(find_path(messages), ["give up"])
            plan = choices[min(n_tried, len(choices) - 1)]
            return ENDS.get(plan, f"I look into the {plan}.\nNext: caller.")
        if role == "caller":
            place = messages[-1].text.rpartition("the ")[2].split(".")[0]
            return f'Action: look\nAction Input: {{"place": "{place}"}}'
        return f"In the {find_path(messages).rpartition('/')[2]}."

    return ScriptedChatModel(script=say)


def make_agent(plans: Plans, **options: Any) -> UmiAgent:
    context = options.pop("defaults", UmiContext())
    options.setdefault("strategy", "dfsdt")
    return create_umi_agent(
        make_player(plans), options.pop("tools", [look]), defaults=context, **{"approvals": False, **options}
    )


def strip(tree: Any) -> Any:
    """Return the tree without what is random: the ids of calls and messages."""
    steps = [node["step"] for node in tree["nodes"]]
    bare = [step and {**step, "calls": [{**call, "id": ""} for call in step["calls"]]} for step in steps]
    return {
        **tree,
        "nodes": [{**node, "step": step, "ids": {}} for node, step in zip(tree["nodes"], bare, strict=True)],
    }
