"""Verb and noun of what a tool does: from the first sentence of its description, or from its name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from alpha_umi.tools.names import split_name
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.sheets.draft.english import find_base, find_kind, is_plural, is_verb, read_verbs

_OPENER = re.compile(
    r"^(?:(?:this|the|an?) (?:tool|function|endpoint|api|method|operation|call|helper|utility|action"
    r"|command)s?\b[:,]? ?"
    r"(?:is used |can be used |allows (?:you|users|the user|clients) |lets (?:you|users) |that |which |will |can |for "
    r"|to )*"
    r"|use (?:this|it|me)(?: \w+)?(?: when you (?:need|want))? to "
    r"|(?:allows|enables)(?: (?:you|users|the user|clients|us))? to |lets (?:you|users|the user) "
    r"|used to |utility (?:to|for) |tool (?:to|for|that) |(?:will|can|please|let's) |call this to )",
    re.IGNORECASE,
)
_CODE = re.compile(r"`([^`]*)`|\[([^\]]*)\]\([^)]*\)|[*_]{2}([^*_]+)[*_]{2}|<[^>]+>")
_SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!\b[A-Z])(?<!etc)[.!?](?:\s|$)|\n|:\s|;|\s[-–—]\s|\s?\(|,")
CLAUSE = frozenset({"if", "whether", "how", "what", "which", "when", "where", "who", "why"})
_ENUMERATION = re.compile(r",(?= (?:the |an? )?[\w-]+(?: [\w-]+){0,2}(?:,| and | or ))")
_LAST_VERBS = frozenset({"list", "get", "search", "create", "delete", "update", "cancel", "add", "remove", "find"})
_NOUNS_TOO = frozenset(
    {"order", "book", "file", "record", "report", "page", "call", "message", "post", "text", "mail", "email", "share"}
    | {"answer", "plan", "place", "log", "note", "draft", "rate", "score", "rank", "stock", "transfer", "exchange"}
    | {"request", "review", "project", "issue", "power", "water", "load", "store", "sale", "class", "course", "stop"}
)
PREPOSITIONS = frozenset(
    {
        "for",
        "in",
        "at",
        "by",
        "from",
        "to",
        "with",
        "on",
        "of",
        "between",
        "into",
        "using",
        "via",
        "under",
        "over",
        "about",
    }
    | {"within", "near", "after", "before", "against", "per", "through", "during", "around", "without", "as", "onto"}
    | {"belonging", "since", "until", "based", "given", "according", "regarding", "matching", "associated", "where"}
    | {"that", "which", "whose", "including", "if", "so", "when", "while", "containing", "used", "available", "across"}
)


def is_foreign(text: str) -> bool:
    """Tell whether a text is in another language than English, as its small words tell."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    tongues = read_verbs()["small_words"]
    strange = sum(word in tongues["other"] or bool(re.search(r"[^\x00-\x7f]", word)) for word in words)
    return strange > sum(word in tongues["english"] for word in words)


def read_name(spec: ToolSpec) -> tuple[str, list[str]]:
    """Return verb and noun of a name: ``droplets_list`` → list, droplets."""
    name = (spec.own_name or spec.name).rpartition("/")[2]
    words = [
        word
        for word in split_name(name)
        if not word.isdigit() and word.lower() not in ("v", "api", "tool", "beta", "method")
    ]
    if len(words) > 1 and words[-1].lower() in _LAST_VERBS and words[0] not in _LAST_VERBS:
        return words[-1].lower(), words[:-1]
    if spec.effects == "none" and len(words) > 1 and words[0] in _NOUNS_TOO:
        return "get", words
    for particle in (2, 1):
        if len(words) >= particle and is_verb(" ".join(words[:particle]).lower()):
            return " ".join(words[:particle]).lower(), words[particle:]
    if words and (base := find_base(words[0])) and len(words) > 1:
        return base, words[1:]
    if len(words) > 1 and (base := find_base(words[-1])):
        return base, words[:-1]
    if len(words) > 2:
        for i, word in enumerate(words[1:-1], 1):
            if is_verb(word) and find_kind(word) in ("look", "list", "find", "make", "remove", "change"):
                return word, [*words[i + 1 :]]
    if words and words[0].lower() == "do" and len(words) > 1:
        return words[1].lower(), words[2:]
    first = spec.description.split() or [""]
    is_noun = words and (words[0] in _NOUNS_TOO or is_plural(words[0]) or f"a {words[0]}" in spec.description.lower())
    if len(words) > 1 and spec.effects != "none" and spec.source == "langchain" and not is_noun:
        return words[0].lower(), words[1:]
    if words and words[0].lower() == first[0].lower().strip(".") and spec.effects != "none":
        return words[0].lower(), words[1:]
    return ("get" if spec.effects == "none" else "run"), words


def read_description(spec: ToolSpec, named_verb: str) -> tuple[str, list[str]] | None:
    """Return verb and the words after it, None if the first sentence tells neither."""
    text = _CODE.sub(lambda match: next((part for part in match.groups() if part), ""), spec.description).strip()
    text = _OPENER.sub(
        "", re.sub(r"\s+", " ", _SENTENCE_END.split(_ENUMERATION.sub(" and", text), maxsplit=1)[0])
    ).strip(" .,'\"“”")
    words = [word.strip("'\"“”") if not word.endswith("s'") else word for word in text.split()]
    if not words or len(words) > 30:
        return None
    words = _lower_titles(words)
    if words[0].endswith("ly") and len(words) > 1:
        words = words[1:]
    if len(words) > 1 and is_verb(f"{find_base(words[0]) or words[0]} {words[1].lower()}"):
        return f"{find_base(words[0])} {words[1].lower()}", words[2:]
    base = find_base(words[0])
    has_form = base is not None and not _is_noun_here(words, base, named_verb)
    if base is None and words[0] == named_verb and not is_verb(named_verb) and spec.effects != "none":
        return named_verb, words[1:]
    if base is not None and has_form:
        rest = words[1:]
        while len(rest) > 1 and rest[0].lower() in ("and", "or", "and/or") and find_base(rest[1]):
            rest = rest[2:]
        return base, rest
    if find_kind(named_verb) in ("look", "list", "find", "check", "compute") or spec.effects == "none":
        return (named_verb if is_verb(named_verb) else "get"), words
    return None


def _is_noun_here(words: Sequence[str], base: str, named_verb: str) -> bool:
    """Tell whether a first word that may be a verb is a noun: "Order status by number", "Books of an author"."""
    first, second = words[0].lower(), words[1].lower() if len(words) > 1 else ""
    if base == named_verb or second in CLAUSE | {"that"}:
        return False
    if first.endswith("ing"):
        return True
    return second in PREPOSITIONS - {"for", "to", "from", "if", "whether"} or second == "of"


def _lower_titles(words: list[str]) -> list[str]:
    """Undo Title Case; the first word always loses its capital, unless it is written in capitals."""
    titled = [word for word in words[1:] if word[:1].isalpha()]
    is_title = len(titled) > 1 and sum(word[:1].isupper() for word in titled) >= 0.6 * len(titled)
    lowered = [word.lower() if is_title and not word.isupper() else word for word in words]
    first = words[0]
    return [first if len(first) > 1 and first[1:2].isupper() else first[:1].lower() + first[1:], *lowered[1:]]
