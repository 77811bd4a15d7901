"""What a server gets beside OpenAI's protocol depends on what it says it is."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from alpha_umi.nodes.format.trajectory import Role, Trajectory, Turn
from alpha_umi.nodes.models.gbnf import role_gbnf
from alpha_umi.nodes.models.openai import make_openai, make_umi_server
from alpha_umi.nodes.models.request import make_request
from alpha_umi.tools.spec import ToolSpec
from tests.reliability.local_http import read, serving

ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
TRAJECTORY = Trajectory((ADD,), (Turn("2 + 3?"),))
JSON = {"Content-Type": "application/json"}


class Server:
    """Says who it is, refuses what it is told to, and remembers what it was sent."""

    def __init__(self, owner: str | None, refused: str = "", template: str = "{{ x }}") -> None:
        self.paths: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self._owner, self._refused, self._template = owner, refused, template

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        self.paths.append(handler.path)
        body = json.loads(read(handler) or b"{}")
        if handler.path.endswith("/models"):
            models = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": self._owner}]}
            return (200, JSON, json.dumps(models).encode()) if self._owner else (404, JSON, b"{}")
        if not handler.path.endswith("/chat/completions"):
            return 200, JSON, json.dumps([] if "lora" in handler.path else {"chat_template": self._template}).encode()
        self.bodies.append(body)
        if self._refused in body:
            fault = {"error": {"message": "Grammar error: too long", "type": "BadRequestError"}}
            return 400, JSON, json.dumps(fault).encode()
        message = {"role": "assistant", "content": "Action: add"}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        reply["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return 200, JSON, json.dumps(reply).encode()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def make(kind: str, role: Role, host: str, **options: Any) -> Any:
    url = f"http://{host}/v1"
    return (
        make_umi_server("m", role, options, base_url=url) if kind == "umi" else make_openai("m", options, base_url=url)
    )


def ask(server: Server, kind: str, role: Role, n_times: int = 1, **options: Any) -> list[dict[str, Any]]:
    with serving(server.answer) as host:
        model = make(kind, role, host, **options)
        for _ in range(n_times):
            request = make_request(model, role, TRAJECTORY, temperature=0.0)
            assert model.invoke(request.messages, **request.kwargs).text == "Action: add"
    return server.bodies


@pytest.mark.parametrize("kind", ["umi", "openai"])
@pytest.mark.parametrize("role", ["planner", "caller"])
def test_vllm_gets_the_grammar_as_structured_outputs(kind: str, role: Role) -> None:
    bodies = ask(server := Server("vllm"), kind, role, 2)
    gbnf = role_gbnf(role, [ADD], may_omit=kind == "umi")
    assert [body["structured_outputs"] for body in bodies] == [{"grammar": gbnf}] * 2
    assert not {"grammar", "lora", "gbnf", "fields"} & bodies[0].keys()
    assert server.paths.count("/v1/models") == 1


@pytest.mark.parametrize("kind", ["umi", "openai"])
def test_llamacpp_gets_it_under_its_own_name(kind: str) -> None:
    (body,) = ask(Server("llamacpp"), kind, "caller")
    assert body["grammar"] == role_gbnf("caller", [ADD], may_omit=kind == "umi")
    assert not {"structured_outputs", "lora"} & body.keys()


@pytest.mark.parametrize("kind", ["umi", "openai"])
@pytest.mark.parametrize("owner", ["library", None])
def test_other_servers_get_none(kind: str, owner: str | None) -> None:
    (body,) = ask(Server(owner), kind, "planner")
    assert not {"structured_outputs", "grammar"} & body.keys()


@pytest.mark.parametrize("kind", ["umi", "openai"])
def test_the_summarizer_writes_freely_and_so_does_an_unconstrained_model(kind: str) -> None:
    bodies = ask(Server("vllm"), kind, "summarizer") + ask(Server("vllm"), kind, "planner", constrained=False)
    assert [body.get("structured_outputs") for body in bodies] == [None, None]


def test_a_server_that_refuses_a_grammar_is_asked_without_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    bodies = ask(Server("vllm", refused="structured_outputs"), "openai", "planner", 2)
    assert ["structured_outputs" in body for body in bodies] == [True, False, False]
    assert "refuses a grammar" in caplog.text


def test_a_model_that_thinks_first_is_not_held_to_a_grammar_by_llamacpp() -> None:
    (body,) = ask(Server("llamacpp", template="{{ '<think>' }}"), "openai", "planner")
    assert "grammar" not in body


async def test_grammars_are_sent_in_async_calls_as_well() -> None:
    with serving((server := Server("llamacpp")).answer) as host:
        model = make("openai", "planner", host)
        request = make_request(model, "planner", TRAJECTORY, temperature=0.0)
        await model.ainvoke(request.messages, **request.kwargs)
    assert "grammar" in server.bodies[0]


def test_openai_itself_is_not_asked_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    assert "gbnf" not in make_request(make_openai("gpt-4.1", {}), "planner", TRAJECTORY, temperature=0.0).kwargs
