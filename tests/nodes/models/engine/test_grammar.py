from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.parsing import ParsedCall, parse_calls, parse_plan
from alpha_umi.nodes.models.engine.copying import NextPart
from alpha_umi.nodes.models.engine.decode import TextStream, make_sampler
from alpha_umi.nodes.models.engine.grammar import Grammar, TokenMask, caller_grammar, planner_grammar
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.spans import Logits
from tests.nodes.models.conftest import Write, Written, follow

WriteText = Callable[..., str]

SEARCH = {
    "type": "object",
    "properties": {
        "query": {"type": "string"},
        "where": {"enum": ["röd", "blue"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["query", "where"],
}
NESTED = {
    "type": "object",
    "properties": {
        "place": {
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 3}, "lat": {"type": "number", "minimum": 5}},
            "required": ["name", "lat"],
        },
        "n": {"type": ["integer", "null"]},
    },
    "required": ["place"],
}
REFERENCE = {
    "type": "object",
    "$defs": {"Unit": {"type": "string", "enum": ["C", "F"]}},
    "properties": {"unit": {"$ref": "#/$defs/Unit"}, "day": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
    "required": ["unit"],
}
UNUSUAL = {
    "type": "object",
    "properties": {"p": {"type": "string", "pattern": "(?=x)y"}, "u": {"type": "array", "uniqueItems": True}},
    "required": ["p"],
    "not": {"required": ["q"]},
}


SCHEMAS: dict[str, dict[str, Any]] = {"search.files": SEARCH, "search": NESTED, "weather-in": REFERENCE, "now": {}}


@pytest.fixture
def write_text(backbone: TorchBackbone, write: Write) -> WriteText:
    """Let the random model write; it would never write anything that makes sense by itself."""

    def write_one(grammar: Grammar | None, *, seed: int, max_tokens: int, temperature: float = 3.0) -> str:
        sampler = make_sampler(temperature, 1.0, seed)
        order = Written([1, 40 + seed], n=max_tokens, grammar=grammar, sampler=sampler, eos_ids=backbone.eos_ids)
        write(backbone, [order])
        assert order.is_finished is (True if grammar else None)
        stream = TextStream(backbone.tokenizer)
        return "".join(map(stream.feed, order.ids)) + stream.flush()

    return write_one


def test_a_random_model_writes_no_decision_without_grammar(write_text: WriteText) -> None:
    assert parse_plan(write_text(None, seed=0, max_tokens=60)).decision is None


@pytest.mark.parametrize("max_tokens", [16, 40, 90])
def test_planner_always_decides(write_text: WriteText, max_tokens: int) -> None:
    decisions = set()
    for seed in range(20):
        text = write_text(planner_grammar(60), seed=seed, max_tokens=max_tokens)
        plan = parse_plan(text)
        assert plan.decision is not None, text
        assert text.endswith(f" {plan.decision}."), text
        decisions.add(plan.decision)
    assert decisions == {"caller", "conclusion", "give up"}


def test_planner_is_cut_at_its_rationale_budget(backbone: TorchBackbone, write_text: WriteText) -> None:
    text = write_text(planner_grammar(10), seed=1, max_tokens=200)
    assert len(backbone.tokenizer.encode(text)) < 10 + 30


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("I add them.\nNext: caller.", True),
        ("Next: give up.", True),
        ("The context: fine.\nThe text: too. Next: conclusion.", True),
        ("Two lines\n\nof thought 🙂.\nNext: conclusion.", True),
        ("I add them.\nNext: planner.", False),
        ("First Next: caller. Then\nNext: conclusion.", False),
        ("First Next： caller. Then\nNext: conclusion.", False),
        ("I add them.", False),
        ("I add them.\nNext: caller. And more", False),
    ],
)
def test_planner_grammar_takes_plans_only(backbone: TorchBackbone, text: str, is_allowed: bool) -> None:
    assert follow(backbone, planner_grammar(), text) is is_allowed


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("Part 2 (where is Ann): I call find.\nNext: caller.", True),
        ("Part 2 (where is Ann (the boss)) with 7: I call find.\nNext: caller.", True),
        ("Part 2 (whe\nNext: caller.", True),
        ("Part 2 (where is Bob): I call find.\nNext: caller.", False),
        ("Part 1 (where is Ann): I call find.\nNext: caller.", False),
        ("Part 2 (, and where is Ann): I call find.\nNext: caller.", False),
        ("The call failed. Part 1 (anything): I call find.\nNext: caller.", True),
        ("All parts are done.\nNext: conclusion.", True),
        ("Next: give up.", True),
    ],
)
def test_part_that_a_planner_quotes_stands_in_the_rest_of_the_request(
    backbone: TorchBackbone, text: str, is_allowed: bool
) -> None:
    grammar = planner_grammar(part=NextPart(2, ", and where is Ann (the boss)?"))
    assert follow(backbone, grammar, text) is is_allowed


def test_nothing_is_quoted_where_nothing_is_left(backbone: TorchBackbone) -> None:
    grammar = planner_grammar(part=NextPart(3, ""))
    assert not follow(backbone, grammar, "Part 3 (where is Ann): I call find.\nNext: caller.")
    assert follow(backbone, grammar, "All parts are done.\nNext: conclusion.")


@pytest.mark.parametrize("max_tokens", [20, 21, 22, 23, 24, 60])
def test_plan_with_a_quote_ends_in_time(backbone: TorchBackbone, max_tokens: int) -> None:
    grammar = planner_grammar(part=NextPart(12, "find 🙂 " * 30))
    for seed in range(5):
        generator = np.random.default_rng(seed)
        mask = backbone.grammars.make_mask(grammar, max_tokens)
        ids = backbone.tokenizer.encode("Part", add_special_tokens=False)
        ids = [mask.accept(token) for token in ids]
        while not mask.finished:
            ids.append(mask.choose(generator.standard_normal(backbone.n_vocab).astype(np.float32), make_sampler()))
        assert len(ids) <= max_tokens
        assert parse_plan(str(backbone.tokenizer.decode(ids))).decision is not None


@pytest.mark.parametrize("max_tokens", [64, 150])
def test_caller_never_invents_a_tool_or_an_argument(write_text: WriteText, max_tokens: int) -> None:
    names = set()
    for seed in range(30):
        text = write_text(caller_grammar(SCHEMAS), seed=seed, max_tokens=max_tokens)
        (call,) = parse_calls(text)
        assert call.fault is None, text
        assert isinstance(call.arguments, dict)
        jsonschema_rs.validate(SCHEMAS[call.name], call.arguments)
        assert call.arguments.keys() <= SCHEMAS[call.name].get("properties", {}).keys()
        names.add(call.name)
    assert names == SCHEMAS.keys()


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ('Action: search.files\nAction Input: {"query":"\\"a\\" é","where":"röd","tags":["x"]}', True),
        ('Action: search\nAction Input: {"place":{"name":"Rom","lat":41.9},"n":null}', True),
        ('Action: weather-in\nAction Input: {"unit":"C","day":3}', True),
        ("Action: now\nAction Input: {}", True),
        ("Action: sea\nAction Input: {}", False),
        ('Action: search.files\nAction Input: {"where":"röd"}', False),
        ('Action: search.files\nAction Input: {"query":"a","where":"green"}', False),
        ('Action: now\nAction Input: {"extra":1}', False),
        ('Action: search.files\nAction Input: { "query": "a", "where": "blue" }', False),
        ('Action: weather-in\nAction Input: {"unit":"C","day":1e999}', False),
    ],
)
def test_caller_grammar_takes_valid_compact_calls_only(backbone: TorchBackbone, text: str, is_allowed: bool) -> None:
    grammar = caller_grammar(SCHEMAS)
    assert grammar is not None
    assert follow(backbone, grammar, text) is is_allowed


def test_caller_of_a_schema_that_cannot_be_enforced_still_knows_the_arguments(backbone: TorchBackbone) -> None:
    grammar = caller_grammar({"odd": UNUSUAL})
    assert grammar is not None
    assert follow(backbone, grammar, 'Action: odd\nAction Input: {"p":"anything"}')
    assert follow(backbone, grammar, 'Action: odd\nAction Input: {"p":[1,{"x":null}],"u":3}')
    assert not follow(backbone, grammar, 'Action: odd\nAction Input: {"u":3}')
    assert not follow(backbone, grammar, 'Action: odd\nAction Input: {"p":1,"q":2}')


def test_caller_may_add_arguments_where_the_schema_says_so(backbone: TorchBackbone) -> None:
    grammar = caller_grammar({"free": {"type": "object", "additionalProperties": {"type": "string"}}})
    assert grammar is not None
    assert follow(backbone, grammar, 'Action: free\nAction Input: {"x":"1","y":"2"}')


def test_caller_without_tools_is_not_constrained() -> None:
    assert caller_grammar({}) is None


json_types = st.sampled_from(["string", "number", "integer", "boolean", "null", "array", "object", "odd"])
schemas = st.recursive(
    st.fixed_dictionaries({}, optional={"type": json_types, "format": st.text(max_size=5), "enum": st.just([1, "a"])}),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": json_types,
            "properties": st.dictionaries(st.text(max_size=4), inner, max_size=3),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "pattern": st.text(max_size=4),
            "minLength": st.integers(-2, 5),
            "$ref": st.just("#/$defs/missing"),
        },
    ),
    max_leaves=6,
)


@given(
    properties=st.dictionaries(st.text(max_size=6), schemas, max_size=3),
    name=st.from_regex(r"[\w.:/-]{1,8}", fullmatch=True),
)
def test_caller_grammar_of_any_schema_compiles(backbone: TorchBackbone, properties: dict[str, Any], name: str) -> None:
    grammar = caller_grammar({name: {"type": "object", "properties": properties}})
    assert grammar is not None
    backbone.grammars.make_mask(grammar, 100)


def test_caller_ends_in_time_when_much_is_required(write_text: WriteText) -> None:
    names = [f"argument_{i}" for i in range(12)]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names}
    grammar = caller_grammar({"wide": schema})
    for seed in range(3):
        (call,) = parse_calls(write_text(grammar, seed=seed, max_tokens=300))
        assert isinstance(call, ParsedCall)
        jsonschema_rs.validate(schema, call.arguments)


def take_forced(mask: TokenMask) -> list[int]:
    """Take what must come next."""
    ids: list[int] = []
    while not mask.finished and (token := mask.forced()) is not None:
        ids.append(mask.accept(token))
    return ids


def test_forced_tokens_are_what_the_grammar_leaves_no_choice_about(backbone: TorchBackbone) -> None:
    grammar = caller_grammar({"now": {}})
    assert grammar is not None
    mask = backbone.grammars.make_mask(grammar, 100)
    assert backbone.tokenizer.decode(take_forced(mask)) == "Action: now\nAction Input: {}"
    assert mask.finished
    assert backbone.grammars.make_mask(planner_grammar(), 100).forced() is None


def test_forced_token_is_the_only_one_that_may_be_chosen(backbone: TorchBackbone) -> None:
    grammar = caller_grammar(SCHEMAS)
    assert grammar is not None
    generator = np.random.default_rng(0)
    n_forced = n_chosen = 0
    for _ in range(10):
        mask = backbone.grammars.make_mask(grammar, 80)
        while not mask.finished:
            forced = mask.forced()
            chosen = mask.choose(generator.standard_normal(backbone.n_vocab).astype(np.float32), make_sampler())
            assert forced in (None, chosen)
            n_forced += forced is not None
            n_chosen += forced is None
    assert n_forced > 50
    assert n_chosen > 50


def test_mask_knows_how_probable_was_what_it_let_be_written(backbone: TorchBackbone) -> None:
    grammar = caller_grammar({"now": {}, "nay": {}})
    assert grammar is not None
    n_vocab = backbone.model.config.vocab_size
    for name, p in (("now", 0.75), ("nay", 0.25)):
        mask = backbone.grammars.make_mask(grammar, 100)
        ids = backbone.tokenizer.encode(f"Action: {name}\nAction Input: {{}}", add_special_tokens=False)
        other = backbone.tokenizer.encode(f"Action: {'nay' if name == 'now' else 'now'}\n", add_special_tokens=False)
        for position, token in enumerate(ids):
            logits = np.full(n_vocab, -50.0, np.float32)
            logits[token] = 0.0
            if other[:position] == ids[:position] and (rival := other[position]) != token:
                logits[rival] = math.log((1 - p) / p)
            mask.choose(logits, lambda _, token=token: token)  # type: ignore[misc]  # mypy cannot infer it
        written = mask.list_written()
        assert "".join(text for text, _ in written) == f"Action: {name}\nAction Input: {{}}"
        assert math.exp(sum(log_p for _, log_p in written)) == pytest.approx(p, abs=1e-3)


@pytest.mark.parametrize("jump_forward", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        'Action: search.files\nAction Input: {"query":"the step","where":"röd","tags":["x"]}',
        'Action: search\nAction Input: {"place":{"name":"Rom","lat":41.9},"n":null}',
        'Action: weather-in\nAction Input: {"unit":"C","day":3}',
    ],
)
def test_forced_tokens_are_the_tokenizers_own(backbone: TorchBackbone, text: str, jump_forward: bool) -> None:
    grammar = caller_grammar(SCHEMAS)
    assert grammar is not None
    mask = backbone.grammars.make_mask(grammar, 200)
    wanted: list[int] = backbone.tokenizer.encode(text, add_special_tokens=False)
    ids: list[int] = []

    def sampler(logits: Logits) -> int:
        assert logits[wanted[len(ids)]] > -np.inf
        return wanted[len(ids)]

    logits = np.zeros(backbone.n_vocab, np.float32)
    while not mask.finished:
        forced = mask.forced() if jump_forward else None
        ids.append(mask.choose(logits, sampler) if forced is None else mask.accept(forced))
    assert ids == wanted


def test_masks_of_one_grammar_do_not_disturb_each_other(backbone: TorchBackbone) -> None:
    first = backbone.grammars.make_mask(planner_grammar(5), 30)
    logits = np.random.default_rng(1).standard_normal(backbone.n_vocab).astype(np.float32)
    while not first.finished:
        first.choose(logits, make_sampler())
    second = backbone.grammars.make_mask(planner_grammar(5), 30)
    assert not second.finished


@pytest.mark.parametrize("text", ["🙂", "中", "é", "a"])
def test_planner_that_writes_any_script_is_cut_in_time(backbone: TorchBackbone, text: str) -> None:
    for max_tokens in (16, 17, 18, 19, 50):
        mask = backbone.grammars.make_mask(planner_grammar(), max_tokens)
        logits = np.zeros(backbone.n_vocab, np.float32)
        logits[backbone.tokenizer.encode(text)] = 1.0
        ids: list[int] = []
        while not mask.finished:
            ids.append(mask.choose(logits, make_sampler()))
        assert len(ids) <= max_tokens
        written = str(backbone.tokenizer.decode(ids))
        assert "\ufffd" not in written
        assert parse_plan(written).decision is not None


def test_grammar_text_is_the_same_for_equal_tools() -> None:
    assert caller_grammar(SCHEMAS) == caller_grammar(json.loads(json.dumps(SCHEMAS)))
