"""What the caller's grammar makes of a tool's schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from alpha_umi.nodes.format.parsing import parse_calls
from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.checkpoint import hash_file
from alpha_umi.nodes.models.engine.decode import make_sampler
from alpha_umi.nodes.models.engine.grammar import caller_grammar
from alpha_umi.nodes.models.local import LocalChatModel
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
SHORTEST = "Action: go\nAction Input: {}"


def allows(backbone: Backbone, schema: dict[str, Any], arguments: Any, *, may_omit: bool = False) -> bool:
    """Tell whether the caller may write these arguments."""
    grammar = caller_grammar({"go": schema}, may_omit=may_omit)
    assert grammar is not None
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return follow(backbone, grammar, f"Action: go\nAction Input: {text}")


def write_call(backbone: Backbone, schema: dict[str, Any], *, seed: int, max_tokens: int, **options: bool) -> str:
    """Let chance write a call."""
    grammar = caller_grammar({"go": schema}, **options)
    assert grammar is not None
    mask = backbone.grammars.make_mask(grammar, max_tokens)
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = []
    while not mask.finished:
        ids.append(mask.choose(torch.randn(backbone.model.config.vocab_size, generator=generator), make_sampler()))
    assert len(ids) <= max_tokens
    return str(backbone.tokenizer.decode(ids))


@given(data=st.data())
def test_any_arguments_may_be_left_out_where_that_is_allowed(backbone: Backbone, data: st.DataObject) -> None:
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
    backbone: Backbone, schema: dict[str, Any], arguments: dict[str, Any]
) -> None:
    assert not allows(backbone, schema, arguments, may_omit=True)


def test_arguments_of_a_schema_that_cannot_be_enforced_may_be_left_out(backbone: Backbone) -> None:
    schema = {"properties": {"p": {"type": "string", "pattern": "(?=x)y"}}, "required": ["p"]}
    assert not allows(backbone, schema, {})
    assert allows(backbone, schema, {}, may_omit=True)


@pytest.mark.parametrize("max_tokens", [25, 40, 80])
@pytest.mark.parametrize("seed", range(8))
def test_call_ends_in_time_where_arguments_may_be_left_out(backbone: Backbone, seed: int, max_tokens: int) -> None:
    text = write_call(backbone, VISIT, seed=seed, max_tokens=max_tokens, may_omit=True)
    (call,) = parse_calls(text)
    assert call.fault is None, text
    assert isinstance(call.arguments, dict)
    assert call.arguments.keys() <= VISIT["properties"].keys()  # type: ignore[attr-defined]


def test_call_that_has_to_end_begins_no_further_argument(backbone: Backbone) -> None:
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
