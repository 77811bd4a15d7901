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
        written = _find_written(part)
        if written is None or (self._held and _get_owner(written) != _get_owner(_find_written(self._held_part))):
            yield from self.flush()
        if written is None:
            yield reveal(part, self._live)
            return
        self._held_part = part
        yield _put(
            part, self._show_chunk(written) if isinstance(written, AIMessageChunk) else self._show_delta(written)
        )

    def flush(self) -> Iterator[Any]:
        """Show what waits."""
        written = _find_written(self._held_part)
        if not self._held or written is None:
            return
        if isinstance(written, AIMessageChunk):
            rest = self._take_held()
            content = rest if isinstance(written.content, list) else "".join(block["text"] for block in rest)
            yield _put(self._held_part, written.model_copy(update={"content": content, "usage_metadata": None}))
        else:
            (block,) = self._take_held()
            yield _put(self._held_part, {**written, "delta": {**written["delta"], block["type"]: block[block["type"]]}})

    def _take_held(self) -> list[dict[str, Any]]:
        held, self._held = self._held, {}
        return [{"type": kind, kind: reveal(text, self._live), "index": index} for (kind, index), text in held.items()]

    def _show_chunk(self, chunk: AIMessageChunk) -> AIMessageChunk:
        is_last = chunk.chunk_position == "last"
        content: Any = chunk.content
        shown: list[Any] = []
        for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind in _SHOWN and isinstance(block.get(kind), str):
                block = {**block, kind: self._show_text((kind, block.get("index")), block[kind], is_last=is_last)}
            shown.append(block)
        if is_last:
            shown += self._take_held()
        content = shown if isinstance(content, list) else "".join(block["text"] for block in shown)
        return chunk.model_copy(update={"content": content})

    def _show_delta(self, event: dict[str, Any]) -> dict[str, Any]:
        kind = event["delta"]["type"].removesuffix("-delta")
        text = self._show_text((kind, event.get("index")), event["delta"][kind], is_last=False)
        return {**event, "delta": {**event["delta"], kind: text}}

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


def _find_written(part: Any) -> Any:
    """Return what a part of a stream holds of a message that is being written: a chunk, or LangGraph's event of one."""
    if isinstance(part, AIMessageChunk):
        return part
    if isinstance(part, dict):
        if part.get("type") == "messages":
            return _find_written(part.get("data"))
        delta = part.get("delta") if part.get("event") == "content-block-delta" else None
        return part if isinstance(delta, dict) and str(delta.get("type")).removesuffix("-delta") in _SHOWN else None
    found = (_find_written(each) for each in part) if isinstance(part, tuple) else ()
    return next((written for written in found if written is not None), None)


def _get_owner(written: Any) -> Any:
    """Return what the next one of the same text has in common."""
    return written.id if isinstance(written, AIMessageChunk) else ("delta", written.get("index"))


def _put(part: Any, written: Any) -> Any:
    if part is _find_written(part):
        return written
    if isinstance(part, dict):
        return {**part, "data": _put(part["data"], written)} if part.get("type") == "messages" else part
    return tuple(_put(each, written) for each in part) if isinstance(part, tuple) else part
