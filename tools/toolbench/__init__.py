"""ToolBench's tools, called through its server."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE, RemoteSettings
from alpha_umi.tools.spec import log_omissions
from alpha_umi.tools.toolbench.apis import ToolBenchApi, read_api_list, read_folder
from alpha_umi.tools.toolbench.server import ToolBenchServer

__all__ = [
    "ToolBenchApi",
    "ToolBenchServer",
    "find_server",
    "load_toolbench",
    "make_query_tools",
    "read_api_list",
    "read_folder",
]

URL_VARIABLE = "TOOLBENCH_URL"
KEY_VARIABLE = "TOOLBENCH_KEY"


def load_toolbench(
    folder: str | Path, server: ToolBenchServer | None = None, *, remote: RemoteSettings = DEFAULT_REMOTE
) -> list[BaseTool]:
    """Return one tool per API of ToolBench's tool folder; broken files are left out and logged.

    Args:
        folder: ``toolenv/tools``: a folder per category with a JSON file per tool.
        server: Where the APIs are called; None finds one as `find_server` does.
        remote: For that one: how often a call is tried, and when an API is left alone.

    Raises:
        ConfigError: If the folder or the server cannot be used.

    Example:
        >>> tools = load_toolbench("data/toolenv/tools")  # doctest: +SKIP
    """
    apis, skipped = read_folder(folder)
    server = server or find_server(remote=remote)
    log_omissions(str(folder), skipped)
    return [server.make_tool(api) for api in apis]


def make_query_tools(rows: Iterable[Mapping[str, Any]], server: ToolBenchServer) -> list[BaseTool]:
    """Return the tools of one of ToolBench's queries, whose ``api_list`` describes them; no folder is needed.

    Args:
        rows: The query's ``api_list``.
        server: Where the APIs are called.
    """
    apis, skipped = read_api_list(rows)
    log_omissions("a query of ToolBench", skipped)
    return [server.make_tool(api) for api in apis]


def find_server(url: str | None = None, *, remote: RemoteSettings = DEFAULT_REMOTE) -> ToolBenchServer:
    """Return the server at an address, with the key in ``TOOLBENCH_KEY`` if there is one.

    Args:
        url: Where calls are posted; default is the address in ``TOOLBENCH_URL``.
        remote: How often a call is tried, and when an API is left alone.

    Raises:
        ConfigError: If there is no address, or it cannot be used.
    """
    url = url or os.environ.get(URL_VARIABLE)
    if not url:
        raise ConfigError(
            f"ToolBench's tools need a server: set {URL_VARIABLE} to the address that calls are posted to, such as "
            f"http://127.0.0.1:8080/virtual, and {KEY_VARIABLE} to its key if it wants one."
        )
    key_variable = KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else None
    return ToolBenchServer(url, key_variable=key_variable, remote=remote)
