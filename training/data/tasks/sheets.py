"""The YAML sheets that say what tasks are made of: questions, tools, names. Every fault has its file and line."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, cast

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.tasks.sampler import Sampler, parse_rule

FOLDER = Path(__file__).with_name("sheets")
# Every value is text, so that "no", "on" and 2026-02-30 need no quotation marks.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
Place: TypeAlias = tuple[str | int, ...]
Faults: TypeAlias = Iterator[tuple[Place, str]]
"""What is wrong, and where: keys and positions from the part that is checked."""
Options: TypeAlias = tuple[str, ...]
Phrase: TypeAlias = Annotated[
    Mapping[str, str], BeforeValidator(lambda value: {"say": value} if isinstance(value, str) else value)
]
Kind: TypeAlias = Literal[
    "single", "several", "chain", "no tool", "no value", "outage", "bad value", "chat", "turns", "conversation"
]
JoinStyle: TypeAlias = Literal[
    "comma", "semicolon", "series", "marks", "list", "lines", "counted", "led", "also", "besides", "plain"
]


class SheetPart(BaseModel):
    """A part of a sheet; keys that it does not have are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def find_faults(self) -> Faults:
        """Yield what is wrong between its values."""
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
        for split, phrases in (("train", self.train), ("heldout", self.heldout)):
            yield from (((split, i), phrase) for i, phrase in enumerate(phrases))

    def find_wording_faults(self, slots: Collection[str]) -> Faults:
        """Yield phrases that use other slots than `slots`, or are both trained on and held out."""
        trained = {phrase.get("say") for phrase in self.train}
        for place, phrase in self.list_phrases():
            if "say" not in phrase:
                yield place, "a wording with values of its own needs 'say'."
            elif place[0] == "heldout" and phrase["say"] in trained:
                yield place, "this wording is trained on too; hold another out."
            else:
                yield from _check_slots(place, [phrase["say"]], {*slots, *phrase} - {"say"})


class SmallTalk(Wording):
    """What a user may say that needs no tool, and what to answer."""

    reply: str


Lists: TypeAlias = dict[str, Options | tuple[Options, ...] | dict[str, Options]]


class Family(Wording):
    """Questions of one kind: what is drawn for them, how people ask them, and which calls answer them."""

    values: dict[str, str] = {}
    calls: tuple[dict[str, dict[str, str]], ...]
    only: str = Field("", alias="say")
    wording_first: bool = False

    def find_faults(self) -> Faults:
        """Yield wordings and calls that use values which are not drawn."""
        known = _list_values(self.values)
        if not self.train and not self.only:
            yield (), "no wording for training; write 'train', or 'say'."
        yield from self.find_wording_faults(known)
        own = [set(phrase) - {"say"} for _, phrase in self.list_phrases()]
        drawn = known | {"result"} | (set.intersection(*own) if own else set())
        for i, call in enumerate(self.calls):
            if len(call) != 1:
                yield ("calls", i), "one ability a call, as in '- calculate: {expression: 1 + 2}'."
            for ability, arguments in call.items():
                yield from _check_slots(("calls", i, ability), [*arguments, *arguments.values()], drawn)


class QuestionSheet(SheetPart):
    """Families of questions, and how often each is asked."""

    choose: tuple[str, ...]
    choose_in_training: tuple[str, ...] = ()
    sometimes: dict[str, float] = {}
    families: dict[str, Family]
    lists: Lists = {}

    def find_faults(self) -> Faults:
        """Yield faults of the families, and families that are never asked or cannot be asked held out."""
        everywhere = {*self.choose, *self.sometimes}
        for key in ("choose", "choose_in_training", "sometimes"):
            for name in set(getattr(self, key)) - self.families.keys():
                yield (key,), f"there is no family {name!r}; known are {', '.join(self.families)}."
        for name, family in self.families.items():
            place = ("families", name)
            yield from _below(place, family.find_faults())
            yield from _below((*place, "values"), _find_rule_faults(family.values, self.lists))
            if name not in {*everywhere, *self.choose_in_training}:
                yield place, f"{name!r} is never asked; write it into 'choose'."
            if name in everywhere and not family.heldout and not family.only:
                yield place, f"no held-out wording; write 'heldout', or {name!r} into 'choose_in_training' alone."


class Incomplete(Wording):
    """Requests that lack a value; `varied` is for training alone."""

    varied: Options


class JoinWording(SheetPart):
    """How several questions become one request."""

    train: tuple[JoinStyle, ...]
    heldout: tuple[JoinStyle, ...]


class RequestSheet(SheetPart):
    """What stands around questions, and requests that need or find no tool."""

    shares: dict[Literal["train", "heldout"], dict[Kind, float]]
    conversations: float
    subjects: dict[str, float]
    openings: Wording
    closings: Wording
    joins: JoinWording
    leads: Options
    marks: Options
    counts: tuple[Options, ...]
    greetings: SmallTalk
    thanks: SmallTalk
    impossible: Wording
    topics: Options
    incomplete: dict[str, Incomplete]
    values: dict[str, str]
    lists: Lists

    def find_faults(self) -> Faults:
        """Yield wordings with slots that they do not have."""
        yield from _below(("impossible",), self.impossible.find_wording_faults({"topic"}))
        yield from _below(("values",), _find_rule_faults(self.values, self.lists))
        for missing, wording in self.incomplete.items():
            place = ("incomplete", missing)
            yield from _below(place, wording.find_wording_faults(()))
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

    def find_faults(self) -> Faults:
        """Yield wordings that do not say every parameter, and splits without a wording."""
        yield from _below(("ask",), self.ask.find_wording_faults(self.parameters))
        for place, phrase in self.ask.list_phrases():
            if unsaid := {name for name in self.parameters if f"{{{name}}}" not in phrase.get("say", "")}:
                yield ("ask", *place), f"this wording does not say {_name_slots(unsaid)}."
        if not self.ask.heldout and self.use != "train":
            yield ("ask",), "no held-out wording; write 'heldout', or 'use: train'."
        if not self.ask.train and self.use != "heldout":
            yield ("ask",), "no wording for training; write 'train', or 'use: heldout'."
        yield from _check_slots(("reply",), [self.reply], {*self.parameters, "n", "sky"})


class ToolSheet(SheetPart):
    """Invented tools, and what their parameters are filled with."""

    kinds: dict[str, Options]
    sky: Options
    tools: tuple[InventedTool, ...]

    def find_faults(self) -> Faults:
        """Yield faults of the tools, and names that two of them have."""
        yield from _find_twins((("tools", i), tool.name) for i, tool in enumerate(self.tools))
        known = {*self.kinds, "number"}
        for i, tool in enumerate(self.tools):
            yield from _below(("tools", i), tool.find_faults())
            for name, parameter in tool.parameters.items():
                if parameter.kind not in known:
                    text = f"there is no kind {parameter.kind!r}; known are {', '.join(sorted(known))}."
                    yield ("tools", i, "parameters", name), text


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


@cache
def _read_once(path: Path, form: type[SheetPart]) -> SheetPart:
    return read_sheet(path, form)


def read_sheet(path: Path, form: type[S]) -> S:
    """Read and check a sheet.

    Raises:
        ConfigError: If it is no YAML, a key is missing, unknown or there twice, or values do not fit together; the
            message names file and line.
    """
    loader = _Loader(path.read_text("utf-8"))
    try:
        root = loader.get_single_node()
        sheet = form.model_validate(loader.construct_document(root) if root else {})
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    except ValidationError as error:
        faults = ((fault["loc"], f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}.") for fault in error.errors())
        raise ConfigError("\n".join(f"{path}:{_find_line(root, place)}: {text}" for place, text in faults)) from error
    lines = [f"{path}:{node.start_mark.line + 1}: {key!r} is there twice." for node, key in _find_repeated_keys(root)]
    lines += [f"{path}:{_find_line(root, place)}: {text}" for place, text in sheet.find_faults()]
    if lines:
        raise ConfigError("\n".join(lines))
    return sheet


def find_slots(text: str) -> set[str]:
    """Return the names in braces."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def _name_slots(slots: Collection[str]) -> str:
    return ", ".join(f"{{{slot}}}" for slot in sorted(slots)) or "none"


def _below(place: Place, faults: Faults) -> Faults:
    return (((*place, *where), text) for where, text in faults)


def _check_slots(place: Place, texts: Iterable[str], known: Collection[str]) -> Faults:
    for text in texts:
        try:
            unknown = find_slots(text) - set(known)
        except ValueError as error:
            yield place, f"{error} in {text!r}; write slots as {{name}}."
        else:
            if unknown:
                yield place, f"unknown {_name_slots(unknown)} in {text!r}; known are {_name_slots(known)}."


def _list_values(values: Mapping[str, str]) -> set[str]:
    return {name for names in values for name in names.split()}


def _find_rule_faults(values: Mapping[str, str], lists: Mapping[str, Any]) -> Faults:
    drawn: set[str] = set()
    for names, text in values.items():
        try:
            _, rule = parse_rule(text)
        except ValueError as error:
            yield (names,), str(error)
            continue
        for name in {rule[key] for key in ("list", "other") if key in rule} - lists.keys():
            yield (names,), f"there is no list {name!r}; known are {', '.join(lists)}."
        if rule.get("value", "") not in {"", *drawn}:
            yield (names,), f"{rule['value']!r} is not drawn before; known are {', '.join(drawn) or 'none'}."
        drawn |= set(names.split())


def _find_twins(names: Faults) -> Faults:
    known: Counter[str] = Counter()
    for place, name in names:
        known[name] += 1
        if known[name] == 2:
            yield place, f"there are two tools {name!r}; give one another name."


def _find_repeated_keys(node: yaml.Node | None) -> Iterator[tuple[yaml.Node, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key, key.value
            seen.add(key.value)
            yield from _find_repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _find_repeated_keys(item)


def _find_line(node: Any, place: Sequence[str | int]) -> int:
    """Return the line of a place, or of the nearest part around it that is there."""
    line = int(node.start_mark.line) + 1 if node else 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
        else:
            found = [(item, item) for item in node.value[part : part + 1]] if isinstance(part, int) else []
        if found:
            key, node = found[0]
            line = int(key.start_mark.line) + 1
    return line
