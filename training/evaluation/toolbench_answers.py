"""ToolBench's converted answers, as its ToolEval reads them: one JSON object per query file, by query id.

An answer is a chain of nodes: ``system``, ``user``, then one ``tool`` node per call, of which the last is ``Finish``.
Plans are left out, as ToolBench's own conversion leaves out a thought that comes with a call; ToolEval counts nodes and
prefers fewer.

Source: OpenBMB/ToolBench, toolbench/tooleval/{convert_to_answer_format,eval_pass_rate,utils}.py.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alpha_umi.errors import AlphaUmiError, ConfigError
from alpha_umi.files import write_atomically
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec, log_omissions
from alpha_umi.training.data.files import Record

FOLDER = "answers"
_FINISH = "Finish"
FINISH_TOOL: Record = {
    "name": _FINISH,
    "description": "Ends the task: with the answer for the user, or by giving up.",
    "parameters": {
        "type": "object",
        "properties": {
            "return_type": {"type": "string", "enum": ["give_answer", "give_up_and_restart"]},
            "final_answer": {"type": "string", "description": "The answer, if there is one."},
        },
        "required": ["return_type"],
    },
}
_NAME = re.compile(r"'name': '([^']*)'")


def make_answer(trajectory: Trajectory, method: str) -> Record:
    """Convert the last turn of a run.

    Args:
        trajectory: Of a search, the path that it ended on.
        method: What ToolEval calls the way the answer was found, such as ``react``.
    """
    turn = trajectory.turns[-1]
    messages: list[Any] = []
    for step in turn.steps:
        messages += map(_make_message, step.calls)
    ended = turn.steps and turn.steps[-1].decision != "caller"
    final = write_finish(turn.steps[-1]) if ended else None
    if final is not None:
        messages.append({"name": _FINISH, "arguments": final, "response": ""})
    node: list[Record] = []
    for message in reversed(messages):
        node = [{"role": "tool", "message": message, "next": node}]
    for role in ("user", "system"):
        node = [{"role": role, "message": "", "next": node}]
    return {
        "query": turn.instruction,
        "available_tools": [*map(describe_tool, trajectory.tools), FINISH_TOOL],
        "answer": {
            "method": method,
            "total_steps": len(messages) + 2,  # system and user are steps as well
            "final_answer": final or "",
            "answer_details": node,
        },
    }


def _make_message(call: Call) -> Record:
    response = call.observation.text if call.observation else ""
    return {"name": call.name, "arguments": write_arguments(call), "response": response}


def write_arguments(call: Call) -> str:
    """Return the arguments of a call as JSON; what the model wrote is left as it is where it is none."""
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)


def write_finish(step: Step) -> str:
    """Return the arguments of ``Finish`` for a step that ends the run."""
    if step.answer and step.answer.strip():
        return json.dumps({"return_type": "give_answer", "final_answer": step.answer}, ensure_ascii=False)
    return json.dumps({"return_type": "give_up_and_restart"})


def describe_tool(spec: ToolSpec) -> Record:
    """Return a tool as ToolBench tells a model of it."""
    parameters = dict(spec.parameters)
    required = parameters.get("required", [])
    optional = [name for name in parameters.get("properties", {}) if name not in required]
    return {"name": spec.name, "description": spec.description, "parameters": {**parameters, "optional": optional}}


def write_answers(folder: Path, answers: Mapping[str, Mapping[str, Record]]) -> None:
    """Write one file per query file.

    Args:
        folder: What ToolEval takes as the folder of a model.
        answers: By name of the query file, then by query id.
    """
    for group, by_id in answers.items():
        with write_atomically(folder / f"{group}.json") as file:
            json.dump(by_id, file, ensure_ascii=True, indent=1)


def read_answers(folder: Path) -> dict[str, Trajectory]:
    """Read converted answers, ours or ToolBench's own.

    Args:
        folder: Results of ``alpha-umi eval live``, or a model's folder with one JSON file per query file.

    Returns:
        Trajectories without plans, by ``GROUP/QUERY_ID``; answers that cannot be read are left out and logged.

    Raises:
        ConfigError: If there are none.
    """
    root = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    found: dict[str, Trajectory] = {}
    faults: list[str] = []
    for path in sorted(root.glob("*.json")):
        try:
            for query_id, answer in json.loads(path.read_text("utf-8")).items():
                try:
                    found[f"{path.stem}/{query_id}"] = parse_answer(answer)
                except (AlphaUmiError, LookupError, TypeError, AttributeError, ValueError) as error:
                    faults.append(f"{path.name}, query {query_id}: {type(error).__name__}: {error}")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            faults.append(f"{path.name}: {type(error).__name__}: {error}")
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
    if isinstance(message, str):
        try:
            message = ast.literal_eval(message)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            name = _NAME.search(message)
            return (name[1] if name else ""), message, ""
    arguments = message.get("arguments", "")
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        parsed = None
    response = message.get("response", "")
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
