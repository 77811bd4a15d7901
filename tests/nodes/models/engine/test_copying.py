"""What a caller may write that copies its values from the conversation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import ChatMessage

from alpha_umi.nodes.format.parsing import parse_calls
from alpha_umi.nodes.format.render import render_calls, render_messages
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.nodes.models.engine.copying import MAX_CHARS, NextPart, find_next_part, read_numbers
from alpha_umi.nodes.models.engine.decode import make_sampler
from alpha_umi.nodes.models.engine.grammar import caller_grammar
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.tools.spec import ToolSpec
from tests.nodes.models.conftest import follow

SAID = ('Book the yellow rooms for Nonna\'s four "best" friends, on 3 May 2027 at 2.50.', '{"id": "A-17"}')


REQUEST = "Who is in (today)? And where is Ann?"


def allows(backbone: TorchBackbone, part: dict[str, Any], value: Any, *, name: str = "room", said: Any = SAID) -> bool:
    """Tell whether the caller may write this value of its only argument."""
    schema = {"type": "object", "properties": {name: part}, "required": [name]}
    grammar = caller_grammar({"go": schema}, said=said)
    assert grammar is not None
    return follow(backbone, grammar, render_calls([Call("", "go", {name: value})]))


@pytest.mark.parametrize(
    "value",
    ["yellow rooms", "yellow room", "Yellow Rooms", "YELLOW", "book", "A-17", "3 May", "Nonna", '"best"', "2027-05-03"],
)
def test_text_is_a_span_of_what_was_said(backbone: TorchBackbone, value: str) -> None:
    assert allows(backbone, {"type": "string"}, value)


@pytest.mark.parametrize("value", ["", "yell", "blue room", "yellow friends", " rooms", ", on", "A-1", "Anna"])
def test_text_that_was_not_said_is_not_written(backbone: TorchBackbone, value: str) -> None:
    assert not allows(backbone, {"type": "string"}, value)


@pytest.mark.parametrize(
    ("part", "allowed", "forbidden"),
    [
        ({"type": "integer"}, [4, 3, 17, 2027, 5], [6, 8, -3]),
        ({"type": "integer", "maximum": 10}, [4, 3], [17]),
        ({"type": "number"}, [2.5, 3, 3.0], [2.55, 0.5]),
        ({"type": "number", "description": "Per cent, by default 20."}, [20, 2.5], [21]),
        ({"type": ["string", "null"]}, ["rooms", None], ["hall"]),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ["rooms", 4], ["hall", 9]),
        ({"type": "array", "items": {"type": "string"}}, [["rooms", "friends"], []], [["rooms", "hall"]]),
        ({"type": "string", "description": "Celsius or Fahrenheit"}, ["Celsius", "fahrenheit"], ["Kelvin"]),
        ({"type": "string", "default": "double"}, ["double"], ["triple"]),
        ({"type": "object", "properties": {"room": {"type": "string"}}}, [{"room": "rooms"}], [{"room": "hall"}]),
    ],
)
def test_values_of_all_types(
    backbone: TorchBackbone, part: dict[str, Any], allowed: list[Any], forbidden: list[Any]
) -> None:
    assert all(allows(backbone, part, value) for value in allowed)
    assert not any(allows(backbone, part, value) for value in forbidden)


@pytest.mark.parametrize(
    ("name", "part", "value"),
    [
        ("kind", {"enum": ["hall"]}, "hall"),
        ("kind", {"const": "hall"}, "hall"),
        ("paid", {"type": "boolean"}, True),
        ("day", {"type": "string", "format": "date"}, "2028-01-01"),
        ("code", {"type": "string", "pattern": "^[A-Z]{3}$"}, "XYZ"),
        ("code", {"type": "string", "minLength": 3}, "XYZ"),
        ("code", {"type": "string", "maxLength": 5}, "XYZ"),
        ("start", {"type": "string", "description": "HH:MM"}, "23:15"),
        ("messageText", {"type": "string"}, "See you soon"),
        ("x", {"type": "string", "description": "A comma-separated list."}, "a,b"),
        ("x", {"type": "string", "description": "The question that is asked."}, "Who?"),
        ("n", {"type": "integer", "minimum": 5000}, 5001),
    ],
)
def test_what_has_to_be_composed_is_free(backbone: TorchBackbone, name: str, part: dict[str, Any], value: Any) -> None:
    assert allows(backbone, part, value, name=name)


@pytest.mark.parametrize("said", [(), ("",), ("?! ...",), ("x " * MAX_CHARS,)])
def test_where_nothing_can_be_copied_all_is_free(backbone: TorchBackbone, said: tuple[str, ...]) -> None:
    assert allows(backbone, {"type": "string"}, "hall", said=said)
    assert allows(backbone, {"type": "integer"}, 5, said=said)


@given(text=st.text(max_size=60), seed=st.integers(0, 99), may_omit=st.booleans())
def test_a_call_can_always_be_written(
    backbone: TorchBackbone, caplog: pytest.LogCaptureFixture, text: str, seed: int, may_omit: bool
) -> None:
    parts = {
        "who": {"type": "string"},
        "n": {"type": "integer", "minimum": 2},
        "tags": {"type": "array", "items": {"type": "string"}},
    }
    schema = {"type": "object", "properties": parts, "required": ["who", "n"]}
    grammar = caller_grammar({"go": schema}, said=[text], may_omit=may_omit)
    assert grammar is not None
    mask = backbone.grammars.make_mask(grammar, 120)
    generator = np.random.default_rng(seed)
    ids: list[int] = []
    with caplog.at_level(logging.WARNING):
        while not mask.finished:
            ids.append(mask.choose(generator.standard_normal(backbone.n_vocab).astype(np.float32), make_sampler()))
    assert not caplog.records
    (call,) = parse_calls(str(backbone.tokenizer.decode(ids)))
    assert isinstance(call.arguments, dict)
    assert may_omit or {"who", "n"} <= call.arguments.keys()


@pytest.mark.parametrize(
    ("text", "value"),
    [("a" * (MAX_CHARS - 1), "a" * 24), ("字" * 2000, "字字"), ("-" * 7000 + " a", "a"), ("ab " * 2600, "ab ab")],
)
def test_long_words_and_repetitions_are_not_too_much(
    backbone: TorchBackbone, caplog: pytest.LogCaptureFixture, text: str, value: str
) -> None:
    assert allows(backbone, {"type": "string"}, value, said=[text])
    assert not caplog.records


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("twenty-two", {20, 2, 22}),
        ("1,500 at 5%", {1500, 5, 0.05}),
        ("3pm", {3, 15}),
        ("a dozen", {1, 12}),
        ("2.5 million", {2.5, 2_500_000}),
        ("minus 4", {4, -4}),
        ("9 months before", {9, -9}),
        ("B704", {704}),
        ("1e999 and ٣", {3}),
    ],
)
def test_numbers_are_read_in_digits_and_in_words(text: str, numbers: set[float]) -> None:
    assert numbers <= {float(number) for number in read_numbers(text)}


def test_caller_that_copies_writes_only_what_the_conversation_holds(model_folder: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"who": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["who"],
    }
    steps = (Step("", "caller", (Call("1", "go", {"who": "Ann"}, Observation("Room 12.")),)), Step("", "caller"))
    run = Trajectory((ToolSpec("go", "Go.", schema),), (Turn("Book for Ann and Bob.", steps),), "You help Cid.")
    said = "Book for Ann and Bob.\nRoom 12.\nYou help Cid."
    for seed in range(4):
        model = LocalChatModel(model=str(model_folder), role="caller", copy_values=True, temperature=1.0, seed=seed)
        (call,) = parse_calls(model.invoke([*render_messages(run)], tools=run.tools).text)
        arguments = call.arguments
        assert isinstance(arguments, dict)
        assert arguments["who"].casefold() in said.casefold()
        assert arguments.get("n", 12) == 12


@pytest.mark.parametrize(
    ("plans", "expected"),
    [
        ([], NextPart(1, REQUEST)),
        (["Part 1 (Who is in (today)): I call list.\nNext: caller."], NextPart(2, "? And where is Ann?")),
        (["Part 1 (Who is in (today)): I call list.", "Part 2 (where is Ann): I call find."], NextPart(3, "")),
        (["Part 1 (Who is in (today)): I call a.", "The call failed. Part 1 (Who is in (today)): I call b."], None),
        (["Part 1 (what nobody said): I call list."], NextPart(2, REQUEST)),
        (["I look who is in.\nNext: caller."], NextPart(1, REQUEST)),
    ],
)
def test_next_part_is_looked_for_after_the_last_quote(plans: list[str], expected: NextPart | None) -> None:
    before = [
        ChatMessage(role="user", content="Who is Bob?"),
        ChatMessage(role="planner", content="Part 1 (Who is Bob): x"),
    ]
    messages = [*before, ChatMessage(role="user", content=REQUEST)]
    for plan in plans:
        messages += [ChatMessage(role="planner", content=plan), ChatMessage(role="observation", content="Ann")]
    assert find_next_part(messages) == (expected or NextPart(2, "? And where is Ann?"))
