"""Live suites by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from alpha_umi.errors import ConfigError
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE, RemoteSettings
from alpha_umi.tools.toolbench import find_server
from alpha_umi.training.evaluation.live_task import LiveTask
from alpha_umi.training.evaluation.replay_suite import GROUP, load_replay_suite
from alpha_umi.training.evaluation.toolbench_suite import load_toolbench_suite


def load_live_suite(name: str, *, limit: int | None = None, remote: RemoteSettings = DEFAULT_REMOTE) -> list[LiveTask]:
    """Return the tasks of a suite.

    Args:
        name: ``toolbench:FILE_OR_FOLDER[#SERVER]`` or ``complexfuncbench-replay[:FILE]``.
        limit: Only the first so many of each group.
        remote: How often a server of tools is tried, and when it is left alone.

    Raises:
        ConfigError: If there is no such suite, or it cannot be used.
    """
    kind, _, target = name.partition(":")
    if kind == GROUP:
        tasks = load_replay_suite(Path(target).expanduser() if target else None)
    elif kind == "toolbench" and target:
        path, _, url = target.partition("#")
        tasks = load_toolbench_suite(Path(path).expanduser(), find_server(url or None, remote=remote))
    else:
        raise ConfigError(
            f"There is no live suite {name!r}; write 'toolbench:FILE_OR_FOLDER[#SERVER]' or '{GROUP}[:FILE]'."
        )
    return tasks if limit is None else _take(tasks, limit)


def _take(tasks: list[LiveTask], limit: int) -> list[LiveTask]:
    seen: Counter[str] = Counter()
    kept = []
    for task in tasks:
        seen[task.group] += 1
        if seen[task.group] <= limit:
            kept.append(task)
    return kept
