"""What is fuzzed: each target takes any text and raises only if a promise is broken."""

from __future__ import annotations

import contextlib
import gzip
import json
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, get_args

import httpx
import yaml

from alpha_umi.documents import parse_yaml
from alpha_umi.errors import AlphaUmiError, TrajectoryError
from alpha_umi.nodes.format.escaping import Style, escape, escape_json, replace_surrogates
from alpha_umi.nodes.format.parsing import parse_calls, parse_plan
from alpha_umi.nodes.format.reasoning import split_reasoning
from alpha_umi.nodes.format.render import render_messages
from alpha_umi.nodes.format.tool_docs import render_tool
from alpha_umi.nodes.format.trajectory import DECISIONS, Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.http.client import HttpClient
from alpha_umi.tools.openapi import load_openapi
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.arguments import render_unknown_tool, render_violations
from alpha_umi.tools.spec.schema import is_pattern
from alpha_umi.tools.toolbench import read_api_list
from alpha_umi.training.data.clean import clean
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources import load_reader
from fuzz import samples
from fuzz.pieces import make_from, make_json, make_text

_ARGUMENTS = {
    "type": "object",
    "properties": {
        "a": {
            "anyOf": [
                {"type": "integer"},
                {"type": "object", "properties": {"b": {"enum": [1, "x"]}}, "required": ["b"]},
            ]
        },
        "name": {"type": "string", "pattern": "^a+$", "maxLength": 9},
        "items": {"type": "array", "items": {"$ref": "#/properties/a"}, "uniqueItems": True},
    },
    "required": ["name"],
    "additionalProperties": False,
}
_MAX_REPLY_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to fuzz.

    Args:
        run: Takes an input; raises if a promise is broken.
        make: Makes an input from random numbers.
        share: It gets one of so many executions of a cheap target, since it takes so much longer.
    """

    run: Callable[[str], None]
    make: Callable[[Random], str]
    share: int = 1


def fuzz_plan(text: str) -> None:
    """Any text is a plan, and its rationale is part of what was said."""
    plan = parse_plan(text)
    assert plan.decision in (*DECISIONS, None)
    assert plan.rationale in split_reasoning(replace_surrogates(text))[1]


def fuzz_calls(text: str) -> None:
    """Any text is calls or a fault, and arguments are JSON that any strict writer can write."""
    calls = parse_calls(text)
    assert calls
    assert all(call.fault is None for call in calls[:-1])
    for call in calls:
        assert (call.fault is None) == isinstance(call.arguments, dict)
        assert call.fault is None or len(call.fault) < 300
        json.dumps([call.name, call.arguments, call.fault], allow_nan=False, ensure_ascii=False).encode()


def fuzz_escape(text: str) -> None:
    """Escaping twice is escaping once and only adds backslashes; JSON keeps its value."""
    text = replace_surrogates(text)
    written = json.dumps(text, ensure_ascii=False)
    for style in get_args(Style):
        once, safe = escape(text, style=style), escape_json(written, style=style)
        assert escape(once, style=style) == once
        assert once.replace("\\", "") == text.replace("\\", "")
        assert escape_json(safe, style=style) == safe
        assert json.loads(safe) == text


def fuzz_render(text: str) -> None:
    """Any text can be rendered anywhere, as UTF-8."""
    calls = (Call("1", "a", {text: text}, Observation(text)), Call("2", "", text))
    steps = (Step(text, "caller", calls), Step(text, "conclusion", answer=text))
    trajectory = Trajectory((ToolSpec("a", text),), (Turn(text, steps),), text)
    for style in get_args(Style):
        for message in render_messages(trajectory, style=style):
            str(message.content).encode()


def fuzz_pattern(text: str) -> None:
    """Any text is a regular expression that is matched, or is reported to be none."""
    if is_pattern(text):
        spec = ToolSpec("a", "", {"type": "object", "properties": {"a": {"pattern": text}}})
        assert spec.make_validator().is_valid({"a": text}) in (True, False)


@cache
def _make_arguments_tool() -> tuple[ToolSpec, Any]:
    spec = ToolSpec("a", "", _ARGUMENTS)
    return spec, spec.make_validator()


def fuzz_arguments(text: str) -> None:
    """Every fault of arguments is reported in a text of bounded length."""
    spec, validator = _make_arguments_tool()
    for call in parse_calls(text):
        told = render_violations(spec, validator, call.arguments)
        assert len(told) <= 1000 + 500 * len(text)
        assert len(render_unknown_tool(call.name, ["a", "find"])) < 1000


def fuzz_schema(text: str) -> None:
    """Any JSON is a schema that can be documented and validated against, or is refused."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
        try:
            spec = ToolSpec("a", "", {"type": "object", "properties": {"a": value}})
        except AlphaUmiError:
            return
        _check_spec(spec, value)


def _check_spec(spec: ToolSpec, value: Any) -> None:
    try:
        assert len(render_tool(spec).splitlines()) == 1
        validator = spec.make_validator()
        assert validator.is_valid({"a": value}) == (not render_violations(spec, validator, {"a": value}))
    except (ValueError, RecursionError) as error:  # which the caller suppresses
        raise AssertionError(f"an accepted schema cannot be used: {error!r}") from error


def fuzz_row(text: str) -> None:
    """Any JSON is a row of training data, or is refused as none."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return
    with contextlib.suppress(TrajectoryError):
        Trajectory.from_row(row)


def fuzz_messages(text: str) -> None:
    """Any list of objects is a transcript that can be rendered, or is refused as none."""
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(messages, list):
        return
    with contextlib.suppress(TrajectoryError):
        for message in render_messages(Trajectory.from_messages(messages)):
            str(message.content).encode()


def fuzz_yaml(text: str) -> None:
    """Any text of a UTF-8 file is YAML, or is refused as none."""
    with contextlib.suppress(yaml.YAMLError):
        parse_yaml(text.encode("utf-8", "replace").decode())


def fuzz_openapi(text: str) -> None:
    """Any mapping becomes tools, or is refused with an error that says why."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for document in (value, {"openapi": "3.0.0", "paths": {"/x": value}}):
        if isinstance(document, dict):
            with contextlib.suppress(AlphaUmiError):
                load_openapi({"servers": [{"url": "https://api.example"}], **document})


def fuzz_toolbench(text: str) -> None:
    """Any list of objects becomes APIs and notes."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        read_api_list([value, {"api_name": "a", "tool_name": "t", "category_name": "c", **value}])


@cache
def _make_client() -> HttpClient:
    return HttpClient(allowed_hosts=["a.example"], timeout_s=10, max_response_bytes=_MAX_REPLY_BYTES)


def fuzz_reply(text: str) -> None:
    """Any body of a server is text of bounded length, or cannot be decompressed."""
    raw = text.encode("utf-8", "surrogatepass")
    packed = gzip.compress(raw * 20, 1)
    bodies = {"": raw, "gzip": packed, "x-gzip": packed[: len(packed) // 2] + raw, "deflate": raw, "br": raw}
    for encoding, body in bodies.items():
        kind = "text/plain" if len(raw) % 2 else f"text/plain; charset={text[:20].encode('ascii', 'ignore').decode()!r}"
        headers = {"Content-Encoding": encoding, "Content-Type": kind}
        response = httpx.Response(200, headers=headers, stream=httpx.ByteStream(body))
        with contextlib.suppress(zlib.error):
            shown, is_cut = _make_client()._read_body(response, ())
            assert len(shown.encode()) <= _MAX_REPLY_BYTES or (not is_cut and len(body) <= _MAX_REPLY_BYTES)


@cache
def _make_folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="alpha-umi-fuzz-")
    _FOLDERS.append(folder)
    path = Path(folder.name)
    (path / "tools.jsonl").write_text("\n".join(map(json.dumps, samples.SEALTOOLS_CATALOGUE)))
    return path


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
"""Kept, because a temporary folder ends with its object."""


def fuzz_reader(name: str, text: str) -> None:
    """Any file gives examples that can be rendered, or an error that names the file."""
    folder = _make_folder()
    path = folder / ("records.json" if name == "toolbench" else "records.jsonl")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    location = f"{path},{folder / 'tools.jsonl'}" if name == "sealtools" else str(path)
    tally = Tally()
    try:
        examples = [
            clean(example, tally, max_observation_chars=400) for example in load_reader(name)(location, tally, seed=0)
        ]
    except AlphaUmiError as error:
        if str(path) not in str(error):
            raise
        return
    for trajectory in filter(None, examples):
        json.dumps(trajectory.to_row()).encode()
        for message in render_messages(trajectory):
            str(message.content).encode()


TARGETS: dict[str, Target] = {
    "plan": Target(fuzz_plan, make_text),
    "calls": Target(fuzz_calls, make_text),
    "arguments": Target(fuzz_arguments, make_text),
    "escape": Target(fuzz_escape, make_text, 8),
    "pattern": Target(fuzz_pattern, make_text, 2),
    "yaml": Target(fuzz_yaml, make_text),
    "row": Target(fuzz_row, partial(make_from, samples=[samples.TRAJECTORY]), 4),
    "messages": Target(fuzz_messages, partial(make_from, samples=[samples.MESSAGES]), 4),
    "render": Target(fuzz_render, make_text, 40),
    "schema": Target(fuzz_schema, make_json, 20),
    "toolbench": Target(fuzz_toolbench, partial(make_from, samples=[samples.TOOLBENCH_API]), 20),
    "reply": Target(fuzz_reply, make_text, 20),
    "openapi": Target(fuzz_openapi, partial(make_from, samples=[samples.OPENAPI]), 40),
    "openapi_item": Target(fuzz_openapi, make_json, 20),
    **{
        f"data/{name}": Target(
            partial(fuzz_reader, name), partial(make_from, samples=lines), 1000 if name == "gsm8k" else 100
        )
        for name, lines in samples.READERS.items()
    },
}
