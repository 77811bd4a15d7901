"""What runs in the process of an isolated tool: reads one call as JSON, runs it, writes the answer, and ends.

See `alpha_umi.tools.isolation` for the other end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from functools import reduce
from importlib import import_module
from threading import Thread
from typing import Any

from langchain_core.messages.tool import ToolCall, tool_call
from langchain_core.tools import BaseTool

from alpha_umi.tools.convert import runs_async, to_base_tool
from alpha_umi.tools.isolation import MAX_CHARS, IsolatedTool
from alpha_umi.tools.observation import cut, make_storable, render_error
from alpha_umi.tools.toolbox import make_observing

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Answer one call: a line when the tool begins, and a line with its text or error."""
    parent, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the tool prints must not be read as its answer

    def tell(message: dict[str, Any]) -> None:
        os.write(answers, json.dumps(message).encode() + b"\n")

    with open(parent, "rb", buffering=0, closefd=False) as pipe:
        request = json.loads(pipe.readline())
    Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    try:
        tool = make_observing(_find_tool(request["target"], request["name"]), MAX_CHARS)
        _limit_memory(request["memory_mb"])
    except BaseException as error:  # the user's module may raise anything while it is imported
        tell({"error": _render(error)})
        os._exit(0)
    tell({"begun": True})
    tell(_run(tool, tool_call(name=tool.name, args=request["arguments"], id="isolated")))
    os._exit(0)  # threads that the tool left behind are not waited for


def _run(tool: BaseTool, call: ToolCall) -> dict[str, Any]:
    """Return what the tool returned or raised."""
    try:
        message = asyncio.run(tool.ainvoke(call)) if runs_async(tool, on_loop=False) else tool.invoke(call)
        return {"error" if message.status == "error" else "text": message.text}
    except MemoryError:
        pass  # what the tool holds is freed before anything else is made
    except BaseException as error:
        return {"error": _render(error)}
    return {"memory": True}


def _render(error: BaseException) -> str:
    return make_storable(cut(render_error(error), MAX_CHARS))


def _find_tool(target: str, name: str) -> BaseTool:
    """Import the tool; its name may refer to the isolated tool itself."""
    module, _, path = target.partition(":")
    found: Any = reduce(getattr, path.split("."), import_module(module))
    tool = to_base_tool(found)
    tool = tool.inner if isinstance(tool, IsolatedTool) else tool
    if tool.name != name:
        raise ImportError(f"{target} is the tool {tool.name!r} and not {name!r}")
    return tool


def _limit_memory(megabytes: int | None) -> None:
    """Bound the address space, which is what Linux can bound, to what the imports took and so much more."""
    if megabytes is not None:
        import resource  # noqa: PLC0415 - not there on Windows

        with open("/proc/self/statm", encoding="ascii") as file:
            n_bytes = int(file.read().split()[0]) * _PAGE_BYTES + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def _end_with_parent(pipe: int) -> None:
    """Wait until the parent has gone, even by ``kill -9``, and end the whole group then."""
    os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)
