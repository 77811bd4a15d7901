"""OpenAI-style tool-calling dialogues: `{"messages", "tools"}` in JSON Lines.

Tool calls may have the older `function_call` form. Assistant text next to a call is its rationale, as is
`reasoning_content`; a call without either gets a templated one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.data.tool_specs import parse_openai_tool


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per dialogue."""
    for number, (where, record) in enumerate(read_records(location)):
        with tally.reading(where):
            if not isinstance(record.get("messages"), list):
                raise TrajectoryError("no 'messages' list; expected OpenAI chat messages.")
            tools = tuple(map(parse_openai_tool, record.get("tools") or record.get("functions") or ()))
            messages = map(_make_message, _link_functions(record["messages"]))
            trajectory = Trajectory.from_messages(messages, tools)
        name = str(record.get("id", number))
        yield Example(f"openai_messages-{name}", "openai_messages", trajectory, where, task_id=name)


def _link_functions(messages: Sequence[Record]) -> Iterator[Record]:
    """Write the older form, in which calls have no ids, in the newer one."""
    number = 0
    for message in messages:
        if call := message.get("function_call"):
            number += 1
            yield {**message, "tool_calls": [{"id": f"call_{number}", "function": call}]}
        elif message.get("role") == "function":
            yield {**message, "role": "tool", "tool_call_id": f"call_{number}"}
        else:
            yield message


def _make_message(message: Record) -> BaseMessage:
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    text = "" if content is None else str(content)
    match message.get("role"):
        case "system" | "developer":
            return SystemMessage(text)
        case "user":
            return HumanMessage(text)
        case "tool":
            return ToolMessage(text, tool_call_id=str(message.get("tool_call_id", "")))
        case "assistant":
            return _make_ai_message(message, text)
        case role:
            raise TrajectoryError(f"unknown role {role!r} in 'messages'.")


def _make_ai_message(message: Record, text: str) -> AIMessage:
    calls, invalid = [], []
    for raw in message.get("tool_calls") or ():
        function, call_id = raw.get("function", {}), str(raw.get("id", ""))
        name, arguments = str(function.get("name", "")), function.get("arguments") or "{}"
        try:
            parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
        except json.JSONDecodeError:
            parsed = None
        if isinstance(parsed, dict):
            calls.append({"name": name, "args": parsed, "id": call_id, "type": "tool_call"})
        else:
            invalid.append({"name": name, "args": str(arguments), "id": call_id, "type": "invalid_tool_call"})
    content: list[str | dict[str, Any]] = [{"type": "text", "text": text}]
    if thought := message.get("reasoning_content"):
        content.insert(0, {"type": "reasoning", "reasoning": str(thought)})
    return AIMessage(content=content, tool_calls=calls, invalid_tool_calls=invalid)
