"""The tree of a depth-first search as plain JSON, and pure functions that read and grow it.

A node is one step of the planner and what came of it; the root, number 0, is the question. Node numbers count up in the
order in which the nodes were made, and are their places in the list. Knows nothing about graphs or prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.messages.ai import UsageMetadata
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from alpha_umi.nodes.format.trajectory import Step, make_message, make_observation_message

Status: TypeAlias = Literal["open", "failed", "gave up", "answer"]

ROOT = 0


class TreeNode(TypedDict):
    """One node.

    `step` is the JSON form of a `Step`, None for the root. `status` is ``open`` where plans may still start from,
    ``gave up`` where the planner saw no way on, ``failed`` for every other dead end; `reason` says why.
    """

    id: int
    parent: int | None
    depth: int
    step: dict[str, Any] | None
    status: Status
    reason: str | None
    usage: dict[str, Any] | None


class Tree(TypedDict):
    """All nodes, the one that the search stands at, and whether it has stopped looking for further ones."""

    nodes: list[TreeNode]
    cursor: int
    is_exhausted: bool


def make_tree() -> Tree:
    """Return a tree that is only its root."""
    root = TreeNode(id=ROOT, parent=None, depth=0, step=None, status="open", reason=None, usage=None)
    return Tree(nodes=[root], cursor=ROOT, is_exhausted=False)


def add_node(tree: Tree, step: Step, status: Status, reason: str | None, usage: UsageMetadata | None) -> Tree:
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
    )
    return {**tree, "nodes": [*tree["nodes"], node], "cursor": node["id"]}


def close_node(tree: Tree, number: int, status: Status, reason: str | None) -> Tree:
    """Return the tree with one node that is open no more."""
    nodes = list(tree["nodes"])
    nodes[number] = {**nodes[number], "status": status, "reason": reason}
    return {**tree, "nodes": nodes}


def list_children(tree: Tree, number: int) -> list[TreeNode]:
    """Return the plans made from a node, oldest first."""
    return [node for node in tree["nodes"] if node["parent"] == number]


def list_path(tree: Tree, number: int) -> list[TreeNode]:
    """Return the nodes from below the root down to the given one."""
    path = list(_climb(tree, number))
    return path[::-1][1:]


def find_open(tree: Tree, beam_width: int) -> int | None:
    """Return the deepest node at or above the cursor that may have one more child; None if there is none.

    Depth-first, no other node can be open: each branch that was left is used up.
    """
    for node in _climb(tree, tree["cursor"]):
        if node["status"] == "open" and len(list_children(tree, node["id"])) < beam_width:
            return node["id"]
    return None


def find_best(tree: Tree) -> list[TreeNode]:
    """Return the steps of the chain that got furthest, empty if none has anything to answer from.

    Most observations that are no errors count, then fewest steps, then the oldest. A chain on which the planner itself
    gave up is none to answer from.
    """
    parents = {node["parent"] for node in tree["nodes"]}
    leaves = [node for node in tree["nodes"] if node["id"] not in parents and node["status"] != "gave up"]
    chains = [[node for node in list_path(tree, leaf["id"]) if _count_observations(node)] for leaf in leaves]
    return max(chains, key=lambda chain: (sum(map(_count_good, chain)), -len(chain)), default=[])


def has_observations(chain: Sequence[TreeNode]) -> bool:
    """Tell whether any step of a chain has an observation that is no error."""
    return any(map(_count_good, chain))


def parse_step(node: TreeNode) -> Step:
    """Return the step of a node that is not the root."""
    return _step_adapter().validate_python(node["step"])


def make_messages(chain: Sequence[TreeNode]) -> list[AnyMessage]:
    """Return the messages of a chain of nodes, as they were in the transcript."""
    messages: list[AnyMessage] = []
    for node in chain:
        step = parse_step(node)
        message: AIMessage = make_message(step)
        message.usage_metadata = UsageMetadata(**node["usage"]) if node["usage"] else None  # type: ignore[typeddict-item]  # JSON of one
        messages += [message, *(make_observation_message(call) for call in step.calls if call.observation)]
    return messages


def _climb(tree: Tree, number: int) -> Iterator[TreeNode]:
    at: int | None = number
    while at is not None:
        node = tree["nodes"][at]
        yield node
        at = node["parent"]


def _list_observations(node: TreeNode) -> list[Mapping[str, Any]]:
    calls = node["step"]["calls"] if node["step"] else []
    return [call["observation"] for call in calls if call["observation"]]


def _count_observations(node: TreeNode) -> int:
    return len(_list_observations(node))


def _count_good(node: TreeNode) -> int:
    return sum(not observation["is_error"] for observation in _list_observations(node))


@cache
def _step_adapter() -> TypeAdapter[Step]:
    return TypeAdapter(Step)
