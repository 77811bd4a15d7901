"""Names of tools as a person sees them: a stranger may write one that only looks like another."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# What Unicode does not count, though a person reads it so: Cyrillic and Greek letters, and ASCII's own look-alikes.
_MORE = str.maketrans("вкмнтβκμντυ1iI|0", "bkmhtbkuvtullllO")
_FILLERS = dict.fromkeys((0x115F, 0x1160, 0x3164, 0xFFA0))
"""Letters that are not seen."""
_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")


def fold_name(name: str) -> str:
    """Return what a name looks like: equal for names that look the same.

    Source: Unicode Technical Standard 39, confusables. Marks on letters are left out as well.

    Example:
        >>> fold_name("ｓеnd_to")
        'send_to'
    """
    if not name.isascii():
        name = "".join(map(_find_prototype, _strip(name).translate(_MORE)))
    return name.translate(_MORE)


def split_name(name: str) -> list[str]:
    """Return the words of a name in lower case; what is written in capitals stays.

    Example:
        >>> split_name("getUserID_v2")
        ['get', 'user', 'ID', 'v', '2']
    """
    words = _NAME_WORD.findall(name)
    return [word if word.isupper() and len(word) > 1 and not name.isupper() else word.lower() for word in words]


def say_name(name: str) -> str:
    """Return a name as a sentence, for tools that say no more of themselves.

    Example:
        >>> say_name("get_openingHours")
        'Get opening hours.'
    """
    words = " ".join(split_name(name))
    return f"{words[:1].upper()}{words[1:]}."


def _strip(text: str) -> str:
    """Return the letters that a text consists of, without marks on them and without what is not seen."""
    plain = unicodedata.normalize("NFKD", text).translate(_FILLERS)
    return "".join(each for each in plain if unicodedata.category(each) != "Mn")


@lru_cache(maxsize=4096)
def _find_prototype(letter: str) -> str:
    """Return the ASCII letter that a letter looks like, else the first of those that look like each other."""
    from confusable_homoglyphs.confusables import (  # type: ignore[import-untyped]  # noqa: PLC0415 - reads a megabyte
        confusables_data as known,
    )

    if letter.isascii():
        return letter
    others = [each for each in (_strip(one["c"]) for one in known.get(letter, ())) if len(each) == 1]
    return min([each for each in others if each.isascii()] or [letter, *others])
