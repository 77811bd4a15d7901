"""Recorded tools: runs that can be repeated without a network."""

from __future__ import annotations

from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools.replay.complexfuncbench import load_complexfuncbench
from alpha_umi.tools.replay.recordings import Recording, ReplayTask, load_task, make_key

__all__ = ["Recording", "ReplayTask", "load_complexfuncbench", "load_replay", "load_task", "make_key"]


def load_replay(target: str) -> list[BaseTool]:
    """Return the tools of a recorded task, for one run.

    Args:
        target: ``FILE#TASK``.

    Raises:
        ConfigError: If there is no such file or task.
    """
    path, _, task = target.rpartition("#")
    if not path or not task:
        raise ConfigError(f"'replay:{target}' names no task; write 'replay:FILE#TASK'.")
    return load_task(path, task).make_tools()
