"""The tool executor: runs one call per `Send`."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from alpha_umi.nodes.role import Update
from alpha_umi.nodes.state import ToolTask
from alpha_umi.tools.toolbox import Toolbox


class ToolsNode(Runnable[ToolTask, Update]):
    """Graph node that runs one tool call and appends its observation.

    Args:
        toolbox: Runs the call; never raises for a tool's or a model's mistake.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        """Remember the toolbox."""
        self.name = "tools"
        self._toolbox = toolbox

    def invoke(self, input: ToolTask, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the call and return its tool message."""
        return {"messages": [self._toolbox.execute(input["name"], input["arguments"], input["id"], config)]}

    async def ainvoke(self, input: ToolTask, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the call without blocking the event loop and return its tool message."""
        return {"messages": [await self._toolbox.aexecute(input["name"], input["arguments"], input["id"], config)]}
