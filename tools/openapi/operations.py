"""OpenAPI operations → the description of each for the model, how to call it, and with which credentials."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urljoin, urlsplit

from alpha_umi.errors import ConfigError
from alpha_umi.tools.http.credentials import Credential, read_variable
from alpha_umi.tools.openapi.arguments import ArgumentReader
from alpha_umi.tools.openapi.body import Body
from alpha_umi.tools.openapi.document import BadReference, Document
from alpha_umi.tools.openapi.response import read_returns
from alpha_umi.tools.openapi.schema import tidy_text
from alpha_umi.tools.openapi.styles import Argument, Unusable
from alpha_umi.tools.spec import Effects, ToolSpec
from alpha_umi.tools.spec.satisfiable import require_satisfiable

_METHODS: dict[str, Effects] = {
    "get": "none",
    "put": "idempotent",
    "post": "once",
    "delete": "idempotent",
    "options": "none",
    "head": "none",
    "patch": "once",
    "trace": "none",
}
_PLACES: dict[str, Literal["header", "query", "cookie"]] = {"header": "header", "query": "query", "cookie": "cookie"}
_MAX_NAME_CHARS = 64
_MAX_DESCRIPTION_CHARS = 400


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what the model is told, and how it is called, at an address with path parameters in braces.

    `returns` is the JSON Schema of what it replies, if the document says.
    """

    spec: ToolSpec
    method: str
    url: str
    arguments: tuple[Argument, ...]
    body: Body | None
    credentials: tuple[Credential, ...]
    returns: Mapping[str, Any] | None = None


def read_operations(
    document: Document, security: Security, base_url: str | None = None, source: str = "openapi"
) -> tuple[list[Operation], list[str]]:
    """Return the operations of a document, and what was left out or is doubtful, one line each."""
    operations: list[Operation] = []
    omissions: list[str] = []
    taken: set[str] = set()
    for path, method, shared, node in _iter_nodes(document, omissions):
        reader = ArgumentReader(document)
        try:
            url = _join(_find_server(document, base_url, shared, node), path)
            credentials = security.select(node)
            hidden = {(credential.place, credential.name.lower()) for credential in credentials}
            reader.add_parameters(shared, node, hidden | _list_fixed(url))
            url = _make_absolute(reader.match_address(url), document)
            body = reader.add_body(node)
            name = _make_name(path, method, node, taken)
            own = str(node.get("operationId") or name)
            spec = ToolSpec(name, _describe(node, shared), reader.parameters, _METHODS[method], source, own)
            require_satisfiable(spec)
        except (Unusable, BadReference, ConfigError, RecursionError) as error:
            omissions.append(f"{method.upper()} {path} is left out: {error}")
            continue
        taken.add(spec.name)
        returns = read_returns(document, node)
        if own != name:
            omissions.append(f"{own!r} is offered as {name!r}: models allow no other names, or another one has it")
        operations.append(Operation(spec, method.upper(), url, tuple(reader.arguments), body, credentials, returns))
        omissions += [f"{spec.name}: {problem}" for problem in dict.fromkeys(reader.problems)]
    return operations, omissions


def _iter_nodes(
    document: Document, omissions: list[str]
) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield path, method, path item and operation; each may be a reference."""
    for path, item in document.resolve(document.content["paths"]).items():
        try:
            shared = document.resolve(item)
        except BadReference as error:
            omissions.append(f"{path} is left out: it refers to {error}")
            continue
        for method in _METHODS if isinstance(shared, Mapping) else ():
            try:
                node = document.resolve(shared.get(method))
            except BadReference as error:
                omissions.append(f"{method.upper()} {path} is left out: it refers to {error}")
                continue
            if isinstance(node, Mapping):
                yield str(path), method, shared, node


def _join(server: str, path: str) -> str:
    """Put a path behind the address of a server; the queries of both are kept, and fragments are never sent.

    Example:
        >>> _join("https://api.example/v1/?key=a", "/items?beta=true#list")
        'https://api.example/v1/items?key=a&beta=true'
    """
    (base, _, fixed), (end, _, query) = (text.partition("#")[0].partition("?") for text in (server, path))
    return f"{base.rstrip('/')}/{end.lstrip('/')}?{'&'.join(filter(None, (fixed, query)))}".removesuffix("?")


def _list_fixed(url: str) -> set[tuple[str, str]]:
    """Return the query parameters whose value the address itself holds, which is nothing for a model to choose."""
    pairs = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    return {("query", name.lower()) for name, value in pairs if "{" not in value}


def _find_server(document: Document, base_url: str | None, shared: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    if base_url:
        return base_url
    for level in (node, shared, document.content):
        servers = level.get("servers")
        urls = [_fill_in(server) for server in (servers if isinstance(servers, list) else ()) if _has_url(server)]
        if urls:
            return next((url for url in urls if "://" in urljoin(document.url, url)), urls[0])
    return "/"


def _has_url(server: Any) -> bool:
    return isinstance(server, Mapping) and isinstance(server.get("url"), str)


def _fill_in(server: Mapping[str, Any]) -> str:
    """Put the defaults of its variables into a server's address."""
    url: str = server["url"]
    variables = server.get("variables")
    for name, variable in variables.items() if isinstance(variables, Mapping) else ():
        default = variable.get("default", "") if isinstance(variable, Mapping) else ""
        url = url.replace(f"{{{name}}}", str(default))
    return url


def _make_absolute(url: str, document: Document) -> str:
    try:
        absolute = urljoin(document.url, url)
        is_complete = urlsplit(absolute).scheme in ("http", "https") and bool(urlsplit(absolute).hostname)
    except ValueError:  # brackets that hold no IPv6 address
        is_complete = False
    if not is_complete:
        raise Unusable(f"its server makes it {url!r}, which is no complete address; give base_url")
    return absolute


def _make_name(path: str, method: str, node: Mapping[str, Any], taken: Collection[str]) -> str:
    """Return a name that every model API takes, from the operation's id or from its method and path."""
    operation_id = node.get("operationId")
    has_id = isinstance(operation_id, str) and operation_id.strip()
    wanted = operation_id if has_id else f"{method}/{path.lstrip('/')}"
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(wanted)).strip("_")[:_MAX_NAME_CHARS] or method
    unique, n = name, 1
    while unique in taken:
        n += 1
        unique = f"{name[: _MAX_NAME_CHARS - len(str(n)) - 1]}_{n}"
    return unique


def _describe(node: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """Return summary and description; the one is often the beginning of the other."""
    for level in (node, shared):
        summary, description = (tidy_text(level.get(key), _MAX_DESCRIPTION_CHARS) for key in ("summary", "description"))
        if summary and description and not description.startswith(summary.rstrip(".")):
            return tidy_text(f"{summary.rstrip('.')}. {description}", _MAX_DESCRIPTION_CHARS)
        if summary or description:
            return description or summary
    return ""


class Security:
    """The credentials of one document."""

    def __init__(self, document: Document, auth: Mapping[str, str]) -> None:
        """Read what `auth` names: security schemes of the document, or places, each with its environment variable.

        Credentials of places (``header:NAME``, ``query:NAME``, ``cookie:NAME``) are sent with every operation.

        Raises:
            ConfigError: If there is no such scheme, or a variable is not set.
        """
        self._default = document.content.get("security")
        self._is_declared = self._default is not None or _is_declared_anywhere(document)
        self._always: list[Credential] = []
        self._schemes: dict[str, Credential] = {}
        known = _read_schemes(document)
        for name, variable in auth.items():
            read_variable(variable)
            place, _, parameter = name.partition(":")
            if place in _PLACES and parameter:
                self._always.append(Credential(variable, _PLACES[place], parameter))
            elif name in known:
                self._schemes[name] = _make_credential(name, known[name], variable)
            else:
                raise ConfigError(
                    f"{document.name} has no security scheme {name!r}; it has: {', '.join(known) or 'none'}. "
                    "Name one of them, or a place such as 'header:X-Api-Key'."
                )

    def select(self, operation: Mapping[str, Any]) -> tuple[Credential, ...]:
        """Return what is sent with an operation: the first of its alternatives for which there is everything."""
        wanted = operation.get("security", self._default)
        if not self._is_declared:  # a document that forgot to, and a user who named schemes
            return (*self._always, *self._schemes.values())
        for alternative in wanted if isinstance(wanted, list) else []:
            if isinstance(alternative, Mapping) and alternative and self._schemes.keys() >= alternative.keys():
                return (*self._always, *(self._schemes[name] for name in alternative))
        return tuple(self._always)


def _is_declared_anywhere(document: Document) -> bool:
    """Return whether any operation names the schemes it wants."""
    return any("security" in node for _, _, _, node in _iter_nodes(document, []))


def _read_schemes(document: Document) -> dict[str, Mapping[str, Any]]:
    components = document.content.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, Mapping) else None
    known: dict[str, Mapping[str, Any]] = {}
    for name, node in (schemes or {}).items() if isinstance(schemes, Mapping) else ():
        try:
            scheme = document.resolve(node)
        except BadReference:
            continue
        if isinstance(scheme, Mapping):
            known[str(name)] = scheme
    return known


def _make_credential(name: str, scheme: Mapping[str, Any], variable: str) -> Credential:
    kind = str(scheme.get("type", "")).lower()
    if kind == "apikey" and scheme.get("in") in _PLACES and isinstance(scheme.get("name"), str):
        return Credential(variable, _PLACES[scheme["in"]], scheme["name"])
    if kind == "http" and str(scheme.get("scheme", "")).lower() == "basic":
        return Credential(variable, "header", "Authorization", "Basic")
    if kind in ("http", "oauth2", "openidconnect"):
        return Credential(variable, "header", "Authorization", "Bearer")
    raise ConfigError(
        f"Security scheme {name!r} is of a kind that cannot be used ({kind or 'no type'}); "
        "name the place instead, such as 'header:X-Api-Key'."
    )
