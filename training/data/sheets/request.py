"""One request for one tool: values drawn and said in a wording; and the tool itself, which makes its reply up."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.tools import BaseTool, ToolException

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.observation import cut
from alpha_umi.training.data.sheets.form import ENOUGH_WORDINGS, SheetParameter, ToolSheet, first_source, is_optional
from alpha_umi.training.data.sheets.real_tool import read_reply
from alpha_umi.training.data.sheets.wording import SLOT, SaidValue, ToolWording, parse_source, parse_wording, say
from alpha_umi.training.data.split import hash_text

_HELD_OUT_ONE_IN = 10
_MAX_TRIES = 8
_MAX_QUOTE_CHARS = 200
_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_.\-]+")


@dataclass(frozen=True, slots=True)
class ToolNeed:
    """What a person wants from one tool.

    Args:
        sheet: The tool.
        values: By the path of each parameter that is said; in the order of the sheet.
        text: The sentence.
        missing: Path of the required parameter that the sentence does not say, empty if it says all.
    """

    sheet: ToolSheet
    values: Mapping[str, SaidValue]
    text: str
    missing: str = ""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the call."""
        return nest({path: value.argument for path, value in self.values.items()})


def list_wordings(sheet: ToolSheet, *, held_out: bool) -> list[ToolWording]:
    """Return the wordings that belong to training, or the tenth that never occurs there; all if that leaves none.

    Of a tool that does not ship, one that has enough wordings, at least one never occurs.
    """
    ranked = {each: hash_text(each.text, 1) for each in sheet.wordings}
    kept = {each for each, number in ranked.items() if number % _HELD_OUT_ONE_IN == 0}
    if not kept and not sheet.ships and len(ranked) >= ENOUGH_WORDINGS:
        kept = {min(ranked, key=ranked.__getitem__)}
    return [each for each in ranked if (each in kept) == held_out] or list(ranked)


def draw_need(sheet: ToolSheet, rng: random.Random, *, held_out: bool = False, typo: bool = False) -> ToolNeed:
    """Draw values and a wording.

    Args:
        sheet: The tool.
        rng: Source of randomness.
        held_out: Whether to word it in a way that never occurs in training.
        typo: Make one typing error.
    """
    return draw_worded(sheet, rng.choice(list_wordings(sheet, held_out=held_out)), rng, typo=typo)


def draw_worded(sheet: ToolSheet, wording: ToolWording, rng: random.Random, *, typo: bool = False) -> ToolNeed:
    """Draw values for a wording."""
    values = _draw_values(sheet, wording, rng)
    return ToolNeed(sheet, values, _fill(wording, values, rng if typo else None))


def draw_coordinated(sheet: ToolSheet, rng: random.Random) -> tuple[list[ToolNeed], str, tuple[str, str]] | None:
    """Ask for a tool twice with one sentence that says two values of one parameter.

    Returns:
        What is wanted, the sentence, and which words of it are about which, such as "Cancel L-221" and "L-222 today".
        None if the sentence that was drawn has no value that could be another one.
    """
    wording = rng.choice(list_wordings(sheet, held_out=False))
    values = _draw_values(sheet, wording, rng)
    single = [path for path in values if sheet.sources[path].items is None]
    path = rng.choice(single) if single else ""
    other = _draw_unlike(sheet, path, [values[path]], rng) if path else None
    if other is None or other.argument == values[path].argument:
        return None
    both = f"{values[path].said}{rng.choice((' and ', ' and ', ' and ', ' and also '))}{other.said}"
    text = _fill(wording, {**values, path: replace(other, said=both)}, None)
    begin = text.lower().find(both.lower())
    if begin < 0:
        return None
    first, second = text[: begin + len(values[path].said)], text[begin + len(both) - len(other.said) :]
    needs = [ToolNeed(sheet, values, text), ToolNeed(sheet, {**values, path: other}, text)]
    return needs, text, (first, second)


def draw_chained(need: ToolNeed, sheet: ToolSheet, rng: random.Random) -> ToolNeed | None:
    """Draw what is asked of `sheet` with a result of `need`.

    None if the sheet has no ``then`` for one, or the tool that is run for it fails or returns none.
    """
    links = [(link, name) for (tool, name), link in sheet.links.items() if tool == need.sheet.tool.name]
    if not links:
        return None
    (path, wordings), name = rng.choice(links)
    wording = rng.choice(wordings)
    values = _draw_values(sheet, wording, rng)
    try:
        result = make_facts(need.sheet, need.arguments)[name]
    except (ToolException, KeyError):
        return None
    return ToolNeed(sheet, {**values, path: SaidValue(result, "")}, _fill(wording, values, None))


def draw_incomplete(sheet: ToolSheet, rng: random.Random, *, held_out: bool = False) -> ToolNeed | None:
    """Draw a request that does not say a value that the tool needs; None if no wording can leave one out."""
    options: list[tuple[ToolWording, str]] = []
    for wording in list_wordings(sheet, held_out=held_out):
        for path in sorted(wording.slots - wording.always_said):
            if not is_optional(sheet.tool.parameters, path):
                options.append((wording, path))
    if not options:
        return None
    wording, missing = rng.choice(options)
    values = _draw_values(sheet, wording, rng)
    gone = next(part.slots for part in wording.parts if part.is_optional and missing in part.slots)
    kept = {path: value for path, value in values.items() if path not in gone}
    return ToolNeed(sheet, kept, _fill(wording, kept, None), missing)


def draw_follow_up(need: ToolNeed, rng: random.Random) -> ToolNeed | None:
    """Ask for the same once more with other values, in a sentence that says only these; None if the sheet has none."""
    wordings = [each for each in need.sheet.follow_ups if each.slots <= need.values.keys()]
    if not wordings:
        return None
    wording = rng.choice(wordings)
    fresh = {path: draw_value(need.sheet.sources[path], need.sheet, rng) for path in sorted(wording.slots)}
    return replace(need, values={**need.values, **fresh}, text=_fill(wording, fresh, None))


def describe_missing(need: ToolNeed) -> str:
    """Return what the request does not say, to go after "The request does not say"."""
    parameter = need.sheet.sources[need.missing]
    return parameter.what or f"the {need.missing.rpartition('.')[2].replace('_', ' ')}"


def make_sheet_tool(sheet: ToolSheet, *, failure: str = "") -> BaseTool:
    """Return the tool; what it replies is the same for the same arguments. With `failure` every call fails with it.

    What it replies is made up, or comes from the real tool, see `ToolSheet.is_run`.
    """

    def run(**arguments: Any) -> str:
        if failure:
            raise ToolException(failure)
        if sheet.real and sheet.is_run:
            return sheet.real.run(arguments)
        reply = fill_reply(sheet.tool.reply, make_facts(sheet, arguments))
        return reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)

    return make_tool(sheet.spec, run)


def make_facts(sheet: ToolSheet, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments and made-up values by name; an argument that is not given is empty.

    Of a tool that is run, ``reply`` is what it returns, and ``reply.a.0`` a part of it if it is JSON.
    """
    rng = random.Random(f"{sheet.tool.name} {json.dumps(arguments, sort_keys=True, default=str)}")
    made = {name: draw(rng).argument for name, draw in sheet.made_up.items()}
    if sheet.real and sheet.is_run:
        made = read_reply(sheet.real.run(arguments))
    return {**dict.fromkeys(sheet.tool.parameters, ""), **flatten(arguments), **arguments, **made}


def make_answer(sheet: ToolSheet, arguments: Mapping[str, Any]) -> str:
    """Return the sentence that tells the user.

    Raises:
        ConfigError: If it tells a part of the reply that a real tool did not give.
    """
    facts = make_facts(sheet, arguments)
    if sheet.is_run and (absent := [name for name in SLOT.findall(sheet.tool.answer or "") if name not in facts]):
        raise ConfigError(
            f"{sheet.where}: answer: {{{absent[0]}}} is no part of what {sheet.spec.name} returned, "
            f"{cut(str(facts['reply']), _MAX_QUOTE_CHARS)!r}. Tell another part, or write the reply into the sheet."
        )
    text = str(fill_reply(sheet.tool.answer or sheet.tool.reply, facts, as_text=True))
    return text if text.endswith((".", "!", "?")) else f"{text}."


def tell_plainly(reply: str) -> str | None:
    """Return an object that a tool replied as a sentence of its fields, in words; None of any other reply.

    Example:
        >>> tell_plainly('{"claimNo": "CL12", "paid": true, "waits_for": ["photos", "bill"]}')
        'Claim no: CL12, paid: yes, waits for: photos and bill.'
    """
    try:
        fields = json.loads(reply)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not fields:
        return None
    flat = flatten(fields)
    if any(isinstance(item, (dict, list)) for value in flat.values() if isinstance(value, list) for item in value):
        return None
    told = ", ".join(f"{_WORD_ENDS.sub(' ', name).strip().lower()}: {say(value)}" for name, value in flat.items())
    return f"{told[:1].upper()}{told[1:].rstrip('.')}."


def list_told(sheet: ToolSheet, arguments: Mapping[str, Any]) -> list[str]:
    """Return the values of the reply that the answer tells: made up, or the real tool's."""
    facts, text = make_facts(sheet, arguments), sheet.tool.answer or sheet.tool.reply
    return [
        say(facts[name])
        for name in SLOT.findall(str(text))
        if name in sheet.made_up or (sheet.is_run and name.split(".")[0] == "reply")
    ]


def flatten(arguments: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested objects by path."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested objects of values by path; the opposite of `flatten`."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *outer, name = path.split(".")
        place = nested
        for key in outer:
            place = place.setdefault(key, {})
        place[name] = value
    return nested


def _draw_values(sheet: ToolSheet, wording: ToolWording, rng: random.Random) -> dict[str, SaidValue]:
    """Draw what is said: what the tool needs, and of the optional values some."""
    skipped: set[str] = set()
    for part in wording.parts:
        optional = [path for path in part.slots if is_optional(sheet.tool.parameters, path)]
        # a part with a required value is always said
        if (
            len(optional) == len(part.slots)
            and optional
            and rng.random() >= max(sheet.sources[path].said for path in optional)
        ):
            skipped |= part.slots
    said = [path for path in sheet.sources if path in wording.slots and path not in skipped]
    values: dict[str, SaidValue] = {}
    for path in said:
        values[path] = _draw_unlike(sheet, path, list(values.values()), rng)
    days = [path for path in said if sheet.sources[path].source in ("date", "recent date", "past date")]
    in_order = sorted((values[path] for path in days), key=lambda value: str(value.argument))
    return {**values, **dict(zip(days, in_order, strict=True))}


def _draw_unlike(sheet: ToolSheet, path: str, others: Sequence[SaidValue], rng: random.Random) -> SaidValue:
    """Draw a value that no other slot has, if there are enough of them: nobody flies from Oslo to Oslo."""
    for _ in range(_MAX_TRIES):
        value = draw_value(sheet.sources[path], sheet, rng)
        if value not in others:
            break
    return value


def draw_value(parameter: SheetParameter, sheet: ToolSheet, rng: random.Random) -> SaidValue:
    """Draw one value of a parameter, and how it is said."""
    if parameter.items is not None:
        wanted = rng.randint(*parameter.count)
        drawn = {value.said: value for value in (draw_value(parameter.items, sheet, rng) for _ in range(wanted * 2))}
        chosen = list(drawn.values())[:wanted]
        return SaidValue([value.argument for value in chosen], say([value.said for value in chosen]))
    if parameter.properties is not None:
        return _draw_object(parameter, sheet, rng)
    if parameter.source is not None:
        value = parse_source(first_source(parameter), sheet.lists)(rng)
    else:
        argument = rng.choice(list(parameter.enum or parameter.say))
        value = SaidValue(argument, say(argument).replace("_", " "))
    return replace(value, said=rng.choice(parameter.say.get(value.argument, [value.said])))


def _draw_object(parameter: SheetParameter, sheet: ToolSheet, rng: random.Random) -> SaidValue:
    """Draw an object of a list, and say it in one piece."""
    wording = parse_wording(rng.choice(parameter.words), list(parameter.leaves))
    values = {
        path: draw_value(leaf, sheet, rng)
        for path, leaf in parameter.leaves.items()
        if path in wording.always_said or (path in wording.slots and rng.random() < leaf.said)
    }
    said = wording.fill({path: value.said for path, value in values.items()})
    if not wording.text.startswith("{"):  # a wording begins a sentence elsewhere
        said = said[:1].lower() + said[1:]
    return SaidValue(nest({path: value.argument for path, value in values.items()}), said)


def _fill(wording: ToolWording, values: Mapping[str, SaidValue], typo: random.Random | None) -> str:
    return wording.fill({path: value.said for path, value in values.items()}, typo=typo)


def fill_reply(reply: Any, facts: Mapping[str, Any], *, as_text: bool = False) -> Any:
    """Return a reply with the facts in the place of their names in braces; a value alone keeps its type."""
    if isinstance(reply, Mapping):
        return {key: fill_reply(value, facts, as_text=as_text) for key, value in reply.items()}
    if isinstance(reply, list):
        return [fill_reply(value, facts, as_text=as_text) for value in reply]
    if not isinstance(reply, str):
        return reply
    whole = SLOT.fullmatch(reply)
    if whole and not as_text:
        return facts.get(whole[1], "")
    return SLOT.sub(lambda match: say(facts.get(match[1], "")), reply)
