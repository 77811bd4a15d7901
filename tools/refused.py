"""Shows a call that no tool could take to the callbacks, so that tracers see a tool run with an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_callback_manager_for_config
from langchain_core.tools import ToolException

from alpha_umi.tools.observation import make_storable


def trace_refused(
    name: str, arguments: Mapping[str, Any] | str, call_id: str, why: str, config: RunnableConfig | None
) -> None:
    """Start and fail the run that the tool would have had, a child of the config's run."""
    try:
        inputs, text = None if isinstance(arguments, str) else dict(arguments), str(arguments)
    except RecursionError:  # nor could a tracer write them
        inputs, text = None, "arguments nested too deeply"
    run = get_callback_manager_for_config(config or {}).on_tool_start(
        {"name": make_storable(name)}, text, inputs=inputs, tool_call_id=call_id
    )
    run.on_tool_error(ToolException(why), tool_call_id=call_id)
