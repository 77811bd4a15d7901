"""One MCP server: its tools, and a session that is held open on its own event loop, and reopened when it broke.

Opening one takes half a second, a call in an open one milliseconds. MCP's sessions belong to the task that opened them,
so one task holds the session, and callers from any thread or event loop send their calls there.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
import os
import re
import weakref
from collections.abc import Coroutine
from contextlib import AbstractContextManager, AsyncExitStack
from datetime import timedelta
from threading import Thread
from typing import Any, TextIO, TypeVar, cast
from uuid import uuid4

import anyio
import httpx
from langchain_core.tools import BaseTool, ToolException
from langchain_mcp_adapters.sessions import Connection, create_session
from mcp import ClientSession, McpError, StdioServerParameters, stdio_client
from mcp.types import (
    CONNECTION_CLOSED,
    BlobResourceContents,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    ClientRequest,
    ContentBlock,
    EmbeddedResource,
    PaginatedRequestParams,
    ResourceLink,
    TextContent,
    Tool,
)

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.deadline import DeadlinePassed, time_left
from alpha_umi.tools.forks import renew_after_fork
from alpha_umi.tools.http.breaker import Breaker, RemoteSettings
from alpha_umi.tools.http.redaction import hiding, redact, redact_all
from alpha_umi.tools.mcp.config import McpConnection
from alpha_umi.tools.mcp.posts import MARK, Posts
from alpha_umi.tools.spec import ToolSpec, read_hints
from alpha_umi.tools.spec.satisfiable import require_satisfiable
from alpha_umi.tools.toolbox import get_background_loop

T = TypeVar("T")

_LOOP = "mcp-event-loop"
_MAX_PAGES = 1000
_CLOSE_TIMEOUT_S = 10.0
_MAX_STDERR_BYTES = 4096
_MAX_STDERR_CHARS = 500
_STDERR_TIMEOUT_S = 0.2  # a child of the server may hold its end for ever
_OTHER_TRANSPORT = (404, 405)  # what a server answers to a transport that it does not speak
_EFFECT_UNKNOWN = "It is not known whether the call took effect; the next call opens a new session."


class HeldSession:
    """One server's session. Its coroutines run on the loop of all sessions: start them with `run` or `arun`."""

    def __init__(
        self, connection: McpConnection, *, timeout_s: float, start_timeout_s: float, remote: RemoteSettings
    ) -> None:
        """Open nothing yet."""
        self._connection = connection
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._breaker = Breaker(f"The MCP server {connection.name}", remote)
        self._secrets: tuple[str, ...] = ()
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Forget the session, which in a forked child is the parent's, without closing it."""
        self._lock = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[ClientSession] | None = None
        self._stop = asyncio.Event()
        self._stderr: _StderrTail | None = None
        self._posts = Posts(max(self._timeout_s, self._start_timeout_s))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one of the coroutines and wait for it."""
        running = asyncio.run_coroutine_threadsafe(work, get_background_loop(_LOOP))
        left_s = time_left()
        try:
            return running.result(None if math.isinf(left_s) else left_s)
        except TimeoutError:
            if running.done():
                raise
            raise DeadlinePassed("no answer in time.") from None
        finally:
            running.cancel()
            del running  # its error would hold this frame, and so the callers' tools

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one of the coroutines without blocking the caller's event loop; cancelling this cancels it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, get_background_loop(_LOOP)))

    def request_close(self) -> None:
        """Have the session closed soon, without waiting."""
        if self._keeper:
            get_background_loop(_LOOP).call_soon_threadsafe(self._stop.set)

    def hide_secrets(self, text: str) -> str:
        """Return a text without the credentials that the server was given."""
        return redact(text, self._secrets)

    def hide_in_tool(self, tool: Tool) -> Tool:
        """Return what a server says of a tool without the credentials that it was given."""
        shown = redact_all({"description": tool.description, "inputSchema": tool.inputSchema}, self._secrets)
        return tool.model_copy(update=shown)

    async def list_tools(self) -> list[Tool]:
        """Return what the server offers."""
        tools: list[Tool] = []
        cursor = None
        session = await self._open()
        for _ in range(_MAX_PAGES):
            page = await self._await(session, session.list_tools(params=PaginatedRequestParams(cursor=cursor)))
            tools += page.tools
            cursor = page.nextCursor
            if not cursor:
                return tools
        raise ToolException(f"it lists more than {_MAX_PAGES} pages of tools. Ask its author why.")

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool; a session that has ended is opened again.

        Raises:
            ToolException: If there is no answer. A call that may have reached the server is not sent again.
        """
        with self._breaker.guard(lambda error: isinstance(error, _ServerFault)):
            for _ in range(2):
                session = await self._open()
                try:
                    mark = uuid4().hex
                    params = {"name": name, "arguments": arguments, "_meta": {MARK: mark}}
                    # Not by `call_tool`, which holds what the server says to the server's own schema, on this loop
                    request = CallToolRequest(params=CallToolRequestParams.model_validate(params))
                    with self._posts.mark(mark):
                        return await self._await(session, session.send_request(ClientRequest(request), CallToolResult))
                except _NotSentError:
                    await self._drop(session)
            raise _ServerFault("the server ends every session at once. Use another tool.")

    async def close(self) -> None:
        """Close the session, and end a server that was started for it."""
        async with self._lock:
            await self._end()

    async def _open(self) -> ClientSession:
        """Return the open session, or open one."""
        async with self._lock:
            if self._keeper is None or self._ready is None or self._keeper.done() or self._stop.is_set():
                self._stop = asyncio.Event()
                self._ready = asyncio.get_running_loop().create_future()
                self._keeper = asyncio.create_task(self._keep(self._ready, self._stop))
                # An end between two calls is nobody's error; asked for here, asyncio does not log it.
                self._keeper.add_done_callback(lambda task: task.cancelled() or task.exception())
            either: set[asyncio.Future[Any]] = {self._ready, self._keeper}
            await asyncio.wait(either, timeout=self._start_timeout_s, return_when="FIRST_COMPLETED")
            if self._keeper.done():
                raise _ServerFault(self._describe_end())
            if self._ready.done():
                return self._ready.result()
            self._keeper.cancel()
            await self._end()
            raise _ServerFault(f"the server did not start within {self._start_timeout_s:g} s.{self._render_stderr()}")

    async def _keep(self, ready: asyncio.Future[ClientSession], stop: asyncio.Event) -> None:
        """Open the session, hold it until it is to be closed, and close it, all in one task."""
        values, self._secrets = self._connection.expand()
        with hiding(self._secrets):
            await self._hold(values, ready, stop)

    async def _hold(self, values: dict[str, str], ready: asyncio.Future[ClientSession], stop: asyncio.Event) -> None:
        connection = self._connection
        timeout = timedelta(seconds=self._timeout_s)
        async with AsyncExitStack() as stack:
            if connection.url:
                settings: dict[str, Any] = {
                    "transport": "sse" if connection.type == "sse" else "streamable_http",
                    "url": connection.url,
                    "headers": values,
                    "httpx_client_factory": self._posts.make_client,
                    "session_kwargs": {"read_timeout_seconds": timeout},
                }
                session = await stack.enter_async_context(create_session(cast(Connection, settings)))
            else:
                # The adapters' own stdio session would let the server write into our terminal.
                self._stderr = stack.enter_context(_StderrTail())
                server = StdioServerParameters(
                    command=connection.command, args=list(connection.args), env=values, cwd=connection.cwd
                )
                read, write = await stack.enter_async_context(stdio_client(server, errlog=self._stderr.writer))
                session = await stack.enter_async_context(ClientSession(read, write, timeout))
            await session.initialize()
            ready.set_result(session)
            await stop.wait()

    async def _end(self) -> None:
        self._stop.set()
        if self._keeper:
            await asyncio.wait({self._keeper}, timeout=_CLOSE_TIMEOUT_S)
            self._keeper.cancel()

    async def _drop(self, session: ClientSession) -> None:
        """Close a session that broke, unless another call has already opened a new one."""
        async with self._lock:
            if self._ready and self._ready.done() and self._ready.result() is session:
                await self._end()

    async def _await(self, session: ClientSession, work: Coroutine[Any, Any, T]) -> T:
        """Wait for an answer, but no longer than the session lasts."""
        with hiding(self._secrets):
            answer = asyncio.create_task(work)
        try:
            await asyncio.wait({answer, self._keeper} if self._keeper else {answer}, return_when="FIRST_COMPLETED")
            if answer.done():
                return answer.result()
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise _NotSentError from None
        except McpError as error:
            if error.error.message == "Session terminated":  # a restarted server refused the call
                raise _NotSentError from None
            if error.error.code == httpx.codes.REQUEST_TIMEOUT:
                raise _ServerFault(f"no answer within {self._timeout_s:g} s. Try other arguments.") from None
            if error.error.code != CONNECTION_CLOSED:
                raise ToolException(self.hide_secrets(str(error))) from None
        finally:
            answer.cancel()
        await self._drop(session)
        raise _ServerFault(f"{self._describe_end()} {_EFFECT_UNKNOWN}")

    def _describe_end(self) -> str:
        """Say why the session ended, without a credential."""
        has_failed = self._keeper and self._keeper.done() and not self._keeper.cancelled()
        error = self._keeper.exception() if self._keeper and has_failed else None
        while isinstance(inner := getattr(error, "exceptions", None), tuple):  # an exception group
            error = inner[0]
        if isinstance(error, httpx.HTTPStatusError):
            text = f"the server answered {error.response.status_code} {error.response.reason_phrase}."
            if error.response.status_code in _OTHER_TRANSPORT and self._connection.type != "sse":
                text += ' If it speaks server-sent events, name it in a file with "type": "sse".'
        elif isinstance(error, httpx.TransportError):
            text = f"the server cannot be reached ({type(error).__name__})."
        elif isinstance(error, FileNotFoundError):
            text = f"there is no command {self._connection.command!r}; install it or correct the configuration."
        elif error is None or isinstance(error, McpError | anyio.ClosedResourceError | anyio.BrokenResourceError):
            text = "the server ended."
        else:
            text = f"{type(error).__name__}: {error}."
        return self.hide_secrets(text) + self._render_stderr()

    def _render_stderr(self) -> str:
        words = self._stderr.text() if self._stderr else ""
        return self.hide_secrets(f" Its last words: {words}") if words else ""


class _ServerFault(ToolException):
    """The server is away or does not answer."""


class _NotSentError(Exception):
    """The session had ended before the call was sent."""


class _StderrTail(AbstractContextManager["_StderrTail"]):
    """A pipe that is always read, so that a server that floods it neither blocks nor fills anything.

    Used as a context manager; `writer` is what the server gets.
    """

    def __init__(self) -> None:
        """Open the pipe."""
        self._tail = b""
        reader, writer = os.pipe()
        self.writer: TextIO = os.fdopen(writer, "w")
        self._thread = Thread(target=self._drain, args=(reader,), name="mcp-stderr", daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Close our end, and read on until the server has closed its own."""
        self.writer.close()
        self._thread.join(_STDERR_TIMEOUT_S)

    def text(self) -> str:
        """Return the end of what was written, in one line."""
        line = " ".join(self._tail.decode(errors="replace").split())
        return line if len(line) <= _MAX_STDERR_CHARS else f"…{line[-_MAX_STDERR_CHARS:]}"

    def _drain(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while chunk := pipe.read(65_536):
                self._tail = (self._tail + chunk)[-_MAX_STDERR_BYTES:]


class McpServer(AbstractContextManager["McpServer"]):
    """One server; a context manager that closes the session, which otherwise ends with the last of its tools."""

    def __init__(self, name: str, session: HeldSession) -> None:
        """Start nothing yet."""
        self.name = name
        self._session = session
        weakref.finalize(self, self._session.request_close)

    def __exit__(self, *_: object) -> None:
        """Close the session."""
        self.close()

    def load_tools(self) -> tuple[list[BaseTool], list[str]]:
        """Open the session and return the server's tools, sync and async, and what was left out or changed, by line.

        Raises:
            ConfigError: If the server cannot be started or reached.
        """
        try:
            listed = self._session.run(self._session.list_tools())
        except ToolException as error:
            raise ConfigError(f"MCP server {self.name!r}: {error}") from error
        tools: list[BaseTool] = []
        omissions: list[str] = []
        for tool in map(self._session.hide_in_tool, listed):
            shown = self._session.hide_secrets(tool.name)
            name = _clean(shown)
            try:
                tools.append(self._make_tool(name, shown, tool))
                if name != tool.name:
                    omissions.append(f"{shown!r} is offered as {name!r}: models allow no other names")
            except ConfigError as error:
                omissions.append(f"{shown} is left out: {self._session.hide_secrets(str(error))}")
        return tools, omissions

    def close(self) -> None:
        """End the session and a server that was started for it; a later call opens a new one."""
        self._session.run(self._session.close())

    def _make_tool(self, name: str, shown: str, tool: Tool) -> BaseTool:
        hints = tool.annotations
        effects = read_hints(hints.model_dump() if hints else {})
        spec = ToolSpec(
            name, tool.description or "", {"properties": {}, **tool.inputSchema}, effects, f"mcp:{self.name}", shown
        )
        require_satisfiable(spec)
        # The functions keep this server, and so its session, alive.
        both = make_tool(spec, functools.partial(self._call, tool.name), returns=tool.outputSchema)
        return both.model_copy(update={"coroutine": functools.partial(self._acall, tool.name)})

    def _call(self, name: str, /, **arguments: Any) -> str:
        return self._finish(self._session.run(self._session.call(name, arguments)))

    async def _acall(self, name: str, /, **arguments: Any) -> str:
        return self._finish(await self._session.arun(self._session.call(name, arguments)))

    def _finish(self, result: CallToolResult) -> str:
        """Return a result as text; an error of the tool is raised in its own words."""
        text = self._session.hide_secrets(_render(result))
        if result.isError:
            raise ToolException(text or "the server gives no reason. Try other arguments.")
        return text


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:64]


def _render(result: CallToolResult) -> str:
    text = "\n".join(map(_render_block, result.content))
    if not text and result.structuredContent is not None:
        return json.dumps(result.structuredContent, ensure_ascii=False, separators=(",", ":"))
    return text


def _render_block(block: ContentBlock) -> str:
    if isinstance(block, TextContent):
        return block.text
    if isinstance(block, ResourceLink):
        return f"({block.name}: {block.uri})"
    if isinstance(block, EmbeddedResource):
        resource = block.resource
        if isinstance(resource, BlobResourceContents):
            return f"({resource.mimeType or 'binary data'} at {resource.uri}, not shown)"
        return resource.text
    return f"({block.mimeType}, not shown)"
