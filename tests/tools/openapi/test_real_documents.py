"""Public documents themselves, where somebody has them beside the repository: described, and called, as they say."""

from __future__ import annotations

import gzip
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import jsonschema_rs
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse

from alpha_umi.tools import Toolbox
from alpha_umi.tools.openapi import load_openapi
from alpha_umi.tools.openapi.document import Document, load_document
from alpha_umi.tools.openapi.operations import Security, read_operations

DATA = Path(__file__).parents[4] / "shared" / "data" / "openapi"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the public documents are not beside the repository")
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
N_CALLS = 10


@pytest.fixture(scope="module", params=["openai.yaml", "plaid.yaml", "twilio_api_v2010.json", "digitalocean"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    if request.param == "digitalocean":
        with tarfile.open(DATA / "digitalocean-specification.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        return next(folder.glob("*/*.yaml"))
    (folder / request.param).write_bytes(gzip.decompress((DATA / f"{request.param}.gz").read_bytes()))
    return Path(folder / request.param)


def list_operations(document: Document) -> Iterator[tuple[str, str, Any, list[Any]]]:
    """Yield path, method, the operation and its parameters as the document has them."""
    for path, item in document.content["paths"].items():
        shared = document.resolve(item)
        for method in METHODS:
            if node := document.resolve(shared.get(method)):
                found = {}
                for each in [*shared.get("parameters", ()), *node.get("parameters", ())]:
                    parameter = document.resolve(each)
                    found[parameter["in"], parameter["name"]] = parameter
                yield path, method, node, list(found.values())


def test_every_operation_is_described_or_left_out_with_a_note(path: Path) -> None:
    document = load_document(path)
    operations, notes = read_operations(document, Security(document, {}), "https://api.example")
    left_out = [note for note in notes if " is left out: " in note]
    wanted = list(list_operations(document))
    assert len(operations) + len(left_out) == len(wanted) > 100
    assert len(left_out) <= 1
    for operation, (key, method, node, parameters) in zip(operations, wanted, strict=True):
        assert operation.method == method.upper()
        places = {(each.place, each.wire_name) for each in operation.arguments}
        parameters = [each for each in parameters if each["name"] not in ("Accept", "Content-Type")]
        assert places >= {(each["in"], each["name"]) for each in parameters}, key
        names = operation.spec.parameters.get("required", ())
        required = {each.wire_name for each in operation.arguments if each.name in names}
        assert required >= {each["name"] for each in parameters if each.get("required")}, key
        body = document.resolve(node.get("requestBody"))
        assert (operation.body is not None) is bool(body), key
        assert not body or operation.body is None or operation.body.media_type in body["content"], key


def make_value(schema: Any, depth: int = 0) -> Any:
    """Return some value of a schema; only what is required of inner objects."""
    if not isinstance(schema, Mapping) or not schema:
        return "x"
    for key in ("anyOf", "allOf"):
        if key in schema and "properties" not in schema:
            return make_value(schema[key][0], depth)
    if "enum" in schema or "const" in schema:
        return schema.get("enum", [schema.get("const")])[0]
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind == "object":
        names = [*schema.get("required", ()), *(list(schema.get("properties", ()))[:4] if depth == 0 else ())]
        properties = schema.get("properties", {})
        return {name: make_value(properties.get(name), depth + 1) for name in dict.fromkeys(names)}
    if kind == "array":
        return [make_value(schema.get("items"), depth + 1)] * max(schema.get("minItems", 1), 1)
    if kind in ("integer", "number"):
        return schema.get("minimum", min(schema.get("maximum", 3), 3))
    if "pattern" in schema:  # those of the documents are names of characters, each with its number
        return re.sub(r"\[[^]]*\]\{(\d+)\}", lambda found: "0" * int(found[1]), schema["pattern"]).strip("^$")
    return {"boolean": True, "null": None}.get(kind, "x" * max(schema.get("minLength", 1), 1))


class StandIn:
    """A server that knows a document and checks every request against it."""

    def __init__(self, document: Document) -> None:
        self.problems: list[str] = []
        self._document = document
        self._operations = list(list_operations(document))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        self._check(request, await request.body())
        await JSONResponse({"ok": True})(scope, receive, send)

    def _check(self, request: Request, body: bytes) -> None:
        path = request.scope["raw_path"].decode()
        for key, method, node, parameters in self._operations:
            template = re.sub(r"\\\{(.+?)\\\}", r"([^/]+)", re.escape(key.partition("?")[0]))
            if method.upper() == request.method and (match := re.fullmatch(template, path)):
                names = re.findall(r"\{(.+?)\}", key)
                values = {name: unquote(text) for name, text in zip(names, match.groups(), strict=False)}
                self._check_parameters(parameters, values, request)
                self._check_body(self._document.resolve(node.get("requestBody")), request, body)
                return
        self.problems.append(f"no operation for {request.method} {path}")

    def _check_parameters(self, parameters: list[Any], values: Mapping[str, str], request: Request) -> None:
        query = parse_qsl(request.url.query, keep_blank_values=True)
        known = {each["name"].partition("[")[0] for each in parameters if each["in"] == "query"}
        self.problems += [f"{name} is no parameter" for name, _ in query if name.partition("[")[0] not in known]
        for each in parameters:
            texts = [text for name, text in query if name == each["name"]]
            texts += [values[each["name"]]] if each["in"] == "path" else []
            if each.get("required") and each["in"] in ("path", "query") and not texts:
                self.problems.append(f"{each['name']} is missing")
            if texts and isinstance(each.get("schema"), Mapping):
                self._check_value(each["schema"], texts, each["name"])

    def _check_body(self, described: Any, request: Request, body: bytes) -> None:
        media_type = request.headers.get("content-type", "").partition(";")[0]
        if not described or not body:
            self.problems += ["no body"] if described and described.get("required") else []
            return
        media = {key.partition(";")[0]: value for key, value in described["content"].items()}.get(media_type)
        if media is None:
            self.problems.append(f"{media_type} is none of {list(described['content'])}")
        elif media_type == "application/json":
            self._check_json(media["schema"], json.loads(body))
        elif media_type == "application/x-www-form-urlencoded":
            schema = self._document.resolve(media["schema"])
            fields: dict[str, list[str]] = {}
            for name, text in parse_qsl(body.decode(), keep_blank_values=True):
                fields.setdefault(name, []).append(text)
            self.problems += [f"{name} is missing" for name in schema.get("required", ()) if name not in fields]
            for name, texts in fields.items():
                self._check_value(schema["properties"][name], texts, name)

    def _check_value(self, schema: Any, texts: list[str], name: str) -> None:
        """Read texts as their type says, and check them."""
        readings: list[Any] = [texts[0], texts, [part for text in texts for part in text.split(",")]]
        for text in texts:
            try:
                readings += [json.loads(text), [json.loads(text)]]
            except ValueError:
                continue
        if not any(self._is_valid(schema, value) for value in readings):
            self.problems.append(f"{name}: {texts} is not {schema}")

    def _check_json(self, schema: Any, value: Any) -> None:
        if not self._is_valid(schema, value):
            self.problems.append(f"{value} is not {str(schema)[:200]}")

    def _is_valid(self, schema: Any, value: Any) -> bool:
        return bool(jsonschema_rs.is_valid(self._inline(schema), value, validate_formats=False))

    def _inline(self, schema: Any, inside: tuple[str, ...] = ()) -> Any:
        """Return a schema of the document without references; one that contains itself allows anything there."""
        if isinstance(schema, list):
            return [self._inline(part, inside) for part in schema]
        if not isinstance(schema, Mapping):
            return schema
        if isinstance(reference := schema.get("$ref"), str):
            if reference in inside or len(inside) > 12:
                return {}
            return self._inline(self._document.lookup(reference), (*inside, reference))
        kept = {key: self._inline(value, inside) for key, value in schema.items() if key not in _NOTES}
        if schema.get("nullable") is True and isinstance(kept.get("type"), str):
            kept["type"] = [kept["type"], "null"]
        return kept


_NOTES = frozenset({"description", "example", "examples", "default", "pattern", "discriminator", "xml", "externalDocs"})


def test_calls_are_as_the_document_says(path: Path, serve: Callable[[Any], str]) -> None:
    stand_in = StandIn(load_document(path))
    box = Toolbox(load_openapi(path, base_url=serve(stand_in)))
    step = len(box.specs) // N_CALLS
    for spec in box.specs[: step * N_CALLS : step]:
        arguments = make_value(spec.parameters)
        assert box.find_fault(spec.name, arguments) == "", (spec.name, arguments)
        message = box.execute(spec.name, arguments, "1")
        assert (message.status, stand_in.problems) == ("success", []), (spec.name, arguments, message.content)
