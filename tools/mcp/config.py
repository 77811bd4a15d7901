"""Which MCP servers there are: an address, or a file of ``mcpServers`` as other MCP clients have it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from alpha_umi.documents import read_document
from alpha_umi.errors import ConfigError
from alpha_umi.tools.http.addresses import check_address
from alpha_umi.tools.http.credentials import expand_variables, require_private

# Credentials written into the configuration itself, as other clients' documentation shows it.
_ADVICE = "give the MCP configuration as a JSON or YAML file, or an address that begins with http:// or https://"
_SECRET_NAME = re.compile(r"key|token|secret|passw|auth|credential|cookie", re.IGNORECASE)


@dataclass(frozen=True)
class McpConnection:
    """How to reach one server: by a command (stdio), started in a folder, or an address.

    An address is one of streamable HTTP, or with the type ``sse`` of the older server-sent events.

    A command gets the variables of `env` in addition to a few harmless ones; headers are sent with every request. The
    values of both may hold ``${VARIABLE}``.
    """

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    disabled: bool = False
    type: Literal["", "stdio", "http", "streamable-http", "streamable_http", "sse"] = ""

    def expand(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return the variables or headers with their values, and the values that must not be shown."""
        expanded = {name: expand_variables(value) for name, value in (self.headers if self.url else self.env).items()}
        secrets = tuple(secret for _, found in expanded.values() for secret in found)
        named = [value for name, (value, found) in expanded.items() if not found and _SECRET_NAME.search(name)]
        secrets += tuple(secret for value in named for secret in (value, value.rpartition(" ")[2]))
        if self.url and secrets:
            require_private(self.url)
        return {name: value for name, (value, _) in expanded.items()}, secrets


def read_connections(target: str | Path | Mapping[str, Any]) -> list[McpConnection]:
    """Return the servers that an address, the path of a JSON or YAML file, or its content names.

    A file holds ``{"mcpServers": {NAME: {"command", "args", "env", "cwd"} or {"url", "headers", "type"}}}``.

    Raises:
        ConfigError: If it cannot be read, or names no server that can be used.
    """
    if isinstance(target, str) and target.startswith(("http://", "https://")):
        return [McpConnection(urlsplit(_check_url(target)).netloc, url=target)]
    name = "the MCP configuration" if isinstance(target, Mapping) else str(target)
    content = target if isinstance(target, Mapping) else read_document(Path(target).expanduser(), _ADVICE)
    servers = content.get("mcpServers", content.get("servers")) if isinstance(content, Mapping) else None
    if not isinstance(servers, Mapping):
        raise ConfigError(f'{name} has no "mcpServers": write {{"mcpServers": {{"NAME": {{"command": …}}}}}}.')
    folder = None if isinstance(target, Mapping) else Path(target).expanduser().parent
    connections = [_make_connection(str(key), value, name, folder) for key, value in servers.items()]
    return [connection for connection in connections if not connection.disabled]


def _make_connection(name: str, value: Any, source: str, folder: Path | None) -> McpConnection:
    """Read one entry; what only other clients understand is ignored."""
    known = [field.name for field in fields(McpConnection) if field.name != "name"]
    try:
        named = {"type": value["transport"]} if "transport" in value else {}
        connection = McpConnection(name, **named | {key: value[key] for key in known if key in value})
    except ValidationError as error:
        fault = error.errors()[0]
        # The value is not quoted: it may be a credential.
        raise ConfigError(f"{source}, server {name!r}, {'.'.join(map(str, fault['loc']))}: {fault['msg']}.") from None
    except TypeError:
        raise ConfigError(f"{source}, server {name!r}: write {{...}} with a 'command' or a 'url'.") from None
    if connection.disabled:
        return connection
    if bool(connection.command) == bool(connection.url):
        raise ConfigError(f"{source}, server {name!r}: give either a 'command' or a 'url'.")
    if connection.url:
        _check_url(connection.url)
    return replace(connection, cwd=str(folder / connection.cwd)) if folder and connection.cwd else connection


def _check_url(url: str) -> str:
    return check_address(url, "an MCP server", "'headers'")
