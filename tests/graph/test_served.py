"""What the server says over MCP, without the server."""

import json
from typing import Any

import pytest

from alpha_umi.graph.served import put_answer

STATE: dict[str, Any] = {
    "messages": [],
    "answer": "It's 42.",
    "finish": "answer",
    "reason": None,
    "structured_response": None,
}


def respond(text: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": text}]}}).encode()


def test_the_answer_stands_for_the_state() -> None:
    response = json.loads(put_answer(respond(repr(STATE))))
    assert response == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"content": [{"type": "text", "text": "It's 42."}], "isError": False},
    }


def test_where_there_is_no_answer_the_reason_is_told() -> None:
    state = {**STATE, "answer": None, "finish": "give up", "reason": "No tool fits."}
    result = json.loads(put_answer(respond(repr(state))))["result"]
    assert result == {"content": [{"type": "text", "text": "No answer: No tool fits."}], "isError": True}


def test_a_structured_response_is_structured_content() -> None:
    result = json.loads(put_answer(respond(repr({**STATE, "structured_response": {"value": 42}}))))["result"]
    assert result["structuredContent"] == {"value": 42}


@pytest.mark.parametrize(
    "body",
    [b"", b"[1]", b"not JSON", respond("plain"), respond("{'messages': []}"), respond("nan"), respond(None), b"{}"],
)
def test_everything_else_is_passed_on(body: bytes) -> None:
    assert put_answer(body) == body
