"""The YAML sheets that say what tasks are made of: questions, tools, names. Every fault has its file and line."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, cast

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.tasks.sampler import Sampler, parse_rule
from alpha_umi.yaml_files import read_yaml

FOLDER = Path(__file__).with_name("sheets")
# Every value is text, so that "no", "on" and 2026-02-30 need no quotation marks.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
Place: TypeAlias = tuple[str | int, ...]
Faults: TypeAlias = Iterator[tuple[Place, str]]
"""What is wrong, and where: keys and positions in the sheet."""
SheetSplit: TypeAlias = Literal["train", "heldout"]
Kind: TypeAlias = Literal[
    "single", "several", "chain", "no tool", "no value", "outage", "bad value", "chat", "turns", "conversation"
]
JoinStyle: TypeAlias = Literal[
    "comma", "semicolon", "series", "marks", "list", "lines", "counted", "led", "also", "besides", "plain"
]
_SPLITS: Mapping[str, tuple[SheetSplit, ...]] = {
    "train": ("train",),
    "heldout": ("heldout",),
    "both": ("train", "heldout"),
}


def _read_phrase(value: Any) -> Any:
    if isinstance(value, str):
        return {"say": value}
    if isinstance(value, Mapping) and "say" not in value:
        raise ValueError("a wording with values of its own needs 'say'")
    return value


Options: TypeAlias = tuple[str, ...]
Lists: TypeAlias = dict[str, Options | tuple[Options, ...] | dict[str, Options]]
Phrase: TypeAlias = Annotated[Mapping[str, str], BeforeValidator(_read_phrase)]
Rule: TypeAlias = Annotated[str, AfterValidator(lambda text: parse_rule(text) and text)]


class SheetPart(BaseModel):
    """A part of a sheet; keys that it does not have are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def find_faults(self) -> Faults:
        """Yield what is wrong between the values of a whole sheet."""
        yield from ()


class Wording(SheetPart):
    """Ways to say one thing, with slots in braces; the held-out ones are never trained on."""

    train: tuple[Phrase, ...] = ()
    heldout: tuple[Phrase, ...] = ()

    def pick(self, sampler: Sampler) -> Phrase:
        """Return one of the phrases of the sampler's split."""
        return sampler.pick(self.heldout if sampler.held_out else self.train)

    def say(self, sampler: Sampler, **slots: Any) -> str:
        """Return one of them, filled in."""
        return self.pick(sampler)["say"].format(**slots)

    def list_phrases(self) -> Iterator[tuple[Place, Phrase]]:
        """Yield every phrase and its place."""
        for split in _SPLITS["both"]:
            yield from (((split, i), phrase) for i, phrase in enumerate(getattr(self, split)))

    def find_wording_faults(self, place: Place, slots: Collection[str], needed: Iterable[SheetSplit] = ()) -> Faults:
        """Yield `needed` splits without a phrase, and phrases with unknown slots or both trained on and held out."""
        for split in needed:
            if not getattr(self, split):
                yield place, f"no {'held-out' if split == 'heldout' else 'training'} wording; write {split!r}."
        for where, phrase in self.list_phrases():
            yield from _check_slots((*place, *where), [phrase["say"]], {*slots, *phrase} - {"say"})
            if where[0] == "heldout" and phrase["say"] in {trained["say"] for trained in self.train}:
                yield (*place, *where), "this wording is trained on too; hold another out."


class SmallTalk(Wording):
    """What a user may say that needs no tool, and what to answer."""

    reply: str


class Family(Wording):
    """Questions of one kind: what is drawn for them, how people ask them, and which calls answer them."""

    values: dict[str, Rule] = {}
    calls: tuple[Annotated[dict[str, dict[str, str]], Field(min_length=1, max_length=1)], ...]
    only: str = Field("", alias="say")
    wording_first: bool = False


class QuestionSheet(SheetPart):
    """Families of questions, and how often each is asked."""

    choose: Options
    choose_in_training: Options = ()
    sometimes: dict[str, float] = {}
    families: dict[str, Family]
    lists: Lists = {}

    def find_faults(self) -> Faults:
        """Yield faults of the families, and families that are unknown or never asked."""
        everywhere = {*self.choose, *self.sometimes}
        for key in ("choose", "choose_in_training", "sometimes"):
            yield from _check_known((key,), getattr(self, key), self.families, "family")
        for name, family in self.families.items():
            place = ("families", name)
            if name not in {*everywhere, *self.choose_in_training}:
                yield place, f"{name!r} is never asked; write it into 'choose'."
            drawn = _list_values(family.values)
            needed = () if family.only else _SPLITS["both" if name in everywhere else "train"]
            yield from family.find_wording_faults(place, drawn, needed)
            yield from _find_rule_faults((*place, "values"), family.values, self.lists)
            said = [phrase.keys() - {"say"} for _, phrase in family.list_phrases()]
            known = drawn | {"result"} | (set.intersection(*said) if said else set())
            for i, call in enumerate(family.calls):
                for ability, slots in call.items():
                    yield from _check_slots((*place, "calls", i, ability), [*slots, *slots.values()], known)


class Incomplete(Wording):
    """Requests that lack a value; `varied` is for training alone."""

    varied: Options


class RequestSheet(SheetPart):
    """Texts around questions, and requests that need or find no tool."""

    shares: dict[SheetSplit, dict[Kind, float]]
    conversations: float
    subjects: dict[str, float]
    openings: Wording
    closings: Wording
    joins: dict[SheetSplit, tuple[JoinStyle, ...]]
    leads: Options
    marks: Options
    counts: tuple[Options, ...]
    greetings: SmallTalk
    thanks: SmallTalk
    impossible: Wording
    topics: Options
    incomplete: dict[str, Incomplete]
    values: dict[str, Rule]
    lists: Lists

    def find_faults(self) -> Faults:
        """Yield wordings with slots that they do not have."""
        yield from self.impossible.find_wording_faults(("impossible",), {"topic"})
        yield from _find_rule_faults(("values",), self.values, self.lists)
        for missing, wording in self.incomplete.items():
            place = ("incomplete", missing)
            yield from wording.find_wording_faults(place, ())
            yield from _check_slots((*place, "varied"), wording.varied, _list_values(self.values))


class View(SheetPart):
    """A built-in ability under another name; `arguments` are its names by the built-in tool's."""

    name: str
    description: str
    arguments: dict[str, str]
    heldout: bool = False


class Ability(SheetPart):
    """One thing a built-in tool can do; see ``builtin.yaml``."""

    tool: str
    need: str
    arguments: dict[str, str] = {}
    result: re.Pattern[str] = re.compile(".*", re.DOTALL)
    answer: str = ""
    views: tuple[View, ...] = ()


class AbilitySheet(SheetPart):
    """What the built-in tools can do."""

    abilities: dict[str, Ability]

    def find_faults(self) -> Faults:
        """Yield views whose name another has."""
        yield from _find_twins(
            (("abilities", key, "views", i), view.name)
            for key, ability in self.abilities.items()
            for i, view in enumerate(ability.views)
        )


class Parameter(SheetPart):
    """What a parameter of an invented tool takes: a list of the sheet's `kinds`, or ``number``."""

    kind: str
    description: str


class InventedTool(SheetPart):
    """A tool that is made up, and how people ask for what it does; see ``tools.yaml``."""

    name: str = Field(alias="tool")
    description: str
    parameters: dict[str, Parameter]
    ask: Wording
    reply: str
    need: str
    use: Literal["train", "heldout", "both"]


class InventedToolSheet(SheetPart):
    """Invented tools, and what their parameters are filled with."""

    kinds: dict[str, Options]
    sky: Options
    tools: tuple[InventedTool, ...]

    def find_faults(self) -> Faults:
        """Yield names that two tools have, and wordings that do not say every parameter."""
        yield from _find_twins((("tools", i), tool.name) for i, tool in enumerate(self.tools))
        for i, tool in enumerate(self.tools):
            ask = ("tools", i, "ask")
            yield from tool.ask.find_wording_faults(ask, tool.parameters, _SPLITS[tool.use])
            for place, phrase in tool.ask.list_phrases():
                if unsaid := {name for name in tool.parameters if f"{{{name}}}" not in phrase["say"]}:
                    yield (*ask, *place), f"this wording does not say {_name_slots(unsaid)}."
            yield from _check_slots(("tools", i, "reply"), [tool.reply], {*tool.parameters, "n", "sky"})
            for name, parameter in tool.parameters.items():
                place = ("tools", i, "parameters", name)
                yield from _check_known(place, [parameter.kind], [*self.kinds, "number"], "kind")


class NameSheet(SheetPart):
    """Other words in names of tools and arguments."""

    words: dict[str, Options]
    affixes: Options
    owners: Options
    syllables: Options
    arguments: dict[str, Options]


S = TypeVar("S", bound=SheetPart)


def load_sheet(name: str, form: type[S]) -> S:
    """Return a sheet of this package, read once."""
    return cast(S, _read_once(FOLDER / f"{name}.yaml", form))


def read_sheet(path: Path, form: type[S]) -> S:
    """Read and check a sheet.

    Raises:
        ConfigError: If it is no YAML, a key is missing, unknown or there twice, or values do not fit together; the
            message names file and line.
    """
    try:
        file = read_yaml(path, loader_type=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    faults = [(line, f"{key!r} is there twice.") for line, key in file.find_repeated_keys()]
    try:
        sheet = form.model_validate(file.values or {})
        faults += [(file.find_line(place), text) for place, text in sheet.find_faults()]
    except ValidationError as error:
        for each in error.errors():
            faults.append((file.find_line(each["loc"]), f"{'.'.join(map(str, each['loc']))}: {each['msg']}"))
    if faults:
        raise ConfigError("\n".join(f"{path}:{line}: {text}" for line, text in faults))
    return sheet


_read_once = cache(read_sheet)


def _check_slots(place: Place, texts: Iterable[str], known: Collection[str]) -> Faults:
    for text in texts:
        try:
            unknown = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None} - set(known)
        except ValueError as error:
            yield place, f"{error} in {text!r}; write slots as {{name}}."
        else:
            if unknown:
                yield place, f"unknown {_name_slots(unknown)} in {text!r}; known are {_name_slots(known)}."


def _name_slots(slots: Collection[str]) -> str:
    return ", ".join(f"{{{slot}}}" for slot in sorted(slots)) or "none"


def _check_known(place: Place, names: Iterable[str], known: Iterable[str], what: str) -> Faults:
    for name in sorted(set(names).difference(known)):
        yield place, f"there is no {what} {name!r}; known are {', '.join(known)}."


def _list_values(values: Mapping[str, str]) -> set[str]:
    return {name for names in values for name in names.split()}


def _find_rule_faults(place: Place, values: Mapping[str, str], lists: Mapping[str, Any]) -> Faults:
    drawn: list[str] = []
    for names, text in values.items():
        _, rule = parse_rule(text)
        used = [rule[key] for key in ("list", "other") if key in rule]
        yield from _check_known((*place, names), used, lists, "list")
        if rule.get("value", "") not in {"", *drawn}:
            yield (*place, names), f"{rule['value']!r} is not drawn before; known are {', '.join(drawn) or 'none'}."
        drawn += names.split()


def _find_twins(names: Faults) -> Faults:
    known: Counter[str] = Counter()
    for place, name in names:
        known[name] += 1
        if known[name] == 2:
            yield place, f"there are two tools {name!r}; give one another name."
