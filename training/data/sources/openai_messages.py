"""Dialogues with tool calls in JSON Lines: OpenAI's messages, ShareGPT, Hermes, ToolACE, xLAM or ms-swift.

`alpha_umi.training.data.dialects` says how each is written. Assistant text before a call is its rationale; a call
without one gets a templated one. What has `weight: 0` is read, and not trained. What a reasoning model thought, in
`reasoning_content`, in blocks or between tags, is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, groupby
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from alpha_umi.nodes.format.trajectory import Call, Trajectory
from alpha_umi.tools.spec import clean_name
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.dialects import Message, is_about_format, read_dialogue
from alpha_umi.training.data.files import read_records, to_text
from alpha_umi.training.data.tool_specs import decode

_RESULT_KEYS = ("content", "results", "result", "response", "output")


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per dialogue."""
    for number, (where, record) in enumerate(read_records(location, tally.skip)):
        with tally.reading(where):
            dialogue = read_dialogue(record)
            messages = _link(_join(_select(dialogue.messages, tally)))
            trajectory = Trajectory.from_messages(map(_make_message, messages), dialogue.tools)
            name = str(number if record.get("id") is None else record["id"])
            yield Example(f"openai_messages-{name}", "openai_messages", trajectory, where, task_id=name)


def _select(messages: Sequence[Message], tally: Tally) -> Iterator[Message]:
    """Leave out what no role reads or learns."""
    has_request = False
    for message in messages:
        has_request |= message.role == "user"
        if message.role == "system" and is_about_format(message.text):
            tally.repair("system prompt about the format of calls removed")
        elif message.role == "assistant" and not message.calls and not message.text.strip():
            tally.repair("assistant message without text or call removed")
        elif message.role in ("assistant", "tool") and not has_request:
            tally.repair("message before the first request removed")
        else:
            yield message


def _join(messages: Iterator[Message]) -> Iterator[Message]:
    """Make one of text or calls and the calls that follow at once: a rationale, or calls side by side."""
    last: Message | None = None
    for message in messages:
        if last is not None and last.role == message.role == "assistant" and message.calls:
            text, weight = f"{last.text}\n{message.text}".strip(), min(last.weight, message.weight)
            last = replace(message, text=text, calls=[*last.calls, *message.calls], weight=weight)
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


def _link(messages: Iterator[Message]) -> Iterator[Message]:
    """Give every call an id of its own, and every result that of its call: the one of its id, its name, or the next."""
    used: set[str] = set()
    unused = (f"call_{i}" for i in count(1))
    waiting: list[tuple[str, Call]] = []
    for role, group in groupby(messages, key=lambda message: message.role):
        for message in _split_result(list(group), [call for _, call in waiting]) if role == "tool" else group:
            if role == "user":
                waiting.clear()
            calls = []
            for call in message.calls:
                id_ = call.id if call.id and call.id not in used else next(id_ for id_ in unused if id_ not in used)
                calls.append(replace(call, id=id_))
                used.add(id_)
                waiting.append((call.id, calls[-1]))
            if role == "tool" and (found := _find_call(message, waiting)):
                waiting.remove(found)
                message = replace(message, call_id=found[1].id)
            yield replace(message, calls=calls)


def _find_call(message: Message, waiting: Sequence[tuple[str, Call]]) -> tuple[str, Call] | None:
    by_id = [each for each in waiting if message.call_id and each[0] == message.call_id]
    by_name = [each for each in by_id or waiting if message.name and each[1].name == clean_name(message.name)]
    return next(iter([*by_name, *by_id, *waiting]), None)


def _split_result(results: list[Message], waiting: Sequence[Call]) -> list[Message]:
    """Give each of several calls its part of one result, and take off what wraps a result: its tool's name."""
    names = {call.name for call in waiting}
    parts = []
    for result in results:
        value = decode(result.text)
        items = value if isinstance(value, list) else [value]
        named = [item for item in items if _is_named(item, names)]
        if named and len(named) == len(items) and not result.call_id:
            key = next(key for key in _RESULT_KEYS if key in items[0])
            parts += [replace(result, name=item["name"], text=to_text(item.get(key))) for item in items]
        elif len(results) == 1 < len(items) == len(waiting) and not result.call_id:
            parts += [replace(result, text=to_text(item)) for item in items]
        else:
            parts.append(result)
    return parts


def _is_named(item: Any, names: set[str]) -> bool:
    if not isinstance(item, dict) or clean_name(str(item.get("name") or "")) not in names:
        return False
    return any(key in item for key in _RESULT_KEYS)


def _make_message(message: Message) -> BaseMessage:
    if message.role == "system":
        return SystemMessage(message.text)
    if message.role == "user":
        return HumanMessage(message.text)
    if message.role == "tool":
        value = decode(message.text)
        is_error = isinstance(value, dict) and bool(value.get("error"))
        return ToolMessage(message.text, tool_call_id=message.call_id, status="error" if is_error else "success")
    calls, invalid = [], []
    for call in message.calls:
        if isinstance(call.arguments, dict):
            calls.append({"name": call.name, "args": call.arguments, "id": call.id, "type": "tool_call"})
        else:
            invalid.append({"name": call.name, "args": call.arguments, "id": call.id, "type": "invalid_tool_call"})
    extra = {} if message.weight else {"weight": 0}
    return AIMessage(message.text, tool_calls=calls, invalid_tool_calls=invalid, additional_kwargs=extra)
