"""What the planner and the caller may write, as grammars that decoding cannot leave.

The planner ends in one of the three decisions, the caller names an offered tool and writes arguments of its schema.
Both come to their end within the token budget: close to it, the text is ended in the shortest way.
"""

from __future__ import annotations

import codecs
import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from alpha_umi.nodes.format.certainty import ANNOUNCEMENT
from alpha_umi.nodes.format.encoding import FastTokenizer
from alpha_umi.nodes.models.engine.argument_rules import make_rules
from alpha_umi.nodes.models.engine.copying import MAX_CHARS, Copying, NextPart

if TYPE_CHECKING:
    from alpha_umi.nodes.models.engine.spans import Logits

_Allowed: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]  # by token
logger = logging.getLogger(__name__)

# The rationale ends at the first "next:" that `alpha_umi.nodes.format.parsing.parse_plan` would take for the decision.
_NEXT = r"(?i:next)[*_`]{0,4}[ \t]{0,4}[:：﹕︓]"
_PLANNER = rf"""start: rationale decision
rationale[lazy]: /((?s:.*)[\W_])?{_NEXT}/
decision: " caller." | " conclusion." | " give up."
"""
# Before them, a part of the request that is quoted; nothing else begins as a quote does.
_PART = rf"""start: (part after | other) decision
part: PART
PART: "Part %d (" (SPAN & /[^\s,.;:!?)](?s:.*)/)
SPAN: %%regex %s
after[lazy]: /(\)(?s:.*)[\W_]|\n){_NEXT}/
"""
_NO_PART = "start: other decision\n"
_OTHER = rf"""other[lazy]: /(([^P]|P[^a])(?s:.*)[\W_])?{_NEXT}/
decision: " caller." | " conclusion." | " give up."
"""
_CUT = "\nNext:"
_LONGEST_DECISION = " give up."
# The text cannot be cut within a character, which takes at most four tokens, nor within "Part 12 (" and what follows.
_UNCUT_TOKENS = 10
# The decision may begin with shorter tokens than usual (" ", "c", "o", …), until it is clear which one it is.
_SPLIT_TOKENS = 4
# How JSON is closed soon: the end of a string, of an object, of a list, of a value; what an address of mail needs; a
# digit; else the first token that is allowed. Zero is the last digit, since "0.000…" need never come above a minimum.
_CLOSERS = '"}],@1234567890'
_NEAR_END_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar and how its text is brought to an end.

    Args:
        lark: In llguidance's dialect of Lark.
        cut: Text that ends free writing wherever it occurs; `_LONGEST_DECISION` at most may follow. Empty for JSON,
            whose shortest ending is found by search.
        limit_tokens: The most tokens before the cut; None for no other limit than that of the whole text.
        names: What may follow in free writing where a call is announced; anything if there are none.
    """

    lark: str
    cut: str = ""
    limit_tokens: int | None = None
    names: tuple[str, ...] = ()


def planner_grammar(
    max_rationale_tokens: int = 256, names: Sequence[str] = (), part: NextPart | None = None
) -> Grammar:
    """Return the grammar of a rationale, cut off at its limit, and exactly one decision.

    Args:
        max_rationale_tokens: See above.
        names: As in `Grammar`.
        part: What a rationale that begins with "Part" has to go on with; anything if there is none.
    """
    lark = _PLANNER
    if part is not None and len(part.words) <= MAX_CHARS:
        span = json.dumps({"substring_chars": part.words})
        lark = (_PART % (part.number, span) if part.words else _NO_PART) + _OTHER
    return Grammar(lark, _CUT, max_rationale_tokens, tuple(names))


def caller_grammar(
    schemas: Mapping[str, Mapping[str, Any]],
    *,
    may_omit: bool = False,
    said: Sequence[str] | None = None,
    is_plain: bool = False,
) -> Grammar | None:
    """Return the grammar of one call of one of the tools, by their names and schemas; None where there are none.

    Arguments that the schema does not know are not allowed, unless it says ``additionalProperties``. Of a schema that
    cannot be enforced, at least the arguments' names are.

    Args:
        schemas: By the tools' names.
        may_omit: Let required arguments be left out. A caller that is trained for this writes no value that nobody
            gave; the check of the arguments then says what is missing.
        said: Texts that values have to be copied from, see `alpha_umi.nodes.models.engine.copying`; None for any value.
        is_plain: Leave out what `alpha_umi.nodes.models.gbnf` cannot say.
    """
    if not schemas:
        return None
    calls = [f"call_{i}" for i in range(len(schemas))]
    copying = Copying(said) if said is not None and sum(map(len, said)) <= MAX_CHARS else None
    lines = [f'start: "Action: " ({" | ".join(calls)})']
    for call, (name, schema) in zip(calls, schemas.items(), strict=True):
        lines.append(f"{call}: {json.dumps(name, ensure_ascii=False)} {call}_input")
        lines.append(f'{call}_input: "\\nAction Input: " {call}_json')
        lines.append(
            make_rules(f"{call}_json", json.dumps(schema), may_omit=may_omit, copying=copying, is_plain=is_plain)
        )
    return Grammar("\n".join([*lines, *(copying.lines if copying else ())]))


def answer_grammar(schema_text: str) -> Grammar:
    """Return the grammar of compact JSON that fits a schema, or at least has its names; see `make_rules`."""
    return Grammar("start: answer\n" + make_rules("answer", schema_text, may_omit=False))


class GrammarCompiler:
    """Makes token masks for one tokenizer; compiled grammars are kept.

    Args:
        tokenizer: A fast tokenizer.
        n_vocab: Length of the model's logits, which may be padded beyond the tokenizer's vocabulary.
        eos_ids: Tokens that end the text.
    """

    def __init__(self, tokenizer: FastTokenizer, n_vocab: int, eos_ids: Sequence[int]) -> None:
        """Read the vocabulary; takes a third of a second."""
        vocabulary = tokenizer.backend_tokenizer.to_str()
        self._tokenizer = LLTokenizer(vocabulary, n_vocab=n_vocab, eos_token=list(eos_ids))
        self._compile = lru_cache(maxsize=128)(self._compile_lark)
        self._closers = [self._tokenizer.tokenize_str(character)[0] for character in _CLOSERS]

    def _compile_lark(self, lark: str) -> LLMatcher:
        matcher = LLMatcher(self._tokenizer, lark, log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def make_mask(self, grammar: Grammar, max_tokens: int) -> TokenMask:
        """Return a fresh mask for one generation of at most `max_tokens`."""
        name_mask = None
        if grammar.names:
            name_mask = ToolNameMask(grammar.names, self._compile(make_names_lark(grammar.names)), self._tokenizer)
        matcher = self._compile(grammar.lark).deep_copy()
        return TokenMask(matcher, self._tokenizer, grammar, max_tokens, self._closers, name_mask)


class TokenMask:
    """Follows one text through its grammar; made by `GrammarCompiler.make_mask`."""

    def __init__(
        self,
        matcher: LLMatcher,
        tokenizer: LLTokenizer,
        grammar: Grammar,
        max_tokens: int,
        closers: Sequence[int],
        name_mask: ToolNameMask | None = None,
    ) -> None:
        """Start before the first token."""
        self._matcher = matcher
        self._name_mask = name_mask
        self._closers = closers
        self._cut: list[int] = tokenizer.tokenize_str(grammar.cut) if grammar.cut else []
        self._n_reserved = 0
        self._n_left = max_tokens
        if self._cut:
            self._n_reserved = len(tokenizer.tokenize_str(_LONGEST_DECISION)) + _SPLIT_TOKENS
        if grammar.limit_tokens is not None:
            self._n_left = min(max_tokens, grammar.limit_tokens + len(self._cut) + self._n_reserved)
        self._ending: list[int] = []
        self._n_unchecked = 0
        self._written: list[tuple[int, float]] = []
        self._tokenizer = tokenizer
        self._allowed: _Allowed | None = None

    @property
    def finished(self) -> bool:
        """Whether the text is complete, so that nothing may follow."""
        return bool(self._matcher.is_stopped())

    def list_written(self) -> list[tuple[str, float]]:
        """Return the tokens' texts, and logarithms of their probabilities among what was allowed.

        An ending that the budget forced on the text has probability 0: the model did not choose it.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return [(decoder.decode(self._tokenizer.decode_bytes([token])), log_p) for token, log_p in self._written]

    def forced(self) -> int | None:
        """Return the only token that may come next, None where there is a choice.

        Text that the grammar leaves no choice about has one tokenization: the tokenizer's own, up to where
        what follows could still change it. The mask allows nothing else, so these are the tokens `choose` would return.
        """
        if self._ending:
            return self._ending[0]
        if tokens := self._matcher.compute_ff_tokens():
            return int(tokens[0])
        allowed = self._allow()
        return int(allowed.argmax()) if np.count_nonzero(allowed) == 1 else None

    def accept(self, token: int, log_p: float = 0.0) -> int:
        """Remember the next token, which had this logarithm of a probability, and return it.

        A token after which the text could no longer be ended within the budget is not taken; the first token of the
        ending is remembered and returned in its place.
        """
        if not self._ending:
            self._consume(token, log_p)
            if self._can_go_on():
                return token
            self._matcher.rollback(1)
            self._written.pop()
            self._name_mask = None  # only the ending is left to write
            self._n_left += 1
            self._ending = self._find_ending() or [token]
        return self._consume(self._ending.pop(0), -math.inf)

    def choose(self, logits: Logits, sampler: Callable[[Logits], int]) -> int:
        """Return the next token for logits (float32, (vocabulary,)) and remember it, see `accept`."""
        if self._ending:
            return self.accept(self._ending[0])
        masked = self._mask(logits)
        token = sampler(masked)
        top = masked.max()
        return self.accept(token, float(masked[token] - top - np.log(np.exp(masked - top).sum())))

    def _mask(self, logits: Logits) -> Logits:
        return np.where(self._allow()[: len(logits)], logits, np.float32(-np.inf))

    def _allow(self) -> _Allowed:
        if self._allowed is None:
            self._allowed = _read_allowed(self._matcher)
            if self._name_mask and self._name_mask.matcher:
                named = self._allowed & _read_allowed(self._name_mask.matcher)
                # if a vocabulary cannot write any of the names, the text continues without
                self._allowed = named if named.any() else self._allowed
        return self._allowed

    def _consume(self, token: int, log_p: float) -> int:
        self._written.append((token, log_p))
        self._n_left -= 1
        self._allowed = None
        if not self._matcher.consume_token(token):
            # a schema too complex to follow; the text ends here and the parsers say what is wrong with it
            logger.warning("A grammar was left: %s", self._matcher.get_error())
        if self._name_mask:
            self._name_mask.consume(token)
        return token

    def _can_go_on(self) -> bool:
        """Tell whether the text could still be ended in time; far from the limit that is not looked at every time."""
        if self._n_unchecked > 0:
            self._n_unchecked -= 1
            return True
        ending = self._find_ending()
        n_needed = len(self._cut) + _UNCUT_TOKENS if ending is None else len(ending)
        n_spare = self._n_left - n_needed - self._n_reserved
        self._n_unchecked = min(max(n_spare - _NEAR_END_TOKENS, 0), _NEAR_END_TOKENS // 4)
        return n_spare >= 0

    def _find_ending(self) -> list[int] | None:
        """Return the tokens that end the text from here, None within a character and once the decision has begun."""
        if self._cut:
            return self._cut.copy() if self._matcher.validate_tokens(self._cut) == len(self._cut) else None
        matcher = self._matcher.deep_copy()
        ending: list[int] = []
        while not matcher.is_stopped() and len(ending) <= self._n_left:
            tokens = matcher.compute_ff_tokens() or [self._pick_closer(matcher)]
            matcher.consume_tokens(tokens)
            ending += tokens
        return ending

    def _pick_closer(self, matcher: LLMatcher) -> int:
        allowed = _read_allowed(matcher)
        quote, brace = self._closers[:2]
        # a quote ends a string, but where an object may end instead it begins another argument
        if allowed[brace] and matcher.validate_tokens([brace, quote]) == 1:
            return brace
        return next((token for token in self._closers if allowed[token]), int(allowed.argmax()))


def _read_allowed(matcher: LLMatcher) -> _Allowed:
    return np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little").view(np.bool_)


_ANNOUNCED = ANNOUNCEMENT.encode()
_INFLECTIONS = ("ed", "ing", "s")


def make_names_lark(names: Sequence[str]) -> str:
    """Return the grammar of what may follow the announcement: a space and a name, or other words ("I called it").

    A name ends where nothing follows that a name may hold, or a full stop or colon before white space, so that none is
    the beginning of an invented one.
    """
    options = "|".join(_quote(name) for name in names)
    # One expression, since a lexer that has begun with "search.files" does not come back to "search" and a full stop.
    # Of characters beyond ASCII the expression does not know which are letters.
    end = r"([\x00-\x7F--[A-Za-z0-9_.:\/\-]](?s:.*)|[.:](\s(?s:.*))?)?"
    inflections = "|".join(_INFLECTIONS)
    other = rf"(({inflections}) |({inflections})?[^ A-Za-z0-9])(?s:.*)"
    return f"start: named | other\nnamed: / ({options}){end}/\nother: /{other}/"


def _quote(name: str) -> str:
    """Return a name as a regular expression within slashes."""
    return re.sub(r"([^\w])", r"\\\1", name)


class ToolNameMask:
    """Follows a rationale and tells what may come next in a tool's name; copies `matcher`, of `make_names_lark`."""

    def __init__(self, names: Sequence[str], matcher: LLMatcher, tokenizer: LLTokenizer) -> None:
        """Start before the first token."""
        self._awaited = [
            *(f" {name}{mark}".encode() for name in names for mark in ".:"),
            *map(str.encode, _INFLECTIONS),
        ]
        self._start, self._tokenizer = matcher, tokenizer
        self.matcher: LLMatcher | None = None  # what the next token has to fit; None outside of names
        self._text = b""  # within a name all of it, else the last characters

    def consume(self, token: int) -> None:
        """Follow the next token."""
        self._text += self._tokenizer.decode_bytes([token])
        if self.matcher is not None:
            self.matcher.consume_token(token)
            if any(text.startswith(self._text) for text in self._awaited):
                return
            self.matcher = None
        self._text = self._text[-len(_ANNOUNCED) - 1 :]
        if self._text.endswith(_ANNOUNCED) and not self._text.removesuffix(_ANNOUNCED).replace(b"_", b"x").isalnum():
            self.matcher, self._text = self._start.deep_copy(), b""
