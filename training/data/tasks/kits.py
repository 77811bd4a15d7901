"""The tools of a task: which can do what is asked, under which name, and among which others they hide.

An ability is one thing that a built-in tool can do. It is offered by the built-in tool itself, or by a *view*: the same
function behind another name, description and argument names, so that a model has to read what it is offered.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from langchain_core.tools import BaseTool, ToolException

from alpha_umi.tools.convert import make_tool, spec_from_tool
from alpha_umi.tools.load import list_builtin_tools, load_tools
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.fields import make_schema
from alpha_umi.training.data.tasks.draw import Draw
from alpha_umi.training.data.tasks.fake import Fake
from alpha_umi.training.data.tasks.fakes import FAKES, list_asked, list_offered
from alpha_umi.training.data.tasks.names import vary_arguments, vary_tool_name
from alpha_umi.training.data.tasks.piece import Arguments

OUTAGE = "the service is not available right now. Use another tool."


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing a built-in tool can do.

    Args:
        tool: Name of the built-in tool.
        need: What the user wants from it, to go after "No tool can".
        fixed: Arguments that choose this ability.
    """

    tool: str
    need: str
    fixed: Mapping[str, Any] = field(default_factory=dict)


ABILITIES: Mapping[str, Ability] = {
    "calculate": Ability("calculator", "calculate"),
    "weekday": Ability("calendar", "find a weekday", {"operation": "weekday"}),
    "add": Ability("calendar", "count on from a date", {"operation": "add"}),
    "difference": Ability("calendar", "count days", {"operation": "difference"}),
    "now": Ability("calendar", "tell the time", {"operation": "now"}),
    "convert_time": Ability("calendar", "convert between time zones", {"operation": "convert"}),
    "convert_units": Ability("convert_units", "convert units"),
    "search_files": Ability("search_files", "search files"),
    "sql_query": Ability("sql_query", "ask a database"),
}


@dataclass(frozen=True, slots=True)
class View:
    """A built-in ability under another name.

    In training these are where others start from: name, description and arguments of different views are mixed, and
    most names are varied.

    Args:
        ability: Which ability.
        name: Tool name.
        description: What the model is told.
        arguments: The tool's argument names by the ability's; an ability's argument that is missing cannot be given.
        held_out: Whether it never occurs in training.
    """

    ability: str
    name: str
    description: str
    arguments: Mapping[str, str]
    held_out: bool = False


_SHIFT = {"date": "start", "days": "days", "weeks": "weeks", "months": "months", "years": "years"}
VIEWS: tuple[View, ...] = (
    View("calculate", "evaluate", "Evaluate an arithmetic expression.", {"expression": "formula"}),
    View("calculate", "math", "Do the maths: + - * / % and brackets.", {"expression": "expr"}),
    View("calculate", "compute_number", "Returns the value of a mathematical expression.", {"expression": "input"}),
    View("calculate", "arithmetic_tool", "Adds, subtracts, multiplies, divides.", {"expression": "query"}),
    View("calculate", "calc", "Pocket calculator.", {"expression": "expression"}),
    View("calculate", "solve_sum", "Work out sums and percentages.", {"expression": "sum"}, held_out=True),
    View("weekday", "get_weekday", "Get the day of the week of a date (YYYY-MM-DD).", {"date": "date"}),
    View("weekday", "day_of_week", "Which weekday a date falls on.", {"date": "day"}),
    View("weekday", "weekday_finder", "Monday to Sunday for any date, YYYY-MM-DD.", {"date": "when"}, held_out=True),
    View("add", "shift_date", "Move a date (YYYY-MM-DD) forward or, negative, back.", _SHIFT),
    View("add", "date_plus", "Add time to a date, or take it away with a minus.", {**_SHIFT, "date": "date"}),
    View("add", "move_day", "Find the date some time after or before another.", {**_SHIFT, "date": "from"}, True),
    View("difference", "days_between", "Count the days between two dates.", {"date": "first", "end_date": "second"}),
    View("difference", "date_diff", "Number of days from start to end.", {"date": "start", "end_date": "end"}),
    View("difference", "count_days", "Days from one date to another.", {"date": "since", "end_date": "until"}, True),
    View("now", "current_time", "The time it is now in a time zone.", {"zone": "timezone"}),
    View("now", "clock", "Tells the time anywhere.", {"zone": "place"}),
    View("now", "world_clock", "What the clocks show in a time zone.", {"zone": "where"}, True),
    View(
        "convert_time",
        "change_timezone",
        "Convert a date and time (YYYY-MM-DD HH:MM) to another time zone.",
        {"date": "time", "zone": "source", "to_zone": "target"},
    ),
    View(
        "convert_time",
        "timezone_converter",
        "The same moment in another time zone.",
        {"date": "datetime", "zone": "from_tz", "to_zone": "to_tz"},
        True,
    ),
    View(
        "convert_units",
        "unit_converter",
        "Convert between units of measurement.",
        {"value": "amount", "from_unit": "source", "to_unit": "target"},
    ),
    View(
        "convert_units",
        "convert_measure",
        "Express a measurement in another unit.",
        {"value": "number", "from_unit": "unit", "to_unit": "new_unit"},
    ),
    View(
        "convert_units",
        "change_unit",
        "Turn a quantity into another unit.",
        {"value": "quantity", "from_unit": "have", "to_unit": "want"},
        True,
    ),
)


HELD_OUT_TOOLS = frozenset(
    [view.name for view in VIEWS if view.held_out] + [fake.name for fake in FAKES if fake.held_out]
)
"""Tool names that never occur in training."""
NEVER_VARIED = HELD_OUT_TOOLS.union(ability.tool for ability in ABILITIES.values())
"""Names that no variant may have, in whatever way it is written."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a task's tools do one ability."""

    tool: str
    fixed: Mapping[str, Any]
    names: Mapping[str, str] | None = None

    def to_call(self, arguments: Arguments) -> Arguments:
        """Return the arguments as this tool wants them."""
        if self.names is None:
            return {**self.fixed, **arguments}
        return {self.names[name]: value for name, value in arguments.items()}


@dataclass(frozen=True, slots=True)
class Kit:
    """The tools that are offered, and for every ability the ways to get it done, best first."""

    tools: tuple[BaseTool, ...]
    ways: Mapping[str, tuple[Way, ...]]


def describe_need(ability: str) -> str:
    """Return what the user wants, to go after "No tool can"."""
    if ability in ABILITIES:
        return ABILITIES[ability].need
    fakes = (*list_asked(held_out=True), *list_asked(held_out=False))
    return next(fake.need for fake in fakes if fake.name == ability)


def find_tool(ability: str) -> str:
    """Return the tool that has an ability where no other name hides it."""
    return ABILITIES[ability].tool if ability in ABILITIES else ability


def make_kit(
    draw: Draw,
    abilities: Collection[str],
    builtin: Mapping[str, BaseTool],
    *,
    without: Collection[str] = (),
    broken: str | None = None,
) -> Kit:
    """Return tools for `abilities`, among others.

    Half of the kits are the built-in tools as they are, as most users have them.

    Args:
        draw: Where to draw from.
        abilities: What the tools must be able to do.
        builtin: The built-in tools by name; see `load_builtin`.
        without: What none of them may be able to do.
        broken: An ability for which there is first a tool that is out of order.
    """
    dead = None if broken is None else _pick_view(draw, broken, ())
    missing = {ABILITIES[name].tool for name in without if name in ABILITIES}
    plain = {name: tool for name, tool in builtin.items() if name not in missing}
    wanted = [name for name in abilities if name in ABILITIES]
    views: dict[str, View] = {}
    if not draw.chance(0.5):
        for name in wanted:
            taken = {each.name for each in (*views.values(), *([dead] if dead else []))}
            view = None if draw.chance(0.25) else _pick_view(draw, name, taken)
            if view is not None and view.name not in taken:
                views[name] = view
        plain = _thin_out(draw, plain, wanted, views)
    ways = {name: _view_way(views[name]) if name in views else _builtin_way(name) for name in wanted}
    tools = plain | {view.name: _view_tool(view, builtin) for view in views.values()}
    for fake in _pick_fakes(draw, abilities, without):
        tool, way = _offer_fake(draw, fake, [*tools, *([dead.name] if dead else [])])
        tools[tool.name] = tool
        ways |= {fake.name: way} if fake.name in abilities else {}
    found = {name: (way,) for name, way in ways.items()}
    if broken is not None and dead is not None:
        tools[dead.name] = make_tool(_view_spec(dead, builtin), _refuse)
        found[broken] = (_view_way(dead), *found.get(broken, ()))
    order = draw.rng.sample(list(tools), len(tools))
    return Kit(tuple(tools[name] for name in order), found)


def _thin_out(
    draw: Draw, plain: dict[str, BaseTool], wanted: Sequence[str], views: Mapping[str, View]
) -> dict[str, BaseTool]:
    """Keep the built-in tools that are needed and some that are not, but none that could stand in for a view."""
    needed = {ABILITIES[name].tool for name in wanted if name not in views}
    shadowed = {ABILITIES[name].tool for name in wanted} - needed
    spare = [name for name in plain if name not in needed | shadowed]
    # There is always at least one, so that no kit is empty.
    kept = needed.union(draw.rng.sample(spare, draw.rng.randint(min(1, len(spare)), len(spare))))
    return {name: tool for name, tool in plain.items() if name in kept}


def _builtin_way(ability: str) -> Way:
    return Way(ABILITIES[ability].tool, ABILITIES[ability].fixed)


def _view_way(view: View) -> Way:
    return Way(view.name, {}, view.arguments)


def _pick_view(draw: Draw, ability: str, taken: Collection[str]) -> View | None:
    views = [view for view in VIEWS if view.ability == ability and view.held_out == draw.held_out]
    if not views:
        return None
    view = draw.pick(views)
    return view if draw.held_out else _vary_view(draw, view, views, taken)


def _vary_view(draw: Draw, view: View, views: Sequence[View], taken: Collection[str]) -> View:
    """Return the ability as yet another developer might offer it."""
    arguments = draw.pick(views).arguments
    return replace(
        view,
        name=vary_tool_name(draw, view.name, {*NEVER_VARIED, *taken}) if draw.chance(0.8) else view.name,
        description=draw.pick(views).description,
        arguments=vary_arguments(draw, arguments) if draw.chance(0.5) else arguments,
    )


def _pick_fakes(draw: Draw, abilities: Collection[str], without: Collection[str]) -> list[Fake]:
    """Return the invented tools that are needed and up to five that are not."""
    known = list_offered(held_out=draw.held_out)
    others = [fake for fake in known if fake.name not in {*abilities, *without}]
    chosen = draw.rng.sample(others, draw.pick((0, 0, 0, 1, 2, 3, 5)))
    return chosen + [fake for fake in known if fake.name in abilities]


def _offer_fake(draw: Draw, fake: Fake, taken: Collection[str]) -> tuple[BaseTool, Way]:
    """Return an invented tool; in training mostly under other names than its own."""
    if draw.held_out or (draw.chance(0.3) and fake.name not in taken):
        return fake.make_tool(), Way(fake.name, {})
    name = vary_tool_name(draw, fake.name, {*NEVER_VARIED, *taken})
    names = vary_arguments(draw, fake.arguments)
    return fake.make_tool(name, names), Way(name, {}, names)


def _refuse(**_: Any) -> str:
    raise ToolException(OUTAGE)


def _view_tool(view: View, builtin: Mapping[str, BaseTool]) -> BaseTool:
    ability = ABILITIES[view.ability]
    original = {theirs: ours for ours, theirs in view.arguments.items()}

    def run(**arguments: Any) -> Any:
        return builtin[ability.tool].invoke(
            {**ability.fixed, **{original[name]: value for name, value in arguments.items()}}
        )

    return make_tool(_view_spec(view, builtin), run)


def _view_spec(view: View, builtin: Mapping[str, BaseTool]) -> ToolSpec:
    """Take types from the built-in tool."""
    properties = spec_from_tool(builtin[ABILITIES[view.ability].tool]).parameters["properties"]
    kept = {theirs: {"type": properties[ours]["type"]} for ours, theirs in view.arguments.items()}
    free = ("days", "weeks", "months", "years", *(("zone",) if view.ability == "now" else ()))
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
    return tools | {"calendar": make_tool(spec_from_tool(calendar), _stop_clock(calendar, moment))}


def _stop_clock(calendar: BaseTool, moment: dt.datetime) -> Callable[..., Any]:
    def run(**arguments: Any) -> Any:
        if arguments["operation"] == "now":
            time = moment.isoformat(" ", "minutes")
            arguments = {"operation": "convert", "date": time, "zone": "UTC", "to_zone": arguments.get("zone", "UTC")}
        today = moment.date().isoformat()
        return calendar.invoke({name: today if value == "today" else value for name, value in arguments.items()})

    return run
