"""The dialects in which dialogues with tool calls are published, read into one kind of message.

| dialect | messages | calls | results |
| --- | --- | --- | --- |
| OpenAI | `messages` of `role`, `content` | `tool_calls`, also flat; `function_call` | `tool`, `function` |
| ShareGPT (LLaMA-Factory, APIGen-MT) | `conversations` of `from`, `value` | from `function_call` | from `observation` |
| Hermes | `conversations` of `from`, `value` | `<tool_call>` | `<tool_response>` |
| ToolACE | `conversations` of `from`, `value` | `[Find Town(name="Graz")]` | from `tool` |
| ms-swift | `messages` of `role`, `content` | role `tool_call` | role `tool_response`, `tool` |
| xLAM | `query` | `answers` | none |

`tools` are OpenAI's, bare functions, or in the system prompt. All may be JSON, or text that holds JSON or Python.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.reasoning import is_thought, split_reasoning
from alpha_umi.nodes.format.trajectory import Call
from alpha_umi.tools.observation import render_observation
from alpha_umi.tools.spec import ToolSpec, clean_name
from alpha_umi.training.data.files import Record
from alpha_umi.training.data.tool_specs import (
    decode,
    drop_nulls,
    evaluate,
    fit_arguments,
    is_null,
    parse_arguments,
    parse_python,
    parse_tools,
)

_Kind: TypeAlias = Literal["system", "user", "assistant", "call", "tool"]
_ROLES: Mapping[str, _Kind] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    **dict.fromkeys(("gpt", "model", "bot", "ai", "chatgpt"), "assistant"),
    "function_call": "call",
    "tool_call": "call",
    **dict.fromkeys(("tool", "tool_response", "tool_result", "observation", "ipython"), "tool"),
    **dict.fromkeys(("function", "function_response", "function_result"), "tool"),
}
_ARGUMENT, _HYPHEN = "argument_", "_hyphen_"
_OFF = ("0", "0.0", "false", "no")
_NAME_KEYS = ("name", "tool_name", "recipient_name")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")
_TAGGED_CALL = re.compile(r"<(tool_call|function_?call)>(.*?)(?:</\1>|$)", re.DOTALL)
_TAGGED_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*(?:</tool_response>|$)", re.DOTALL)
_TAGGED_TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)
_WRITTEN_NAME = re.compile(r"""(^\[|\)\s*,)\s*([^()\[\]{}"'=,]+?)\s*\(""")
_WRITTEN_ARGUMENT = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([(,]\s*)([A-Za-z_][\w-]*)(?=\s*=[^=])""")
_LISTED_TOOLS = re.compile(r'\[\s*\{\s*"')


@dataclass
class Message:
    """One message of any dialect; a call without an id has an empty one, and one that cannot be read is text."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    calls: list[Call] = field(default_factory=list)
    call_id: str = ""
    name: str = ""
    weight: Literal[0, 1] = 1


@dataclass(frozen=True)
class Dialogue:
    """What a record says."""

    tools: tuple[ToolSpec, ...]
    messages: list[Message]


def read_dialogue(record: Record) -> Dialogue:
    """Read one record of any dialect.

    Raises:
        TrajectoryError: If it is of none.
        ConfigError: If a tool cannot be used.
    """
    messages = _find_messages(record)
    if isinstance(prompt := record.get("system"), str) and prompt.strip():
        messages = [{"role": "system", "content": prompt}, *messages]
    tools = parse_tools(record.get("tools") or record.get("functions"))
    if not tools:
        prompts = (_to_text(_get_content(each)) for each in messages if _get_role(each) == "system")
        tools = next((found for prompt in prompts if (found := _find_tools(prompt))), ())
    reader = _MessageReader({tool.name: tool for tool in tools})
    return Dialogue(tools, [message for raw in messages for message in reader.read(raw)])


def _find_messages(record: Record) -> Sequence[Any]:
    messages = decode(next((record[key] for key in ("messages", "conversations") if record.get(key)), None))
    if isinstance(record.get("query"), str) and "answers" in record and messages is None:
        messages = [
            {"role": "user", "content": record["query"]},
            {"role": "tool_call", "content": record["answers"]},
        ]
    if isinstance(prompt := record.get("prompt"), list) and isinstance(completion := record.get("completion"), list):
        messages = [*prompt, *completion]
    if not isinstance(messages, list):
        raise TrajectoryError("no 'messages' list; expected 'messages', 'conversations', or 'query' and 'answers'.")
    return [message for message in messages if message is not None]


def _get_role(message: Record) -> _Kind:
    role = message.get("role") or message.get("from")
    if (known := _ROLES.get(str(role).lower())) is None:
        raise TrajectoryError(f"unknown role {role!r} in 'messages'.")
    return known


def _get_content(message: Record) -> Any:
    return next((message[key] for key in ("content", "value", "refusal") if message.get(key) is not None), None)


def _to_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "" if content is None or content == [] else render_observation(content, sys.maxsize)


def _list_blocks(content: Any, kind: str) -> list[Record]:
    """Return the blocks of a kind, in which Anthropic's messages hold calls and results."""
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict) and part.get("type") == kind]


def _find_tools(prompt: str) -> tuple[ToolSpec, ...]:
    """Read the tools that a system prompt lists: between tags, or as the first list of JSON objects."""
    for tagged in _TAGGED_TOOLS.findall(prompt):
        if tagged.strip():  # the sentence before them names the tags as well
            return parse_tools(_decode_lines(tagged.strip()))
    if listed := _LISTED_TOOLS.search(prompt):
        with suppress(json.JSONDecodeError, ConfigError):
            return parse_tools(json.JSONDecoder().raw_decode(prompt, listed.start())[0])
    return ()


def _decode_lines(text: str) -> Any:
    """Decode a text that holds one value, or one a line."""
    value = decode(text)
    lines = [line for line in text.split("\n") if line.strip()]
    return [decode(line) for line in lines] if value == text and len(lines) > 1 else value


def is_about_format(prompt: str) -> bool:
    """Say whether a system prompt tells a model how to write calls, which each format does in its own way."""
    return "<tool_call>" in prompt or "<tools>" in prompt or bool(_find_tools(prompt))


class _MessageReader:
    """Reads the messages of one record, whose tools are known."""

    def __init__(self, tools: Mapping[str, ToolSpec]) -> None:
        self._tools = tools

    def read(self, raw: Record) -> Iterator[Message]:
        role, content = _get_role(raw), _get_content(raw)
        if role == "tool":
            call_id = str(raw.get("tool_call_id") or "")
            name = str(raw.get("name") or "")
            texts = _TAGGED_RESULT.findall(content) if isinstance(content, str) else ()
            yield from (Message("tool", text, call_id=call_id, name=name) for text in texts or [_to_text(content)])
        elif role == "user" and _TAGGED_RESULT.search(text := _to_text(content)):
            yield from (Message("tool", result) for result in _TAGGED_RESULT.findall(text))
        elif role == "user" and (blocks := _list_blocks(content, "tool_result")):
            for block in blocks:
                yield Message("tool", _to_text(block.get("content")), call_id=str(block.get("tool_use_id") or ""))
            if rest := [part for part in content if part not in blocks]:
                yield Message(role, _to_text(rest))
        elif role in ("system", "user"):
            yield Message(role, _to_text(content))
        else:
            yield self._read_assistant(raw, content, is_call=role == "call")

    def _read_assistant(self, raw: Record, content: Any, *, is_call: bool) -> Message:
        is_masked = any(str(raw.get(key)).lower() in _OFF for key in ("weight", "loss", "train"))
        message = Message("assistant", weight=0 if is_masked else 1)
        blocks = _list_blocks(content, "tool_use")
        if isinstance(content, list):
            content = [part for part in content if not is_thought(part) and part not in blocks]
        _, text = split_reasoning(_to_text(content))
        if is_call and not _TAGGED_CALL.search(text):
            message.calls = self._read_calls(_decode_lines(text))
        else:
            tagged = [
                call for _, each in _TAGGED_CALL.findall(text) for call in self._read_calls(_decode_lines(each.strip()))
            ]
            written = [] if tagged else self._read_written(text.strip())
            message.text = "" if written else _TAGGED_CALL.sub("", text).strip()
            message.calls = tagged or written
        message.calls += self._read_calls(blocks)
        message.calls += self._read_calls(decode(raw.get("tool_calls")))
        message.calls += self._read_calls(decode(raw.get("function_call")))
        return message

    def _read_calls(self, value: Any) -> list[Call]:
        given = value if isinstance(value, list) else [value]
        return [self._read_call(each) for each in given if each and not is_null(each)]

    def _read_call(self, raw: Any) -> Call:
        raw = decode(raw)
        if not isinstance(raw, Mapping):
            return Call("", "", _to_text(raw))
        function = decode(raw.get("function")) or raw
        if isinstance(function, str):
            function = {"name": function, **{key: raw[key] for key in _ARGUMENT_KEYS if key in raw}}
        written = next((function[key] for key in _ARGUMENT_KEYS if function.get(key) is not None), None)
        name = next((str(function[key]) for key in _NAME_KEYS if function.get(key)), "")
        return self._make_call(str(raw.get("id") or ""), name, written)

    def _make_call(self, call_id: str, name: str, written: Any) -> Call:
        name = clean_name(name)
        name = name if name in self._tools else name.removeprefix("functions.")
        arguments, tool = parse_arguments(written), self._tools.get(name)
        if arguments is None:
            return Call(call_id, name, _to_text(written))
        kept = drop_nulls(arguments, tool.parameters if tool else None)
        return Call(call_id, name, fit_arguments(kept, tool))

    def _read_written(self, text: str) -> list[Call]:
        """Read a list of calls that are written as in Python, of tools whose names may hold spaces."""
        if not text.startswith("[") or not text.endswith(")]"):
            return []
        names: dict[str, str] = {}

        def number(found: re.Match[str]) -> str:
            if (name := clean_name(found[2])) not in self._tools:
                return found[0]
            names[f"tool_{len(names)}"] = name
            return f"{found[1]}tool_{len(names) - 1}("

        def spell(found: re.Match[str]) -> str:
            """Let arguments have names that Python does not allow, such as ``from``."""
            return found[1] or f"{found[2]}{_ARGUMENT}{found[3].replace('-', _HYPHEN)}"

        try:
            tree = parse_python(_WRITTEN_ARGUMENT.sub(spell, _WRITTEN_NAME.sub(number, text)))
            nodes = tree.elts if isinstance(tree, ast.List) else []
            return [self._read_written_call(node, names) for node in nodes]
        except ValueError:
            return [Call("", "", text)] if names else []

    def _read_written_call(self, node: ast.expr, names: Mapping[str, str]) -> Call:
        if not isinstance(node, ast.Call) or node.args:
            raise ValueError("not a call with named arguments")
        name = ast.unparse(node.func)
        arguments = {str(each.arg): evaluate(each.value) for each in node.keywords}
        spelt = {key.removeprefix(_ARGUMENT).replace(_HYPHEN, "-"): value for key, value in arguments.items()}
        return self._make_call("", names.get(name, name), spelt)
