"""Nouns with what stands around them: articles, prepositions, empty words."""

from __future__ import annotations

from collections.abc import Sequence

from alpha_umi.training.data.sheets.draft.english import VerbKind, find_base, is_mass, is_plural, put_article
from alpha_umi.training.data.sheets.draft.guess import ID_WORDS
from alpha_umi.training.data.sheets.draft.sentences.describe import PREPOSITIONS
from alpha_umi.training.data.sheets.draft.slots import DraftSlot

VAGUE = frozenset(
    {
        "given",
        "specified",
        "specific",
        "particular",
        "provided",
        "certain",
        "existing",
        "single",
        "requested",
        "supplied",
    }
    | {"individual", "desired", "selected", "chosen", "appropriate", "corresponding", "respective", "known", "named"}
)
ARTICLES = frozenset(
    {"a", "an", "the", "this", "that", "your", "one", "another", "some", "any", "its", "their", "my", "each", "every"}
)
_VOID = frozenset(
    {"name", "title", "new", "target", "current", "type", "value", "selected", "source", "of", "the", "n", "num"}
)
_UNITS = frozenset(
    {
        "minutes",
        "hours",
        "days",
        "points",
        "credits",
        "details",
        "terms",
        "conditions",
        "statistics",
        "stats",
        "metrics",
    }
)
_MAX_WORDS = 12


def find_core(slot: DraftSlot) -> list[str]:
    """Return the words of a name that say what it is of: ``order_id`` → order."""
    return [word if word.isupper() else word.lower() for word in slot.words if word.lower() not in ID_WORDS | _VOID]


def strip_noun(words: Sequence[str]) -> list[str]:
    """Return a noun without article and empty words."""
    left = [word for word in words if word.lower() not in VAGUE]
    while left and left[0].lower() in ARTICLES | {"all", "both"}:
        left = left[1:]
    return left


def strip_list_of(words: list[str], kind: VerbKind) -> tuple[list[str], VerbKind]:
    """Return ``orders`` for ``a list of all orders``."""
    plain = [word.lower() for word in words[:4]]
    for opening in (
        ["a", "list", "of"],
        ["the", "list", "of"],
        ["list", "of"],
        ["lists", "of"],
        ["a", "paginated", "list", "of"],
    ):
        if plain[: len(opening)] == opening and kind in ("look", "list", "find"):
            return words[len(opening) :], "list"
    noun = strip_noun(cut_at_prepositions(words)[0][1]) if words else []
    if (
        kind == "look"
        and noun
        and is_plural(noun[-1])
        and noun[-1] not in _UNITS
        and not {"of", "for", "about"}.intersection(plain)
        and len(noun) <= 3
    ):
        return words, "list" if plain[:1] != ["the"] else kind
    return words, kind


def cut_at_prepositions(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Cut ``the weather in a city for a day`` into its parts, the first without a preposition."""
    chunks: list[tuple[str, list[str]]] = [("", [])]
    for i, word in enumerate(words):
        lower = word.lower()
        if lower in ("and", "or", "then", "but", "&") and i + 1 < len(words):
            following = words[i + 1].lower()
            if (find_base(following) and following not in ("time", "order")) or len(chunks[-1][1]) > 8:
                break
        if lower in PREPOSITIONS and (chunks[-1][1] or len(chunks) == 1):
            chunks.append((lower, []))
        else:
            chunks[-1][1].append(word)
    return [(preposition, part[:_MAX_WORDS]) for preposition, part in chunks if part or not preposition]


def put_determiner(words: Sequence[str], noun: Sequence[str], kind: VerbKind, *, has_told: bool, is_prose: bool) -> str:
    """Return a noun with the article that it takes after a verb of some kind; `words` are as the description has it."""
    if not noun:
        return ""
    text, first = " ".join(noun), words[0].lower()
    if has_told and first in ARTICLES | {"all", "both"}:
        if first in ("a", "an", "one", "another", "each", "every", "any", "this") and kind in (
            "look",
            "remove",
            "change",
            "check",
            "do",
        ):
            keeps = "random" in noun or kind in ("check", "do")
            return put_article(text) if keeps else f"the {text}"
        if first in ("a", "an", "the", "all", "your", "my"):
            return (
                f"{'the' if first == 'all' and kind in ('remove', 'change') else first} {text}"
                if first not in ("a", "an")
                else put_article(text)
            )
        return text if is_plural(noun[-1]) else f"the {text}"
    if kind in ("make", "find", "send") and not is_plural(noun[-1]):
        return text if has_told and is_prose and noun[0] != "new" else put_article(text)
    if is_plural(noun[-1]) and kind in ("list", "find", "make", "send"):
        return text
    if is_mass(noun[-1]) and kind in ("make", "find", "send"):
        return text
    return f"the {text}"


def drop_states(noun: Sequence[str]) -> str:
    """Return ``repair`` for ``booked repair``: what has a number needs no more words."""
    *words, head = noun
    return " ".join(
        [*(word for word in words if not word.endswith("ed") and word not in ("new", "entire", "whole")), head]
    )
