r"""The grammars of planner and caller in GBNF, which llama.cpp's server reads, and both backends of vLLM.

The caller's is the engine's in other words. The planner's is written anew, as GBNF has no lazy expressions. What is
left out: that a long rationale is cut, names after "I call", values copied from the conversation, most bounds and all
patterns of values. Who reads the reply checks those.

Worked sample, of rules of the caller's::

    call_0: "add" call_0_input                   call-0 ::= "add" call-0-input
    x: /[1-9][0-9]{3}/ | "null"                  x ::= ( [1-9] [0-9]{3} ) | "null"
    x: %json {"type": "string", "format": …}     x ::= ( any-string )
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.engine.grammar import caller_grammar
from alpha_umi.nodes.models.engine.tightening import list_kinds
from alpha_umi.nodes.models.engine.value_rules import TEXT, write_scalar
from alpha_umi.tools.spec import ToolSpec

_MAX_COUNTED = 64
"""More often nothing is counted: llama.cpp writes such rules out, and refuses long ones."""
_TOKEN = re.compile(
    r"""(?P<name>[a-z]\w*) | (?P<text>"(?:[^"\\]|\\.)*") | /(?P<regex>(?:[^/\\]|\\.)+)/ | (?P<schema>%json[ ])
      | \{(?P<count>\d+,?\d*)\} | (?P<sign>[()|]) | (?P<often>[?*+]) | [ ]+""",
    re.VERBOSE,
)
_IN_REGEX = re.compile(
    r"""(?P<set>\[(?:[^\]\\]|\\.)+\]) | \{(?P<count>\d+,?\d*)\} | (?P<sign>[()|]) | (?P<often>[?*+])
      | \\(?P<escaped>.) | (?P<char>.)""",
    re.VERBOSE,
)
# What the engine says of values of a type, in its own words and here; the longer one holds the shorter.
_TYPES = {
    write_scalar({"type": "number"}): "any_number",
    write_scalar({"type": "integer"}): "any_integer",
    TEXT: "any_string",
}
_ANY = r"""any ::= any-string | any-number | any-boolean | any-null | any-array | any-object
any-string ::= "\"" ( [^"\\\x00-\x1F\x7F] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} ) )* "\""
any-integer ::= "-"? ( "0" | [1-9] [0-9]{0,18} )
any-number ::= any-integer ( "." [0-9]{1,17} )? ( [eE] [-+]? [0-9]{1,2} )?
any-boolean ::= "true" | "false"
any-null ::= "null"
any-array ::= "[" ( any ( "," any )* )? "]"
any-object ::= "{" ( any-string ":" any ( "," any-string ":" any )* )? "}"
"""
_WORD = string.ascii_letters + string.digits
_NUL = "\0"  # in a set of what may follow it ends llama.cpp's server
_NO_WORD = [each for each in map(chr, range(1, 128)) if each not in _WORD]


@cache
def planner_gbnf() -> str:
    """Return the grammar of a rationale, up to the first "next:" that begins a word, and one of the three decisions."""
    marks, blanks, n_most = "*_`", " \t", 4  # as `alpha_umi.nodes.format.parsing` reads them
    states: dict[str, dict[str, str]] = {"word": {}, "edge": {"nN": "n"}}
    states |= {name: {then + then.upper(): name + then} for name, then in (("n", "e"), ("ne", "x"), ("nex", "t"))}
    states["next"] = {":": "decision", marks: "marks-1", blanks: "blanks-1"}
    for i in range(1, n_most + 1):
        end = {":": "decision", "nN": "n"}
        further = str(i + 1) if i < n_most else ""
        states[f"marks-{i}"] = {**end, marks: f"marks-{further}" if further else "edge", blanks: "blanks-1"}
        states[f"blanks-{i}"] = {**end, blanks: f"blanks-{further}" if further else "edge"}
    rules = [f"{name} ::= {' | '.join(_write_moves(moves))}" for name, moves in states.items()]
    return "\n".join(["root ::= edge", *rules, 'decision ::= " caller." | " conclusion." | " give up."'])


def _write_moves(moves: Mapping[str, str]) -> Iterator[str]:
    """Yield where characters lead; those that are not named, into a word or to the edge of one."""
    for characters, state in moves.items():
        yield f"[{_write_set(characters)}] {state}"
    named = "".join(moves)
    yield f"[^{_write_set([_NUL, *_NO_WORD, *named])}] word"
    yield f"[{_write_set(each for each in _NO_WORD if each not in named)}] edge"


def _write_set(characters: Iterable[str]) -> str:
    """Return the inside of a set; all by number, since readers differ in what they take for a sign."""
    codes = sorted(set(map(ord, characters)))
    starts = [code for code in codes if code - 1 not in codes]
    ends = [code for code in codes if code + 1 not in codes]
    return "".join(f"\\x{start:02X}-\\x{end:02X}" for start, end in zip(starts, ends, strict=True))


def role_gbnf(role: Role, tools: Sequence[ToolSpec], *, may_omit: bool) -> str | None:
    """Return the grammar of a role; None for the summarizer, and for a caller without tools."""
    if role == "planner":
        return planner_gbnf()
    return caller_gbnf({tool.name: tool.parameters for tool in tools}, may_omit=may_omit) if role == "caller" else None


def caller_gbnf(schemas: Mapping[str, Mapping[str, Any]], *, may_omit: bool = False) -> str | None:
    """Return the grammar of one call of one of the tools; None where there are none. See `caller_grammar`."""
    grammar = caller_grammar(schemas, may_omit=may_omit, is_plain=True)
    if grammar is None:
        return None
    rules = (line.split(": ", 1) for line in grammar.lark.split("\n"))
    lines = [f"{_rename(name)} ::= {_write_body(body)}" for name, body in rules]
    return "\n".join([*lines, _ANY]).replace("start ::=", "root ::=", 1)


def _rename(name: str) -> str:
    return name.replace("_", "-")  # which GBNF has no place for


def _write_body(body: str) -> str:
    """Return what a rule of the engine's says, in GBNF."""
    for known, name in _TYPES.items():
        body = body.replace(known, name)
    parts: list[str] = []
    at = 0
    while at < len(body):
        match = _TOKEN.match(body, at)
        if match is None:
            raise ValueError(f"No GBNF of {body[at : at + 40]!r}.")
        at = match.end()
        if match["schema"]:
            schema, at = json.JSONDecoder().raw_decode(body, at)
            parts.append(f"( {_write_kinds(schema)} )")
        elif regex := match["regex"]:
            parts.append(f"( {_write_regex(regex)} )")
        elif match["name"]:
            parts.append(_rename(match["name"]))
        else:
            _append(parts, match)
    return " ".join(parts)


def _write_regex(regex: str) -> str:
    parts: list[str] = []
    for match in _IN_REGEX.finditer(regex):
        if literal := match["escaped"] or match["char"]:
            parts.append(json.dumps(literal))
        else:
            _append(parts, match)
    return " ".join(parts)


def _append(parts: list[str], match: re.Match[str]) -> None:
    """Add what is written alike, and to the part before how often it comes."""
    groups = match.groupdict()
    if count := groups["count"]:
        least, comma, most = count.partition(",")
        is_short = int(least) <= _MAX_COUNTED
        parts[-1] += f"{{{least}{comma}{most if int(most or 0) <= _MAX_COUNTED else ''}}}" if is_short else "*"
    elif often := groups["often"]:
        parts[-1] += often
    elif text := groups.get("text"):
        _append_text(parts, text)
    elif same := groups.get("set") or groups["sign"]:
        parts.append(same.replace(r"\/", "/"))


def _append_text(parts: list[str], text: str) -> None:
    r"""Add a literal; to one before it, as llguidance does not come back to "," once it has begun with ",\"a\":"."""
    before = json.loads(parts.pop()) if parts and parts[-1].startswith('"') else ""
    parts.append(json.dumps(before + json.loads(text), ensure_ascii=False))  # not every reader knows all escapes


def _write_kinds(schema: Any) -> str:
    """Return values of the types that a schema allows."""
    kinds = list_kinds(schema) if isinstance(schema, dict) else []
    return " | ".join(f"any-{kind}" for kind in kinds) or "any"
