"""The tools of a task: which can do what is asked, under which name, and among which others they hide.

An ability is one thing that a built-in tool can do. It is offered by the built-in tool itself, or by a *view*: the same
function behind another name, description and argument names, so that a model has to read what it is offered.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from langchain_core.tools import BaseTool, ToolException

from alpha_umi.tools.convert import make_tool, spec_from_tool
from alpha_umi.tools.load import list_builtin_tools, load_tools
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.split import hash_text
from alpha_umi.training.data.tasks.questions import Arguments
from alpha_umi.training.data.tasks.sampler import Sampler
from alpha_umi.training.data.tasks.sheets import (
    Ability,
    AbilitySheet,
    InventedTool,
    InventedToolSheet,
    NameSheet,
    View,
    load_sheet,
)
from alpha_umi.training.data.tool_specs import make_schema

OUTAGE = "the service is not available right now. Use another tool."


@dataclass(frozen=True, slots=True)
class Way:
    """How a task's tools do one ability: the tool, arguments that are always given, and its names for the others."""

    tool: str
    fixed: Mapping[str, Any]
    names: Mapping[str, str] | None = None

    def to_call(self, arguments: Arguments) -> Arguments:
        """Return the arguments as this tool wants them."""
        if self.names is None:
            return {**self.fixed, **arguments}
        return {self.names[name]: value for name, value in arguments.items()}


@dataclass(frozen=True, slots=True)
class Toolset:
    """The tools that are offered, and for every ability the ways to get it done, best first."""

    tools: tuple[BaseTool, ...]
    ways: Mapping[str, tuple[Way, ...]]


def list_abilities() -> Mapping[str, Ability]:
    """Return what the built-in tools can do, by name."""
    return load_sheet("builtin", AbilitySheet).abilities


def list_asked(*, held_out: bool) -> list[InventedTool]:
    """Return the invented tools that a task may be about."""
    return [tool for tool in list_offered(held_out=held_out) if (tool.use == "heldout") == held_out]


def list_offered(*, held_out: bool) -> list[InventedTool]:
    """Return the invented tools that a task may offer."""
    return [
        tool
        for tool in load_sheet("tools", InventedToolSheet).tools
        if tool.use != ("train" if held_out else "heldout")
    ]


@cache
def list_heldout_names() -> frozenset[str]:
    """Return the tool names that never occur in training."""
    views = (view for ability in list_abilities().values() for view in ability.views)
    return frozenset(view.name for view in views if view.heldout).union(tool.name for tool in list_asked(held_out=True))


def describe_need(ability: str) -> str:
    """Return what the user wants, to go after "no tool can"."""
    needs = {tool.name: tool.need for tool in load_sheet("tools", InventedToolSheet).tools}
    return list_abilities()[ability].need if ability in list_abilities() else needs[ability]


def find_tool(ability: str) -> str:
    """Return the tool that has an ability where no other name hides it."""
    return list_abilities()[ability].tool if ability in list_abilities() else ability


def make_toolset(
    sampler: Sampler,
    abilities: Collection[str],
    builtin: Mapping[str, BaseTool],
    *,
    without: Collection[str] = (),
    broken: str | None = None,
) -> Toolset:
    """Return tools for `abilities`, among others, of which none can do what is in `without`.

    Half of the toolsets are the built-in tools as they are, as most users have them. For the ability `broken` there is
    first a tool that is out of order.
    """
    known = list_abilities()
    dead = _pick_view(sampler, broken, ()) if broken else None
    dead_names = [dead.name] if dead else []
    missing = {known[name].tool for name in without if name in known}
    offered = {name: tool for name, tool in builtin.items() if name not in missing}
    wanted = [name for name in abilities if name in known]
    views: dict[str, View] = {}
    if not sampler.chance(0.5):
        views = _pick_views(sampler, wanted, dead_names)
        offered = _thin_out(sampler, offered, wanted, views)
    tools = offered | {view.name: _make_view_tool(name, view, builtin) for name, view in views.items()}
    ways = {name: (_make_way(name, views.get(name)),) for name in wanted}
    for invented in _pick_invented(sampler, abilities, without):
        tool, way = _offer_invented(sampler, invented, [*tools, *dead_names])
        tools[tool.name] = tool
        ways |= {invented.name: (way,)} if invented.name in abilities else {}
    if broken and dead:
        tools[dead.name] = make_tool(_make_view_spec(broken, dead, builtin), _refuse)
        ways[broken] = (_make_way(broken, dead), *ways.get(broken, ()))
    order = sampler.rng.sample(list(tools), len(tools))
    return Toolset(tuple(tools[name] for name in order), ways)


def _make_way(ability: str, view: View | None) -> Way:
    known = list_abilities()[ability]
    return Way(view.name, {}, view.arguments) if view else Way(known.tool, known.arguments)


def _pick_views(sampler: Sampler, wanted: Sequence[str], dead_names: Sequence[str]) -> dict[str, View]:
    """Return views for most of the abilities, no two of one name."""
    views: dict[str, View] = {}
    for name in wanted:
        taken = {*dead_names, *(view.name for view in views.values())}
        view = None if sampler.chance(0.25) else _pick_view(sampler, name, taken)
        if view and view.name not in taken:
            views[name] = view
    return views


def _thin_out(
    sampler: Sampler, offered: Mapping[str, BaseTool], wanted: Sequence[str], views: Mapping[str, View]
) -> dict[str, BaseTool]:
    """Keep the built-in tools that are needed and some that are not, but none that could stand in for a view."""
    needed = {find_tool(name) for name in wanted if name not in views}
    shadowed = {find_tool(name) for name in wanted} - needed
    spare = [name for name in offered if name not in needed | shadowed]
    # There is always at least one, so that no toolset is empty.
    kept = needed.union(sampler.rng.sample(spare, sampler.rng.randint(min(1, len(spare)), len(spare))))
    return {name: tool for name, tool in offered.items() if name in kept}


def _pick_view(sampler: Sampler, ability: str, taken: Collection[str]) -> View | None:
    """Return a view of an ability; in training as yet another developer might offer it."""
    views = [view for view in list_abilities()[ability].views if view.heldout == sampler.held_out]
    if not views:
        return None
    view = sampler.pick(views)
    if sampler.held_out:
        return view
    arguments = sampler.pick(views).arguments
    return View(
        name=_vary_name(sampler, view.name, taken) if sampler.chance(0.8) else view.name,
        description=sampler.pick(views).description,
        arguments=vary_arguments(sampler, arguments) if sampler.chance(0.5) else arguments,
    )


def _vary_name(sampler: Sampler, name: str, taken: Collection[str]) -> str:
    builtin = (ability.tool for ability in list_abilities().values())
    return vary_tool_name(sampler, name, {*list_heldout_names(), *builtin, *taken})


def _pick_invented(sampler: Sampler, abilities: Collection[str], without: Collection[str]) -> list[InventedTool]:
    """Return the invented tools that are needed and up to five that are not."""
    known = list_offered(held_out=sampler.held_out)
    others = [tool for tool in known if tool.name not in {*abilities, *without}]
    chosen = sampler.rng.sample(others, sampler.pick((0, 0, 0, 1, 2, 3, 5)))
    return chosen + [tool for tool in known if tool.name in abilities]


def _offer_invented(sampler: Sampler, tool: InventedTool, taken: Collection[str]) -> tuple[BaseTool, Way]:
    """Return an invented tool; in training mostly under other names than its own."""
    if sampler.held_out or (sampler.chance(0.3) and tool.name not in taken):
        return make_invented_tool(tool), Way(tool.name, {})
    name = _vary_name(sampler, tool.name, taken)
    names = vary_arguments(sampler, tool.parameters)
    return make_invented_tool(tool, name, names), Way(name, {}, names)


def make_invented_tool(
    tool: InventedTool, tool_name: str | None = None, names: Mapping[str, str] | None = None
) -> BaseTool:
    """Return a tool whose results are made up, but always the same for the same arguments.

    It may have another name, and other names for its parameters, by their own.
    """
    names = names or {name: name for name in tool.parameters}
    properties = {
        names[name]: {"type": "integer" if each.kind == "number" else "string", "description": each.description}
        for name, each in tool.parameters.items()
    }
    spec = ToolSpec(tool_name or tool.name, tool.description, make_schema(properties, list(properties)))
    skies = load_sheet("tools", InventedToolSheet).sky

    def run(arguments: Arguments) -> str:
        number = hash_text(f"{tool.name} {sorted(arguments.items())}", 0)
        return tool.reply.format(**arguments, n=2 + number % 97, sky=skies[number // 97 % len(skies)])

    return _make_renamed(spec, names, run)


def _make_renamed(spec: ToolSpec, names: Mapping[str, str], run: Callable[[Arguments], Any]) -> BaseTool:
    """Return a tool whose arguments have other names than those of the function behind it."""
    originals = {theirs: ours for ours, theirs in names.items()}
    return make_tool(spec, lambda **given: run({originals[name]: value for name, value in given.items()}))


def _refuse(**_: Any) -> str:
    raise ToolException(OUTAGE)


def _make_view_tool(ability: str, view: View, builtin: Mapping[str, BaseTool]) -> BaseTool:
    known = list_abilities()[ability]
    tool = builtin[known.tool]
    spec = _make_view_spec(ability, view, builtin)
    return _make_renamed(spec, view.arguments, lambda arguments: tool.invoke({**known.arguments, **arguments}))


def _make_view_spec(ability: str, view: View, builtin: Mapping[str, BaseTool]) -> ToolSpec:
    """Take types from the built-in tool."""
    properties = spec_from_tool(builtin[find_tool(ability)]).parameters["properties"]
    kept = {theirs: {"type": properties[ours]["type"]} for ours, theirs in view.arguments.items()}
    free = ("days", "weeks", "months", "years", *(("zone",) if ability == "now" else ()))
    optional = {view.arguments[name] for name in free if name in view.arguments}
    return ToolSpec(view.name, view.description, make_schema(kept, [name for name in kept if name not in optional]))


@cache
def _load_originals() -> tuple[BaseTool, ...]:
    return tuple(load_tools([f"builtin:{name}" for name in list_builtin_tools()]))


def load_builtin(moment: dt.datetime, replaced: Sequence[BaseTool] = ()) -> dict[str, BaseTool]:
    """Return the built-in tools by name, with the calendar's clock stopped, so that its answers can be checked.

    Args:
        moment: What time it is, in UTC without a time zone.
        replaced: Tools to take instead of those of the same name.
    """
    tools = {tool.name: tool for tool in (*_load_originals(), *replaced)}
    calendar = tools["calendar"]

    def run(**arguments: Any) -> Any:
        if arguments["operation"] == "now":
            time = moment.isoformat(" ", "minutes")
            arguments = {"operation": "convert", "date": time, "zone": "UTC", "to_zone": arguments.get("zone", "UTC")}
        today = moment.date().isoformat()
        return calendar.invoke({name: today if value == "today" else value for name, value in arguments.items()})

    return tools | {"calendar": make_tool(spec_from_tool(calendar), run)}


def vary_tool_name(sampler: Sampler, name: str, taken: Collection[str]) -> str:
    """Return a name for the same tool as another developer might have given it.

    A checkpoint that was trained on a handful of names wrote these names also where the tools had others. `name` is
    words in lower case with ``_`` between them; none of the names in `taken` is returned, however it is written.
    """
    known = {_squeeze(each) for each in taken}
    for _ in range(20):
        varied = _join(sampler, _vary_words(sampler, name))
        if _squeeze(varied) not in known:
            return varied
    return f"{name}_{sampler.rng.randrange(100, 1000)}"


def vary_arguments(sampler: Sampler, names: Iterable[str]) -> dict[str, str]:
    """Return another name for some of the arguments, no two the same."""
    others = load_sheet("names", NameSheet).arguments
    varied: dict[str, str] = {}
    for name in names:
        free = [option for option in (name, *others.get(name, ())) if option not in varied.values()]
        varied[name] = sampler.pick(free) if free else name
    return varied


def _vary_words(sampler: Sampler, name: str) -> list[str]:
    sheet = load_sheet("names", NameSheet)
    if sampler.chance(0.12):
        words = ["".join(sampler.rng.sample(sheet.syllables, sampler.pick((2, 2, 3))))]
        words += [sampler.pick(sheet.affixes)] if sampler.chance(0.5) else []
    else:
        words = [
            sampler.pick(sheet.words[word]) if word in sheet.words and sampler.chance(0.5) else word
            for word in name.split("_")
        ]
        if len(words) == 2 and sampler.chance(0.12):
            words.reverse()
        if sampler.chance(0.15):
            words.insert(0, sampler.pick(sheet.owners))
        if sampler.chance(0.2):
            words.append(sampler.pick(sheet.affixes))
        if sampler.chance(0.12):
            words += ["for", "".join(sampler.rng.sample(sheet.syllables, 2))]
    return [part for word in words for part in word.split("_")]


_SPELLINGS: tuple[tuple[float, Callable[[list[str]], str]], ...] = (
    (0.60, "_".join),
    (0.14, lambda words: words[0] + "".join(map(str.capitalize, words[1:]))),
    (0.08, lambda words: "".join(map(str.capitalize, words))),
    (0.10, "-".join),
    (0.08, lambda words: f"{words[0]}.{'_'.join(words[1:])}" if len(words) > 1 else words[0]),
)


def _join(sampler: Sampler, words: list[str]) -> str:
    return sampler.rng.choices([join for _, join in _SPELLINGS], [share for share, _ in _SPELLINGS])[0](words)


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
