"""What is sent: the address and its query, the styles of parameters, the bodies."""

from __future__ import annotations

import email.parser
import json
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import ToolException

from alpha_umi.tools.openapi.document import Document
from alpha_umi.tools.openapi.operations import Operation, Security, read_operations
from alpha_umi.tools.openapi.request import build_request

SERVER = "https://api.example"
USER = {"role": "admin", "level": 2}


def read(path: str, node: Any, *, server: str = SERVER, method: str = "post") -> tuple[list[Operation], list[str]]:
    document = Document({"openapi": "3.1.0", "paths": {path: {method: node}}}, "test")
    return read_operations(document, Security(document, {}), server)


def write(path: str, node: Any, arguments: dict[str, Any], **options: str) -> httpx.Request:
    (operation,), _ = read(path, node, **options)
    return build_request(operation, arguments)


def parameter(place: str, name: str = "id", schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": {} if schema is None else schema, **more}


def body(media_type: str, schema: Any, **more: Any) -> dict[str, Any]:
    required = more.pop("required", True)
    return {"requestBody": {"required": required, "content": {media_type: {"schema": schema, **more}}}}


@pytest.mark.parametrize(
    ("path", "server", "query"),
    [
        ("/items?beta=true", SERVER, "beta=true&limit=5"),
        ("/items?beta=true&flag", SERVER, "beta=true&flag&limit=5"),
        ("/items", f"{SERVER}?version=2", "version=2&limit=5"),
        ("/items?beta=true", f"{SERVER}/?version=2#top", "version=2&beta=true&limit=5"),
        ("/items#list", SERVER, "limit=5"),
        ("/items?limit={limit}", SERVER, "limit=5"),
        ("/items?a=1&limit={limit}", SERVER, "a=1&limit=5"),
    ],
)
def test_query_of_the_path_and_of_the_server_is_kept(path: str, server: str, query: str) -> None:
    node = {"parameters": [parameter("query", "limit", {"type": "integer"})]}
    request = write(path, node, {"limit": 5}, server=server)
    assert (request.url.path, request.url.query.decode()) == ("/items", query)


def test_first_server_with_a_complete_address_is_called() -> None:
    node = {"servers": [{"url": "/v1"}, {"url": SERVER}, {"url": "https://other.example"}]}
    assert str(write("/x", node, {}, server="").url) == f"{SERVER}/x"


def test_parameter_that_the_address_fixes_is_no_argument() -> None:
    node = {"parameters": [parameter("query", "version", required=True), parameter("query", "beta")]}
    (operation,), _ = read("/items?beta=true", node, server=f"{SERVER}?version=2")
    assert operation.spec.parameters["properties"] == {}
    assert str(build_request(operation, {}).url) == f"{SERVER}/items?version=2&beta=true"


def test_placeholders_in_a_query_are_arguments() -> None:
    (operation,), notes = read("/items?do={do}&of={id}", {"parameters": [parameter("path", required=True)]})
    assert list(operation.spec.parameters["properties"]) == ["id", "do"]
    assert operation.spec.parameters["required"] == ["id", "do"]
    assert "names 'do', which is no parameter of it" in notes[0]
    assert str(build_request(operation, {"id": "a&b", "do": "x y"}).url) == f"{SERVER}/items?of=a%26b&do=x%20y"


# As RFC 6570 expands {id}, {.id}, {;id} and those with an asterisk.
@pytest.mark.parametrize(
    ("style", "explode", "texts"),
    [
        ("simple", False, ("5", "3,4", "role,admin,level,2")),
        ("simple", True, ("5", "3,4", "role=admin,level=2")),
        ("label", False, (".5", ".3,4", ".role,admin,level,2")),
        ("label", True, (".5", ".3.4", ".role=admin.level=2")),
        ("matrix", False, (";id=5", ";id=3,4", ";id=role,admin,level,2")),
        ("matrix", True, (";id=5", ";id=3;id=4", ";role=admin;level=2")),
    ],
)
def test_path_is_written_in_the_style_of_the_document(style: str, explode: bool, texts: tuple[str, ...]) -> None:
    node = {"parameters": [parameter("path", required=True, style=style, explode=explode)]}
    found = [write("/x{id}/y", node, {"id": value}).url.raw_path.decode() for value in (5, [3, 4], USER)]
    assert found == [f"/x{text}/y" for text in texts]


@pytest.mark.parametrize(
    ("more", "texts"),
    [
        ({}, ("id=5", "id=3&id=4", "role=admin&level=2")),
        ({"explode": False}, ("id=5", "id=3,4", "id=role,admin,level,2")),
        ({"style": "spaceDelimited"}, ("id=5", "id=3%204", "id=role%20admin%20level%202")),
        ({"style": "pipeDelimited"}, ("id=5", "id=3%7C4", "id=role%7Cadmin%7Clevel%7C2")),
        ({"style": "pipeDelimited", "explode": True}, ("id=5", "id=3&id=4", "role=admin&level=2")),
    ],
)
def test_query_is_written_in_the_style_of_the_document(more: dict[str, Any], texts: tuple[str, ...]) -> None:
    node = {"parameters": [parameter("query", **more)]}
    assert tuple(write("/x", node, {"id": value}).url.query.decode() for value in (5, [3, 4], USER)) == texts


@pytest.mark.parametrize(("value", "text"), [(5.0, "5"), (-3.0, "-3"), (2.5, "2.5"), (1e300, "1e+300"), (True, "true")])
def test_whole_numbers_are_written_without_a_point(value: Any, text: str) -> None:
    assert parse_qsl(write("/x", {"parameters": [parameter("query")]}, {"id": value}).url.query.decode()) == [
        ("id", text)
    ]
    form = write("/x", body("application/x-www-form-urlencoded", {"properties": {"id": {}}}), {"id": value})
    assert parse_qsl(form.content.decode()) == [("id", text)]


def test_deep_objects_are_written_in_brackets() -> None:
    node = {"parameters": [parameter("query", "f", style="deepObject", explode=True)]}
    value = {"age": {"gt": 3, "lt": None}, "tags": ["a", "b&c"], "on": True}
    pairs = parse_qsl(write("/x", node, {"f": value}).url.query.decode())
    assert pairs == [("f[age][gt]", "3"), ("f[tags][0]", "a"), ("f[tags][1]", "b&c"), ("f[on]", "true")]


def test_marks_within_values_are_no_marks_of_the_style() -> None:
    node = {"parameters": [parameter("query", explode=False)]}
    assert write("/x", node, {"id": ["a,b", "c&d"]}).url.query == b"id=a%2Cb,c%26d"
    reserved = {"parameters": [parameter("query", allowReserved=True)]}
    assert write("/x", reserved, {"id": "a/b:c?d&e#f"}).url.query == b"id=a/b:c?d%26e%23f"


@pytest.mark.parametrize("style", ["simple", "label", "matrix"])
@pytest.mark.parametrize("value", ["", ".", "..", [], {}])
def test_path_cannot_become_another(style: str, value: Any) -> None:
    node = {"parameters": [parameter("path", required=True, style=style, explode=True)]}
    if style == "matrix" and isinstance(value, str):
        assert write("/x/{id}", node, {"id": value}).url.raw_path.decode().startswith("/x/;id")
        return
    with pytest.raises(ToolException, match="cannot stand in an address"):
        write("/x/{id}", node, {"id": value})


@given(st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_any_text_in_a_query_arrives(values: list[str]) -> None:
    texts = [value.encode("utf-8", "replace").decode() for value in values]
    node = {"parameters": [parameter("query", "q [1]")]}
    pairs = parse_qsl(write("/x?a=1", node, {"q [1]": texts}).url.query.decode(), keep_blank_values=True)
    assert pairs == [("a", "1"), *(("q [1]", text) for text in texts)]


@pytest.mark.parametrize(
    ("encoding", "pairs"),
    [
        ({}, [("user", '{"role":"admin","level":2}')]),
        ({"contentType": "application/json"}, [("user", '{"role":"admin","level":2}')]),
        ({"style": "form"}, [("role", "admin"), ("level", "2")]),
        ({"explode": False}, [("user", "role,admin,level,2")]),
        ({"style": "deepObject", "explode": True}, [("user[role]", "admin"), ("user[level]", "2")]),
    ],
)
def test_objects_in_a_form_are_written_as_their_encoding_says(encoding: Any, pairs: list[tuple[str, str]]) -> None:
    schema = {"properties": {"n": {"type": "integer"}, "user": {"type": "object"}, "tags": {"type": "array"}}}
    node = body("application/x-www-form-urlencoded", schema, encoding={"user": encoding})
    request = write("/x", node, {"n": 5, "user": USER, "tags": ["a", "b c"]})
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qsl(request.content.decode()) == [("n", "5"), *pairs, ("tags", "a"), ("tags", "b c")]


def test_lists_of_objects_in_a_form_may_be_deep() -> None:
    schema = {"properties": {"items": {"type": "array", "items": {"type": "object"}}}}
    node = body("application/x-www-form-urlencoded", schema, encoding={"items": {"style": "deepObject"}})
    request = write("/x", node, {"items": [{"price": 5}, {"price": 7}]})
    assert parse_qsl(request.content.decode()) == [("items[0][price]", "5"), ("items[1][price]", "7")]


def read_parts(request: httpx.Request) -> list[Message]:
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    return list(email.parser.BytesParser().parsebytes(head + request.read()).get_payload())


def test_multipart_has_a_part_for_each_item_and_files_with_names_and_types() -> None:
    properties = {
        "note": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "user": {"type": "object"},
        "photo[]": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "logo": {"type": "string", "contentMediaType": "image/png"},
    }
    node = body("multipart/form-data", {"properties": properties}, encoding={"photo[]": {"contentType": "image/jpeg"}})
    arguments = {"note": "é", "tags": ["a", "b"], "user": USER, "photo[]": ["1", "2"], "logo": "L", "none": None}
    parts = read_parts(write("/x", node, arguments))
    names = [part.get_param("name", header="Content-Disposition") for part in parts]
    found = [(name, part.get_filename(), part.get("Content-Type")) for name, part in zip(names, parts, strict=True)]
    assert found == [
        ("note", None, None),
        ("tags", None, None),
        ("tags", None, None),
        ("user", None, "application/json"),
        ("photo[]", "photo_1.jpg", "image/jpeg"),
        ("photo[]", "photo_2.jpg", "image/jpeg"),
        ("logo", "logo_1.png", "image/png"),
    ]
    assert [part.get_payload(decode=True) for part in parts[:3]] == ["é".encode(), b"a", b"b"]
    assert json.loads(str(parts[3].get_payload())) == USER


@pytest.mark.parametrize(
    ("media_type", "schema", "value", "sent", "sent_type"),
    [
        ("application/octet-stream", {"type": "string", "format": "binary"}, "a é", "a é", "application/octet-stream"),
        ("image/*", {}, "x", "x", "application/octet-stream"),
        ("text/csv", {"type": "string"}, "a,b", "a,b", "text/csv"),
        ("application/xml", {"type": "string"}, "<a/>", "<a/>", "application/xml"),
        ("application/merge-patch+json", {}, {"a": None}, '{"a": null}', "application/merge-patch+json"),
        ("*/*", {"type": "array"}, [1], "[1]", "application/json"),
        ("application/json", {"type": ["string", "null"]}, None, "null", "application/json"),
    ],
)
def test_whole_body_is_sent_as_its_media_type_says(
    media_type: str, schema: Any, value: Any, sent: str, sent_type: str
) -> None:
    request = write("/x", body(media_type, schema), {"body": value})
    assert (request.content.decode(), request.headers["Content-Type"]) == (sent, sent_type)


def test_json_is_written_before_forms_and_forms_before_text() -> None:
    schema: dict[str, Any] = {"schema": {"properties": {"a": {}}}}
    content = {"text/plain": {}, "multipart/form-data": schema, "application/json; charset=utf-8": schema}
    (operation,), _ = read("/x", {"requestBody": {"content": content}})
    assert operation.body is not None
    assert (operation.body.kind, operation.body.media_type) == ("json", "application/json; charset=utf-8")


def test_body_that_may_be_missing_is_not_sent_where_nothing_is_given() -> None:
    schema = {"properties": {"a": {"type": "string"}}}
    for is_required, sent in ((False, b""), (True, b"{}")):
        request = write("/x", body("application/json", schema, required=is_required), {})
        assert request.content == sent
    assert write("/x", body("application/json", {"type": "array"}, required=False), {}).content == b""


def test_object_that_is_more_than_its_properties_is_one_argument() -> None:
    schema: dict[str, Any] = {"properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    (operation,), _ = read("/x", body("application/json", schema))
    assert list(operation.spec.parameters["properties"]) == ["body"]
    assert build_request(operation, {"body": {"a": 1}}).content == b'{"a": 1}'


STRANGE = {"style": "tabDelimited"}
XML = body("application/xml", {"properties": {"a": {}}})


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"parameters": [parameter("query", **STRANGE)]}, "parameter 'id' is written in style 'tabDelimited'"),
        ({"parameters": [parameter("cookie", style="deepObject")]}, "parameter 'id' is written in style 'deepObject'"),
        ({"parameters": [parameter("body")]}, "parameter 'id' is in 'body'"),
        (XML, "its body can only be written as application/xml"),
        (
            {"parameters": [parameter("query", content={"application/xml": {"schema": {"type": "object"}}})]},
            "parameter 'id' is written as application/xml",
        ),
        (
            body("multipart/form-data", {"properties": {"id": {"type": "object"}}},
                 encoding={"id": {"contentType": "application/xml"}}),
            "part 'id' of the body is written as application/xml",
        ),
        (
            body("application/x-www-form-urlencoded", {"properties": {"id": {}}}, encoding={"id": STRANGE}),
            "part 'id' of the body is written in style 'tabDelimited'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_said_at_load_and_not_offered(node: Any, words: str) -> None:
    optional = json.loads(json.dumps(node).replace('"required": true', '"required": false'))
    (operation,), notes = read("/x", optional)
    assert operation.spec.parameters["properties"] == {}
    assert [note for note in notes if f"{words}, so it is left out" in note]
    required = json.loads(json.dumps(node))
    for each in required.get("parameters", ()):
        each["required"] = True
    for media in required.get("requestBody", {}).get("content", {}).values():
        media["schema"]["required"] = list(media["schema"]["properties"])
    operations, notes = read("/x", required)
    assert not operations
    assert f"POST /x is left out: {words}" in notes[0]
