"""OpenAPI 3 documents as tools: one per operation."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.http.addresses import check_address
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE, RemoteSettings
from alpha_umi.tools.http.client import HttpClient, Reply
from alpha_umi.tools.http.credentials import require_private
from alpha_umi.tools.openapi.document import load_document, require_openapi_3
from alpha_umi.tools.openapi.operations import Operation, Security, read_operations
from alpha_umi.tools.openapi.request import build_request
from alpha_umi.tools.spec import log_omissions

__all__ = ["load_openapi", "load_openapi_source"]

_SERVER = ("an API", "a variable named in 'auth'")


def load_openapi(
    document: str | Path | Mapping[str, Any],
    *,
    base_url: str | None = None,
    allowed_hosts: Collection[str] | None = None,
    auth: Mapping[str, str] | None = None,
    timeout_s: float = 20.0,
    max_response_bytes: int = 262_144,
    remote: RemoteSettings = DEFAULT_REMOTE,
) -> list[BaseTool]:
    """Return one tool per operation of an OpenAPI 3 document.

    What cannot be used is left out and logged. Redirects are not followed; GET, HEAD, PUT, DELETE, OPTIONS and TRACE
    are tried again where the server says 429, 502 or 503 or cannot be reached.

    Args:
        document: Path or http(s) address of a JSON or YAML file, or the parsed document.
        base_url: Address of the API, instead of the document's servers.
        allowed_hosts: ``host`` or ``host:port`` that may be called; default are those of the servers. One on this
            machine or network has to be named here, in `base_url` or as the address of the document.
        auth: Security scheme of the document, or ``header:NAME``, ``query:NAME`` or ``cookie:NAME``, to the name of the
            environment variable that holds the credential. The model never sees these arguments.
        timeout_s: Seconds for one call with its retries.
        max_response_bytes: Longer responses are cut while they arrive.
        remote: How often a request is tried, and when a server is left alone.

    Raises:
        ConfigError: If the document cannot be read or has no operation that can be used, or a setting is wrong.

    Example:
        >>> tools = load_openapi("weather.yaml", auth={"ApiKey": "WEATHER_KEY"})  # doctest: +SKIP
    """
    parsed = load_document(document)
    require_openapi_3(parsed)
    if base_url:
        check_address(base_url, *_SERVER)
    label = urlsplit(parsed.url).netloc or (Path(parsed.name).stem if isinstance(document, str | Path) else "")
    source = f"openapi:{label}".removesuffix(":")
    operations, omissions = read_operations(parsed, Security(parsed, auth or {}), base_url, source)
    hosts = {urlsplit(operation.url).netloc for operation in operations} if allowed_hosts is None else allowed_hosts
    named = [*(allowed_hosts or ()), *(urlsplit(url).netloc for url in (base_url, parsed.url) if url)]
    client = HttpClient(
        allowed_hosts=hosts,
        private_hosts=named,
        timeout_s=timeout_s,
        max_response_bytes=max_response_bytes,
        remote=remote,
    )
    usable = [operation for operation in operations if _may_call(client, operation, omissions)]
    if not usable:
        raise ConfigError(
            f"{parsed.name} has no operation that can be used: {'; '.join(omissions[:5]) or 'it is empty'}."
        )
    log_omissions(parsed.name, omissions)
    return [make_tool(each.spec, functools.partial(_call, client, each), returns=each.returns) for each in usable]


def _may_call(client: HttpClient, operation: Operation, omissions: list[str]) -> bool:
    """Tell whether an operation's host may be called, and note it where not."""
    check_address(operation.url, *_SERVER)
    if operation.credentials:
        require_private(operation.url)
    if client.allows(operation.url):
        return True
    host = urlsplit(operation.url).netloc
    omissions.append(f"{operation.spec.name} is left out: {host} is no allowed host; name it in allowed_hosts")
    return False


def load_openapi_source(target: str, *, remote: RemoteSettings = DEFAULT_REMOTE) -> list[BaseTool]:
    """Return the tools of a document, or of a YAML file with the arguments of `load_openapi`.

    The latter has a line ``document: PATH``, relative to itself, or with an address.

    Raises:
        ConfigError: As `load_openapi`, and if the file has a setting that does not exist.
    """
    content = load_document(target).content
    if "document" not in content:
        return load_openapi(target, remote=remote)
    try:
        settings = _DocumentArguments.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"{target}: {faults}. Settings are {', '.join(_DocumentArguments.model_fields)}.") from error
    chosen = settings.model_dump(exclude_unset=True)
    if not settings.document.startswith(("http://", "https://")):
        chosen["document"] = Path(target).expanduser().parent / settings.document
    return load_openapi(**chosen, remote=remote)


class _DocumentArguments(BaseModel):
    """The arguments of `load_openapi`, as a file gives them."""

    model_config = ConfigDict(extra="forbid")

    document: str
    base_url: str | None = None
    allowed_hosts: list[str] | None = None
    auth: dict[str, str] = Field(default_factory=dict)
    timeout_s: float = Field(default=20.0, gt=0)
    max_response_bytes: int = Field(default=262_144, ge=1)


def _call(client: HttpClient, operation: Operation, /, **arguments: Any) -> str:
    request = build_request(operation, arguments)
    reply = client.send(request, is_idempotent=operation.spec.effects != "once", credentials=operation.credentials)
    return _render(reply)


def _render(reply: Reply) -> str:
    """Return the body; JSON without the white space that costs tokens, but as text, since it may look like blocks."""
    if reply.is_cut:
        return f"{reply.text}\n[… the rest of the response was cut off …]"
    if not reply.text.strip():
        return f"(done: status {reply.status}, no content)"
    if reply.media_type.endswith("json"):
        try:
            return json.dumps(json.loads(reply.text), ensure_ascii=False, separators=(",", ":"))
        except (ValueError, RecursionError):  # the server's mistake; its text may still tell something
            return reply.text
    return reply.text
