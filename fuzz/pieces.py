"""Inputs for the targets: pieces that their formats are made of, put together and broken at random."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

PIECES = (
    *(
        "Next: ",
        "caller",
        "conclusion",
        "give up",
        "Action: ",
        "Action Input: ",
        "```json\n",
        "**",
        "<tool_call>",
        "\n",
    ),
    *('{"name": "a", "arguments": {', '"a": 1', "}", "[", "]", "{", ",", ":", '"', "\\", "\\ud800", "\ud800", "\x00"),
    *(
        "<|im_end|>",
        "</s>",
        "user:",
        "\u200b",
        "＜",
        "\u2028",
        "1e999",
        "NaN",
        "9" * 30,
        "null",
        "- ",
        "&a ",
        "*a",
        "? ",
    ),
    *(
        "|\n",
        ">",
        "#",
        "!!python/object:os.system ",
        "%TAG",
        "---\n",
        "'",
        "\t",
        " ",
        "é",
        "\U0001f600",
        "(a+)+$",
        "(?",
    ),
    *("Thought: ", "Observation: ", "<<1+1=2>>", "#### 2", "finish[", "</think>", "$var1.id$", "API_call_0", "x" * 300),
)
KEYS = (
    *("type", "properties", "required", "items", "enum", "anyOf", "allOf", "oneOf", "$ref", "description", "pattern"),
    *("patternProperties", "additionalProperties", "minimum", "default", "not", "const", "format", "$defs", "nullable"),
    *("get", "post", "parameters", "requestBody", "content", "application/json", "schema", "name", "in", "style"),
    *("operationId", "security", "servers", "url", "variables", "explode", "summary", "$schema", "$id", "maxLength"),
    *("tools", "turns", "steps", "calls", "rationale", "decision", "instruction", "observation", "text", "answer"),
    *("required_parameters", "optional_parameters", "api_name", "tool_name", "method", "category_name", "id", "system"),
    *("role", "tool_calls", "function", "arguments", "tool_call_id", "data", "function_call", "additional_kwargs", ""),
)
VALUES: tuple[Any, ...] = (
    *(
        "string",
        "object",
        "array",
        "integer",
        "#/properties/a",
        "#",
        "query",
        "path",
        "header",
        "caller",
        "(a+)+$",
        "[",
    ),
    *("http://127.1", "https://{h}/", "", "\ud800", "x" * 200, "x{0,99999999999}", "(" * 300, True, False, None, 0, -1),
    *(1.5, 10**30, 10**400, "GET", "deepObject", "http://json-schema.org/draft-07/schema#", "/x/{id}", [], {}, [[]]),
    *(float("inf"), float("nan"), "assistant", "tool", "ai", "human", "not/json", '{"a": "b"}', "[1]", "Finish"),
)
_DEEP = '{"a":[' * 2000


def make_text(random: Random) -> str:
    """Return text of pieces, with characters dropped or put in."""
    text = "".join(random.choices(PIECES, k=random.randint(1, 12)))
    for _ in range(random.randint(0, 3)):
        place = random.randint(0, len(text))
        text = text[:place] + random.choice(("", chr(random.randint(0, 0x2FFF)))) + text[place + random.randint(0, 2) :]
    return text


def make_json(random: Random) -> str:
    """Return JSON of the keys and values that readers look for, now and then broken."""
    return _break(random, json.dumps(_make_value(random, 5)))


def make_from(random: Random, samples: Sequence[Any]) -> str:
    """Return lines of JSON: samples in which some values are exchanged and some are gone, now and then broken."""
    return "\n".join(_break(random, json.dumps(_mutate(random, sample))) for sample in samples)


def _break(random: Random, text: str) -> str:
    if random.random() < 0.05:
        place = random.randint(0, len(text))
        return text[:place] + random.choice((*PIECES, _DEEP)) + text[place + random.randint(0, 3) :]
    return text


def _make_value(random: Random, depth: int) -> Any:
    kind = random.random()
    if depth == 0 or kind < 0.3:
        return random.choice(VALUES)
    if kind < 0.45:
        return [_make_value(random, depth - 1) for _ in range(random.randint(0, 3))]
    return {random.choice(KEYS): _make_value(random, depth - 1) for _ in range(random.randint(0, 4))}


def _mutate(random: Random, value: Any) -> Any:
    kind = random.random()
    if kind < 0.02:
        return _make_value(random, 2)
    if isinstance(value, dict):
        kept = {key: _mutate(random, part) for key, part in value.items() if random.random() > 0.01}
        return {**kept, random.choice(KEYS): _make_value(random, 1)} if kind < 0.03 else kept
    if isinstance(value, list):
        kept_parts = [_mutate(random, part) for part in value if random.random() > 0.02]
        return kept_parts * 2 if kind < 0.03 else kept_parts
    if isinstance(value, str) and kind < 0.08:
        place = random.randint(0, len(value))
        return value[:place] + make_text(random) + value[random.randint(0, len(value)) :]
    return value


class FedRandom(Random):
    """Random numbers that are the bytes of an input, so that a fuzzer which changes bytes changes decisions."""

    def __init__(self, data: bytes) -> None:
        """Take the bytes; after their end everything is zero."""
        super().__init__(0)
        self._data = data
        self._place = 0

    def getrandbits(self, k: int, /) -> int:
        """Return the next bytes as a number of `k` bits."""
        n_bytes = (k + 7) // 8
        taken = self._data[self._place : self._place + n_bytes].ljust(n_bytes, b"\0")
        self._place += n_bytes
        return int.from_bytes(taken, "little") & ((1 << k) - 1)

    def random(self) -> float:
        """Return the next two bytes as a fraction."""
        return self.getrandbits(16) / (1 << 16)
