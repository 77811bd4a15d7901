"""The line between the agent and its caller: what comes in is concealed, what goes out is revealed.

Models, callbacks, traces, logs and messages in the state have texts in the place of values; the values are in the state
as secrets. Tools and people have the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from langchain_core.messages import AIMessageChunk, convert_to_messages
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.types import Command, StateSnapshot, StateUpdate
from pydantic import BaseModel, SecretStr

from alpha_umi.errors import InputError
from alpha_umi.tools.pii import BlockedError, Mask, Originals, Redaction, count_begun, reveal

_LIVE = "__umi_originals"
_SHOWN = ("text", "reasoning")


def find_live(config: RunnableConfig | None) -> dict[str, SecretStr]:
    """Return what the caller's side of the present run knows, to add what is new there."""
    live: dict[str, SecretStr] = (config or {}).get("configurable", {}).get(_LIVE, {})
    return live


def read_originals(values: object) -> dict[str, SecretStr]:
    """Return the values that stand in a state; a server may have read them as plain texts."""
    found = values.get("originals") if isinstance(values, Mapping) else None
    return {name: each if isinstance(each, SecretStr) else SecretStr(each) for name, each in (found or {}).items()}


class Door:
    """Takes what a run is given, and shows what comes of it.

    Args:
        redaction: The rules.
        known: What stands for what in the thread.
    """

    def __init__(self, redaction: Redaction, known: Originals) -> None:
        """Know what is known before the run."""
        self._live = {**known}
        self._mask = Mask(redaction, known)
        self._held: dict[Any, str] = {}
        self._held_part: Any = None

    def take(self, given: Any) -> Any:
        """Conceal an input, an answer to a question, or an update of the state.

        Raises:
            InputError: If it holds what a rule blocks.
        """
        try:
            taken = self._take(given)
        except BlockedError as error:
            raise InputError(f"The input is refused: {error}. Leave it out, or change the rules.") from None
        self._live.update(self._mask.new)
        return taken

    def _take(self, given: Any) -> Any:
        if isinstance(given, Command):
            update = self._take(given.update) if isinstance(given.update, Mapping) else given.update
            return replace(given, update=update, resume=self._take_answer(given.resume))
        if isinstance(given, StateUpdate):
            return given._replace(values=self._take(given.values))
        if isinstance(given, BaseModel):
            given = {name: getattr(given, name) for name in given.model_fields_set}
        if not isinstance(given, Mapping):
            return given
        taken = {
            key: self._mask.conceal(_standardise(value) if key == "messages" else value) for key, value in given.items()
        }
        return {**taken, "originals": dict(self._mask.new)} if self._mask.new else taken

    def _take_answer(self, answer: Any) -> Any:
        """Conceal decisions about calls; what answers a tool's own question is for the tool."""
        if not isinstance(answer, Mapping):
            return answer
        if "decisions" in answer or "type" in answer:
            taken = self._mask.conceal({**answer})
            return {**taken, "originals": dict(self._mask.new)} if self._mask.new else taken
        return {key: self._take_answer(part) for key, part in answer.items()}

    def mark(self, config: RunnableConfig | None) -> RunnableConfig:
        """Return the run's config, in which its nodes find what is known here."""
        config = ensure_config(config)
        return cast("RunnableConfig", {**config, "configurable": {**config.get("configurable", {}), _LIVE: self._live}})

    def show(self, part: Any) -> Iterator[Any]:
        """Reveal a part of a stream; an end that may be the beginning of a text for a value waits for the next part."""
        chunk = _find_chunk(part)
        if chunk is None or (self._held and chunk.id != _find_chunk(self._held_part).id):  # type: ignore[union-attr]
            yield from self.flush()
        yield reveal(part, self._live) if chunk is None else self._show_chunk(part, chunk)

    def flush(self) -> Iterator[Any]:
        """Show what waits."""
        if held := self._held:
            chunk, self._held = _find_chunk(self._held_part), {}
            assert chunk is not None
            held = reveal(list(held.items()), self._live)
            content: Any = "".join(text for _, text in held)
            if isinstance(chunk.content, list):
                content = [{"type": kind, kind: text, "index": index} for (kind, index), text in held]
            yield _put_chunk(self._held_part, chunk.model_copy(update={"content": content, "usage_metadata": None}))

    def _show_chunk(self, part: Any, chunk: AIMessageChunk) -> Any:
        is_last = chunk.chunk_position == "last"
        content: Any = chunk.content
        shown: list[Any] = []
        for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind in _SHOWN and isinstance(block.get(kind), str):
                block = {**block, kind: self._show_text((kind, block.get("index")), block[kind], is_last=is_last)}
            shown.append(block)
        if is_last and self._held:
            rest = reveal(list(self._held.items()), self._live)
            shown += [{"type": kind, kind: text, "index": index} for (kind, index), text in rest]
            self._held = {}
        self._held_part = part
        content = shown if isinstance(chunk.content, list) else "".join(block["text"] for block in shown)
        return _put_chunk(part, chunk.model_copy(update={"content": content}))

    def _show_text(self, key: tuple[Any, Any], text: str, *, is_last: bool) -> str:
        text = self._held.pop(key, "") + text
        n_held = 0 if is_last else count_begun(text, self._live)
        if n_held:
            self._held[key] = text[len(text) - n_held :]
        shown: str = reveal(text[: len(text) - n_held], self._live)
        return shown


def show_state(snapshot: StateSnapshot) -> StateSnapshot:
    """Reveal a state that is read."""
    originals = read_originals(snapshot.values)
    for task in snapshot.tasks:
        originals |= read_originals(task.result)
    if not originals:
        return snapshot
    tasks = tuple(task._replace(result=_drop_originals(task.result)) for task in snapshot.tasks)
    values = _drop_originals(snapshot.values)
    shown: StateSnapshot = reveal(snapshot._replace(values=values, tasks=tasks), originals)
    return shown


def _drop_originals(values: Any) -> Any:
    return {key: value for key, value in values.items() if key != "originals"} if isinstance(values, dict) else values


def _standardise(messages: Any) -> Any:
    try:
        return convert_to_messages(messages if isinstance(messages, list) else [messages])
    except Exception:  # LangGraph says what is wrong with them
        return messages


def _find_chunk(part: Any) -> AIMessageChunk | None:
    if isinstance(part, AIMessageChunk):
        return part
    if isinstance(part, dict) and part.get("type") == "messages":
        return _find_chunk(part.get("data"))
    found = (_find_chunk(each) for each in part) if isinstance(part, tuple) else ()
    return next((chunk for chunk in found if chunk is not None), None)


def _put_chunk(part: Any, chunk: AIMessageChunk) -> Any:
    if isinstance(part, AIMessageChunk):
        return chunk
    if isinstance(part, dict):
        return {**part, "data": _put_chunk(part["data"], chunk)} if part.get("type") == "messages" else part
    return tuple(_put_chunk(each, chunk) for each in part) if isinstance(part, tuple) else part
