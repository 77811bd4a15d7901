"""What the server says over MCP: LangGraph's door writes out the state, this one gives the answer.

`langgraph.json` names it: ``"http": {"app": "alpha_umi.graph.served:app"}``.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OURS = frozenset({"messages", "answer", "finish", "reason", "structured_response"})


class AnswerOverMcp:
    """Middleware that puts the answer of an α-UMi agent, or why there is none, into the results of tool calls.

    What other graphs of the server say, and every other path, is passed on as it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Take the application behind."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/") != "/mcp":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def hold(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                answered = put_answer(body)
                others = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                await send({**start, "headers": [*others, (b"content-length", str(len(answered)).encode())]})
                await send({**message, "body": answered})

        await self._app(scope, receive, hold)


def put_answer(body: bytes) -> bytes:
    """Return a JSON-RPC response with the answer in the place of a state that was written out."""
    try:
        response = json.loads(body)
        (part,) = response["result"]["content"]
        state = ast.literal_eval(part["text"])  # LangGraph writes `repr` of JSON values
    except (ValueError, TypeError, LookupError, SyntaxError, RecursionError, MemoryError):
        return body
    if not isinstance(state, Mapping) or not state.keys() >= _OURS:
        return body
    response["result"] = _make_result(state)
    return json.dumps(response, ensure_ascii=False).encode()


def _make_result(state: Mapping[str, Any]) -> dict[str, Any]:
    waits = "A person has to decide on a tool call first, who cannot be asked over MCP."
    reason = state["reason"] if state["finish"] else waits
    text = state["answer"] or f"No answer: {reason}"
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": state["answer"] is None}
    if state["structured_response"] is not None:
        result["structuredContent"] = state["structured_response"]
    return result


app = Starlette(middleware=[Middleware(AnswerOverMcp)])
