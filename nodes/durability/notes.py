"""Notes on the turns of threads, which are nothing that the agent reads: a person's thumb, how long an answer took.

A turn is named by its thread and the id of its human message, so a copy of a thread has a copy of its notes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

Execute: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

NOTES_SCHEMA = """CREATE TABLE IF NOT EXISTS notes (
    thread TEXT NOT NULL, turn TEXT NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (thread, turn)
)"""
RATING = "rating"
"""Under which name a note has a person's thumb: 1 is up, -1 is down, None is neither."""


class Notes(ABC):
    """Where notes are kept, each a JSON object. Blocks: call it from a thread where an event loop runs.

    Raises:
        StorageError: By every method that cannot read or write.
    """

    @abstractmethod
    def read(self, thread: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the notes of a thread by the ids of its human messages."""

    @abstractmethod
    def write(self, thread: str, turn: str, values: Mapping[str, Any]) -> None:
        """Put values into the note on a turn; others that it has stay."""

    @abstractmethod
    def forget_thread(self, thread: str) -> None:
        """Drop the notes of a thread that is deleted."""

    @abstractmethod
    def copy_thread(self, source: str, target: str) -> None:
        """Give a copy of a thread the notes of the thread."""


class MemoryNotes(Notes):
    """Notes that end with the process, as threads in memory do."""

    def __init__(self) -> None:
        """Start without notes."""
        self._notes: dict[str, dict[str, dict[str, Any]]] = {}

    def read(self, thread: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the notes of a thread; see `Notes`."""
        return {turn: {**note} for turn, note in self._notes.get(thread, {}).items()}

    def write(self, thread: str, turn: str, values: Mapping[str, Any]) -> None:
        """Put values into a note; see `Notes`."""
        self._notes.setdefault(thread, {}).setdefault(turn, {}).update(values)

    def forget_thread(self, thread: str) -> None:
        """Drop the notes of a thread; see `Notes`."""
        self._notes.pop(thread, None)

    def copy_thread(self, source: str, target: str) -> None:
        """Copy the notes of a thread; see `Notes`."""
        self._notes[target] = {turn: {**note} for turn, note in self._notes.get(source, {}).items()}


class SqlNotes(Notes):
    """Notes as rows of one table."""

    def __init__(self, open: Callable[[], AbstractContextManager[Execute]]) -> None:
        """Take what gives a function that runs one statement with ``?`` for its values; it has made the table."""
        self._open = open

    def read(self, thread: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the notes of a thread; see `Notes`."""
        with self._open() as execute:
            rows = execute("SELECT turn, note FROM notes WHERE thread = ?", (thread,))
        return {turn: _parse(note) for turn, note in rows}

    def write(self, thread: str, turn: str, values: Mapping[str, Any]) -> None:
        """Put values into a note; see `Notes`."""
        with self._open() as execute:
            rows = execute("SELECT note FROM notes WHERE thread = ? AND turn = ?", (thread, turn))
            known = _parse(rows[0][0]) if rows else {}
            execute(
                "INSERT INTO notes (thread, turn, note) VALUES (?, ?, ?) "
                "ON CONFLICT (thread, turn) DO UPDATE SET note = excluded.note RETURNING 1",
                (thread, turn, json.dumps({**known, **values})),
            )

    def forget_thread(self, thread: str) -> None:
        """Drop the notes of a thread; see `Notes`."""
        with self._open() as execute:
            execute("DELETE FROM notes WHERE thread = ? RETURNING 1", (thread,))

    def copy_thread(self, source: str, target: str) -> None:
        """Copy the notes of a thread; see `Notes`."""
        with self._open() as execute:
            execute(
                "INSERT INTO notes (thread, turn, note) SELECT ?, turn, note FROM notes WHERE thread = ? "
                "ON CONFLICT DO NOTHING RETURNING 1",
                (target, source),
            )


def _parse(note: Any) -> dict[str, Any]:
    """Return a note, empty if it is damaged: the thread is worth more."""
    try:
        parsed = json.loads(note)
    except (ValueError, TypeError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
