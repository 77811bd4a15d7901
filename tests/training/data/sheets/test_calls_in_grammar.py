"""What sheets have the caller write, its grammar lets it write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerFast

from alpha_umi.nodes.format.trajectory import Call
from alpha_umi.nodes.models.engine.grammar import GrammarCompiler, caller_grammar
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources import world
from tests.nodes.models.conftest import follow_mask


def order(schema: Mapping[str, Any], value: Any) -> Any:
    """Return a value with its names in the schema's order."""
    if isinstance(value, list):
        return [order(schema.get("items", {}), part) for part in value]
    if not isinstance(value, dict):
        return value
    parts = schema.get("properties", {})
    return {name: order(parts[name], value[name]) for name in parts if name in value}


def render(call: Call, spec: ToolSpec) -> str:
    arguments = order(spec.parameters, call.arguments)
    text = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return f"Action: {call.name}\nAction Input: {text}"


def test_calls_of_sheets_can_be_written(tokenizer: PreTrainedTokenizerFast) -> None:
    compiler = GrammarCompiler(tokenizer, len(tokenizer), [2])
    n_calls = 0
    for example in world.read("90", Tally(), seed=0):
        specs = {spec.name: spec for spec in example.trajectory.tools}
        grammar = caller_grammar({name: spec.parameters for name, spec in specs.items()})
        assert grammar is not None
        for call in [call for turn in example.trajectory.turns for step in turn.steps for call in step.calls]:
            if call.name not in specs or not specs[call.name].make_validator().is_valid(call.arguments):
                continue
            mask = compiler.make_mask(grammar, 1000)
            text = render(call, specs[call.name])
            assert follow_mask(mask, tokenizer.encode(text, add_special_tokens=False), len(tokenizer)), text
            n_calls += 1
    assert n_calls > 100
