"""A run as one of ToolBench's answer files, which its tools and our own `toolbench` reader take.

Source: OpenBMB/ToolBench:toolbench/inference/{Algorithms/DFS,Tree/Tree}.py, the shape of what they write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory
from alpha_umi.nodes.search import ROOT, list_children, parse_step
from alpha_umi.nodes.state import Tree, TreeNode
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.evaluation.toolbench_answers import FINISH_TOOL, describe_tool, write_arguments, write_finish

_SYSTEM = "Solve the task with the functions; end it by calling Finish."


def make_answer_file(
    state: Mapping[str, Any], tree: Tree, tools: Sequence[ToolSpec], total_tokens: int
) -> dict[str, Any]:
    """Return the content of one answer file.

    Args:
        state: Values of the agent's thread at the end of the turn.
        tree: All that was tried.
        tools: What was on offer.
        total_tokens: Read and written by all model calls.
    """
    turn = Trajectory.from_messages(state["messages"]).turns[-1]
    has_answer = state["answer"] is not None
    end = turn.steps[-1]
    return {
        "win": has_answer,
        "tree": {
            "size": len(tree["nodes"]),
            "max_length": 1 + max(node["depth"] for node in tree["nodes"]),
            "tree": _make_root(tree),
        },
        "forward_args": state["settings"],
        "compare_candidates": [],
        "answer_generation": {
            "valid_data": True,
            "query_count": state["n_queries"],
            "total_tokens": total_tokens,
            "final_answer": write_finish(end),
            "finish_type": "give_answer" if has_answer else "give_up",
            "query": turn.instruction,
            "function": [*map(describe_tool, tools), FINISH_TOOL],
            "chain": [],
            "train_messages": _make_samples(turn.instruction, turn.steps),
        },
    }


def _make_samples(question: str, steps: Sequence[Step]) -> list[list[dict[str, Any]]]:
    """Return one prompt and completion for each model turn, as ToolBench keeps them; the last is the whole chain."""
    chain: list[dict[str, Any]] = [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": f"\n{question}\nBegin!\n"},
    ]
    samples = []
    for step in steps:
        for message in _make_messages(step):
            chain.append(message)
            if message["role"] == "assistant":
                samples.append(list(chain))
    return samples


def _make_messages(step: Step) -> Iterator[dict[str, Any]]:
    thought = step.rationale
    for call in step.calls:
        yield _think(thought, call.name, write_arguments(call))
        yield {"role": "function", "name": call.name, "content": _write_observation(call)}
        thought = ""
    if step.decision != "caller":
        yield _think(thought, "Finish", write_finish(step))


def _think(thought: str, name: str, arguments: str) -> dict[str, Any]:
    return {"role": "assistant", "content": thought, "function_call": {"name": name, "arguments": arguments}}


def _write_observation(call: Call) -> str:
    text, is_error = (call.observation.text, call.observation.is_error) if call.observation else ("", False)
    return json.dumps({"error": text if is_error else "", "response": "" if is_error else text}, ensure_ascii=False)


def _make_root(tree: Tree) -> dict[str, Any]:
    return _make_node("Action Input", "", 0, _make_branches(tree, tree["nodes"][ROOT], 0))


def _make_branches(tree: Tree, parent: TreeNode, depth: int) -> list[dict[str, Any]]:
    return [_make_branch(tree, node, depth) for node in list_children(tree, parent["id"])]


def _make_branch(tree: Tree, node: TreeNode, depth: int) -> dict[str, Any]:
    """Return a step as the thought, action and input that it is in ToolBench, one below the other."""
    step = parse_step(node)
    parts: list[tuple[str, str, dict[str, Any]]] = [("Thought", step.rationale, {})]
    for call in step.calls:
        is_error = bool(call.observation and call.observation.is_error)
        observed = {"observation": _write_observation(call), "observation_code": int(is_error)}
        parts += [("Action", call.name, {}), ("Action Input", write_arguments(call), observed)]
    if step.decision != "caller":
        code = {"observation_code": 3 if step.answer else 4}
        parts += [("Action", "Finish", {}), ("Action Input", write_finish(step), code)]
    flags = {"pruned": node["status"] in ("failed", "gave up"), "expand_num": node["id"]}
    children = _make_branches(tree, node, depth + len(parts))
    for i, (kind, text, extra) in reversed(list(enumerate(parts))):
        made = _make_node(kind, text, depth + 1 + i, children) | extra
        children = [made | flags if i == len(parts) - 1 else made]
    return children[0]


def _make_node(kind: str, text: str, depth: int, children: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "is_terminal": not children,
        "pruned": False,
        "finished": False,
        "depth": depth,
        "node_type": kind,
        "description": text,
        "Elo": 1000.0,
        "child_count": len(children),
        "expand_num": 0,
        "children": children,
    }
