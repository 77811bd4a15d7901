"""Logs at the level DEBUG, of every library: no credential that the project handles is in them."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.errors import AlphaUmiError
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.nodes.models.specs import load_model
from alpha_umi.tools.http.redaction import hiding

SECRET = "sk-Logged/7f3a9c+x"
REPLY = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def echo(status: int) -> Any:
    """Return what answers with all that it was sent, in headers and body."""

    def answer(handler: Any) -> tuple[int, dict[str, str], bytes]:
        seen = handler.headers["Authorization"]
        message = {"role": "assistant", "content": "Hi."}
        body = REPLY | {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "error": {"message": seen},
        }
        return (
            status,
            {"Content-Type": "application/json", "X-Seen": seen, "Set-Cookie": seen},
            json.dumps(body).encode(),
        )

    return answer


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("login", ["", f"ann:{SECRET.replace('/', '%2F')}@"])
@pytest.mark.parametrize("status", [200, 302, 400, 401])
def test_key_of_a_model_server_is_in_no_log(
    status: int, login: str, is_async: bool, serving: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with serving(echo(status)) as host:
        model = load_model(f"openai:m@http://{login}{host}/v1", "planner")
        try:
            shown = repr(asyncio.run(model.ainvoke("Hi")) if is_async else model.invoke("Hi"))
        except Exception as error:
            shown = "".join(traceback.format_exception(error))
    encoded = base64.b64encode(f"ann:{SECRET}".encode()).decode()
    for secret in (SECRET, encoded):
        assert secret not in shown
        assert secret not in caplog.text
    assert "httpcore" in caplog.text


@given(st.from_regex(r"[a-z]{1,8}(\.[a-z_]{1,8}){0,2}", fullmatch=True), st.sampled_from(["%s", "{}", "x"]))
def test_no_logger_shows_what_is_hidden_meanwhile(caplog: Any, name: str, form: str) -> None:
    caplog.clear()
    with hiding([SECRET]):
        logging.getLogger(name).debug("sent %r to http://ann:hunter2@h", {"Authorization": SECRET})
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger(name).exception(form.format(SECRET), *([SECRET] if form == "%s" else ()))
    for secret in (SECRET, "hunter2"):
        assert secret not in caplog.text


def test_password_of_a_database_is_in_no_log(caplog: Any, tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(AlphaUmiError), open_checkpointer("postgresql://ann:hunter2SECRET@127.0.0.1:9/x") as saver:
        saver.get_tuple({"configurable": {"thread_id": "1", "checkpoint_ns": ""}})
    assert "hunter2SECRET" not in caplog.text
