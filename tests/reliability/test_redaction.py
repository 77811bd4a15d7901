"""However a server writes a credential that it repeats, nobody reads it: made-up ways, also within each other."""

from __future__ import annotations

import base64
import gzip
import html
import json
import logging
import re
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.tools import ToolException

from alpha_umi.tools.http.client import HttpClient
from alpha_umi.tools.http.credentials import Credential
from alpha_umi.tools.http.redaction import redact, redact_bytes

Write = Callable[[str], str]
LETTERS = "abcXYZ0189"
secrets = st.builds(
    lambda head, middle, tail: f"{head}{middle}Z{tail}",  # a digit after a mark would look like an escape itself
    st.text(LETTERS, min_size=8, max_size=16),
    st.text("-_./+=:~ é", max_size=4),
    st.text(LETTERS, min_size=4, max_size=8),
)


def each(form: str) -> Write:
    """Return a way to write every letter, with its code as `c`."""
    return lambda text: "".join(form.format(c=ord(letter)) for letter in text)


def some(write: Write) -> Write:
    """Write every other letter in a way."""
    return lambda text: "".join(write(letter) if i % 2 else letter for i, letter in enumerate(text))


# Leads and ends that no standard knows, around codes in several bases and widths.
escapes = st.builds(
    lambda lead, letter, code, end: f"{lead}{letter}{{c:{code}}}{end}",
    st.sampled_from(["\\", "%", "=", "~", "$", "^", "!", "#", "&#", "_", "*"]),
    st.sampled_from(["", "u", "x", "U", "X"]),
    st.sampled_from(["02x", "02X", "04x", "08X"]),
    st.sampled_from(["", ";", "_"]),
)
between = st.sampled_from(["\0", " ", "-", "\n", "\u200b", "\u00ad", "\r\n ", "=\n", "·", "', '"])
WAYS: list[Write] = [
    lambda text: quote(text, safe=""),
    lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    html.escape,
    each("&#{c};"),
    each("\\{c:03o}"),
    lambda text: ", ".join(str(ord(letter)) for letter in text),
    lambda text: " ".join(f"{ord(letter):08b}" for letter in text),
    lambda text: text.encode().hex(),
    lambda text: text.encode("utf-16").hex(":"),
    lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    lambda text: base64.urlsafe_b64encode(f"x{text}".encode("utf-16-le")).decode().rstrip("="),
    lambda text: base64.encodebytes(("x" * 70 + text).encode()).decode(),
    lambda text: base64.b32encode(text.encode()).decode(),
    lambda text: text.encode("utf-7").decode(),
    lambda text: text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)}),
]
cases: st.SearchStrategy[Write] = st.sampled_from([str.upper, str.swapcase, str.title])
ways = st.one_of(
    st.sampled_from(WAYS),
    escapes.map(each),
    escapes.map(lambda form: some(each(form))),
    between.map(lambda mark: lambda text: mark.join(text)),
)


def fold(text: str) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text)).casefold()


@settings(max_examples=100, deadline=None)
@given(secrets, cases | ways, st.text('ab <>"{}:,/é', max_size=20), st.text('ab <>"{}:,/é', max_size=20))
def test_secret_is_hidden_in_every_way_to_write_it(secret: str, write: Write, before: str, after: str) -> None:
    written = write(secret)
    shown = redact(f"{before} {written} {after}", [secret])
    assert "[redacted]" in shown
    assert fold(written) not in fold(shown)
    assert fold(secret) not in fold(shown)


@settings(max_examples=60, deadline=None)
@given(secrets, cases | ways, ways)
def test_secret_is_hidden_in_two_ways_within_each_other(secret: str, inner: Write, outer: Write) -> None:
    assert "[redacted]" in redact(f"({outer(inner(secret))})", [secret])


@settings(max_examples=50, deadline=None)
@given(st.text(LETTERS, min_size=8), st.sampled_from(["utf-16", "utf-16-be", "utf-32", "utf-7", "cp037", "cp500"]))
def test_secret_is_hidden_in_a_body_of_any_charset(secret: str, charset: str) -> None:
    body = redact_bytes(f"a {secret} b".encode(charset), [secret])
    assert secret not in body.decode(charset, "replace")
    assert "redacted" in body.decode(charset, "replace")  # charsets differ in the brackets


@given(st.text(max_size=200), st.text(LETTERS, min_size=8))
def test_other_text_is_left_as_it_is(text: str, secret: str) -> None:
    assert redact(text, [secret]) == text or fold(secret) in fold(text)


def test_long_text_of_many_escapes_is_left_as_it_is() -> None:
    for piece in ("word and 'words', ", "%41\\u0041&#65;", "QUJD", "65, 66, ", "\\\\"):
        text = piece * (262_144 // len(piece))
        assert redact(text, ["no-such-secret-1"]) == text


SECRET = "sk-Echo/7f3a9c+x"


@pytest.mark.parametrize("status", [200, 404, 503])
@settings(max_examples=15, deadline=None)
@given(
    data=st.data(),
    place=st.sampled_from(["phrase", "charset", "type", "length", "header", "body", "title", "gzip"]),
)
def test_reply_shows_no_secret_wherever_it_stands(status: int, data: Any, place: str, request: Any) -> None:
    serving = request.getfixturevalue("serving")
    caplog = request.getfixturevalue("caplog")
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    marked = data.draw(st.sampled_from(["{}", "a{}b", "text/{}", "x; {}"])).format(SECRET)

    def answer(handler: Any) -> tuple[int, dict[str, str], bytes]:
        if place == "phrase":
            handler.send_response(status, f"No {marked}")
            handler.send_header("Content-Length", "2")
            handler.end_headers()
            handler.wfile.write(b"ok")
            raise ConnectionResetError
        headers = {"Content-Type": "text/html" if place == "title" else "text/plain"}
        if place == "charset":
            headers["Content-Type"] = f"text/plain; charset={marked}"
        elif place == "type":
            headers["Content-Type"] = data.draw(st.sampled_from([marked, f"image/{marked}", f"image/x; {marked}"]))
        elif place in ("header", "length"):
            headers[data.draw(st.sampled_from(["Retry-After", "Location", "X-Made-Up", "Set-Cookie"]))] = marked
        body = f"<html><title>No {marked}</title>".encode() if place == "title" else marked.encode()
        if place == "gzip":
            headers["Content-Encoding"], body = "gzip", gzip.compress(body)
        return status, headers, body

    with pytest.MonkeyPatch.context() as patch, serving(answer) as host:
        patch.setattr("alpha_umi.tools.http.client.getproxies", dict)
        patch.setenv("ECHOED", SECRET)
        client = HttpClient(allowed_hosts=[host], private_hosts=[host], timeout_s=60, max_response_bytes=10_000)
        sent = httpx.Request("GET", f"http://{host}/")
        try:
            shown = repr(client.send(sent, is_idempotent=False, credentials=[Credential("ECHOED", "header", "X-Key")]))
        except ToolException as error:
            shown = str(error)
    for text in (shown, caplog.text):
        assert fold(SECRET) not in fold(text)
