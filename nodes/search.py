"""DFSDT's tree of plans, and one move in it: note the step just taken, judge it, and choose where to plan next.

A tree node is one step of the planner and its result; the root, number 0, is the question. Nodes are numbered in
the order in which they were made, and a number is a place in the list.

The transcript in the state is always the path from the question to the tree's cursor, so the roles work as in a plain
chain. The hint about siblings is made from the tree for one prompt and stored nowhere.

Source: arXiv 2307.16789, section 2.3 (DFSDT). Unlike there, the hint never reaches a node's descendants.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage
from langchain_core.messages.ai import UsageMetadata
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.runtime import Runtime
from langgraph.types import Send
from pydantic import TypeAdapter

from alpha_umi.nodes.approval_gate import list_open_calls, route_approval
from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.nodes.format.trajectory import Step, make_message, make_observation_message, parse_steps
from alpha_umi.nodes.give_up import find_repeat, find_stall, make_key, remove_chain
from alpha_umi.nodes.planner import make_plan, read_plan
from alpha_umi.nodes.role import Update
from alpha_umi.nodes.state import NodeStatus, Tree, TreeNode, UmiContext, UmiState, list_turn

ROOT = 0
MIN_QUERIES = 4
"""What one more move may take: a plan that cannot be read, a plan, its call or answer, and the answer at the end."""

_MAX_PART_CHARS = 300


def search(state: UmiState, *, runtime: Runtime[UmiContext]) -> Update:
    """Do one step of the search, and write new and changed nodes to the custom stream."""
    known = state["tree"]["nodes"] if state["tree"] else []
    update = _choose_move(state, _note_step(state, state["tree"] or make_tree()))
    tree: Tree = update["tree"]
    nodes = [node for node in tree["nodes"] if node["id"] >= len(known) or node != known[node["id"]]]
    runtime.stream_writer({"tree": {"nodes": nodes, "cursor": tree["cursor"], "n_queries": state["n_queries"]}})
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
    """Continue with the approval, or send the approved calls to the tools; a step without any is done."""
    route = route_approval(state)
    return "search" if route == "planner" else route


def read_search_plan(state: UmiState, reply: AIMessage) -> Update:
    """Read a plan as in a chain; a plan that would go too deep is a dead end."""
    update = read_plan(state, reply)
    if update.get("finish") != "step limit":
        return update
    reason = f"The chain reached its {state['n_steps']} steps (max_steps)."
    return {"reason": reason} | make_plan(parse_plan(reply.text).rationale, "give up", reply)


def tell_siblings(state: UmiState) -> str:
    """Return the hint to the planner after earlier plans from the same point led to nothing."""
    tree = state["tree"]
    siblings = list_children(tree, tree["cursor"]) if tree else []
    if not siblings:
        return ""
    tried = "\n".join(f"{number}. {_describe(node)}" for number, node in enumerate(siblings, 1))
    return (
        f"These plans were already tried from here and led to no answer:\n{tried}\nMake a plan that differs from them."
    )


def _describe(node: TreeNode) -> str:
    step = parse_step(node)
    calls = [f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}" for call in step.calls]
    parts = [step.rationale, *calls, f"Outcome: {node['reason']}" if node["reason"] else ""]
    return " | ".join(" ".join(part.split())[:_MAX_PART_CHARS] for part in parts if part)


def _note_step(state: UmiState, tree: Tree) -> Tree:
    """Add the newest step; giving up closes the node where it was done, except for the question itself."""
    step = parse_steps(list_turn(state))[-1]
    status, reason = _judge(state, tree, step)
    parent = tree["cursor"]
    newest = _get_newest(state)
    made = state["messages"][state["messages"].index(newest) :]
    ids = {getattr(message, "tool_call_id", ""): message.id or "" for message in made}
    tree = add_node(tree, step, status, reason, newest.usage_metadata, ids)
    is_closing = step.decision == "give up" and parent != ROOT
    return _close_node(tree, parent, status, reason) if is_closing else tree


def _judge(state: UmiState, tree: Tree, step: Step) -> tuple[NodeStatus, str | None]:
    if step.decision == "give up":
        return ("failed", state["reason"]) if state["reason"] else ("gave up", step.rationale or "No reason was given.")
    if step.decision == "conclusion":
        return ("answer", None) if state["answer"] else ("failed", state["reason"])
    reason = _find_repeat(state, tree) or find_stall(list_turn(state), state["settings"])
    return ("failed", reason) if reason else ("open", None)


def _find_repeat(state: UmiState, tree: Tree) -> str | None:
    """Say which call of the newest step was made before, on this path or by a sibling."""
    if calls := _get_newest(state).tool_calls:
        keys = [make_key(call["name"], call["args"]) for call in calls]
        for sibling in list_children(tree, tree["cursor"]):
            if keys == [make_key(call.name, call.arguments) for call in parse_step(sibling).calls]:
                return "The same call was already made from here."
    return find_repeat(list_turn(state), state["settings"]["repeat_limit"])


def _get_newest(state: UmiState) -> AIMessage:
    return next(message for message in reversed(state["messages"]) if isinstance(message, AIMessage))


def _choose_move(state: UmiState, tree: Tree) -> Update:
    settings = state["settings"]
    if tree["nodes"][tree["cursor"]]["status"] == "answer":
        return {"tree": tree}
    if not tree["is_exhausted"]:
        number = _find_open(tree, settings["beam_width"])
        if number is None:
            return _stop(state, tree, "No plan is left to try.")
        if settings["max_queries"] - state["n_queries"] >= MIN_QUERIES:
            return _go_to(state, tree, number)
    return _stop(state, tree, f"The search took {state['n_queries']} model calls (max_queries).")


def _go_to(state: UmiState, tree: Tree, number: int) -> Update:
    """Plan next from the given node, which is the cursor or above it."""
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
    chain = [] if tree["is_exhausted"] else _find_best(tree)
    last = tree["nodes"][-1]["reason"]
    update: Update = {"answer": None, "n_steps": len(chain)}
    if any(map(_count_good, chain)):
        step, finish = Step(f"{why} I answer from what is known.", "conclusion"), "search limit"
    else:
        why = f"{why} The last dead end: {last}" if last else why
        chain, step, finish = [], Step(why, "give up"), "give up"
    update["tree"] = {**tree, "cursor": chain[-1]["id"] if chain else ROOT, "is_exhausted": True}
    n_before = len(state["messages"]) - len(list_turn(state))
    kept: list[AnyMessage] = [*state["messages"][:n_before], *_make_messages(chain), make_message(step)]
    update["messages"] = [RemoveMessage(id=REMOVE_ALL_MESSAGES), *kept]
    return update | {"decision": step.decision, "finish": finish, "reason": why}


def make_tree() -> Tree:
    """Return a tree that is only its root."""
    root = TreeNode(id=ROOT, parent=None, depth=0, step=None, status="open", reason=None, usage=None)
    return Tree(nodes=[root], cursor=ROOT, is_exhausted=False)


def add_node(
    tree: Tree,
    step: Step,
    status: NodeStatus,
    reason: str | None,
    usage: UsageMetadata | None = None,
    ids: Mapping[str, str] = MappingProxyType({}),
) -> Tree:
    """Return the tree with one more node under the cursor, which moves there."""
    parent = tree["nodes"][tree["cursor"]]
    node = TreeNode(
        id=len(tree["nodes"]),
        parent=parent["id"],
        depth=parent["depth"] + 1,
        step=_step_adapter().dump_python(step, mode="json"),
        status=status,
        reason=reason,
        usage={**usage} if usage else None,
        ids={**ids},
    )
    return {**tree, "nodes": [*tree["nodes"], node], "cursor": node["id"]}


def list_children(tree: Tree, number: int) -> list[TreeNode]:
    """Return the plans made from a node, oldest first."""
    return [node for node in tree["nodes"] if node["parent"] == number]


def parse_step(node: TreeNode) -> Step:
    """Return the step of a node that is not the root."""
    return _step_adapter().validate_python(node["step"])


def _close_node(tree: Tree, number: int, status: NodeStatus, reason: str | None) -> Tree:
    nodes = list(tree["nodes"])
    nodes[number] = {**nodes[number], "status": status, "reason": reason}
    return {**tree, "nodes": nodes}


def _find_open(tree: Tree, beam_width: int) -> int | None:
    """Return the deepest node at or above the cursor that may have one more child; None if there is none.

    Depth-first, no other node can be open: each branch that was left is used up.
    """
    for node in _climb(tree, tree["cursor"]):
        if node["status"] == "open" and len(list_children(tree, node["id"])) < beam_width:
            return node["id"]
    return None


def _find_best(tree: Tree) -> list[TreeNode]:
    """Return the steps of the chain that got furthest, empty if none has anything to answer from.

    Most observations that are no errors count, then fewest steps, then the oldest. A chain on which the planner itself
    gave up is none to answer from.
    """
    parents = {node["parent"] for node in tree["nodes"]}
    leaves = [node for node in tree["nodes"] if node["id"] not in parents and node["status"] != "gave up"]
    chains = [[node for node in _climb(tree, leaf["id"]) if _list_observations(node)][::-1] for leaf in leaves]
    return max(chains, key=lambda chain: (sum(map(_count_good, chain)), -len(chain)), default=[])


def _make_messages(chain: Sequence[TreeNode]) -> list[AnyMessage]:
    """Return the messages of a chain of nodes, as they were in the transcript."""
    messages: list[AnyMessage] = []
    for node in chain:
        step, ids = parse_step(node), node.get("ids", {})
        message: AIMessage = make_message(step)
        message.id = ids.get("")
        message.usage_metadata = UsageMetadata(**node["usage"]) if node["usage"] else None  # type: ignore[typeddict-item]  # JSON of one
        results = [make_observation_message(call) for call in step.calls if call.observation]
        for result in results:
            result.id = ids.get(result.tool_call_id)
        messages += [message, *results]
    return messages


def _climb(tree: Tree, number: int) -> Iterator[TreeNode]:
    """Yield a node and all above it, up to the root."""
    at: int | None = number
    while at is not None:
        node = tree["nodes"][at]
        yield node
        at = node["parent"]


def _list_observations(node: TreeNode) -> list[Mapping[str, Any]]:
    calls = node["step"]["calls"] if node["step"] else []
    return [call["observation"] for call in calls if call["observation"]]


def _count_good(node: TreeNode) -> int:
    return sum(not observation["is_error"] for observation in _list_observations(node))


@cache
def _step_adapter() -> TypeAdapter[Step]:
    return TypeAdapter(Step)
