"""MCP servers as tools, over stdio and streamable HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import tell_apart
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE, RemoteSettings
from alpha_umi.tools.mcp.config import McpConnection, read_connections
from alpha_umi.tools.spec import log_omissions

if TYPE_CHECKING:
    from alpha_umi.tools.mcp.session import McpServer

__all__ = ["McpConnection", "connect_mcp", "load_mcp"]


def load_mcp(
    target: str | Path | Mapping[str, Any], *, timeout_s: float = 25.0, remote: RemoteSettings = DEFAULT_REMOTE
) -> list[BaseTool]:
    """Start or reach MCP servers and return their tools.

    The sessions are held open, and end with the last tool of their server.

    Args:
        target: Address of a streamable HTTP server; or path, or content, of a file of ``mcpServers`` as other MCP
            clients have it. ``${VARIABLE}`` in ``env`` and ``headers`` is read from the environment.
        timeout_s: Seconds for one call.
        remote: When a server is left alone.

    Raises:
        ConfigError: If the extra is not installed, the file cannot be used, or a server cannot be reached.
    """
    tools: list[BaseTool] = []
    for connection in read_connections(target):
        server = connect_mcp(connection, timeout_s=timeout_s, remote=remote)
        loaded, omissions = server.load_tools()
        log_omissions(f"MCP server {connection.name!r}", omissions)
        tools += loaded
    return tell_apart(tools)


def connect_mcp(
    connection: McpConnection,
    *,
    timeout_s: float = 25.0,
    start_timeout_s: float = 30.0,
    remote: RemoteSettings = DEFAULT_REMOTE,
) -> McpServer:
    """Return one server as a context manager, so that its session can be ended at a certain point; see `load_mcp`."""
    try:
        from alpha_umi.tools.mcp import session  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        raise ConfigError(f"MCP servers need an extra: pip install 'alpha-umi[mcp]' ({error}).") from error
    held = session.HeldSession(connection, timeout_s=timeout_s, start_timeout_s=start_timeout_s, remote=remote)
    return session.McpServer(connection.name, held)
