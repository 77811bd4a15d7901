"""The tools of one MCP server, on a session that is held open."""

from __future__ import annotations

import functools
import json
import re
import weakref
from collections.abc import Collection
from typing import Any

from langchain_core.tools import BaseTool, ToolException
from mcp.types import BlobResourceContents, CallToolResult, ContentBlock, EmbeddedResource, ResourceLink, TextContent
from mcp.types import Tool as McpTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.mcp.session import HeldSession
from alpha_umi.tools.spec import ToolSpec, read_hints


class McpServer:
    """One server; a context manager that closes the session, which otherwise ends with the last of its tools."""

    def __init__(self, name: str, session: HeldSession) -> None:
        """Start nothing yet.

        Args:
            name: What messages call the server.
            session: Its session, not opened.
        """
        self.name = name
        self._session = session
        weakref.finalize(self, self._session.request_close)

    def __enter__(self) -> McpServer:
        """Return the server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the session."""
        self.close()

    def load_tools(self, taken: Collection[str] = ()) -> tuple[list[BaseTool], list[str]]:
        """Open the session and return the server's tools, sync and async, and what was left out, one line each.

        Args:
            taken: Names in use; a tool that has one of them gets the server's name before its own.

        Raises:
            ConfigError: If the server cannot be started or reached.
        """
        try:
            listed = self._session.run(self._session.list_tools())
        except ToolException as error:
            raise ConfigError(f"MCP server {self.name!r}: {error}") from error
        tools: list[BaseTool] = []
        notes: list[str] = []
        for tool in listed:
            name = _clean(tool.name)
            name = _clean(f"{self.name}_{tool.name}") if name in taken else name
            try:
                tools.append(self._make_tool(name, tool))
            except ConfigError as error:
                notes.append(f"{tool.name} is left out: {error}")
        return tools, notes

    def close(self) -> None:
        """End the session and a server that was started for it; a later call opens a new one."""
        self._session.run(self._session.close())

    def _make_tool(self, name: str, tool: McpTool) -> BaseTool:
        hints = tool.annotations
        effects = read_hints(hints.model_dump() if hints else {})
        spec = ToolSpec(name, tool.description or "", {"properties": {}, **tool.inputSchema}, effects, "mcp")
        # The functions keep this server, and so its session, alive.
        both = make_tool(spec, functools.partial(self._call, tool.name))
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
