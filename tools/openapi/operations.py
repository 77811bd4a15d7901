"""OpenAPI operations → what the model is told of each, and how its arguments become a request."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import urljoin, urlsplit

from alpha_umi.errors import ConfigError
from alpha_umi.tools.credentials import Credential
from alpha_umi.tools.openapi.document import BadReference, Document
from alpha_umi.tools.openapi.schema import read_schema, tidy_text
from alpha_umi.tools.openapi.security import Security
from alpha_umi.tools.spec import ToolSpec

Place: TypeAlias = Literal["path", "query", "header", "cookie", "body"]
BodyKind: TypeAlias = Literal["json", "form", "multipart", "text"]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MAX_NAME_CHARS = 64
_MAX_DESCRIPTION_CHARS = 400
_STYLES = {
    "path": ("simple",),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
# What the connection, the body and the credentials decide is no argument of a model.
_OWN_HEADERS = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "transfer-encoding"}
)
_BODY_KINDS: tuple[tuple[str, BodyKind], ...] = (
    (r"application/([\w.-]+\+)?json|\*/\*", "json"),
    (r"application/x-www-form-urlencoded", "form"),
    (r"multipart/form-data", "multipart"),
    (r"text/.*", "text"),
)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of the model, and where it goes in the request.

    Args:
        name: As the model writes it.
        wire_name: As the server wants it; ``""`` if the argument is the whole body.
        place: Part of the request.
        style: OpenAPI's name for how lists and objects are written.
        explode: Whether each item of a list gets a pair of its own.
        is_json: Whether the value is written as JSON.
        is_file: Whether a multipart body carries it as a file.
    """

    name: str
    wire_name: str
    place: Place
    style: str = "form"
    explode: bool = True
    is_json: bool = False
    is_file: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what the model is told, and how to call it."""

    spec: ToolSpec
    method: str
    url: str
    arguments: tuple[Argument, ...]
    body: BodyKind | None
    media_type: str
    credentials: tuple[Credential, ...]


class _Unusable(Exception):
    """An operation that no tool can be made of; its message says why."""


def read_operations(
    document: Document, security: Security, base_url: str | None = None
) -> tuple[list[Operation], list[str]]:
    """Return the operations of a document, and what was left out or is doubtful, one line each.

    Args:
        document: An OpenAPI 3 document.
        security: Decides on the credentials of each.
        base_url: Used for all in place of the document's servers.
    """
    operations: list[Operation] = []
    notes: list[str] = []
    taken: set[str] = set()
    for path, method, shared, node in _iter_nodes(document, notes):
        reader = _OperationReader(document, security, base_url)
        try:
            operation = reader.read(path, method, shared, node, taken)
        except (_Unusable, BadReference, ConfigError, RecursionError) as error:
            notes.append(f"{method.upper()} {path} is left out: {error}")
            continue
        taken.add(operation.spec.name)
        operations.append(operation)
        notes += [f"{operation.spec.name}: {problem}" for problem in dict.fromkeys(reader.problems)]
    return operations, notes


def _iter_nodes(
    document: Document, notes: list[str]
) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield path, method, path item and operation."""
    for path, item in document.content["paths"].items():
        try:
            shared = document.resolve(item)
        except BadReference as error:
            notes.append(f"{path} is left out: it refers to {error}")
            continue
        for method in METHODS:
            if isinstance(shared, Mapping) and isinstance(shared.get(method), Mapping):
                yield str(path), method, shared, shared[method]


class _OperationReader:
    """Reads one operation, collecting its arguments."""

    def __init__(self, document: Document, security: Security, base_url: str | None) -> None:
        self.problems: list[str] = []
        self._document = document
        self._security = security
        self._base_url = base_url
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self._arguments: list[Argument] = []

    def read(
        self, path: str, method: str, shared: Mapping[str, Any], node: Mapping[str, Any], taken: Collection[str]
    ) -> Operation:
        """Return the operation under a name that is not taken."""
        credentials = self._security.select(node)
        hidden = {(credential.place, credential.name.lower()) for credential in credentials}
        for parameter in self._iter_parameters(shared, node):
            if (parameter["in"], parameter["name"].lower()) not in hidden:
                self._add_parameter(parameter)
        self._match_path(path)
        body, media_type = self._add_body(node)
        parameters: dict[str, Any] = {"type": "object", "properties": self._properties, "additionalProperties": False}
        if self._required:
            parameters["required"] = self._required
        spec = ToolSpec(_make_name(path, method, node, taken), _describe(node, shared), parameters)
        url = self._find_server(shared, node).rstrip("/") + "/" + path.lstrip("/")
        return Operation(spec, method.upper(), url, tuple(self._arguments), body, media_type, credentials)

    def _iter_parameters(self, shared: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the operation's parameters and those of its path that it does not replace."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for listed in (shared.get("parameters"), node.get("parameters")):
            for item in listed if isinstance(listed, list) else ():
                parameter = self._document.resolve(item)
                if not isinstance(parameter, Mapping) or not isinstance(parameter.get("name"), str):
                    raise _Unusable("one of its parameters has no name")
                if parameter.get("in") not in _STYLES:
                    raise _Unusable(f"parameter {parameter['name']!r} is in {parameter.get('in')!r}")
                found[parameter["in"], parameter["name"]] = parameter
        yield from found.values()

    def _add_parameter(self, parameter: Mapping[str, Any]) -> None:
        name, place = parameter["name"], parameter["in"]
        if place == "header" and name.lower() in _OWN_HEADERS:
            return
        style = parameter.get("style", _STYLES[place][0])
        if style not in _STYLES[place]:
            raise _Unusable(f"parameter {name!r} is written in style {style!r}")
        content = parameter.get("content")
        # Machine-written documents often put the schema's keys into the parameter itself, as Swagger 2 did.
        node = parameter.get("schema", {key: parameter[key] for key in ("type", "enum", "items") if key in parameter})
        if isinstance(content, Mapping) and content:
            media = next(iter(content.values()))
            node = media.get("schema", {}) if isinstance(media, Mapping) else {}
        schema = self._read_schema(node)
        if description := tidy_text(parameter.get("description")):
            schema["description"] = description
        explode = parameter.get("explode", style == "form")
        argument = Argument(
            self._free_name(name, place), name, place, style, explode is True, is_json=isinstance(content, Mapping)
        )
        self._add(argument, schema, is_required=place == "path" or parameter.get("required") is True)

    def _match_path(self, path: str) -> None:
        """Add what the path names and the parameters forgot."""
        declared = {argument.wire_name for argument in self._arguments if argument.place == "path"}
        for name in dict.fromkeys(re.findall(r"\{([^{}]+)\}", path)):
            if name not in declared:
                self.problems.append(f"its path names {name!r}, which is no parameter of it; taken as text")
                self._add(Argument(self._free_name(name, "path"), name, "path", "simple"), {"type": "string"}, True)
        if unnamed := declared - set(re.findall(r"\{([^{}]+)\}", path)):
            raise _Unusable(f"its path does not name its path parameter {', '.join(sorted(unnamed))}")

    def _add_body(self, node: Mapping[str, Any]) -> tuple[BodyKind | None, str]:
        """Make arguments of the body: one per property of an object, one for anything else."""
        request_body = self._document.resolve(node.get("requestBody"))
        content = request_body.get("content") if isinstance(request_body, Mapping) else None
        if not isinstance(content, Mapping) or not content:
            return None, ""
        for pattern, kind in _BODY_KINDS:
            for media_type, media in content.items():
                if re.fullmatch(pattern, str(media_type).partition(";")[0].strip().lower()):
                    schema = self._read_schema(media.get("schema", {}) if isinstance(media, Mapping) else {})
                    self._add_body_arguments(kind, schema, request_body)
                    return kind, "application/json" if media_type == "*/*" else str(media_type)
        if request_body.get("required") is True:
            raise _Unusable(f"its body can only be written as {', '.join(map(str, content))}")
        return None, ""

    def _add_body_arguments(self, kind: BodyKind, schema: dict[str, Any], request_body: Mapping[str, Any]) -> None:
        properties = schema.get("properties")
        if kind == "text" or not properties:
            if description := tidy_text(request_body.get("description")):
                schema.setdefault("description", description)
            argument = Argument(self._free_name("body", "body"), "", "body")
            self._add(argument, schema or {"type": "string"}, is_required=request_body.get("required") is True)
            return
        for name, part in properties.items():
            is_file = part.get("format") == "binary"
            argument = Argument(self._free_name(name, "body"), name, "body", is_file=is_file)
            self._add(argument, part, is_required=name in schema.get("required", ()))

    def _add(self, argument: Argument, schema: dict[str, Any], is_required: bool) -> None:
        self._arguments.append(argument)
        self._properties[argument.name] = schema
        if is_required:
            self._required.append(argument.name)

    def _read_schema(self, node: Any) -> dict[str, Any]:
        schema, problems = read_schema(self._document, node)
        self.problems += problems
        return schema

    def _free_name(self, name: str, place: str) -> str:
        """Return a name for the model; two parameters may share one if they are in different places."""
        while name in self._properties:
            name = f"{place}_{name}"
        return name

    def _find_server(self, shared: Mapping[str, Any], node: Mapping[str, Any]) -> str:
        if self._base_url:
            return self._base_url
        for level in (node, shared, self._document.content):
            for server in level.get("servers") or ():
                if isinstance(server, Mapping) and isinstance(server.get("url"), str):
                    return _make_absolute(_fill_in(server), self._document)
        return _make_absolute("/", self._document)


def _fill_in(server: Mapping[str, Any]) -> str:
    """Put the defaults of its variables into a server's address."""
    url: str = server["url"]
    variables = server.get("variables")
    for name, variable in variables.items() if isinstance(variables, Mapping) else ():
        default = variable.get("default", "") if isinstance(variable, Mapping) else ""
        url = url.replace(f"{{{name}}}", str(default))
    return url


def _make_absolute(url: str, document: Document) -> str:
    absolute = urljoin(document.url, url)
    if urlsplit(absolute).scheme not in ("http", "https") or not urlsplit(absolute).hostname:
        raise _Unusable(f"its server is {url!r}, which is no complete address; give base_url")
    return absolute


def _make_name(path: str, method: str, node: Mapping[str, Any], taken: Collection[str]) -> str:
    operation_id = node.get("operationId")
    wanted = operation_id if isinstance(operation_id, str) and operation_id.strip() else f"{method}/{path.lstrip('/')}"
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", wanted).strip("_")[:_MAX_NAME_CHARS] or method
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
