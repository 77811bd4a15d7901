"""What LangGraph's server lacks: over MCP it writes out the state, and it drops settings that it does not know.

`langgraph.json` names it: ``"http": {"app": "alpha_umi.graph.served:app"}``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alpha_umi.nodes.state import UmiContext

_TAKES_CONTEXT = re.compile(
    r"POST (?:/threads/[^/]+)?/runs(?:/stream|/wait|/batch|/crons)?|POST /assistants|PATCH /assistants/[^/]+"
)
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


class ContextChecked:
    """Middleware that refuses a run, a cron job or an assistant whose context has an unknown key or a wrong value.

    The server leaves out keys that the schema does not have, without a word, and an assistant with a wrong value is
    made, and fails at its first run. What has another context than an α-UMi agent, and every other path, is passed on.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Take the application behind."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _TAKES_CONTEXT.fullmatch(f"{scope['method']} {scope['path'].rstrip('/')}"):
            await self._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        if fault := await self._find_fault(scope, body):
            await JSONResponse({"detail": fault}, 422)(scope, receive, send)
            return
        is_read = False

        async def read() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, read, send)

    async def _find_fault(self, scope: Scope, body: bytes) -> str:
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            return ""
        for one in given if isinstance(given, list) else [given]:
            context = one.get("context") if isinstance(one, dict) else None
            if context and isinstance(context, dict) and (fault := describe_fault(context)):
                whose = one.get("assistant_id") or one.get("graph_id") or scope["path"].rstrip("/").rpartition("/")[2]
                if await self._takes_our_context(scope, str(whose)):
                    return fault
        return ""

    async def _takes_our_context(self, scope: Scope, assistant: str) -> bool:
        """Look for a graph of that name, or ask the server, as whoever sent the request."""
        from langgraph_api.graph import GRAPHS  # type: ignore[import-untyped]  # noqa: PLC0415 - this runs inside of it

        if assistant in GRAPHS:
            return getattr(GRAPHS[assistant], "context_schema", None) is UmiContext
        path, body = f"/assistants/{assistant}/schemas", b""

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def collect(message: Message) -> None:
            nonlocal body
            body += message.get("body", b"")

        about_body = (b"content-length", b"content-type", b"transfer-encoding")
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in about_body]
        asked = {"method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}
        await self._app({**scope, **asked}, receive, collect)
        try:
            return bool(json.loads(body)["context_schema"]["title"] == UmiContext.__name__)
        except (ValueError, TypeError, LookupError):  # there is no such assistant, or it is not theirs
            return False


def describe_fault(context: Mapping[str, Any]) -> str:
    """Return what is wrong with a context, empty if nothing is."""
    try:
        UmiContext.model_validate(context)
    except ValidationError as error:
        known = f"no such setting; settings are {', '.join(UmiContext.model_fields)}"
        faults = [(each["loc"], known if each["type"] == "extra_forbidden" else each["msg"]) for each in error.errors()]
        return "; ".join(f"context.{'.'.join(map(str, place))}: {fault}" for place, fault in faults)
    return ""


app = Starlette(middleware=[Middleware(AnswerOverMcp), Middleware(ContextChecked)])
