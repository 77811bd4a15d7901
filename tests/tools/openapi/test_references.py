"""References, at every level and into other files; merge keys of YAML."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI

from alpha_umi.documents import parse_yaml
from alpha_umi.errors import ConfigError
from alpha_umi.tools.openapi.document import BadReference, Document, load_document, require_openapi_3
from alpha_umi.tools.openapi.operations import Security, read_operations
from alpha_umi.tools.openapi.schema import read_schema

SIZE = {"name": "size", "in": "query", "schema": {"$ref": "#/components/schemas/Size"}}
NAMED = {"type": "object", "properties": {"name": {"type": "string"}}}
POST: dict[str, Any] = {"operationId": "make", "parameters": [{"$ref": "#/components/parameters/Size"}]}
POST["requestBody"] = {"$ref": "#/components/requestBodies/Named"}
COMPONENTS = {
    "schemas": {"Size": {"type": "integer"}, "Named": NAMED, "Again": {"$ref": "#/components/schemas/Named"}},
    "parameters": {"Size": SIZE},
    "requestBodies": {"Named": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Again"}}}}},
    "pathItems": {"Things": {"post": {"$ref": "#/x-operations/make"}}},
}
WANTED = {"size": {"type": "integer"}, "name": {"type": "string"}}


def describe(source: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments of each operation, and the notes."""
    document = load_document(source)
    require_openapi_3(document)
    operations, notes = read_operations(document, Security(document, {}), "https://api.example")
    return {each.spec.name: each.spec.parameters["properties"] for each in operations}, notes


def make(paths: Any, **more: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": paths, "components": COMPONENTS, "x-operations": {"make": POST}, **more}


@pytest.mark.parametrize(
    "item", [{"$ref": "#/components/pathItems/Things"}, {"post": {"$ref": "#/x-operations/make"}}, {"post": POST}]
)
def test_references_are_followed_at_every_level(item: Any) -> None:
    assert describe(make({"/things": item})) == ({"make": WANTED}, [])


def test_what_stands_beside_a_reference_holds_as_well() -> None:
    item = {"$ref": "#/components/pathItems/Things", "get": {"operationId": "ok"}}
    assert describe(make({"/things": item}))[0] == {"make": WANTED, "ok": {}}
    document = Document({"P": {"type": "object", "description": "old", "properties": {"a": {}}}}, "test")
    more = {"$ref": "#/P", "description": "new", "properties": {"b": {"type": "string"}}, "required": ["b"]}
    assert read_schema(document, more)[0] == {
        "type": "object", "description": "new", "properties": {"a": {}, "b": {"type": "string"}}, "required": ["b"],
    }  # fmt: skip


@pytest.mark.parametrize("reference", ["#/nowhere", "other.yaml", "#/x-loop/a", "https://[bad", "https://a.example/b"])
def test_operation_that_cannot_be_resolved_is_left_out_with_a_note(reference: str) -> None:
    document = make({"/a": {"get": {"$ref": reference}}, "/ok": {"get": {"operationId": "ok"}}})
    document["x-loop"] = {"a": {"$ref": "#/x-loop/b"}, "b": {"$ref": "#/x-loop/a"}}
    names, notes = describe(document)
    assert (list(names), len(notes)) == (["ok"], 1)
    assert notes[0].startswith("GET /a is left out: it refers to ")


def test_loop_on_the_way_to_a_target_ends() -> None:
    document = Document({"a": {"$ref": "#/a/b"}}, "test")
    with pytest.raises(BadReference, match="does not end"):
        document.lookup("#/a/b")


def test_schemas_are_found_by_the_names_they_give_themselves() -> None:
    schemas = {"A": {"$anchor": "here", "type": "string"}, "B": {"$id": "https://x.example/b", "type": "integer"}}
    document = Document({"components": {"schemas": schemas}}, "test")
    assert read_schema(document, {"$ref": "#here"})[0] == {"type": "string"}
    assert read_schema(document, {"$ref": "https://x.example/b"})[0] == {"type": "integer"}
    assert "which leads nowhere" in read_schema(document, {"$ref": "#there"})[1][0]


def write_files(folder: Path) -> Path:
    """Write a document of many files, which refer to each other, and to the document."""
    named = "#/components/schemas/Named"
    files = {
        "api.yaml": {**make({"$ref": "paths/index.yaml"}), "components": {"schemas": {"$ref": "schemas/all.yaml"}}},
        "paths/index.yaml": {"/things": {"$ref": "things.yaml"}, "/ok": {"get": {"operationId": "ok"}}},
        "paths/things.yaml": {"post": {"$ref": "../operations/make%20it.json"}},
        "operations/make it.json": {
            "operationId": "make",
            "parameters": {"$ref": "#/parameters"},
            "requestBody": {"content": {"application/json": {"schema": {"$ref": f"../api.yaml{named}"}}}},
        },
        "schemas/all.yaml": {"Named": {"properties": {"$ref": "named.yaml#/properties"}}},
        "schemas/named.yaml": NAMED,
    }  # fmt: skip
    files["operations/make it.json"]["parameters"] = [{"$ref": "parameters.yaml#/0"}]
    files["operations/parameters.yaml"] = [{**SIZE, "schema": {"type": "integer"}}]  # type: ignore[assignment]
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content) if name.endswith("json") else yaml.safe_dump(content))
    return folder / "api.yaml"


def test_references_lead_into_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_files(tmp_path)
    assert describe(path) == ({"make": WANTED, "ok": {}}, [])
    monkeypatch.chdir(tmp_path)
    assert describe("api.yaml") == ({"make": WANTED, "ok": {}}, [])


def test_files_at_the_host_of_the_document_are_fetched(serve: Callable[[Any], str], tmp_path: Path) -> None:
    write_files(tmp_path)
    app = FastAPI()

    @app.get("/{name:path}")
    def get(name: str) -> Any:
        content = (tmp_path / name).read_text()
        return json.loads(content) if name.endswith("json") else yaml.safe_load(content)

    assert describe(f"{serve(app)}/api.yaml") == ({"make": WANTED, "ok": {}}, [])


def test_files_outside_the_folder_and_broken_ones_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("get: {operationId: stolen}")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link.yaml").symlink_to(tmp_path / "secret.yaml")
    (tmp_path / "in/broken.yaml").write_text("a: [")
    files = ("../secret.yaml", "link.yaml", "broken.yaml", "none.yaml", f"file://{tmp_path}/secret.yaml")
    paths = {f"/{i}": {"$ref": file} for i, file in enumerate(files)}
    (tmp_path / "in/api.json").write_text(json.dumps(make({**paths, "/ok": {"get": {"operationId": "ok"}}})))
    names, notes = describe(tmp_path / "in/api.json")
    assert (list(names), len(notes)) == (["ok"], len(files))
    assert "it is outside" in notes[0]
    assert all("which cannot be read" in note for note in notes)


def test_paths_that_lead_nowhere_say_so() -> None:
    with pytest.raises(ConfigError, match=r"The 'paths' of .* refer to '#/none', which leads nowhere; correct that"):
        describe(make({"$ref": "#/none"}))


@pytest.mark.parametrize("is_set", [True, False])
def test_security_of_an_operation_elsewhere_is_seen(is_set: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "opensesame")
    operations: dict[str, Any] = {"a": {"security": [{"Key": []}] if is_set else []}}
    schemes = {"securitySchemes": {"Key": {"type": "http", "scheme": "bearer"}}}
    paths = {"/a": {"get": {"$ref": "#/x-operations/a"}}, "/b": {"get": {}}}
    document = Document(make(paths, **{"x-operations": operations, "components": schemes}), "test")
    found, _ = read_operations(document, Security(document, {"Key": "KEY"}), "https://api.example")
    assert [len(each.credentials) for each in found] == [int(is_set), 0]


MERGED = {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    "text",
    [
        "x: &x {a: 1, b: 1}\ny: {<<: *x, b: 2, c: 3}",
        "x: &x {a: 1, b: 1}\ny: {b: 2, c: 3, <<: *x}",
        "x: &x {a: 1, b: 2}\nz: &z {b: 0, c: 3}\ny: {<<: [*x, *z]}",
        "x: &x {a: 1, b: 2}\nz: &z {<<: *x, a: 0, c: 3}\ny: {<<: *z, a: 1}",
        "y:\n  <<: {a: 0}\n  <<: {a: 1, b: 2}\n  c: 3",
    ],
)
def test_merge_keys_are_applied(text: str) -> None:
    assert parse_yaml(text)["y"] == MERGED == yaml.safe_load(text)["y"]


def test_merge_key_in_quotes_or_as_a_value_is_a_text() -> None:
    assert parse_yaml('"<<": {a: 1}\nb: <<\nc: [<<]') == {"<<": {"a": 1}, "b": "<<", "c": ["<<"]}


def test_keys_are_the_texts_that_json_would_have() -> None:
    text = "{0: a, 1: b, true: c, null: d, 1.5: e, 2020-01-01: f, on: g, <<: null}"
    assert parse_yaml(text) == dict(zip(["0", "1", "true", "null", "1.5", "2020-01-01", "on"], "abcdefg", strict=True))


@pytest.mark.parametrize("text", ["<<: 1", "<<: [1]", "a: &a {<<: *a}", "x: &x [1]\ny: {<<: *x}"])
def test_merge_key_that_names_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


def test_definitions_within_a_schema_are_found() -> None:
    number = {"type": "object", "$defs": {"n": {"type": "integer"}}, "properties": {"x": {"$ref": "#/$defs/n"}}}
    text = {
        "type": "object",
        "definitions": {"n": {"type": "string"}},
        "properties": {"x": {"$ref": "#/definitions/n"}},
    }
    other = {"$id": "https://x.example/b", "$defs": {"n": {"type": "boolean"}}, "$ref": "#/$defs/n"}
    named = {"$id": "https://x.example/a", "$defs": {"n": number}, "items": [1], "not": {"$ref": "b"}}
    document = Document({"components": {"schemas": {"B": other, "A": named}}}, "test")
    found = {"type": "object", "properties": {"x": {"type": "integer"}}}
    both = {"type": "object", "properties": {"a": number, "b": text}, "$defs": {"n": {"type": "null"}}}
    schema, problems = read_schema(document, both)
    assert schema["properties"] == {"a": found, "b": {**found, "properties": {"x": {"type": "string"}}}}
    assert read_schema(document, {"$ref": "https://x.example/a#/$defs/n"}) == (found, [])
    assert read_schema(document, {"$ref": "#/components/schemas/A"}) == ({"not": {"type": "boolean"}}, problems)
