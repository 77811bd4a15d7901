import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Annotated, Any

import httpx
import jsonschema_rs
import pytest
import yaml
from fastapi import Cookie, Depends, FastAPI, File, Form, Header, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from fastapi.security import APIKeyHeader, APIKeyQuery, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import BaseTool
from pydantic import BaseModel

from alpha_umi.errors import ConfigError
from alpha_umi.tools import Toolbox, load_tools
from alpha_umi.tools.openapi import load_openapi, load_openapi_source
from alpha_umi.tools.openapi.document import Document
from alpha_umi.tools.openapi.schema import read_schema

Serve = Callable[[Any], str]
SECRET = "s3cr3t/päss=wörd&1"


class Address(BaseModel):
    street: str
    zip_code: str | None = None


class Order(BaseModel):
    item: str
    n: int = 1
    ship_to: Address
    id: int | None = None


def make_shop() -> FastAPI:
    """An API with parameters of every kind, and every kind of misbehaviour."""
    app = FastAPI(title="shop")
    app.state.n_calls = {}

    def count(name: str) -> int:
        app.state.n_calls[name] = app.state.n_calls.get(name, 0) + 1
        return int(app.state.n_calls[name])

    @app.post("/orders/{id}", operation_id="place_order", summary="Place an order.")
    def place_order(id: int, order: Order, gift: bool = False, x_trace: Annotated[str, Header()] = "") -> Any:
        return {"path_id": id, "gift": gift, "trace": x_trace, "order": order}

    @app.get("/search", operation_id="search")
    def search(tag: Annotated[list[str], Query()], text: str = "", session: Annotated[str, Cookie()] = "") -> Any:
        return {"tag": tag, "text": text, "session": session}

    @app.get("/items/{name:path}/price", operation_id="price")
    def price(name: str, request: Request) -> Any:
        return {"name": name, "raw_path": request.scope["raw_path"].decode()}

    @app.post("/login", operation_id="login")
    def login(user: Annotated[str, Form()], level: Annotated[int, Form()]) -> Any:
        return {"user": user, "level": level}

    @app.post("/upload", operation_id="upload")
    def upload(note: Annotated[str, Form()], data: Annotated[bytes, File()]) -> Any:
        return {"note": note, "data": data.decode()}

    @app.get("/status/{code}", operation_id="status")
    def status(code: int) -> Any:
        count(f"get {code}")
        return Response(f'{{"n": {app.state.n_calls[f"get {code}"]}}}', code, media_type="application/json")

    @app.post("/status/{code}", operation_id="post_status")
    def post_status(code: int) -> Any:
        count(f"post {code}")
        return Response("no", code)

    @app.get("/flaky", operation_id="flaky")
    def flaky() -> Any:
        if count("flaky") < 3:
            raise HTTPException(503, headers={"Retry-After": "0"})
        return "at last"

    @app.get("/moved", operation_id="moved")
    def moved() -> Any:
        return RedirectResponse("http://192.0.2.1/steal")

    @app.get("/page", operation_id="page")
    def page() -> Any:
        return HTMLResponse("<html><head><title>Bad\n Gateway</title></head><body>long</body></html>", 500)

    @app.get("/nothing", operation_id="nothing", status_code=204)
    def nothing() -> None: ...

    @app.get("/picture", operation_id="picture")
    def picture() -> Any:
        return Response(b"\x89PNG\x00", media_type="image/png")

    @app.get("/flood", operation_id="flood")
    def flood() -> Any:
        async def blocks() -> AsyncIterator[bytes]:
            while True:
                count("flood")
                await asyncio.sleep(0)
                yield b"x" * 10_000

        return StreamingResponse(blocks(), media_type="text/plain")

    @app.get("/drip", operation_id="drip")
    def drip() -> Any:
        def blocks() -> Any:
            for _ in range(50):
                yield b"."
                time.sleep(0.1)

        return StreamingResponse(blocks(), media_type="text/plain")

    return app


def make_vault() -> FastAPI:
    """An API that repeats every credential it is sent."""
    app = FastAPI(title="vault")

    @app.get("/header", operation_id="by_header")
    def by_header(key: Annotated[str, Depends(APIKeyHeader(name="X-Key", scheme_name="HeaderKey"))]) -> Any:
        return {"key": key}

    @app.get("/query", operation_id="by_query")
    def by_query(key: Annotated[str, Depends(APIKeyQuery(name="key", scheme_name="QKey"))], request: Request) -> Any:
        raise HTTPException(403, f"bad key {key} at {request.url}")

    @app.get("/basic", operation_id="by_basic")
    def by_basic(
        user: Annotated[HTTPBasicCredentials, Depends(HTTPBasic(scheme_name="User"))], request: Request
    ) -> Any:
        return [user.username, user.password, request.headers["Authorization"]]

    @app.get("/bearer", operation_id="by_bearer")
    def by_bearer(request: Request, token: Annotated[Any, Depends(HTTPBearer(scheme_name="Token"))]) -> Any:
        return request.headers["Authorization"]

    @app.get("/plain", operation_id="plain")
    def plain(request: Request, city: str, appid: str = "") -> Any:
        return {"city": city, "appid": appid, "headers": dict(request.headers)}

    return app


@pytest.fixture
def shop(serve: Serve) -> Mapping[str, BaseTool]:
    url = serve(make_shop())
    return {tool.name: tool for tool in load_openapi(f"{url}/openapi.json", timeout_s=60, max_response_bytes=50_000)}


def run(tools: Mapping[str, BaseTool] | list[BaseTool], name: str, /, **arguments: Any) -> str:
    """Run a call as the agent does, and return the observation."""
    toolbox = Toolbox(list(tools.values()) if isinstance(tools, Mapping) else tools)
    return str(toolbox.execute(name, arguments, "1").content)


def make_document(paths: Any, **more: Any) -> dict[str, Any]:
    return {"openapi": "3.0.1", "servers": [{"url": "http://api.example:9"}], "paths": paths, **more}


def test_arguments_go_to_path_query_header_and_body(shop: Mapping[str, BaseTool]) -> None:
    arguments = {"id": 7, "gift": True, "x-trace": "t1", "item": "hat", "ship_to": {"street": "A"}, "body_id": 3}
    answer = json.loads(run(shop, "place_order", **arguments))
    ordered = {"item": "hat", "n": 1, "ship_to": {"street": "A", "zip_code": None}, "id": 3}
    assert answer == {"path_id": 7, "gift": True, "trace": "t1", "order": ordered}


def test_schema_tells_what_is_required_and_nothing_refers_elsewhere(shop: Mapping[str, BaseTool]) -> None:
    spec = next(spec for spec in Toolbox([shop["place_order"]]).specs)
    assert spec.description == "Place an order."
    assert list(spec.parameters["properties"]) == ["id", "gift", "x-trace", "item", "n", "ship_to", "body_id"]
    assert spec.parameters["required"] == ["id", "item", "ship_to"]
    assert "$ref" not in json.dumps(spec.parameters)
    assert "no_such: there is no such argument" in run(shop, "price", name="x", no_such=1)


def test_lists_and_cookies_are_written_as_the_server_reads_them(shop: Mapping[str, BaseTool]) -> None:
    answer = json.loads(run(shop, "search", tag=["a b", "c&d"], text="ä+", session="s1"))
    assert answer == {"tag": ["a b", "c&d"], "text": "ä+", "session": "s1"}


def test_path_value_cannot_leave_its_segment(shop: Mapping[str, BaseTool]) -> None:
    assert json.loads(run(shop, "price", name="a b/c?d#é"))["raw_path"] == "/items/a%20b%2Fc%3Fd%23%C3%A9/price"
    for name in ("..", ".", ""):
        assert "cannot stand in an address" in run(shop, "price", name=name)


def test_header_value_cannot_start_another_header(shop: Mapping[str, BaseTool]) -> None:
    arguments = {"id": 1, "item": "x", "ship_to": {"street": "A"}, "x-trace": "a\r\nX-Evil: 1"}
    assert "line break" in run(shop, "place_order", **arguments)


def test_forms_and_files_are_sent(shop: Mapping[str, BaseTool]) -> None:
    assert json.loads(run(shop, "login", user="a&b", level=2)) == {"user": "a&b", "level": 2}
    assert json.loads(run(shop, "upload", note="hi", data="text of a file")) == {"note": "hi", "data": "text of a file"}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("status", {"code": 404}, 'the server answered 404 Not Found: {"n": 1}'),
        ("status", {"code": 500}, 'the server answered 500 Internal Server Error: {"n": 1}'),
        ("moved", {}, "307 Temporary Redirect: it sends on to another address, which is not followed"),
        ("page", {}, "500 Internal Server Error: a web page titled 'Bad Gateway'"),
        ("nothing", {}, "(done: status 204, no content)"),
        ("picture", {}, "(image/png, 5 bytes, not shown)"),
    ],
)
def test_every_kind_of_answer_is_readable(
    shop: Mapping[str, BaseTool], name: str, arguments: dict[str, Any], words: str
) -> None:
    assert words in run(shop, name, **arguments)


def test_passing_faults_are_tried_again_if_the_method_allows(serve: Serve) -> None:
    app = make_shop()
    tools = load_openapi(f"{serve(app)}/openapi.json", timeout_s=60)
    assert run(tools, "flaky") == '"at last"'
    assert "429 Too Many Requests" in run(tools, "status", code=429)
    assert "500" in run(tools, "status", code=500)
    assert "503 Service Unavailable" in run(tools, "post_status", code=503)
    assert app.state.n_calls == {"flaky": 3, "get 429": 3, "get 500": 1, "post 503": 1}


def test_flood_is_cut_while_it_arrives(serve: Serve) -> None:
    app = make_shop()
    tools = {tool.name: tool for tool in load_openapi(f"{serve(app)}/openapi.json", max_response_bytes=50_000)}
    text = tools["flood"].invoke({})
    assert text == "x" * 50_000 + "\n[… the rest of the response was cut off …]"
    n_sent = -1
    while app.state.n_calls["flood"] != n_sent:  # for ever, if the connection were not closed
        n_sent = app.state.n_calls["flood"]
        time.sleep(0.2)


def test_slow_answer_ends_at_the_deadline(serve: Serve) -> None:
    tools = load_openapi(f"{serve(make_shop())}/openapi.json", timeout_s=2)
    assert "did not answer within 2 s" in run(tools, "drip")


def test_server_that_closes_without_an_answer_is_a_fault() -> None:
    class Silent(BaseHTTPRequestHandler):
        n_calls = 0

        def do_GET(self) -> None:
            Silent.n_calls += 1
            self.connection.shutdown(socket.SHUT_RDWR)

    with HTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tools = load_openapi(make_document({"/x": {"get": {}}}), base_url=f"http://127.0.0.1:{server.server_port}")
        assert "cannot be reached" in run(tools, "get_x")
        server.shutdown()
    assert Silent.n_calls == 3
    assert "127.0.0.1 cannot be reached (ConnectError). Try another tool." in run(tools, "get_x")


def test_proxy_of_the_environment_is_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append((scope["path"], dict(scope["headers"])[b"host"]))
            await Response("through the proxy")(scope, receive, send)

    monkeypatch.setenv("http_proxy", serve(proxy))
    document = make_document({"/x": {"get": {}}}, servers=[{"url": "http://api.example"}])
    assert run(load_openapi(document), "get_x") == "through the proxy"
    monkeypatch.setenv("no_proxy", "api.example")
    assert "cannot be reached" in run(load_openapi(document), "get_x")
    assert [host for _, host in seen] == [b"api.example"]


async def test_tools_run_beside_an_event_loop(shop: Mapping[str, BaseTool]) -> None:
    message = await Toolbox(list(shop.values())).aexecute("price", {"name": "hat"}, "1")
    assert '"name":"hat"' in str(message.content)


@pytest.fixture
def vault(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], list[BaseTool]]:
    monkeypatch.setenv("VAULT_KEY", SECRET.encode("ascii", "ignore").decode())
    monkeypatch.setenv("VAULT_USER", "me:opensesame")
    url = serve(make_vault())
    return lambda auth: load_openapi(f"{url}/openapi.json", auth=auth)


AUTH = {"HeaderKey": "VAULT_KEY", "QKey": "VAULT_KEY", "User": "VAULT_USER", "Token": "VAULT_KEY"}


def test_credentials_reach_the_server_and_are_shown_nowhere(
    vault: Callable[[dict[str, str]], list[BaseTool]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tools = vault({**AUTH, "query:appid": "VAULT_KEY"})
    shown = [str(spec) for spec in Toolbox(tools).specs] + [repr(tool) for tool in tools]
    assert run(tools, "by_header") == '{"key":"[redacted]"}'
    refused = run(tools, "by_query")
    assert "bad key [redacted] at" in refused
    assert run(tools, "by_basic") == '["me","[redacted]","Basic [redacted]"]'
    assert run(tools, "by_bearer") == '"Bearer [redacted]"'
    assert json.loads(run(tools, "plain", city="Rome"))["appid"] == "[redacted]"
    shown += [refused, caplog.text]
    secrets = ["s3cr3t", "opensesame", "b3BlbnNlc2FtZQ"]
    assert "HTTP Request: GET" in caplog.text
    assert not [secret for secret in secrets for text in shown if secret in text]


def test_credential_is_no_argument_of_the_model(vault: Callable[[dict[str, str]], list[BaseTool]]) -> None:
    plain = next(spec for spec in Toolbox(vault({"query:appid": "VAULT_KEY"})).specs if spec.name == "plain")
    assert list(plain.parameters["properties"]) == ["city"]
    assert "appid: there is no such argument" in run(vault({"query:appid": "VAULT_KEY"}), "plain", city="x", appid="y")


def test_credential_is_only_sent_to_operations_that_want_it(
    vault: Callable[[dict[str, str]], list[BaseTool]],
) -> None:
    headers = json.loads(run(vault(AUTH), "plain", city="Rome"))["headers"]
    assert not {"x-key", "authorization"} & headers.keys()
    assert "401" in run(vault({}), "by_header")


def test_credential_with_a_line_break_is_not_quoted(
    vault: Callable[[dict[str, str]], list[BaseTool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = vault(AUTH)
    monkeypatch.setenv("VAULT_KEY", "first\nsecond")
    text = run(tools, "by_header")
    assert "'VAULT_KEY' holds a line break" in text
    assert "first" not in text


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({"HeaderKey": "NOT_SET"}, "'NOT_SET' is named as a credential but is not set; export it"),
        ({"Other": "HOME"}, "no security scheme 'Other'; it has: HeaderKey, QKey, User, Token"),
    ],
)
def test_wrong_auth_says_what_to_do(
    vault: Callable[[dict[str, str]], list[BaseTool]], auth: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        vault(auth)


def test_credentials_need_https_or_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", SECRET)
    document = make_document({"/x": {"get": {}}}, servers=[{"url": "http://example.com"}])
    with pytest.raises(ConfigError, match=r"only sent over HTTPS or to this machine, not to http://example.com"):
        load_openapi(document, auth={"header:X-Key": "KEY"})
    assert load_openapi({**document, "servers": [{"url": "https://example.com"}]}, auth={"header:X-Key": "KEY"})


def test_only_allowed_hosts_are_called(caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = {"get": {"servers": [{"url": "http://other.example"}]}}
    document = make_document({"/here": {"get": {}}, "/there": elsewhere})
    assert [tool.name for tool in load_openapi(document)] == ["get_here", "get_there"]
    assert [tool.name for tool in load_openapi(document, allowed_hosts=["api.example:9"])] == ["get_here"]
    assert "get_there is left out: other.example is no allowed host" in caplog.text
    with pytest.raises(ConfigError, match=r"no operation that can be used: .* no allowed host"):
        load_openapi(document, allowed_hosts=["api.example:10"])


def test_references_that_recur_or_lead_nowhere_do_not_stop_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    node = {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#/components/schemas/Node"}}}
    circle = {"$ref": "#/components/parameters/Circle"}

    def body(reference: str) -> Any:
        return {"requestBody": {"content": {"application/json": {"schema": {"$ref": reference}}}}}

    paths = {
        "/recursive": {"post": body("#/components/schemas/Node")},
        "/lost": {"post": body("#/components/schemas/Lost")},
        "/outside": {"post": body("other.yaml#/Thing")},
        "/circle": {"get": {"parameters": [circle]}},
        "/item": {"$ref": "#/nowhere"},
        "/pointer": {"get": {"parameters": [{"$ref": "#/components/parameters/a~1b%20c"}]}},
    }
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer"}}
    parameters = {"Circle": circle, "a/b c": limit}
    tools = load_openapi(make_document(paths, components={"schemas": {"Node": node}, "parameters": parameters}))
    specs = {spec.name: spec.parameters["properties"] for spec in Toolbox(tools).specs}
    assert specs["post_recursive"]["next"] == {"type": "object"}
    assert list(specs["post_lost"]) == ["body"]
    assert specs["get_pointer"] == {"limit": {"type": "integer"}}
    assert specs.keys() == {"post_recursive", "post_lost", "post_outside", "get_pointer"}
    for words in ("'#/components/schemas/Lost', which leads nowhere", "bundle it", "does not end", "'#/nowhere'"):
        assert words in caplog.text


def test_names_are_usable_and_unique() -> None:
    ids = ["get pet!", "get pet!", "get_pet", "ünï", None, "x" * 100, "x" * 100]
    paths = {f"/{i}": {"get": {"operationId": name} if name else {}} for i, name in enumerate(ids)}
    names = [tool.name for tool in load_openapi(make_document(paths))]
    assert names == ["get_pet", "get_pet_2", "get_pet_3", "n", "get_4", "x" * 64, "x" * 62 + "_2"]


def test_large_document_makes_small_tools() -> None:
    schemas: dict[str, Any] = {
        f"S{i}": {"type": "object", "properties": {f"p{j}": {"$ref": f"#/components/schemas/S{(i * 7 + j) % 400}"}
                                                   for j in range(8)}}
        for i in range(400)
    }  # fmt: skip
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/S1"}}}
    filler = {"description": "x" * 200_000}
    paths = {f"/p{i}": {"post": {"requestBody": {"content": content}, **filler}} for i in range(26)}
    text = json.dumps(make_document(paths, components={"schemas": schemas}))
    assert len(text) > 5_000_000
    tools = load_openapi(json.loads(text))
    assert len(tools) == 26
    assert len(json.dumps(tools[0].args_schema)) < 50_000, (
        "a schema that doubles at every level must not be written out"
    )


TOOLALPACA = {
    # as machine-written documents are: keys of the schema in the parameter, no ids, required as a flag, wild types
    "openapi": "3.0.0",
    "info": {"title": "Cat Facts", "version": "1"},
    "servers": [{"url": "https://cats.example/v1"}],
    "paths": {
        "/facts": {
            "get": {
                "summary": "Get facts",
                "description": "Get facts about cats",
                "parameters": [
                    {"name": "breed", "in": "query", "type": "String", "enum": ["any", "siamese"], "required": False},
                    {"name": "limit", "in": "query", "schema": {"type": "int", "nullable": True, "minimum": 0,
                                                                "exclusiveMinimum": True}},
                    {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                ],
                "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/nope"}}}}},
            }
        },
        "/facts/{id}": {
            "put": {
                "operationId": "updateFact",
                "requestBody": {"content": {"application/json": {"schema": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string", "required": True, "pattern": "^(?<js$"},
                        "made": {"type": "date", "default": "2020-01-01"},
                        "key": {"type": "string", "readOnly": True},
                        "base": {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}},
                                           {"properties": {"b": {"type": "float"}}, "required": ["b"]}]},
                    },
                    "required": ["key"],
                }}}},
            }
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_machine_written_document_is_understood(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cats.{suffix}"
    path.write_text(json.dumps(TOOLALPACA) if suffix == "json" else yaml.safe_dump(TOOLALPACA))
    facts, update = Toolbox(load_tools([f"openapi:{path}"])).specs
    assert (facts.name, facts.description) == ("get_facts", "Get facts about cats")
    assert facts.parameters["properties"] == {
        "breed": {"type": "string", "enum": ["any", "siamese"]},
        "limit": {"type": ["integer", "null"], "exclusiveMinimum": 0},
    }
    assert update.parameters["properties"] == {
        "id": {"type": "string"},
        "text": {"type": "string"},
        "made": {"type": "string", "default": "2020-01-01"},
        "base": {
            "type": "object",
            "properties": {"b": {"type": "number"}, "a": {"type": "string"}},
            "required": ["b"],
        },
    }
    assert update.parameters["required"] == ["id", "text"]


def test_yaml_dates_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    path.write_text(
        "openapi: 3.1.0\nservers: [{url: 'https://{region}.example', variables: {region: {default: eu}}}]\n"
        "paths:\n  /day:\n    get:\n      parameters:\n      - {name: day, in: query, schema: {enum: [2020-01-01]}}\n"
    )
    (spec,) = Toolbox(load_openapi(path)).specs
    assert spec.parameters["properties"]["day"]["enum"] == ["2020-01-01"]


def test_settings_file_names_document_and_credentials(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(make_vault())
    monkeypatch.setenv("VAULT_KEY", "opensesame")
    (tmp_path / "api.json").write_text(httpx.get(f"{url}/openapi.json").text)
    settings = {"document": "api.json", "base_url": url, "auth": {"HeaderKey": "VAULT_KEY"}, "timeout_s": 60}
    (tmp_path / "vault.yaml").write_text(yaml.safe_dump(settings))
    assert run(load_tools([f"openapi:{tmp_path}/vault.yaml"]), "by_header") == '{"key":"[redacted]"}'
    (tmp_path / "vault.yaml").write_text(yaml.safe_dump({**settings, "timeout": 5}))
    with pytest.raises(ConfigError, match=r"timeout: Extra inputs .* Settings are document, base_url, allowed_hosts"):
        load_openapi_source(f"{tmp_path}/vault.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "neither valid JSON nor valid YAML"),
        ("a: [", "neither valid JSON nor valid YAML"),
        ("[" * 100_000, "neither valid JSON nor valid YAML"),
        ("- 1", "holds no mapping"),
        ('{"swagger": "2.0"}', "Swagger 2.0; convert it to OpenAPI 3"),
        ('{"info": {}}', "no line 'openapi: 3…'"),
        ('{"openapi": "3.0.0"}', "has no 'paths'"),
        ('{"openapi": "3.0.0", "paths": {}}', "no operation that can be used: it is empty"),
        ('{"openapi": "3.0.0", "paths": {"/a": {"get": {}}}}', "is no complete address; give base_url"),
        ('{"openapi": "3.0.0", "paths": {"/a": {"get": {"parameters": [1]}}}}', "parameters has no name"),
    ],
)
def test_unusable_document_says_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "api").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_openapi(tmp_path / "api")


def test_missing_document_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: .*give an OpenAPI document"):
        load_openapi(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot be fetched: 127.0.0.1 cannot be reached"):
        load_openapi("http://127.0.0.1:9/openapi.json")


KEYWORDS = "type properties items required allOf anyOf enum nullable minimum exclusiveMinimum pattern $ref maxLength a"
keys = st.sampled_from(KEYWORDS.split())
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["object", "array", "int", "#/x", "#", "(", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(node=values, target=values)
def test_any_schema_becomes_one_that_a_tool_can_have(node: Any, target: Any) -> None:
    schema, _ = read_schema(Document({"x": target}, "test"), node)
    jsonschema_rs.meta.validate(schema)
    assert "$ref" not in schema
