"""What the roles wrote, read back. Total: any text gives a value or a readable fault.

What a model thought before (`alpha_umi.nodes.format.reasoning`) is left out.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from alpha_umi.nodes.format.escaping import replace_surrogates
from alpha_umi.nodes.format.reasoning import split_reasoning
from alpha_umi.nodes.format.trajectory import Decision

MAX_DEPTH = 50
"""Deeper JSON is refused, so that nothing downstream (copying, checkpoints, schemas) runs out of stack."""

_DECISION = re.compile(
    r"""(?<![^\W_])[*_`#>]{0,8}next[*_`]{0,4}[ \t]{0,4}:[\s*_`"'\[(]{0,16}
    (?: (?P<give_up> give[\s_-]{0,4}up\b)
      | (?P<conclusion> (?:conclusion|summari[sz]er)\b | (?:conclude|summari[sz]e|answer|finish)\b(?![ \t]{0,4}\w))
      | (?P<caller> caller\b | (?:call|tool)\b(?![ \t]{0,4}\w))
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ACTION = re.compile(r"(?<![^\W_])[*_`#]{0,4}action[*_`]{0,4}[ \t]{0,4}:[*_`]{0,4}", re.IGNORECASE)
_INPUT = re.compile(r"(?<!\w)[*_`#]{0,4}action[ ]{1,4}input[*_`]{0,4}[ \t]{0,4}:[*_`]{0,4}", re.IGNORECASE)
_SPACE = re.compile(r"\s*")
_OPENING = re.compile(r"\s*(?:```\w{0,16}\s*)?")
_CLOSING = re.compile(r"(?:[\s`,;]|</?tool_call>)*")
_JSON_START = re.compile(r"\{|\[\s*\{")
_IN_NAME = re.compile(r"[\w.:/-]")
# Strings of JSON, also between other quotes, and the signs around them.
_JSON_PART = re.compile(
    r'("(?:[^"\\]|\\.)*")|[＂“”„‟]((?:[^"＂“”\\]|\\.)*)[＂“”]|[「『«‘]((?:[^"」』»’\\]|\\.)*)[」』»’]|[^\x00-\x7f]'
)
# Signs that NFKC leaves as they are, and what models mean by them.
_LIKE_ASCII = str.maketrans(
    "∶꞉ː、−‐‑‒–—“”„‟«»「」『』《》‘’‚‛‹›〈〉【〔】〕", ":::,------" + '"' * 12 + "'" * 8 + "[[]]"
)
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")
_HOW = "write 'Action: ' and the tool's name, then a line 'Action Input: ' and one JSON object"
_JSON_NAMES = {
    list: "a list",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
    str: "text",
}


def _parse_int(digits: str) -> int:
    # A checkpoint (msgpack) holds no larger ones; the length goes first, since int() refuses very long digits.
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**63:
        raise ValueError(f"{digits[:24]} is too large")
    return value


def _parse_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:24]} is too large")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_parse_int, parse_float=_parse_float, parse_constant=_refuse_constant)


@dataclass(frozen=True, slots=True)
class Plan:
    """One output of the planner; `decision` is None where it made none."""

    rationale: str
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """One call in an output of the caller.

    Args:
        name: Tool name as written, ``""`` if there is none.
        arguments: The JSON object; with a fault, the text as written.
        fault: What the caller did wrong and how to do it right, or None.
    """

    name: str
    arguments: dict[str, Any] | str
    fault: str | None = None


def parse_plan(text: str) -> Plan:
    """Read the first decision of the planner and what it thought before.

    Example:
        >>> parse_plan("I need the weather. Next: caller.")
        Plan(rationale='I need the weather.', decision='caller')
    """
    text = _take_said(text)
    folded = fold(text)
    match = _DECISION.search(folded)
    if match is None:
        return Plan(text.strip(), None)
    decisions: dict[str, Decision] = {"give_up": "give up", "conclusion": "conclusion", "caller": "caller"}
    rationale = text[: len(folded[: match.start()].rstrip())].lstrip()
    return Plan(rationale, decisions[match.lastgroup or ""])


def parse_calls(text: str) -> tuple[ParsedCall, ...]:
    r"""Read the calls of the caller: at least one, and none after the first that is at fault.

    Example:
        >>> parse_calls('Action: add\nAction Input: {"a": 1}')
        (ParsedCall(name='add', arguments={'a': 1}, fault=None),)
    """
    text = _take_said(text)
    folded = fold(text)
    start = _skip(_OPENING, folded, 0)
    if _JSON_START.match(folded, start) is None:
        if (action := _ACTION.search(folded)) is not None:
            return tuple(_read_actions(text, folded, action))
        found = _JSON_START.search(folded)
        if found is None:
            return (ParsedCall("", text, f"There is no tool call; {_HOW}."),)
        start = found.start()
    return tuple(_read_objects(text, folded, start))


def parse_answer(text: str) -> str:
    """Read the answer of the summarizer, empty if there is none."""
    return _take_said(text).strip()


def fold(text: str) -> str:
    """Return the text with full-width signs and letters as ASCII has them, each in its old place.

    Markers are looked for in it; what stands around them is taken from the text itself.

    Example:
        >>> fold("Next：caller。")
        'Next:caller。'
    """
    return text if text.isascii() else "".join(map(_fold_character, text))


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    if unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return " "  # not seen
    folded = unicodedata.normalize("NFKC", character)
    return folded.translate(_LIKE_ASCII) if len(folded) == 1 else character


def _clean_name(name: str) -> str:
    """Take off what stands around a tool's name; in full-width letters it is meant as in ASCII."""
    first, last = _IN_NAME.search(name), _IN_NAME.search(name[::-1])
    name = name[first.start() : len(name) - last.start()] if first and last else ""
    return folded if (folded := fold(name)).isascii() else name


def _take_said(text: str) -> str:
    return split_reasoning(replace_surrogates(text))[1]


def _skip(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return start if match is None else match.end()


def _read_actions(text: str, folded: str, action: re.Match[str] | None) -> Iterator[ParsedCall]:
    """Read ``Action: … Action Input: …`` pairs that follow each other with nothing in between."""
    while action is not None:
        end_of_line = text.find("\n", action.end())
        end_of_line = len(text) if end_of_line < 0 else end_of_line
        marker = _INPUT.search(folded, action.end(), end_of_line)
        end_of_name = marker.start() if marker else end_of_line
        name = _clean_name(text[action.end() : end_of_name])
        marker = marker or _INPUT.match(folded, _skip(_SPACE, folded, end_of_name))
        if marker is None:
            yield ParsedCall(name, text[end_of_name:].strip(), f"There is no Action Input; {_HOW}.")
            return
        start = _skip(_OPENING, folded, marker.end())
        try:
            value, end = _decode(text, start)
            arguments = _as_arguments(value)
        except ValueError as error:
            yield ParsedCall(name, text[marker.end() :].strip(), f"Action Input {error}")
            return
        if not name:
            yield ParsedCall("", text[action.start() :].strip(), f"There is no tool name; {_HOW}.")
            return
        yield ParsedCall(name, arguments)
        action = _ACTION.match(folded, _skip(_CLOSING, folded, end))


def _read_objects(text: str, folded: str, start: int) -> Iterator[ParsedCall]:
    """Read calls that are JSON objects, one after the other or in lists."""
    while True:
        try:
            value, end = _decode(text, start)
            for call in value if isinstance(value, list) and value else [value]:
                yield _read_object(call)
        except ValueError as error:
            yield ParsedCall("", text[start:].strip(), f"The tool call {error}")
            return
        start = _skip(_CLOSING, folded, end)
        if not _JSON_START.match(folded, start):
            return


def _read_object(value: Any) -> ParsedCall:
    call = value.get("function", value) if isinstance(value, dict) else value
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        raise ValueError(f"names no tool; {_HOW}.")
    key = next((key for key in _ARGUMENT_KEYS if key in call), None)
    if key is None:
        raise ValueError('has no "arguments"; write one JSON object there, {} if the tool takes none.')
    return ParsedCall(_clean_name(call["name"]), _as_arguments(call[key]))


def _as_arguments(value: Any) -> dict[str, Any]:
    """Return a JSON object, also one that is written inside a JSON string."""
    if isinstance(value, str):
        value, _ = _decode(value, _skip(_SPACE, value, 0))
    if not isinstance(value, dict):
        raise ValueError(f"is {_JSON_NAMES[type(value)]}, not a JSON object; write one JSON object.")
    return value


def _decode(text: str, start: int) -> tuple[Any, int]:
    """Decode the JSON value at `start`, so that any strict JSON writer can write it again.

    Returns:
        The value and where it ends in `text`.

    Raises:
        ValueError: With a sentence that says what is wrong.
    """
    try:
        value, end = _decode_signs(text, start)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"is not valid JSON: {error.msg} at character {error.pos - start}; write one JSON object."
        ) from error
    except RecursionError as error:
        raise ValueError("is nested too deeply; write a flatter JSON object.") from error
    except ValueError as error:
        raise ValueError(f"has a number that cannot be used ({error}); write it as a string.") from error
    if _depth(value) > MAX_DEPTH:
        raise ValueError("is nested too deeply; write a flatter JSON object.")
    written = json.dumps(value, ensure_ascii=False)
    safe = replace_surrogates(written)
    return (value if safe == written else json.loads(safe)), end


def _decode_signs(text: str, start: int) -> tuple[Any, int]:
    """Decode what is valid JSON, if need be with full-width signs."""
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        if text.isascii():
            raise
        return _DECODER.raw_decode(text[:start] + _JSON_PART.sub(_fold_json, text[start:]), start)


def _fold_json(part: re.Match[str]) -> str:
    """Write what is no content of JSON as ASCII has it; nothing changes its length."""
    quoted = part[2] if part[3] is None else part[3]
    return part[1] or (_fold_character(part[0]) if quoted is None else f'"{quoted}"')


def _depth(value: Any) -> int:
    """Count the levels of nesting without recursion."""
    depth, level = 0, [value]
    while level := [child for node in level for child in _children(node)]:
        depth += 1
    return depth


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
