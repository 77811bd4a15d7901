"""The tree of a search, for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree as Drawing

from alpha_umi.cli.screen import clean
from alpha_umi.nodes.format.trajectory import Step, Trajectory
from alpha_umi.nodes.search_tree import Status, Tree, TreeNode, add_node, list_children, make_tree, parse_step

MAX_CHARS = 160
_STYLES: Mapping[Status, str] = {"open": "", "failed": "red", "gave up": "yellow", "answer": "green"}


def read_tree(state: Mapping[str, Any]) -> Tree:
    """Return the tree of a search, or the one branch that a chain is.

    Args:
        state: Values of the agent's thread.
    """
    tree: Tree | None = state["tree"]
    if tree is not None:
        return tree
    tree = make_tree()
    for step in Trajectory.from_messages(state["messages"]).turns[-1].steps:
        tree = add_node(tree, step, _judge(step), None, None)
    return tree


def _judge(step: Step) -> Status:
    if step.decision == "give up":
        return "gave up"
    return "answer" if step.answer else "open"


def draw_tree(tree: Tree, question: str) -> Drawing:
    """Draw every step below the question: plan, calls, observations or answer, and why a branch ended."""
    root = Drawing(_write(question, "bold"))
    _draw_children(tree, 0, root)
    return root


def _draw_children(tree: Tree, number: int, branch: Drawing) -> None:
    for node in list_children(tree, number):
        _draw_children(tree, node["id"], branch.add(_describe(node)))


def _describe(node: TreeNode) -> Text:
    step = parse_step(node)
    style = _STYLES[node["status"]]
    lines = [_write(f"{node['id']} {step.rationale or step.decision}", style)]
    for call in step.calls:
        lines.append(_write(f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}", "magenta"))
        if call.observation is not None:
            lines.append(_write(f"→ {call.observation.text}", "red" if call.observation.is_error else "dim"))
    if step.answer:
        lines.append(_write(step.answer, "bold green"))
    if node["reason"] and node["reason"] != step.rationale:
        lines.append(_write(f"{node['status']}: {node['reason']}", style))
    return Text("\n").join(lines)


def _write(text: str, style: str) -> Text:
    line = " ".join(clean(text).split())
    return Text(line if len(line) <= MAX_CHARS else f"{line[:MAX_CHARS]} …", style)
