"""ToolBench's tools, called through its server."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from langchain_core.tools import BaseTool, ToolException

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.http.addresses import check_address
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE, RemoteSettings
from alpha_umi.tools.http.client import HttpClient
from alpha_umi.tools.http.credentials import Credential, read_variable, require_private
from alpha_umi.tools.spec import log_omissions
from alpha_umi.tools.toolbench.apis import ToolBenchApi, read_api_list, read_folder

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
"""Address of the server that runs the tools of `toolbench:FOLDER`."""
KEY_VARIABLE = "TOOLBENCH_KEY"
"""Key for the server that `TOOLBENCH_URL` names."""
_TIMEOUT_S = 20.0  # for one call with its retries
_MAX_RESPONSE_BYTES = 262_144


def load_toolbench(
    folder: str | Path, server: ToolBenchServer | None = None, *, remote: RemoteSettings = DEFAULT_REMOTE
) -> list[BaseTool]:
    """Return one tool per API of ToolBench's folder ``toolenv/tools``; broken files are left out and logged.

    The folder has one per category, with a JSON file per tool. Without a server one is found as `find_server` does.
    """
    apis, skipped = read_folder(folder)
    server = server or find_server(remote=remote)
    log_omissions(str(folder), skipped)
    return [server.make_tool(api) for api in apis]


def make_query_tools(rows: Iterable[Mapping[str, Any]], server: ToolBenchServer) -> list[BaseTool]:
    """Return the tools of one of ToolBench's queries, whose ``api_list`` the rows are; no folder is needed."""
    apis, skipped = read_api_list(rows)
    log_omissions("a query of ToolBench", skipped)
    return [server.make_tool(api) for api in apis]


def find_server(url: str | None = None, *, remote: RemoteSettings = DEFAULT_REMOTE) -> ToolBenchServer:
    """Return the server that calls are posted to, with the key in ``TOOLBENCH_KEY`` if there is one.

    Its default address is in ``TOOLBENCH_URL``; `remote` says how often a call is tried, and when an API is left alone.
    """
    url = url or os.environ.get(URL_VARIABLE)
    if not url:
        raise ConfigError(
            f"ToolBench's tools need a server: set {URL_VARIABLE} to the address that calls are posted to, such as "
            f"http://127.0.0.1:8080/virtual, and {KEY_VARIABLE} to its key if it wants one."
        )
    key_variable = KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else None
    return ToolBenchServer(url, key_variable=key_variable, remote=remote)


class ToolBenchServer:
    """Makes tools of APIs, which it calls by ToolBench's protocol.

    Source: OpenBMB/ToolBench, toolbench/inference/Downstream_tasks/rapidapi.py; THUNLP-MT/StableToolBench,
    server/main.py.
    """

    def __init__(self, url: str, *, key_variable: str | None = None, remote: RemoteSettings = DEFAULT_REMOTE) -> None:
        """Open no connection yet; `key_variable` names the environment variable that holds the server's key, if any.

        Raises:
            ConfigError: If the address is none, the variable is not set, or the key would travel in the open.
        """
        check_address(url, "a ToolBench server", KEY_VARIABLE)
        self._credentials: tuple[Credential, ...] = ()
        if key_variable:
            read_variable(key_variable)
            require_private(url)
            self._credentials = (Credential(key_variable, "header", "toolbench_key"),)
        self._url = url
        hosts = [urlsplit(url).netloc]
        self._client = HttpClient(
            allowed_hosts=hosts,
            private_hosts=hosts,
            timeout_s=_TIMEOUT_S,
            max_response_bytes=_MAX_RESPONSE_BYTES,
            remote=remote,
        )

    def make_tool(self, api: ToolBenchApi) -> BaseTool:
        """Return the tool that calls an API on this server."""
        return make_tool(api.spec, functools.partial(self._call, api))

    def _call(self, api: ToolBenchApi, /, **arguments: Any) -> str:
        payload = {
            "category": api.category,
            "tool_name": api.tool,
            "api_name": api.api,
            "tool_input": json.dumps(arguments, ensure_ascii=False),
            "strip": "truncate",
            "toolbench_key": "".join(credential.read() for credential in self._credentials),
        }
        request = httpx.Request("POST", self._url, json=payload)
        is_idempotent = api.spec.effects != "once"
        reply = self._client.send(
            request, is_idempotent=is_idempotent, credentials=self._credentials, behind=f"{api.category}/{api.tool}"
        )
        answer = _parse(reply.text)
        if answer is None or reply.is_cut:
            raise ToolException("the tool server gave no answer that can be read. Try another tool.")
        # The text that ToolBench's own models were trained to read.
        text = json.dumps({key: answer.get(key, "") for key in ("error", "response")}, ensure_ascii=False)
        if answer.get("error"):
            raise ToolException(text)
        return text


def _parse(text: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) and not answer.keys().isdisjoint({"error", "response"}) else None
