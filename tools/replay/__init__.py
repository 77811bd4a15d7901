"""A task with the answers that its tools once gave, and tools that give them again without a network."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, cast

from langchain_core.tools import BaseTool, ToolException

from alpha_umi.documents import check_document, parse_document
from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.spec import ToolSpec

_AGAIN = "name a file of recordings"
_BUSY_TIMEOUT_S = 30.0


def load_replay(target: str) -> list[BaseTool]:
    """Return the tools of ``FILE#TASK``, a recorded task, for one run."""
    path, _, task = target.rpartition("#")
    if not path or not task:
        raise ConfigError(f"'replay:{target}' names no task; write 'replay:FILE#TASK'.")
    return load_task(path, task).make_tools()


@dataclass(frozen=True, slots=True)
class Recording:
    """One call of a tool and its observation, or the words of its error.

    The step is which call of the task this is; where several recordings share one, each is a right way to make it.
    """

    tool: str
    arguments: Mapping[str, Any]
    text: str
    is_error: bool = False
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReplayTask:
    """What one task offers: the user's query, ``""`` if unknown, its tools, and their answers as they once came.

    `sources` leads from a step to the earlier steps that it takes arguments from, as far as that is known.
    """

    id: str
    query: str
    specs: tuple[ToolSpec, ...]
    recordings: tuple[Recording, ...]
    sources: Mapping[int, frozenset[int]] = field(default_factory=dict)

    def make_tools(self) -> list[BaseTool]:
        """Return the tools for one run of the task.

        Where one call was recorded several times, its answers come in order and the last is repeated; a new run needs
        new tools. A call that was not recorded is refused.
        """
        player = _Player(self)
        # an answer read from a file changes nothing
        specs = [replace(spec, effects="none", source="replay") for spec in self.specs]
        return [make_tool(spec, functools.partial(player.play, spec.name)) for spec in specs]


def load_task(path: str | Path, task: str) -> ReplayTask:
    """Return a recorded task of a SQLite file with the tables tasks, specs and recordings.

    Raises:
        ConfigError: If the file cannot be read, or has no such task.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"There are no recordings in {str(path)!r}; correct the path.")
    try:
        uri = f"{file.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S)) as database:
            queries = dict(database.execute("SELECT id, query FROM tasks ORDER BY rowid"))
            specs = database.execute(
                "SELECT name, description, parameters FROM specs WHERE task = ? ORDER BY rowid", (task,)
            ).fetchall()
            recordings = database.execute(
                "SELECT tool, arguments, text, is_error, step FROM recordings WHERE task = ? ORDER BY id", (task,)
            ).fetchall()
    except sqlite3.Error as error:
        raise ConfigError(
            f"The recordings {str(path)!r} cannot be used: {error}. Name a file of recordings."
        ) from error
    if task not in queries:
        known = ", ".join(list(queries)[:10]) or "no tasks"
        raise ConfigError(f"{path} has no recordings of task {task!r}; it has {known}.")
    check_document(specs, f"{path}, table specs", _AGAIN, list[tuple[str, str, str]])
    check_document(recordings, f"{path}, table recordings", _AGAIN, list[tuple[str, str, str, int, int]])

    def read(text: str, column: str) -> dict[str, Any]:
        value = parse_document(text, f"{path}, {column}", _AGAIN, is_json=True)
        check_document(value, f"{path}, {column}", _AGAIN, dict[str, Any])
        return cast("dict[str, Any]", value)

    return ReplayTask(
        task,
        str(queries[task]),
        tuple(ToolSpec(name, description, read(parameters, "parameters")) for name, description, parameters in specs),
        tuple(
            Recording(tool, read(arguments, "arguments"), text, bool(is_error), step)
            for tool, arguments, text, is_error, step in recordings
        ),
    )


def make_key(tool: str, arguments: Mapping[str, Any]) -> str:
    """Return one text for all ways to write a call: the order of names does not matter, and 2.0 is 2.

    Example:
        >>> make_key("f", {"b": 2.0, "a": "x"})
        '["f",{"a":"x","b":2}]'
    """
    return json.dumps([tool, _normalise(arguments)], sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _normalise(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _normalise(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_normalise(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Player:
    """The state of one run: which answers have been given."""

    def __init__(self, task: ReplayTask) -> None:
        self._lock = Lock()
        self._answers: dict[str, deque[Recording]] = {}
        for recording in task.recordings:
            self._answers.setdefault(make_key(recording.tool, recording.arguments), deque()).append(recording)

    def play(self, tool: str, /, **arguments: Any) -> str:
        """Give the recorded answer to a call."""
        with self._lock:
            answers = self._answers.get(make_key(tool, arguments))
            if not answers:
                # Which calls there are is not told: that would be telling the solution.
                raise ToolException("this call was not recorded, so it cannot be replayed. Try other arguments.")
            recording = answers.popleft() if len(answers) > 1 else answers[0]
        if recording.is_error:
            raise ToolException(recording.text)
        return recording.text
