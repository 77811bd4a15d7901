"""ToolBench's files: its queries, the converted answers that its ToolEval reads, and the trees that its search writes.

A converted answer is a chain of nodes: ``system``, ``user``, then one ``tool`` node per call, of which the last is
``Finish``. Plans are left out, as ToolBench's own conversion leaves out a thought that comes with a call; ToolEval
counts nodes and prefers fewer.

Source: OpenBMB/ToolBench:toolbench/tooleval/{convert_to_answer_format,eval_pass_rate,utils}.py for converted answers,
toolbench/inference/{Algorithms/DFS,Tree/Tree}.py for trees.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from alpha_umi.documents import read_document
from alpha_umi.errors import AlphaUmiError, ConfigError
from alpha_umi.files import write_atomically
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.nodes.search import ROOT, list_children, parse_step
from alpha_umi.nodes.state import Tree, TreeNode
from alpha_umi.tools.spec import ToolSpec, log_omissions
from alpha_umi.training.data.files import Record
from alpha_umi.training.data.tool_specs import decode

ANSWERS = "answers"
_FINISH = "Finish"
_NAME = re.compile(r"'name': '([^']*)'")

ToolBenchQuery: TypeAlias = tuple[str, str, str, list[dict[str, Any]]]
"""Name of the query file, query id, query, and the APIs on offer."""


@cache
def _load_texts() -> Any:
    """Return the system prompt and the tool ``Finish``."""
    return yaml.safe_load(files("alpha_umi.training.evaluation").joinpath("toolbench.yaml").read_text("utf-8"))


def read_queries(path: Path) -> list[ToolBenchQuery]:
    """Return the queries of a file such as ``G1_instruction.json``, or of all files of a folder.

    A file is a list of ``{"query", "query_id", "api_list"}``; what cannot be read is left out and logged.

    Raises:
        ConfigError: If there is no such file, or no query that can be used.
    """
    queries: dict[tuple[str, str], ToolBenchQuery] = {}
    faults: list[str] = []
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        for where, row in _read_rows(file, faults):
            try:
                query = _parse_query(file.stem, row)
            except (LookupError, TypeError, ValueError) as error:
                faults.append(f"{where} is left out: {type(error).__name__}: {error}")
                continue
            if query[:2] in queries:
                faults.append(f"{where} is left out: query_id {query[1]} occurs twice")
            queries.setdefault(query[:2], query)
    log_omissions(str(path), faults)
    if not queries:
        raise ConfigError(
            f"{path} holds no ToolBench query ({'; '.join(faults[:3]) or 'no .json file'}). Give a file such as "
            "G1_instruction.json of its test_instruction folder, or that folder."
        )
    return list(queries.values())


def _read_rows(file: Path, faults: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        rows = read_document(file, "it is left out")
    except ConfigError as error:
        faults.append(str(error))
        return
    for number, row in enumerate(rows if isinstance(rows, list) else [], 1):
        if isinstance(row, dict):
            yield f"{file.name}, query {number}", row
        else:
            faults.append(f"{file.name}, query {number} is no object")


def _parse_query(group: str, row: Mapping[str, Any]) -> ToolBenchQuery:
    query, apis = row["query"], row["api_list"]
    if not isinstance(query, str) or not query.strip():
        raise ValueError("'query' is empty")
    if not isinstance(apis, list) or not all(isinstance(api, dict) for api in apis):
        raise TypeError("'api_list' is no list of APIs")
    return group, str(row["query_id"]), query.strip(), apis


def make_answer(trajectory: Trajectory, method: str) -> Record:
    """Convert the last turn of a run; ToolEval calls the way the answer was found `method`, such as ``react``."""
    turn = trajectory.turns[-1]
    messages: list[Any] = []
    for call in (call for step in turn.steps for call in step.calls):
        response = call.observation.text if call.observation else ""
        messages.append({"name": call.name, "arguments": write_arguments(call), "response": response})
    end = trajectory.end
    final = write_finish(end) if end and end.decision != "caller" else None
    if final is not None:
        messages.append({"name": _FINISH, "arguments": final, "response": ""})
    node: list[Record] = []
    for message in reversed(messages):
        node = [{"role": "tool", "message": message, "next": node}]
    for role in ("user", "system"):
        node = [{"role": role, "message": "", "next": node}]
    return {
        "query": turn.instruction,
        "available_tools": [*map(describe_tool, trajectory.tools), _load_texts()["finish"]],
        "answer": {
            "method": method,
            "total_steps": len(messages) + 2,  # system and user are steps as well
            "final_answer": final or "",
            "answer_details": node,
        },
    }


def write_arguments(call: Call) -> str:
    """Return the arguments of a call as JSON; what the model wrote is left as it is where it is none."""
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)


def write_finish(step: Step) -> str:
    """Return the arguments of ``Finish`` for a step that ends the run."""
    if step.answer and step.answer.strip():
        return json.dumps({"return_type": "give_answer", "final_answer": step.answer}, ensure_ascii=False)
    return json.dumps({"return_type": "give_up_and_restart"})


def describe_tool(spec: ToolSpec) -> Record:
    """Return a tool as ToolBench describes it to a model."""
    parameters = dict(spec.parameters)
    required = parameters.get("required", [])
    optional = [name for name in parameters.get("properties", {}) if name not in required]
    return {"name": spec.name, "description": spec.description, "parameters": {**parameters, "optional": optional}}


def write_answers(folder: Path, answers: Mapping[str, Mapping[str, Record]]) -> None:
    """Write answers, given by query file and query id, into what ToolEval takes as the folder of a model."""
    for group, by_id in answers.items():
        with write_atomically(folder / f"{group}.json") as file:
            json.dump(by_id, file, ensure_ascii=True, indent=1)


def read_answers(folder: Path) -> dict[str, Trajectory]:
    """Read converted answers as trajectories without plans, by ``GROUP/QUERY_ID``.

    Args:
        folder: Results of ``alpha-umi eval live``, or a model's folder with one JSON file per query file. Answers that
            cannot be read are left out and logged; if there are no others, it is a `ConfigError`.
    """
    root = folder / ANSWERS if (folder / ANSWERS).is_dir() else folder
    found: dict[str, Trajectory] = {}
    faults: list[str] = []
    for path in sorted(root.glob("*.json")):
        try:
            for query_id, answer in read_document(path, "it is left out").items():
                try:
                    found[f"{path.stem}/{query_id}"] = parse_answer(answer)
                except (AlphaUmiError, LookupError, TypeError, AttributeError, ValueError) as error:
                    faults.append(f"{path.name}, query {query_id}: {type(error).__name__}: {error}")
        except (ConfigError, AttributeError) as error:
            faults.append(f"{path.name}: {error}")
    log_omissions(str(root), faults)
    if not found:
        raise ConfigError(
            f"{folder} holds no converted answers; give a folder of 'alpha-umi eval live', or one of ToolEval with "
            "files such as G1_instruction.json."
        )
    return found


def parse_answer(answer: Mapping[str, Any]) -> Trajectory:
    """Read one converted answer; of a node with several successors the first counts, as for ToolEval."""
    tools = tuple(
        ToolSpec(tool["name"], tool.get("description") or "", tool.get("parameters") or {"type": "object"})
        for tool in answer["available_tools"]
        if tool["name"] != _FINISH
    )
    messages = [_parse_message(node["message"]) for node in _walk(answer["answer"]["answer_details"])]
    steps = [
        Step("", "caller", (Call(str(i), name, arguments, Observation(response)),))
        for i, (name, arguments, response) in enumerate(messages)
        if name != _FINISH
    ]
    final = _parse_final(answer["answer"].get("final_answer") or "")
    end = Step("", "give up") if final is None else Step("", "conclusion", answer=final)
    return Trajectory(tools, (Turn(str(answer["query"]), (*steps, end)),))


def _walk(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    while nodes:
        if nodes[0]["role"] == "tool":
            yield nodes[0]
        nodes = nodes[0].get("next") or ()


def _parse_message(message: Any) -> tuple[str, dict[str, Any] | str, str]:
    """Return name, arguments and response; older files hold Python's text of the message, cut off."""
    message = decode(message)
    if isinstance(message, str):
        name = _NAME.search(message)
        return (name[1] if name else ""), message, ""
    arguments, response = message.get("arguments", ""), message.get("response", "")
    parsed = decode(arguments)
    return str(message["name"]), parsed if isinstance(parsed, dict) else str(arguments), str(response)


def _parse_final(text: str) -> str | None:
    """Return the answer in the arguments of ``Finish``, which some models wrote as broken JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None if "give_up_and_restart" in text or not text.strip() else text
    if not isinstance(value, dict):
        return str(value)
    final = value.get("final_answer")
    return str(final) if final and value.get("return_type") != "give_up_and_restart" else None


def make_answer_file(
    state: Mapping[str, Any], tree: Tree, tools: Sequence[ToolSpec], total_tokens: int
) -> dict[str, Any]:
    """Return a finished turn, and all that was tried for it, as one of the files that ToolBench's search writes."""
    turn = Trajectory.from_messages(state["messages"]).turns[-1]
    has_answer = state["answer"] is not None
    return {
        "win": has_answer,
        "tree": {
            "size": len(tree["nodes"]),
            "max_length": 1 + max(node["depth"] for node in tree["nodes"]),
            "tree": _make_node("Action Input", "", 0, _make_branches(tree, ROOT, 0)),
        },
        "forward_args": state["settings"],
        "compare_candidates": [],
        "answer_generation": {
            "valid_data": True,
            "query_count": state["n_queries"],
            "total_tokens": total_tokens,
            "final_answer": write_finish(turn.steps[-1]),
            "finish_type": "give_answer" if has_answer else "give_up",
            "query": turn.instruction,
            "function": [*map(describe_tool, tools), _load_texts()["finish"]],
            "chain": [],
            "train_messages": _make_samples(turn.instruction, turn.steps),
        },
    }


def _make_samples(question: str, steps: Sequence[Step]) -> list[list[dict[str, Any]]]:
    """Return one prompt and completion for each model turn, as ToolBench keeps them; the last is the whole chain."""
    chain: list[dict[str, Any]] = [
        {"role": "system", "content": _load_texts()["system"]},
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


def _make_branches(tree: Tree, parent: int, depth: int) -> list[dict[str, Any]]:
    return [_make_branch(tree, node, depth) for node in list_children(tree, parent)]


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
    children = _make_branches(tree, node["id"], depth + len(parts))
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
