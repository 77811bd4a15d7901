"""A task with the answers that its tools once gave, and tools that give them again without a network."""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from langchain_core.tools import BaseTool, ToolException

from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.spec import ToolSpec


@dataclass(frozen=True, slots=True)
class Recording:
    """One call and what came back.

    Args:
        tool: Name of the tool.
        arguments: Arguments of the call.
        text: The observation, or the words of the error.
        is_error: Whether the call failed.
        step: Which call of the task this is. Where several recordings share a step, each is a right way to make it.
    """

    tool: str
    arguments: Mapping[str, Any]
    text: str
    is_error: bool = False
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReplayTask:
    """What one task offers: its tools and their recorded answers.

    Args:
        id: Name of the task.
        query: The user's instruction, ``""`` if it was not recorded.
        specs: The tools on offer.
        recordings: In the order in which they were made.
    """

    id: str
    query: str
    specs: tuple[ToolSpec, ...]
    recordings: tuple[Recording, ...]

    def make_tools(self) -> list[BaseTool]:
        """Return the tools for one run of the task.

        Where one call was recorded several times, its answers come in order and the last is repeated; a new run needs
        new tools. A call that was not recorded is refused.
        """
        player = _Player(self)
        # an answer read from a file changes nothing
        specs = [replace(spec, effects="none", source="replay") for spec in self.specs]
        return [make_tool(spec, functools.partial(player.play, spec.name)) for spec in specs]

    def find_unmade(self, calls: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Recording]:
        """Return the first recording of every step that none of the calls made; empty if all steps were made.

        Args:
            calls: Tool and arguments of each call of a run.
        """
        made = {make_key(tool, arguments) for tool, arguments in calls}
        steps: dict[int, list[Recording]] = {}
        for recording in self.recordings:
            steps.setdefault(recording.step, []).append(recording)
        return [ways[0] for ways in steps.values() if made.isdisjoint(make_key(r.tool, r.arguments) for r in ways)]


def make_key(tool: str, arguments: Mapping[str, Any]) -> str:
    """Return one text for all ways to write a call: the order of names does not matter, and 2.0 is 2.

    Example:
        >>> make_key("f", {"b": 2.0, "a": "x"})
        '["f",{"a":"x","b":2}]'
    """
    return json.dumps([tool, _plain(arguments)], sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Player:
    """The state of one run: which answers have been given."""

    def __init__(self, task: ReplayTask) -> None:
        self._task_id = task.id
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
