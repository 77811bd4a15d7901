"""What the caller's grammar makes of a tool's schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, TypeAdapter
from transformers import PreTrainedTokenizerFast

from alpha_umi.nodes.format.parsing import parse_calls
from alpha_umi.nodes.format.render import (
    encode_messages,
    load_template,
    render_calls,
    render_messages,
    template_kwargs,
)
from alpha_umi.nodes.format.trajectory import Call, Trajectory, Turn
from alpha_umi.nodes.models.engine.checkpoint import hash_file
from alpha_umi.nodes.models.engine.decode import make_sampler
from alpha_umi.nodes.models.engine.grammar import caller_grammar
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.tightening import MAX_ITEMS
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.request import make_request
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.schema import make_validator
from tests.nodes.models.conftest import follow

PLACE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "lat": {"type": "number"}},
    "required": ["name", "lat"],
}
VISIT = {
    "type": "object",
    "properties": {"place": PLACE, "day": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["place", "day"],
    "minProperties": 2,
}
CALL = "Action: go\nAction Input: "
SHORTEST = f"{CALL}{{}}"


def allows(backbone: TorchBackbone, schema: dict[str, Any], arguments: Any, *, may_omit: bool = False) -> bool:
    """Tell whether the caller may write these arguments."""
    grammar = caller_grammar({"go": schema}, may_omit=may_omit)
    assert grammar is not None
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return follow(backbone, grammar, f"Action: go\nAction Input: {text}")


def write_call(
    backbone: TorchBackbone, schema: dict[str, Any], *, seed: int, max_tokens: int, may_omit: bool = False
) -> str:
    """Let chance write a call."""
    grammar = caller_grammar({"go": schema}, may_omit=may_omit)
    assert grammar is not None
    mask = backbone.grammars.make_mask(grammar, max_tokens)
    generator = np.random.default_rng(seed)
    ids: list[int] = []
    while not mask.finished:
        ids.append(mask.choose(generator.standard_normal(backbone.n_vocab).astype(np.float32), make_sampler()))
    assert len(ids) <= max_tokens
    return str(backbone.tokenizer.decode(ids))


@given(data=st.data())
def test_any_arguments_may_be_left_out_where_that_is_allowed(backbone: TorchBackbone, data: st.DataObject) -> None:
    place = data.draw(st.sets(st.sampled_from(["name", "lat"])))
    names = data.draw(st.sets(st.sampled_from(["place", "day", "note"])))
    values: dict[str, Any] = {"place": {"name": "Rom", "lat": 41.9}, "day": 3, "note": "x"}
    values["place"] = {name: value for name, value in values["place"].items() if name in place}
    arguments = {name: value for name, value in values.items() if name in names}
    assert allows(backbone, VISIT, arguments, may_omit=True)
    assert allows(backbone, VISIT, arguments) is jsonschema_rs.is_valid(VISIT, arguments)


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (VISIT, {"day": 3, "place": {}}),  # not in the schema's order
        (VISIT, {"day": "3"}),
        (VISIT, {"extra": 1}),
        ({"properties": {"required": {"type": "integer"}}}, {"required": "a name and no keyword"}),
    ],
)
def test_what_is_not_left_out_is_as_the_schema_says(
    backbone: TorchBackbone, schema: dict[str, Any], arguments: dict[str, Any]
) -> None:
    assert not allows(backbone, schema, arguments, may_omit=True)


def test_arguments_of_a_schema_that_cannot_be_enforced_may_be_left_out(backbone: TorchBackbone) -> None:
    schema = {"properties": {"p": {"type": "string", "pattern": "(?=x)y"}}, "required": ["p"]}
    assert not allows(backbone, schema, {})
    assert allows(backbone, schema, {}, may_omit=True)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "number"},
        {"type": "number", "maximum": 0.125},
        {"type": "string", "format": "uri"},
        {"type": "string", "format": "email"},
        {"type": "string", "format": "duration"},
        {"type": "integer", "minimum": 10**17},
        {},
    ],
)
def test_call_with_a_value_of_any_kind_ends_in_time(backbone: TorchBackbone, part: dict[str, Any]) -> None:
    schema = {"properties": {"a": part}, "required": ["a"]}
    for seed in range(20):
        (call,) = parse_calls(write_call(backbone, schema, seed=seed, max_tokens=80))
        assert call.fault is None
        assert make_validator(schema).is_valid(call.arguments)


@pytest.mark.parametrize("max_tokens", [25, 40, 80])
@pytest.mark.parametrize("seed", range(8))
def test_call_ends_in_time_where_arguments_may_be_left_out(backbone: TorchBackbone, seed: int, max_tokens: int) -> None:
    text = write_call(backbone, VISIT, seed=seed, max_tokens=max_tokens, may_omit=True)
    (call,) = parse_calls(text)
    assert call.fault is None, text
    assert isinstance(call.arguments, dict)
    assert call.arguments.keys() <= VISIT["properties"].keys()  # type: ignore[attr-defined]


def test_call_that_has_to_end_begins_no_further_argument(backbone: TorchBackbone) -> None:
    n_tokens = len(backbone.tokenizer.encode(SHORTEST, add_special_tokens=False))
    for seed in range(5):
        assert write_call(backbone, VISIT, seed=seed, max_tokens=n_tokens, may_omit=True) == SHORTEST


@pytest.mark.parametrize("may_omit", [True, False])
def test_checkpoint_decides_whether_the_caller_may_omit(
    copy_model: Callable[[str], Path], tokenizer: PreTrainedTokenizerFast, may_omit: bool
) -> None:
    folder = copy_model(f"trained-{may_omit}")
    (folder / "chat_template.jinja").write_text(load_template("umi"))
    claim = {"style": "umi", "sha256": hash_file(folder / "chat_template.jinja")}
    (folder / "umi.json").write_text(json.dumps({"template": claim, "caller_may_omit": may_omit}))
    tool = {"type": "function", "function": {"name": "go", "description": "Go.", "parameters": VISIT}}
    model = LocalChatModel(model=str(folder), role="caller", device="cpu", dtype="float32")
    n_tokens = len(tokenizer.encode(SHORTEST, add_special_tokens=False))
    text = model.invoke("Go.", tools=[tool], max_tokens=n_tokens).text
    assert (text == SHORTEST) is may_omit, text


@pytest.mark.parametrize("asked_by_role", [True, False])
def test_checkpoint_decides_whether_lines_of_tools_end_with_the_name(
    copy_model: Callable[[str], Path], tokenizer: PreTrainedTokenizerFast, asked_by_role: bool
) -> None:
    trajectory = Trajectory((ToolSpec("go", "Go.", VISIT),), (Turn("Go."),))
    for repeats in (False, True):
        folder = copy_model(f"named-{repeats}-{asked_by_role}")
        (folder / "chat_template.jinja").write_text(load_template("umi"))
        claim = {"style": "umi", "sha256": hash_file(folder / "chat_template.jinja")}
        (folder / "umi.json").write_text(json.dumps({"template": claim, "repeat_names": repeats}))
        model = LocalChatModel(model=str(folder), role="caller", device="cpu", dtype="float32")
        request = make_request(model, "caller", trajectory, temperature=0)
        asked: Any = request.messages if asked_by_role else "Go."
        usage = model.invoke(asked, tools=list(trajectory.tools), max_tokens=40).usage_metadata
        assert usage is not None
        messages = render_messages(trajectory, repeat_names=repeats)
        kwargs = template_kwargs("caller", ())
        prompt = encode_messages(messages, tokenizer, load_template("umi"), add_generation_prompt=True, **kwargs)
        assert usage["input_tokens"] == len(prompt)


CONTROL_TOKENS = st.sampled_from(["<|im_end|>", "</s>", "a\u2028b", "\x7f\x00\t"])
LETTERS = st.text(max_size=6) | CONTROL_TOKENS
NAMES = st.sampled_from(["to", "größe", "a b", "required", "items", "n_1", "<s>"])
Field: TypeAlias = tuple[dict[str, Any], st.SearchStrategy[Any]]
"""A schema, and the values that a caller may write for it."""


@st.composite
def lists_of_choices(draw: st.DrawFn) -> Field:
    values = draw(st.lists(LETTERS, min_size=1, max_size=6, unique=True))
    schema: dict[str, Any] = {"type": "array", "items": {"type": "string", "enum": values}}
    least, most = sorted(draw(st.tuples(*[st.integers(0, len(values))] * 2)))
    schema |= {"minItems": least, "maxItems": most} if draw(st.booleans()) else {"minItems": least}
    n_most = schema.get("maxItems", len(values))
    return schema, st.permutations(values).flatmap(lambda all_: st.integers(least, n_most).map(lambda n: all_[:n]))


@st.composite
def objects(draw: st.DrawFn, fields: st.SearchStrategy[Field]) -> Field:
    parts = draw(st.dictionaries(NAMES, fields, min_size=1, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(parts)), unique=True))
    schema = {"type": "object", "properties": {name: part for name, (part, _) in parts.items()}, "required": required}
    optional = {name: values for name, (_, values) in parts.items() if name not in required}
    mapping = {name: values for name, (_, values) in parts.items() if name in required}
    values = st.fixed_dictionaries(mapping, optional=optional)
    return schema, values.map(lambda value: {name: value[name] for name in parts if name in value})


@st.composite
def integers(draw: st.DrawFn) -> Field:
    low, high = sorted(draw(st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 2)))
    keys = draw(st.sets(st.sampled_from(["minimum", "maximum"])))
    schema = {"type": "integer", **{key: {"minimum": low, "maximum": high}[key] for key in keys}}
    return schema, st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1))


@st.composite
def floats(draw: st.DrawFn) -> Field:
    low, high = sorted(draw(st.tuples(*[st.integers(-(10**6), 10**6)] * 2)))
    keys = draw(st.sets(st.sampled_from(["minimum", "maximum"])))
    schema = {key: {"minimum": low / 8, "maximum": high / 8}[key] for key in keys}
    values = st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False)
    # between two decades no bound is kept by all numbers with an exponent
    return {"type": "number", **schema}, values.filter(lambda value: not schema or value == 0 or abs(value) >= 1e-4)


def make_fields() -> st.SearchStrategy[Field]:
    leaves: list[Field] = [
        ({"type": "string"}, LETTERS),
        ({"type": "string", "maxLength": 3}, LETTERS.map(lambda text: text[:3])),
        ({"type": ["string", "null"], "minLength": 2}, st.none() | st.text(min_size=2, max_size=4)),
        ({"type": ["string", "null"], "enum": ["</s>", "b", 5]}, st.sampled_from(["</s>", "b"])),
        ({"type": "string", "format": "int64"}, LETTERS),
        ({"type": "string", "pattern": r"^\w\d$"}, st.sampled_from(["a1", "é2", "٣٣"])),
        ({"type": "string", "format": "date"}, st.dates().map(str)),
        ({"type": "string", "format": "date-time"}, st.datetimes().map(lambda time: time.isoformat())),
        ({"type": "string", "format": "time"}, st.times().map(lambda time: time.isoformat("minutes"))),
        ({"type": "number", "multipleOf": 0.01}, st.integers(-(10**6), 10**6).map(lambda n: n / 100)),
        ({"type": "number", "exclusiveMinimum": 0}, st.floats(0, exclude_min=True, allow_infinity=False)),
        ({"enum": ["a", 3, None, 1e20, "<s>", [1]]}, st.sampled_from(["a", 3, None, 1e20, "<s>", [1]])),
        (
            {},
            st.none()
            | LETTERS
            | st.dictionaries(LETTERS, st.lists(LETTERS | st.integers(-9, 9), max_size=2), max_size=2),
        ),
        ({"type": ["boolean", "null"]}, st.sampled_from([True, False, None])),
    ]

    def extend(fields: st.SearchStrategy[Field]) -> st.SearchStrategy[Field]:
        lists = fields.map(lambda field: ({"type": "array", "items": field[0]}, st.lists(field[1], max_size=3)))
        nullable = fields.map(lambda field: ({"anyOf": [field[0], {"type": "null"}]}, st.one_of(field[1], st.none())))
        return st.one_of(lists, nullable, objects(fields))

    return st.recursive(
        st.one_of(st.sampled_from(leaves), integers(), floats(), lists_of_choices()), extend, max_leaves=6
    )


SCHEMAS = objects(make_fields())


@given(data=st.data())
def test_every_value_is_rendered_allowed_parsed_and_valid(backbone: TorchBackbone, data: st.DataObject) -> None:
    schema, values = data.draw(SCHEMAS)
    value = data.draw(values)
    text = render_calls([Call("1", "go", value)])
    assert text.startswith(CALL)
    assert allows(backbone, schema, text.removeprefix(CALL)), text
    (call,) = parse_calls(text)
    assert (call.fault, repr(call.arguments)) == (None, repr(value))
    assert make_validator(schema).is_valid(call.arguments)


@pytest.mark.parametrize(
    ("kind", "format", "texts"),
    [
        (date, "date", ["2024-02-29"]),
        (
            datetime,
            "date-time",
            [
                "2024-01-01T10:00",
                "2024-01-01 10:00:00+02:00",
                "2024-01-01t10:00:00.123456z",
                "2024-01-01T10:00:00+0200",
            ],
        ),
        (time, "time", ["10:00", "10:00:00.5", "10:00Z", "23:59:59+05:30"]),
        (timedelta, "duration", ["P3D", "PT0S", "P1DT2H3M4.5S", "PT2H", "-P1D", "P2W", "PT5M"]),
        (AnyUrl, "uri", ["https://de.wikipedia.org/wiki/Köln?x=1#a", "mailto:a@b.example"]),
    ],
)
def test_dates_and_times_are_written_as_pydantic_takes_them(
    backbone: TorchBackbone, kind: Any, format: str, texts: list[str]
) -> None:
    for text in texts:
        TypeAdapter(kind).validate_python(text)
        assert allows(backbone, of({"type": "string", "format": format}), {"a": text}), text
    assert not allows(backbone, of({"type": "string", "format": format}), {"a": "soon"})


@pytest.mark.parametrize(
    ("part", "right", "wrong"),
    [
        ({"type": "integer"}, [2**63 - 1, -(2**63), 175928847299117063], [2**63, -(2**63) - 1, 1.5]),
        ({"type": "integer", "minimum": 2**53 + 1}, [2**53 + 1], [2**53]),
        ({"type": "integer", "minimum": -17, "maximum": 123}, [-17, -1, 0, 9, 10, 99, 123], [-18, 124]),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10}, [1, 9], [0, 10]),
        ({"type": "number"}, [5, 1.5, 1e20, 1e-7, 5e-324], [10**30]),
        ({"type": "number", "minimum": 0}, [1e-7, 1e300, 0.25], [-1e-7, -1]),
        ({"type": "number", "maximum": 1e18}, [1e17, -1e300], [1e19]),
        ({"type": "object", "propertyNames": {"enum": ["b"]}}, [{"b": 1}], [{"c": 1}]),
        ({"type": "object", "propertyNames": {"pattern": "^b"}}, [{"bc": 1}], [{"c": 1}]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"</s>": 2**62}], [{"b": "x"}]),
    ],
)
def test_bounds_are_kept_exactly(
    backbone: TorchBackbone, part: dict[str, Any], right: list[Any], wrong: list[Any]
) -> None:
    assert [value for value in right if not allows(backbone, of(part), {"a": value})] == []
    assert [value for value in wrong if allows(backbone, of(part), {"a": value})] == []


def is_closed(schema: Any, value: Any) -> bool:
    """Tell whether a value has no unknown names, no repeated choices and no list beyond its bound."""
    if "anyOf" in schema:
        return value is None or is_closed(schema["anyOf"][0], value)
    if not {"items", "properties"} & schema.keys():
        return True
    if isinstance(value, dict):
        known = schema["properties"]
        return value.keys() <= known.keys() and all(is_closed(known[name], part) for name, part in value.items())
    if isinstance(value, list):
        choices = "enum" in schema["items"] and schema["items"].get("type") == "string"
        is_bounded = len(set(value)) == len(value) if choices else len(value) <= MAX_ITEMS
        return is_bounded and all(is_closed(schema["items"], part) for part in value)
    return True


@given(field=SCHEMAS, seed=st.integers(0, 100))
def test_whatever_is_written_fits_the_schema_and_is_closed(backbone: TorchBackbone, field: Field, seed: int) -> None:
    schema, _ = field
    text = write_call(backbone, schema, seed=seed, max_tokens=400)
    (call,) = parse_calls(text)
    assert call.fault is None, text
    assert make_validator(schema).is_valid(call.arguments), text
    assert is_closed(schema, call.arguments)


POINT = {"type": "object", "properties": {"x": {"type": "integer"}}}
NAMED = {"type": "object", "properties": {"name": {"type": "string"}}}
REFERENCE = {"$ref": "#/$defs/point"}


def of(part: Any, **more: Any) -> dict[str, Any]:
    """Return a schema of one argument."""
    return {"type": "object", "properties": {"a": part}, "$defs": {"point": POINT}} | more


@pytest.mark.parametrize(
    ("schema", "unknown"),
    [
        ({"properties": {}}, {"y": 2}),
        (of(POINT), {"a": {"x": 1, "y": 2}}),
        (of({"type": "array", "items": POINT}), {"a": [{"y": 2}]}),
        (of(REFERENCE), {"a": {"y": 2}}),
        (of({"allOf": [REFERENCE], "description": "Where."}), {"a": {"y": 2}}),
        (of({"anyOf": [POINT, {"type": "null"}]}), {"a": {"y": 2}}),
        (of({"properties": {"x": {"type": "string"}}, "not": {"required": ["y"]}}), {"a": {"y": 2}}),
        (of({"type": "string"}, anyOf=[{"required": ["a"]}, {"required": ["b"]}]), {"a": "", "y": 2}),
    ],
)
def test_objects_at_every_level_are_closed(backbone: TorchBackbone, schema: dict[str, Any], unknown: Any) -> None:
    assert not allows(backbone, schema, unknown)


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (of({"allOf": [POINT, NAMED]}), {"a": {"x": 1, "name": "b"}}),
        (of({"allOf": [REFERENCE, NAMED]}), {"a": {"x": 1, "name": "b"}}),
        (of({"allOf": [POINT], "properties": {"name": {"type": "string"}}}), {"a": {"x": 1, "name": "b"}}),
        (of({"anyOf": [POINT, NAMED], "required": ["z"]}), {"a": {"x": 1, "z": 3}}),
        (of({**POINT, "additionalProperties": {"type": "integer"}}), {"a": {"x": 1, "z": 3}}),
        (of({"type": "object"}), {"a": {"any": "thing"}}),
        (
            of({"allOf": [{"properties": {"p": POINT}}, {"properties": {"p": NAMED}}]}),
            {"a": {"p": {"x": 1, "name": "b"}}},
        ),
    ],
)
def test_objects_that_are_described_in_parts_stay_open(
    backbone: TorchBackbone, schema: dict[str, Any], arguments: Any
) -> None:
    assert jsonschema_rs.is_valid(schema, arguments)
    assert allows(backbone, schema, arguments)


TAGS = {"type": "array", "items": {"enum": ["a", "b", "c"]}}


@pytest.mark.parametrize(
    ("part", "value", "is_allowed"),
    [
        (TAGS, ["c", "a", "b"], True),
        (TAGS, ["a", "a"], False),
        (TAGS, [], True),
        ({**TAGS, "minItems": 1}, [], False),
        ({**TAGS, "maxItems": 1}, ["a", "b"], False),
        ({**TAGS, "uniqueItems": False}, ["a", "a"], True),
        ({**TAGS, "maxItems": 4}, ["a", "a"], True),  # more items than values: repeats are meant
        ({**TAGS, "minItems": 4}, ["a", "a", "b", "c"], True),
        ({"type": "array", "items": {"$ref": "#/$defs/tag"}}, ["b", "b"], False),
        ({"anyOf": [TAGS, {"type": "null"}]}, ["b", "b"], False),
        ({"anyOf": [TAGS, {"type": "null"}]}, None, True),
        ({"type": "object", "properties": {"tags": TAGS}}, {"tags": ["b", "b"]}, False),
        ({"type": "array", "items": TAGS, "minItems": 1}, [["b", "b"]], False),
        ({"type": "array", "items": TAGS, "minItems": 1}, [], False),
        ({"type": "array", "items": TAGS, "minItems": 2, "maxItems": 3}, [["b"]], False),
        ({"type": "array", "items": TAGS, "maxItems": 2}, [["b"], ["b", "a"]], True),
        ({"type": "array", "items": TAGS, "maxItems": 2}, [[], [], []], False),
        ({"$ref": "#/$defs/tree"}, {"tags": ["a"], "of": [{"tags": ["b"]}, {"of": []}]}, True),
        ({"$ref": "#/$defs/tree"}, {"of": [{"of": [{"tags": ["b", "b"]}]}]}, False),
        ({"type": ["array", "null"], "items": TAGS["items"]}, ["a", "b", "c", "a"], False),  # the length alone
        ({"type": "array", "items": {"type": "integer"}}, [1] * MAX_ITEMS, True),
        ({"type": "array", "items": {"type": "integer"}}, [1] * (MAX_ITEMS + 1), False),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 40}, [1] * 40, True),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 40}, [1] * 40, True),
    ],
)
def test_lists_come_to_an_end(backbone: TorchBackbone, part: dict[str, Any], value: Any, is_allowed: bool) -> None:
    branches = {"type": "array", "items": {"$ref": "#/$defs/tree"}}
    tree = {"type": "object", "properties": {"tags": TAGS, "of": branches}}
    schema = {"properties": {"a": part}, "$defs": {"tag": {"enum": ["a", "b", "c"]}, "tree": tree}}
    assert allows(backbone, schema, {"a": value}) is is_allowed


def test_forced_tokens_around_a_list_of_choices_are_the_tokenizers_own(backbone: TorchBackbone) -> None:
    grammar = caller_grammar({"go": {"properties": {"n": {"type": "integer"}, "tags": {**TAGS, "minItems": 3}}}})
    assert grammar is not None
    text = 'Action: go\nAction Input: {"n":12,"tags":["b","a","c"]}'
    wanted: list[int] = backbone.tokenizer.encode(text, add_special_tokens=False)
    assert follow(backbone, grammar, text)
    mask = backbone.grammars.make_mask(grammar, 200)
    for token in wanted:
        assert mask.forced() in (None, token)
        mask.accept(token)


def test_schemas_that_refer_to_each_other_in_a_long_chain_are_left_open(backbone: TorchBackbone) -> None:
    chain = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i - 1}"}, POINT]} for i in range(30, 0, -1)}
    schema = of({"$ref": "#/$defs/d30"}, **{"$defs": {"d0": NAMED, **dict(sorted(chain.items()))}})
    assert allows(backbone, schema, {"a": {"name": "b", "x": 1}})


OLDER: list[tuple[dict[str, Any], Any, Any]] = [
    ({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]}, ["x", 1], [1, 1]),
    ({"type": "array", "items": [{"type": "string"}], "additionalItems": {"type": "integer"}}, ["x", 1, 2], ["x", "y"]),
    ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, 1, 0),
    ({"type": "integer", "minimum": 0, "exclusiveMinimum": False}, 0, -1),
    ({"type": "string", "nullable": True}, None, 1),
    ({"type": "string", "enum": ["x"], "nullable": True}, None, "y"),
    ({"$ref": "#/$defs/x", "nullable": True}, None, "x"),
    ({"allOf": [{"$ref": "#/$defs/x"}], "nullable": True}, {"b": 1}, 1),
    ({"const": 3, "nullable": True}, None, 4),
]


@pytest.mark.parametrize("draft", [None, "http://json-schema.org/draft-07/schema#"])
@pytest.mark.parametrize(("part", "right", "wrong"), OLDER, ids=str)
def test_words_of_older_drafts_are_known(
    backbone: TorchBackbone, part: dict[str, Any], right: Any, wrong: Any, draft: str | None
) -> None:
    if draft and "exclusiveMinimum" in part:
        draft = draft.replace("07", "04")
    definitions = {"x": {"type": "object", "properties": {"b": {"type": "integer"}}, "required": []}}
    schema = {**of(part), "$defs": definitions, **({"$schema": draft} if draft else {})}
    spec = ToolSpec("go", "", schema)
    for value, is_right in ((right, True), (wrong, False)):
        assert allows(backbone, schema, {"a": value}) is is_right
        assert spec.make_validator().is_valid({"a": value}) is is_right
