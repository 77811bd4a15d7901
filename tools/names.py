"""Tool names that a person, or a model, cannot tell apart."""

from __future__ import annotations

import unicodedata

# Cyrillic and Greek letters that look like Latin ones. Source: Unicode Technical Standard 39, confusables.
_LOOK_ALIKES = str.maketrans(
    "авеіјкмнорсԛѕтухԁһԝАВЕЅІЈКМНОРСТУХαβεικνορτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "abeijkmhopcqstyxdhwABESIJKMHOPCTYXabeikvoptuxABEZHIKMNOPTYX",
)


def fold_name(name: str) -> str:
    """Return what a name looks like: equal for names that look the same.

    Example:
        >>> fold_name("ｓеnd_mail")
        'send_mail'
    """
    return name if name.isascii() else unicodedata.normalize("NFKC", name).translate(_LOOK_ALIKES)
