"""What an agent remembers of tool calls that must not run twice; `alpha_umi.nodes.durability` keeps it on disk."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from langchain_core.messages import ToolMessage


class CallKey(NamedTuple):
    """Names one call for all time: its thread, its id there, and a hash of its arguments, which a person may edit."""

    thread: str
    call: str
    arguments: str

    @classmethod
    def make(cls, thread: str, call: str, arguments: Mapping[str, Any] | str) -> CallKey:
        """Name a call by its thread, its id and its arguments, whose order does not matter."""
        text = json.dumps(arguments, sort_keys=True, ensure_ascii=True, default=str)
        return cls(thread, call, hashlib.sha256(text.encode()).hexdigest())


CallRecord: TypeAlias = ToolMessage | int


class Ledger(ABC):
    """Where calls are recorded. Blocks: call it from a thread where an event loop runs.

    Raises:
        StorageError: By every method that cannot record what it has to; then a call must not run.
    """

    @abstractmethod
    def begin(self, key: CallKey, tool: str) -> CallRecord:
        """Record that a call is about to run.

        Returns:
            0 to exactly one caller, who has to run it; the recorded observation if it has ended before; or how often it
            was begun, if nothing more is known.
        """

    @abstractmethod
    def restart(self, key: CallKey) -> bool:
        """Record that a call that was begun once and did not end is about to run again, because a person wants it to.

        Returns:
            Whether the caller has to run it: False if that was recorded before, or the call has ended meanwhile.
        """

    @abstractmethod
    def finish(self, key: CallKey, message: ToolMessage) -> None:
        """Record the observation of a call."""

    @abstractmethod
    def forget(self, key: CallKey) -> None:
        """Drop the record of a call that is known to have stopped before it took effect."""

    @abstractmethod
    def forget_thread(self, thread: str) -> None:
        """Drop all records of a thread that is deleted."""

    @abstractmethod
    def copy_thread(self, source: str, target: str) -> None:
        """Record for a copy of a thread what is recorded for the thread."""
