"""Tool and argument names in as many forms as there are users, so that a model copies what it is offered.

A checkpoint that was trained on a handful of names wrote these names also where the tools had others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping

from alpha_umi.training.data.tasks.draw import Draw

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "get": ("fetch", "show", "read", "retrieve", "query", "check", "lookup", "give"),
    "find": ("search", "locate", "lookup", "discover", "list"),
    "send": ("write", "post", "dispatch"),
    "create": ("make", "add", "new", "save"),
    "set": ("change", "adjust", "put", "control"),
    "start": ("run", "begin", "launch"),
    "play": ("stream", "hear", "start"),
    "book": ("reserve", "request"),
    "convert": ("transform", "translate", "map"),
    "converter": ("conversion", "translator", "exchange"),
    "unit": ("measure", "quantity", "scale"),
    "days": ("day", "daycount", "date"),
    "date": ("day", "calendar"),
    "weekday": ("dayname", "week_day"),
    "time": ("hour", "clock"),
    "timezone": ("tz", "zone", "localtime"),
    "calc": ("calculate", "compute", "reckon"),
    "evaluate": ("eval", "work_out", "resolve"),
    "arithmetic": ("maths", "numbers", "algebra"),
    "math": ("maths", "number", "formula"),
    "count": ("number", "total", "tell"),
    "lookup": ("search", "find", "get"),
}
_AFFIXES = ("tool", "api", "service", "helper", "v2", "lite", "app", "plus", "bot", "function", "endpoint", "info")
_OWNERS = ("my", "home", "quick", "simple", "smart", "user", "open", "easy", "daily", "office", "team", "pocket")
_SYLLABLES = ("ka", "lo", "ri", "ten", "vo", "mar", "zu", "pel", "qui", "dor", "fi", "nax", "bu", "sel", "try", "om")
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "expression": ("expr", "formula", "term", "calculation", "text", "equation", "math"),
    "date": ("day", "start_date", "base", "given_date", "from_date", "d", "on"),
    "end_date": ("to_date", "until_date", "end", "target_date", "other", "finish"),
    "days": ("n_days", "day_count", "plus_days"),
    "weeks": ("n_weeks", "week_count", "plus_weeks"),
    "months": ("n_months", "month_count", "plus_months"),
    "years": ("n_years", "year_count", "plus_years"),
    "zone": ("tz", "time_zone", "source_zone", "city_zone", "in_zone"),
    "to_zone": ("zone_to", "target_zone", "new_zone", "wanted_zone"),
    "value": ("amount", "size", "measurement", "x", "magnitude"),
    "from_unit": ("unit_from", "old_unit", "source_unit", "given_unit", "u1"),
    "to_unit": ("unit_to", "target_unit", "wanted_unit", "into", "u2"),
    "city": ("town", "location", "place_name", "city_name", "q"),
    "person": ("contact", "person_name", "who", "receiver"),
    "to": ("recipient", "contact", "address", "receiver"),
    "text": ("message", "body", "content", "note"),
    "minutes": ("mins", "n_minutes", "minute_count"),
    "word": ("term", "entry", "english_word"),
    "language": ("lang", "target_language", "tongue"),
    "title": ("heading", "called", "title_text"),
    "company": ("firm", "company_name", "ticker"),
    "room": ("location", "room_name", "area"),
    "topic": ("subject", "about", "keyword", "theme"),
    "food": ("item", "product", "food_name"),
    "grams": ("weight", "weight_g", "amount_g"),
    "name": ("full_name", "who", "contact_name"),
    "item": ("product", "article", "thing"),
    "amount": ("count", "number", "how_many"),
    "start": ("origin_city", "first_place", "a"),
    "end": ("target_city", "second_place", "b"),
    "origin": ("from_city", "departure", "source"),
    "destination": ("to_city", "arrival", "target"),
    "guests": ("people", "seats", "party_size"),
    "percent": ("level", "share", "value"),
}


def vary_tool_name(draw: Draw, name: str, taken: Collection[str]) -> str:
    """Return a name for the same tool as another developer might have given it.

    Args:
        draw: Where to draw from.
        name: Words in lower case with ``_`` between them, for example ``get_weather``.
        taken: Names that must not be returned, in whatever way they are written.
    """
    known = {_squeeze(each) for each in taken}
    for _ in range(20):
        varied = _vary(draw, name)
        if _squeeze(varied) not in known:
            return varied
    return f"{name}_{draw.rng.randrange(100, 1000)}"


def vary_arguments(draw: Draw, names: Iterable[str]) -> dict[str, str]:
    """Return another name for some of the arguments, no two the same."""
    varied: dict[str, str] = {}
    for name in names:
        options = [name, *_ARGUMENTS.get(name, ())]
        free = [option for option in options if option not in varied.values()]
        varied[name] = draw.pick(free) if free else name
    return varied


def _vary(draw: Draw, name: str) -> str:
    if draw.chance(0.12):
        words = ["".join(draw.rng.sample(_SYLLABLES, draw.pick((2, 2, 3))))]
        words += [draw.pick(_AFFIXES)] if draw.chance(0.5) else []
    else:
        words = [
            draw.pick(_SYNONYMS[word]) if word in _SYNONYMS and draw.chance(0.5) else word for word in name.split("_")
        ]
        if len(words) == 2 and draw.chance(0.12):
            words.reverse()
        if draw.chance(0.15):
            words.insert(0, draw.pick(_OWNERS))
        if draw.chance(0.2):
            words.append(draw.pick(_AFFIXES))
        if draw.chance(0.12):
            words += ["for", "".join(draw.rng.sample(_SYLLABLES, 2))]
    return _join(draw, [part for word in words for part in word.split("_")])


def _join(draw: Draw, words: list[str]) -> str:
    styles: tuple[tuple[float, Callable[[list[str]], str]], ...] = (
        (0.60, "_".join),
        (0.14, lambda words: words[0] + "".join(map(str.capitalize, words[1:]))),
        (0.08, lambda words: "".join(map(str.capitalize, words))),
        (0.10, "-".join),
        (0.08, lambda words: f"{words[0]}.{'_'.join(words[1:])}" if len(words) > 1 else words[0]),
    )
    return draw.rng.choices([join for _, join in styles], [share for share, _ in styles])[0](words)


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
