"""One move of the depth-first search: note the step just taken as a tree node, judge it, and choose where to go on.

The transcript in the state is always the path from the question to the tree's cursor, so the roles work as in a plain
chain. The hint about siblings is made from the tree for one prompt and stored nowhere.

Source: arXiv 2307.16789, section 2.3 (DFSDT). Unlike there, the hint never reaches a node's descendants.
"""

from __future__ import annotations

import json
from typing import Literal

from langchain_core.messages import AIMessage
from langgraph.runtime import Runtime
from langgraph.types import Send, StreamWriter

from alpha_umi.nodes.approval.gate import list_open_calls, route_approval
from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.nodes.format.trajectory import Step, Trajectory, make_message
from alpha_umi.nodes.give_up import remove_chain
from alpha_umi.nodes.no_progress import find_repeat, find_stall, make_key
from alpha_umi.nodes.planner import make_plan, read_plan
from alpha_umi.nodes.role import Update
from alpha_umi.nodes.search_tree import (
    ROOT,
    Status,
    Tree,
    TreeNode,
    add_node,
    close_node,
    find_best,
    find_open,
    has_observations,
    list_children,
    make_messages,
    make_tree,
    parse_step,
)
from alpha_umi.nodes.state import UmiContext, UmiState

MIN_QUERIES = 4
"""What one more move may take: a plan that cannot be read, a plan, its call or answer, and the answer at the end."""

_MAX_PART_CHARS = 300


def search(state: UmiState, *, runtime: Runtime[UmiContext]) -> Update:
    """Make the move, and tell the custom stream which nodes are new or changed."""
    before = state["tree"] or Tree(nodes=[], cursor=ROOT, is_exhausted=False)
    update = _choose_move(state, _note_step(state, state["tree"] or make_tree()))
    _report(runtime.stream_writer, before, update["tree"], state["n_queries"])
    return update


def route_search(state: UmiState) -> Literal["next plan", "best chain", "end"]:
    """Ask for the next plan, have the best chain's answer written, or end."""
    if state["decision"] is None:
        return "next plan"
    return "best chain" if state["decision"] == "conclusion" and state["answer"] is None else "end"


def route_search_call(state: UmiState) -> Literal["approval", "search"]:
    """Go on to approval if any call can run and the search has not seen it before."""
    is_new = _find_repeat(state, state["tree"] or make_tree()) is None
    return "approval" if is_new and list_open_calls(state) else "search"


def route_search_approval(state: UmiState) -> list[Send] | Literal["approval", "search"]:
    """Go on with the approval, or send the approved calls to the tools; a step without any is done."""
    route = route_approval(state)
    return "search" if route == "planner" else route


def read_search_plan(state: UmiState, reply: AIMessage) -> Update:
    """Read a plan as in a chain, but for one that wants to go too deep, which is a dead end."""
    update = read_plan(state, reply)
    if update.get("finish") != "step limit":
        return update
    reason = f"The chain reached its {state['n_steps']} steps (max_steps)."
    return {"reason": reason} | make_plan(parse_plan(reply.text).rationale, "give up", reply)


def tell_siblings(state: UmiState) -> str:
    """Return what the planner is told where earlier plans from the same point led to nothing."""
    tree = state["tree"]
    siblings = list_children(tree, tree["cursor"]) if tree else []
    if not siblings:
        return ""
    lines = [f"{number}. {_describe(node)}" for number, node in enumerate(siblings, 1)]
    return "\n".join(
        [
            "These plans were already tried from here and led to no answer:",
            *lines,
            "Make a plan that differs from them.",
        ]
    )


def _describe(node: TreeNode) -> str:
    step = parse_step(node)
    calls = [f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}" for call in step.calls]
    parts = [step.rationale, *calls, f"Outcome: {node['reason']}" if node["reason"] else ""]
    return " | ".join(" ".join(part.split())[:_MAX_PART_CHARS] for part in parts if part)


def _note_step(state: UmiState, tree: Tree) -> Tree:
    """Add the newest step; giving up closes the node where it was done, except for the question itself."""
    step = Trajectory.from_messages(state["messages"]).turns[-1].steps[-1]
    message = next(message for message in reversed(state["messages"]) if isinstance(message, AIMessage))
    status, reason = _judge(state, tree, step)
    parent = tree["cursor"]
    tree = add_node(tree, step, status, reason, message.usage_metadata)
    is_closing = step.decision == "give up" and parent != ROOT
    return close_node(tree, parent, status, reason) if is_closing else tree


def _judge(state: UmiState, tree: Tree, step: Step) -> tuple[Status, str | None]:
    if step.decision == "give up":
        return ("failed", state["reason"]) if state["reason"] else ("gave up", step.rationale or "No reason was given.")
    if step.decision == "conclusion":
        return ("answer", None) if step.answer else ("failed", "The summarizer wrote nothing.")
    reason = _find_repeat(state, tree) or find_stall(state["messages"], state["settings"])
    return ("failed", reason) if reason else ("open", None)


def _find_repeat(state: UmiState, tree: Tree) -> str | None:
    """Say which call of the newest step was made before, on this path or by a sibling."""
    calls = next(message for message in reversed(state["messages"]) if isinstance(message, AIMessage)).tool_calls
    if calls:
        keys = [make_key(call["name"], call["args"]) for call in calls]
        for sibling in list_children(tree, tree["cursor"]):
            if keys == [make_key(call.name, call.arguments) for call in parse_step(sibling).calls]:
                return "The same call was already made from here."
    return find_repeat(state["messages"], state["settings"]["repeat_limit"])


def _choose_move(state: UmiState, tree: Tree) -> Update:
    settings = state["settings"]
    if tree["nodes"][tree["cursor"]]["status"] == "answer":
        return {"tree": tree}
    if not tree["is_exhausted"]:
        number = find_open(tree, settings["beam_width"])
        if number is None:
            return _stop(state, tree, "No plan is left to try.")
        if settings["max_queries"] - state["n_queries"] >= MIN_QUERIES:
            return _go_to(state, tree, number)
    return _stop(state, tree, f"The search took {state['n_queries']} model calls (max_queries).")


def _go_to(state: UmiState, tree: Tree, number: int) -> Update:
    """Plan next from the given node, which is the cursor or lies above it."""
    depth = tree["nodes"][number]["depth"]
    return {
        "tree": {**tree, "cursor": number},
        "messages": remove_chain(state, depth),
        "decision": None,
        "n_steps": depth,
        "n_bad_plans": 0,
        "finish": None,
        "reason": None,
    }


def _stop(state: UmiState, tree: Tree, why: str) -> Update:
    """Have the best chain answered from, or give up if there is none or its answer was empty."""
    chain = [] if tree["is_exhausted"] else find_best(tree)
    last = tree["nodes"][-1]["reason"]
    update: Update = {"answer": None, "n_steps": len(chain)}
    if has_observations(chain):
        step, finish = Step(f"{why} I answer from what is known.", "conclusion"), "search limit"
    else:
        why = f"{why} The last dead end: {last}" if last else why
        chain, step, finish = [], Step(why, "give up"), "give up"
    update["tree"] = {**tree, "cursor": chain[-1]["id"] if chain else ROOT, "is_exhausted": True}
    update["messages"] = [*remove_chain(state), *make_messages(chain), make_message(step)]
    return update | {"decision": step.decision, "finish": finish, "reason": why}


def _report(write: StreamWriter, before: Tree, after: Tree, n_queries: int) -> None:
    known = before["nodes"]
    nodes = [node for node in after["nodes"] if node["id"] >= len(known) or node != known[node["id"]]]
    write({"tree": {"nodes": nodes, "cursor": after["cursor"], "n_queries": n_queries}})
