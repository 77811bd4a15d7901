"""Tools in separate processes, which can be ended: with a time limit that stops them and a bound on their memory.

Every call gets a fresh process, and its whole group is killed when the call is over, however that came about. The call
and its answer travel as JSON; the process finds the tool by its name, ``module:object``, as an import does.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import SpecTool, ToolLike, spec_from_tool, to_base_tool
from alpha_umi.tools.deadline import CutOff
from alpha_umi.tools.injection import find_injected

MAX_CHARS = 200_000
"""Bound on the text of an answer; the toolbox cuts it further."""
_MAX_LINE_BYTES = 12 * MAX_CHARS + 1024  # as JSON, a character takes up to twelve bytes
# The modules of the child must not be looked for in its working directory, as `python -m` does.
_START = "import sys; sys.path[:] = sys.argv[1:]; from alpha_umi.tools.isolation.child import main; main()"


class Isolation(BaseModel):
    """Bounds of a tool that runs in a separate process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_mb: int | None = Field(
        default=512, ge=16, description="Megabytes it may take in addition to its imports; None sets no bound."
    )
    seconds: float = Field(default=30.0, gt=0, description="Time for one call, the start of the process included.")


class IsolatedTool(SpecTool):
    """A tool whose calls run in separate processes; made by `isolate`."""

    inner: BaseTool

    def _run(self, /, **arguments: Any) -> Any:  # type: ignore[override]  # as its base
        return asyncio.run(self._arun(**arguments))


def isolate(*, memory_mb: int | None = 512, seconds: float = 30.0) -> Callable[[ToolLike], IsolatedTool]:
    """Run a tool in a separate process, where it can hang, exit or take memory without harm to the agent.

    The process imports the tool's module, so the tool must be at its top level, and shares no state with
    this process. What it returns arrives as text; it cannot ask for an approval itself.

    Args:
        memory_mb: Megabytes that each process of the tool may take in addition to its imports; None sets no bound,
            which is needed where the system knows none (all but Linux).
        seconds: Time for one call, the start of the process included. The toolbox's own limit holds as well.

    Returns:
        A decorator for plain functions and LangChain tools.

    Raises:
        ConfigError: If the tool cannot be imported by name, or the bounds make no sense here.

    Example:
        >>> @isolate(memory_mb=256, seconds=10)  # doctest: +SKIP
        ... def run_query(sql: str) -> str:
        ...     '''Run a query.'''
    """
    isolation = Isolation(memory_mb=memory_mb, seconds=seconds)
    return lambda tool: isolate_tool(tool, isolation)


def isolate_tool(tool: ToolLike, isolation: Isolation) -> IsolatedTool:
    """Return the tool, run in separate processes; see `isolate`."""
    inner = to_base_tool(tool)
    inner = inner.inner if isinstance(inner, IsolatedTool) else inner
    if isolation.memory_mb is not None and not sys.platform.startswith("linux"):
        raise ConfigError(
            f"Tool {inner.name!r}: memory_mb cannot be kept to on this system, only on Linux; set it to None."
        )
    if injected := find_injected(inner):
        raise ConfigError(
            f"Tool {inner.name!r} cannot run in a process of its own: its argument {next(iter(injected))!r} is filled "
            "from this one. Remove the argument, or do not isolate the tool."
        )
    spec = spec_from_tool(inner)
    request = {"target": _find_target(inner), "name": spec.name, "memory_mb": isolation.memory_mb}
    path = [*sys.path, os.getcwd()]  # a tool named on the command line is found in the working directory
    return IsolatedTool(
        name=spec.name,
        description=spec.description,
        args_schema=dict(spec.parameters),
        coroutine=partial(_call, request, path, isolation.seconds),
        metadata={**(inner.metadata or {}), "effects": spec.effects},
        return_direct=inner.return_direct,
        source=spec.source,
        inner=inner,
    )


def isolate_named(tools: Sequence[BaseTool], isolations: Mapping[str, Isolation]) -> list[BaseTool]:
    """Return the tools; those that are named run in separate processes."""
    unknown = sorted(isolations.keys() - {tool.name for tool in tools})
    if unknown:
        known = ", ".join(tool.name for tool in tools)
        raise ConfigError(f"isolation names {unknown[0]!r}, but the tools are {known}; correct the name.")
    return [isolate_tool(tool, isolations[tool.name]) if tool.name in isolations else tool for tool in tools]


def _find_target(tool: BaseTool) -> str:
    """Return ``module:object`` by which another process finds a tool."""
    function: Any = getattr(tool, "func", None) or getattr(tool, "coroutine", None) or type(tool)
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "<none>")
    known = vars(sys.modules[module]) if module in sys.modules else {}
    name = next((key for key, value in known.items() if value is tool or value is function), name)
    found, is_method = known.get(name), inspect.ismethod(function) and not isinstance(function.__self__, type)
    # what a wrapper holds must not run without it: `guarded = guard(send)` has the name of `send`
    is_bare = found is not function and inspect.unwrap(function, stop=lambda each: each is found) is found
    if "<" in name or module == "__main__" or function is type(tool) or is_method or is_bare:
        raise ConfigError(
            f"Tool {tool.name!r} cannot run in a process of its own, which would have to import it: write it at the "
            "top level of a module, not of the script that is run."
        )
    return f"{module}:{name}"


async def _call(request: dict[str, Any], path: list[str], seconds: float, /, **arguments: Any) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", _START, *path),
        stdin=PIPE,
        stdout=PIPE,
        limit=_MAX_LINE_BYTES,
        start_new_session=True,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # each arena would take 64 MB of what the tool may take
    )
    talk = _Talk(process)
    try:
        return await asyncio.wait_for(talk.ask({**request, "arguments": arguments}), seconds)
    except TimeoutError:
        raise talk.cut_off(f"it gave no answer within {seconds:g} s, and its process was ended") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


class _Talk:
    """One call: a line to the process, and its lines back."""

    def __init__(self, process: Process) -> None:
        self.has_begun = False
        self._process = process

    async def ask(self, request: dict[str, Any]) -> str:
        """Return the answer, or raise the tool's own error or how the process ended."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The process was started without pipes.")
        with suppress(ConnectionError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        while answer := await self._read(self._process.stdout):
            if "text" in answer:
                return str(answer["text"])
            if "error" in answer:
                raise ToolException(answer["error"])
            if "memory" in answer:
                raise self._end(f"killed: out of memory, it may use {request['memory_mb']} MB")
            self.has_begun = True
        raise self._end(_describe_exit(await self._process.wait()))

    async def _read(self, pipe: asyncio.StreamReader) -> dict[str, Any]:
        """Return the next message; a tool that writes nonsense there counts as ended."""
        try:
            message = json.loads(await pipe.readline() or b"{}")
        except ValueError:
            raise self._end("it wrote over its answer") from None
        return message if isinstance(message, dict) else {}

    def cut_off(self, why: str) -> ToolException:
        """Return the error of a call without an answer, whose tool may have done something only if it had begun."""
        return (CutOff if self.has_begun else ToolException)(why)

    def _end(self, how: str) -> ToolException:
        return self.cut_off(f"its process ended ({how})")


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    # the system kills in this way, and libraries that get no memory abort
    return f"killed: {name}" + (", perhaps out of memory" if name in ("SIGKILL", "SIGABRT") else "")
