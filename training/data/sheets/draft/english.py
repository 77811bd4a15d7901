"""As much English as drafting a sentence takes: verbs and their forms, plurals, articles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from alpha_umi.yaml_files import read_yaml

VerbKind: TypeAlias = Literal["look", "list", "find", "check", "compute", "make", "send", "remove", "change", "do"]
VERB_KINDS: tuple[VerbKind, ...] = get_args(VerbKind)
_NO_PLURAL = re.compile(r"(?:ss|us|is|ws|ics)$")
_VOWEL = re.compile(r"^(?:[aeio]|u(?!ni|se|sa|ti|r[eil])|hour|honest|[FHLMNRSX](?:[A-Z]|$))")
_DOUBLED = frozenset({"get", "put", "set", "cancel", "begin", "run", "cut", "shut"})


@cache
def read_verbs() -> Mapping[str, Any]:
    """Return the words of ``verbs.yaml``."""
    words: Mapping[str, Any] = read_yaml(Path(__file__).with_name("verbs.yaml")).values
    return words


@cache
def _kinds() -> Mapping[str, VerbKind]:
    kinds: dict[str, VerbKind] = {}
    for kind in VERB_KINDS:
        for verb in read_verbs()[kind]:
            kinds.setdefault(verb, kind)
    return kinds


def find_kind(verb: str) -> VerbKind:
    """Return what a verb does; ``do`` if it is not known."""
    return _kinds().get(verb) or _kinds().get(verb.partition(" ")[0]) or "do"


def is_verb(word: str) -> bool:
    """Tell whether a word is a verb that is known."""
    return word in _kinds()


def find_base(word: str) -> str | None:
    """Return the base form of a verb in some form; None if it is no verb that is known.

    Example:
        >>> [find_base(word) for word in ("Books", "applies", "searches", "creating", "house")]
        ['book', 'apply', 'search', 'create', None]
    """
    word = word.lower()
    forms = [word]
    if word.endswith("s"):
        forms += [word[:-1], word.removesuffix("es"), f"{word[:-3]}y" if word.endswith("ies") else word]
    if word.endswith("ing"):
        stem = word[:-3]
        forms += [stem, f"{stem}e", stem[:-1]]
    return next((form for form in forms if is_verb(form)), None)


def make_participle(verb: str) -> str:
    """Return what was done: ``booked``, ``sent``, ``turned on``."""
    known: Mapping[str, str] = read_verbs()["participles"]
    if verb in known:
        return known[verb]
    first, _, particle = verb.partition(" ")
    if first in known:
        done = known[first]
    elif first.endswith("e"):
        done = f"{first}d"
    elif re.search(r"[^aeiou]y$", first):
        done = f"{first[:-1]}ied"
    else:
        done = f"{first}ed"
    return f"{done} {particle}".strip()


def make_gerund(verb: str) -> str:
    """Return the form of ``would you mind …``: ``booking``, ``setting up``."""
    first, _, particle = verb.partition(" ")
    participle = make_participle(first)
    if first.endswith("e") and not first.endswith("ee"):
        first = first[:-1]
    elif participle == f"{first}{first[-1]}ed" or first in _DOUBLED:
        first += first[-1]
    return f"{first}ing {particle}".strip()


def is_plural(word: str) -> bool:
    """Tell whether a noun is in the plural."""
    word = word.lower()
    if word in read_verbs()["irregular_plurals"]:
        return True
    return word.endswith("s") and not _NO_PLURAL.search(word) and word not in read_verbs()["mass"]


def singular(word: str) -> str:
    """Return the singular of a noun; the word itself if it is none in the plural."""
    known: str | None = read_verbs()["irregular_plurals"].get(word.lower())
    if known:
        return known
    if not is_plural(word):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-2] if re.search(r"(?:ss|sh|ch|x|z)es$", word) else word[:-1]


def plural(word: str) -> str:
    """Return the plural of a noun."""
    if is_plural(word) or word.lower() in read_verbs()["mass"]:
        return word
    for many, one in read_verbs()["irregular_plurals"].items():
        if one == word.lower():
            return str(many)
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search(r"(?:s|sh|ch|x|z)$", word) else f"{word}s"


def is_mass(word: str) -> bool:
    """Tell whether a noun has neither an article nor a plural, as ``weather``."""
    return word.lower() in read_verbs()["mass"]


def put_article(noun: str) -> str:
    """Return a noun with ``a`` or ``an``, where it takes one."""
    *_, head = noun.split() or [""]
    if not noun or is_mass(head) or is_plural(head):
        return noun
    return f"{'an' if _VOWEL.match(noun) else 'a'} {noun}"


def join_words(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def get_said(verb: str) -> str:
    """Return the verb that people say: ``get`` for ``retrieve``."""
    return str(read_verbs()["said"].get(verb, verb))
