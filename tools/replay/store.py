"""Recordings of tasks in a SQLite file; safe to write from several threads and processes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import ToolLike, make_tool, runs_async, spec_from_tool, to_base_tool
from alpha_umi.tools.observation import render_error, render_observation
from alpha_umi.tools.replay.task import Recording, ReplayTask
from alpha_umi.tools.spec import ToolSpec

_MAX_TEXT_CHARS = 1_000_000
_BUSY_TIMEOUT_S = 30.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (id TEXT PRIMARY KEY, query TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS specs (
    task TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, parameters TEXT NOT NULL,
    PRIMARY KEY (task, name)
);
CREATE TABLE IF NOT EXISTS recordings (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, tool TEXT NOT NULL, arguments TEXT NOT NULL, text TEXT NOT NULL,
    is_error INTEGER NOT NULL, step INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS recordings_of_task ON recordings (task);
"""


class ReplayStore:
    """One file of recordings."""

    def __init__(self, path: str | Path) -> None:
        """Name the file; the first recording creates it."""
        self._path = Path(path).expanduser()

    def record(self, tools: Sequence[ToolLike], task: str, query: str = "") -> list[BaseTool]:
        """Return tools that do what the given ones do, and keep every answer under the task.

        Args:
            tools: Tools of any source.
            task: What the recordings are kept under; a second run of a task adds to them.
            query: The user's instruction, kept with them.

        Raises:
            ConfigError: If the file cannot be written, or a tool cannot be used.
        """
        originals = [to_base_tool(tool) for tool in tools]
        specs = tuple(spec_from_tool(tool) for tool in originals)
        with self._connect() as database:
            _describe(database, task, query, specs)
        return [self._make_recorder(tool, spec, task) for tool, spec in zip(originals, specs, strict=True)]

    def save(self, task: ReplayTask) -> None:
        """Write a whole task in place of what there is of it.

        Raises:
            ConfigError: If the file cannot be written.
        """
        with self._connect() as database:
            _describe(database, task.id, task.query, task.specs)
            database.execute("DELETE FROM recordings WHERE task = ?", (task.id,))
            for recording in task.recordings:
                _insert(database, task.id, recording, recording.step)

    def list_tasks(self) -> list[str]:
        """Return the ids of the recorded tasks.

        Raises:
            ConfigError: If the file cannot be read.
        """
        with self._connect(must_exist=True) as database:
            return [row[0] for row in database.execute("SELECT id FROM tasks ORDER BY rowid")]

    def load(self, task: str) -> ReplayTask:
        """Return a recorded task.

        Raises:
            ConfigError: If the file cannot be read, or has no such task.
        """
        known = self.list_tasks()
        if task not in known:
            raise ConfigError(
                f"{self._path} has no recordings of task {task!r}; it has {', '.join(known[:10]) or 'no tasks'}."
            )
        with self._connect(must_exist=True) as database:
            (query,) = database.execute("SELECT query FROM tasks WHERE id = ?", (task,)).fetchone()
            specs = [
                ToolSpec(name, description, json.loads(parameters))
                for name, description, parameters in database.execute(
                    "SELECT name, description, parameters FROM specs WHERE task = ? ORDER BY rowid", (task,)
                )
            ]
            recordings = [
                Recording(tool, json.loads(arguments), text, bool(is_error), step)
                for tool, arguments, text, is_error, step in database.execute(
                    "SELECT tool, arguments, text, is_error, step FROM recordings WHERE task = ? ORDER BY id", (task,)
                )
            ]
        return ReplayTask(task, query, tuple(specs), tuple(recordings))

    def _make_recorder(self, tool: BaseTool, spec: ToolSpec, task: str) -> BaseTool:
        def record(**arguments: Any) -> str:
            with self._keep(task, spec.name, arguments) as answer:
                answer.value = tool.invoke(arguments)
            return answer.text

        async def arecord(**arguments: Any) -> str:
            with self._keep(task, spec.name, arguments) as answer:
                answer.value = await tool.ainvoke(arguments)
            return answer.text

        return make_tool(spec, arecord if runs_async(tool, on_loop=False) else record)

    @contextmanager
    def _keep(self, task: str, tool: str, arguments: Mapping[str, Any]) -> Iterator[_Answer]:
        """Record what a call gives, be it an error."""
        answer = _Answer()
        try:
            yield answer
        except GraphBubbleUp:
            raise
        except Exception as error:
            self._add(task, Recording(tool, arguments, render_error(error), is_error=True))
            raise
        answer.text = render_observation(answer.value, _MAX_TEXT_CHARS)
        self._add(task, Recording(tool, arguments, answer.text))

    def _add(self, task: str, recording: Recording) -> None:
        with self._connect() as database:
            _insert(database, task, recording)

    @contextmanager
    def _connect(self, must_exist: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction."""
        if must_exist and not self._path.is_file():
            raise ConfigError(f"There are no recordings in {str(self._path)!r}; record a run, or correct the path.")
        try:
            with closing(sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)) as database, database:
                database.executescript(_SCHEMA)
                yield database
        except sqlite3.Error as error:
            raise ConfigError(
                f"The recordings {str(self._path)!r} cannot be used: {error}. "
                "Name a file that a run recorded, or a new one in a folder that can be written."
            ) from error


class _Answer:
    value: Any = None
    text: str = ""


def _describe(database: sqlite3.Connection, task: str, query: str, specs: Sequence[ToolSpec]) -> None:
    """Write what a task is about; what there is of it is replaced in place, so that the order stays."""
    database.execute(
        "INSERT INTO tasks (id, query) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET query = excluded.query",
        (task, query),
    )
    database.executemany(
        "INSERT INTO specs (task, name, description, parameters) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (task, name) DO UPDATE SET description = excluded.description, parameters = excluded.parameters",
        [(task, spec.name, spec.description, json.dumps(spec.parameters)) for spec in specs],
    )


def _insert(database: sqlite3.Connection, task: str, recording: Recording, step: int | None = None) -> None:
    """Add a recording; without a step it is the next one, counted in the same statement since others may write too."""
    arguments = json.dumps(recording.arguments, ensure_ascii=False, default=str)
    database.execute(
        "INSERT INTO recordings (task, tool, arguments, text, is_error, step) VALUES (?, ?, ?, ?, ?, "
        "COALESCE(?, (SELECT COUNT(*) FROM recordings WHERE task = ?)))",
        (task, recording.tool, arguments, recording.text, recording.is_error, step, task),
    )
