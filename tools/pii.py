"""Personal data in texts: what is found, what stands for it, and what it was.

The names of types and strategies, and the detectors, are those of LangChain's `PIIMiddleware`. Unlike there, a text
that stands for a value stands for no other one in its thread, so that it can be turned back into the value where that
is needed: in a tool, and in front of a person.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, count
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp
from langgraph.types import Interrupt
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from alpha_umi.errors import ConfigError
from alpha_umi.tools.observation import render_error, render_observation

PiiStrategy: TypeAlias = Literal["redact", "mask", "hash", "block"]
Originals: TypeAlias = Mapping[str, SecretStr]
"""Values by the texts that stand for them. LangGraph stores a `SecretStr`, and traces and logs show asterisks."""

API_KEY = (
    r"\b(?:(?:sk|rk|pk)[-_](?:[A-Za-z]{2,8}[-_])*[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}"
    r"|glpat-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|xox[abeoprs]-[\w-]{10,}|hf_[A-Za-z0-9]{30,}"
    r"|npm_[A-Za-z0-9]{36}|pypi-[\w-]{40,}|lsv2_[a-z]{2}_\w{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})(?![\w-])"
)
"""How keys of well-known services, and JSON web tokens, are written."""
_OWN_DETECTORS: Mapping[str, str] = {"api_key": API_KEY}
_NO_TEXTS = frozenset({"id", "type", "index", "mime_type", "base64", "data"})
"""What is no text in a block of content."""
_MIN_TELLING = 4
_BRACKETS = "[]<>"
_MAX_SEARCHED_CHARS = 1_000_000


class RedactionRule(BaseModel):
    """What is done where a type of personal data is found.

    Example:
        >>> RedactionRule(pii_type="credit_card", strategy="mask").restore
        True
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pii_type: str = Field(
        min_length=1, description="email, credit_card, ip, mac_address, url, api_key; or another with a detector."
    )
    strategy: PiiStrategy = Field(
        default="redact",
        description="redact: [REDACTED_EMAIL_1]. mask: a part stays, as ************1111. hash: <email_hash:…>. "
        "block: an input is refused, a result is withheld.",
    )
    detector: str | Callable[[str], Sequence[Mapping[str, Any]]] | None = Field(
        default=None,
        description="Regular expression; in code also a function of a text, as LangChain's middleware has.",
    )
    restore: bool = Field(
        default=True,
        description="Tools and people get the value, which the thread then keeps. false: it is gone for all.",
    )


RedactionRules: TypeAlias = Sequence[str | RedactionRule] | Callable[[str], str]
"""Types of personal data or rules about them; or a function that rewrites texts, after which values are gone."""


class BlockedError(Exception):
    """A text holds what a rule blocks; the message names the type and not the value."""

    def __init__(self, pii_type: str) -> None:
        """Name the type."""
        super().__init__(f"it holds personal data that may not be read here ({pii_type})")


@dataclass(frozen=True, slots=True)
class _Found:
    start: int
    end: int
    rule: RedactionRule


class Redaction:
    """Rules that are ready for use.

    Raises:
        ConfigError: If they are none, or LangChain, which has the detectors, is not installed.
    """

    def __init__(self, rules: RedactionRules) -> None:
        """Find the detectors."""
        self.rewrite: Callable[[str], str] | None = rules if callable(rules) else None
        self._rules: list[tuple[RedactionRule, Any]] = []
        if callable(rules):
            return
        if isinstance(rules, str):
            raise ConfigError(f"redaction is a list of types or rules, not {rules!r}; write [{rules!r}].")
        try:
            from langchain.agents.middleware import RedactionRule as Detecting  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigError(f"redaction needs an extra: pip install 'alpha-umi[redaction]' ({error}).") from error
        for given in rules:
            rule = RedactionRule(pii_type=given) if isinstance(given, str) else given
            detector = rule.detector or _OWN_DETECTORS.get(rule.pii_type)
            try:
                self._rules.append((rule, Detecting(rule.pii_type, "redact", detector).resolve().detector))  # type: ignore[arg-type]
            except (ValueError, re.error) as error:
                raise ConfigError(f"redaction: {rule.pii_type}: {error}") from error

    def find(self, text: str) -> list[_Found]:
        """Return what is found in a text, in order; what overlaps is one."""
        matches = [_Found(match["start"], match["end"], rule) for rule, detect in self._rules for match in detect(text)]
        found: list[_Found] = []
        for match in sorted(matches, key=lambda match: (match.start, -match.end)):
            if found and match.start < found[-1].end:
                found[-1] = _join(found[-1], match)
            else:
                found.append(match)
        return found


def _join(one: _Found, other: _Found) -> _Found:
    blocks = next((each.rule for each in (one, other) if each.rule.strategy == "block"), None)
    rule = blocks or next((each.rule for each in (one, other) if not each.rule.restore), one.rule)
    return _Found(one.start, max(one.end, other.end), rule)


def _write(rule: RedactionRule, value: str) -> str:
    """Return what LangChain writes in the place of a value."""
    from langchain.agents.middleware import RedactionRule as Writing  # noqa: PLC0415 - an extra

    whole = {"type": rule.pii_type, "value": value, "start": 0, "end": len(value)}
    return Writing(rule.pii_type, rule.strategy, lambda _: [whole]).resolve().apply(value)[0]  # type: ignore[list-item]


@dataclass
class Mask:
    """Conceals values of one thread, and reveals them.

    Args:
        redaction: The rules.
        known: What stands for what in the thread so far.
        first: Number of the first text that is made here.
        step: How many masks make texts at the same time, so that no two make the same.
        new: What came in addition.
    """

    redaction: Redaction
    known: Originals
    first: int = 1
    step: int = 1
    new: dict[str, SecretStr] = field(default_factory=dict)

    def conceal(self, value: Any) -> Any:
        """Return a value with texts in the place of what the rules find, anywhere in it.

        Raises:
            BlockedError: If it holds what may not be read at all.
        """
        return map_texts(value, self._conceal)

    def reveal(self, value: Any) -> Any:
        """Return a value with what its texts stand for."""
        return reveal(value, {**self.known, **self.new})

    def _conceal(self, text: str) -> str:
        if self.redaction.rewrite:
            return self.redaction.rewrite(text)
        pattern = _compile((*self.known, *self.new))
        done = [match.span() for match in pattern.finditer(text)] if pattern else []
        parts: list[str] = []
        end = 0
        for found in self.redaction.find(text):
            if any(found.start < stop and start < found.end for start, stop in done):
                continue
            if found.rule.strategy == "block":
                raise BlockedError(found.rule.pii_type)
            parts += [text[end : found.start], self._name(found.rule, text[found.start : found.end])]
            end = found.end
        return "".join([*parts, text[end:]])

    def _name(self, rule: RedactionRule, value: str) -> str:
        """Return the text that stands for a value."""
        plain = _write(rule, value)
        if not rule.restore:
            return plain
        for name, original in chain(self.known.items(), self.new.items()):
            if original.get_secret_value() == value:
                return name
        numbers = count(self.first, self.step)
        names: Iterator[str] = (f"{plain}#{n}" for n in numbers)
        if rule.strategy == "redact":
            names = (f"{plain.removesuffix(']')}_{n}]" for n in numbers)
        elif rule.strategy == "hash" or (self.step == 1 and sum(map(str.isalnum, plain)) >= _MIN_TELLING):
            names = chain([plain], names)
        name = next(name for name in names if name not in self.known and name not in self.new)
        self.new[name] = SecretStr(value)
        return name


def _is_foreign(record: logging.LogRecord) -> bool:
    return not (isinstance(record.args, tuple) and record.args[:2] == (SecretStr.__module__, SecretStr.__name__))


# LangGraph warns of types that it was not told of. This one is in the state's schema, where it looks if it is strict.
logging.getLogger("langgraph.checkpoint.serde.jsonplus").addFilter(_is_foreign)

_mask: ContextVar[Mask | None] = ContextVar("mask", default=None)


@contextmanager
def masking(mask: Mask | None) -> Iterator[None]:
    """Have tools that are run meanwhile take and give what the mask conceals."""
    token = _mask.set(mask)
    try:
        yield
    finally:
        _mask.reset(token)


def reveal_arguments(arguments: Any) -> Any:
    """Return what the tool that runs is to be given."""
    mask = _mask.get()
    return mask.reveal(arguments) if mask else arguments


def observe(value: Any, max_chars: int) -> str:
    """Return a result, or a fault, of the tool that runs as the model reads it; see `render_observation`.

    Raises:
        ToolException: If it holds what may not be read.
    """
    if (mask := _mask.get()) is None:
        return render_observation(value, max_chars)
    return render_observation(_conceal_all(mask, render_observation(value, _MAX_SEARCHED_CHARS)), max_chars)


def conceal_artifact(artifact: Any) -> Any:
    """Return what a tool gives past the model, which traces show."""
    mask = _mask.get()
    return _conceal_all(mask, artifact) if mask else artifact


def _conceal_all(mask: Mask, value: Any) -> Any:
    try:
        return mask.conceal(value)
    except BlockedError as error:
        raise ToolException(f"it ran, but what it said is withheld: {error}") from None


@contextmanager
def concealing_errors() -> Iterator[None]:
    """Have callbacks see no values in what a tool raises; its own questions to a person are left alone."""
    try:
        yield
    except GraphBubbleUp:
        raise
    except Exception as error:
        mask, said = _mask.get(), str(error)
        if mask is None or _conceal_all(mask, said) == said:
            raise
        raise ToolException(_conceal_all(mask, render_error(error))) from None


def reveal(value: Any, originals: Originals) -> Any:
    """Return a value with what its texts stand for."""
    if (pattern := _compile(tuple(originals))) is None:
        return value
    values = {name.strip(_BRACKETS): original.get_secret_value() for name, original in originals.items()}
    return map_texts(value, lambda text: pattern.sub(lambda match: values[match[0].strip(_BRACKETS)], text))


def hide(text: str, originals: Originals) -> str:
    """Return a text with what stands for the values that are known."""
    names = {original.get_secret_value(): name for name, original in originals.items()}
    wanted = "|".join(re.escape(value) for value in sorted(names, key=len, reverse=True) if value)
    return re.sub(rf"(?<!\w)(?:{wanted})(?!\w)", lambda match: names[match[0]], text) if wanted else text


@lru_cache(maxsize=64)
def _compile(names: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return what finds any of the texts, also without its brackets, which small models leave out."""
    wanted = "|".join(map(_loosen, sorted(names, key=len, reverse=True)))
    return re.compile(f"(?<![A-Za-z0-9])(?:{wanted})(?![A-Za-z0-9])") if wanted else None


def count_begun(text: str, names: Collection[str]) -> int:
    """Return how many characters at the end of a text may go on to be one of the texts for values."""
    ways = {way for name in names for way in (name, name.lstrip(_BRACKETS))}
    longest = min(len(text), max(map(len, ways), default=1) - 1)
    ends = (text[-n:] for n in range(longest, 0, -1))
    return next((len(end) for end in ends if any(way != end and way.startswith(end) for way in ways)), 0)


def _loosen(name: str) -> str:
    core = name.strip(_BRACKETS)
    opening, closing = name.split(core)
    return f"(?:{re.escape(opening)})?{re.escape(core)}(?:{re.escape(closing)})?" if core else re.escape(name)


def map_texts(value: Any, change: Callable[[str], str], skipped: Collection[str] = ()) -> Any:
    """Return a value with every text changed, in messages, questions to a person, tuples and data as JSON has them.

    Secrets are left out, and what holds nothing else.
    """
    match value:
        case str():
            return change(value)
        case dict():
            changed = copy(value)
            changed.clear()
            for key, part in value.items():
                if _is_secret(part):
                    continue
                key = change(key) if isinstance(key, str) else key
                changed[key] = part if key in skipped else map_texts(part, change, skipped)
            return changed
        case list():
            return [map_texts(part, change, skipped) for part in value]
        case tuple():
            parts = [map_texts(part, change, skipped) for part in value]
            return value._make(parts) if hasattr(value, "_make") else tuple(parts)
        case Interrupt():
            schema = map_texts(value.response_schema, change)
            return Interrupt(map_texts(value.value, change), value.id, response_schema=schema)
        case BaseMessage():
            return _map_message(value, change)
        case _:
            return value


def _is_secret(value: Any) -> bool:
    return isinstance(value, SecretStr) or (
        isinstance(value, dict) and bool(value) and all(map(_is_secret, value.values()))
    )


def _map_message(message: BaseMessage, change: Callable[[str], str]) -> BaseMessage:
    changed: dict[str, Any] = {
        "content": map_texts(message.content, change, _NO_TEXTS),
        "additional_kwargs": map_texts(message.additional_kwargs, change, _NO_TEXTS),
    }
    if isinstance(message, AIMessage):
        for name in ("tool_calls", "invalid_tool_calls"):
            changed[name] = [{**call, "args": map_texts(call["args"], change)} for call in getattr(message, name)]
    elif isinstance(message, ToolMessage):
        changed["artifact"] = map_texts(message.artifact, change)
    return message.model_copy(update=changed)
