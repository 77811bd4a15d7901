"""Questions: what is asked, the call that answers it, and the sentence that says so; made from the sheets."""

from __future__ import annotations

import datetime as dt
import random
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool

from alpha_umi.tools.builtin.search_files import make_search_files
from alpha_umi.tools.builtin.sql_query import make_sql_query
from alpha_umi.training.data.sheets.wording import list_written_dates
from alpha_umi.training.data.tasks.sampler import Drawn, Sampler, draw_values
from alpha_umi.training.data.tasks.sheets import (
    Ability,
    AbilitySheet,
    Family,
    InventedTool,
    InventedToolSheet,
    QuestionSheet,
    RequestSheet,
    load_sheet,
)

Arguments: TypeAlias = dict[str, Any]

_NUMBERS = frozenset({"value", "days", "weeks", "months", "years"})
"""Arguments of the built-in tools that are numbers."""
_ZONE_ADVICE = re.compile(r"there is no time zone '(.+?)'\. Write it like ([\w/+-]+)")
_NO_TABLE = re.compile(r"no such table: (\w+)")


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a task asks for.

    Args:
        text: A whole sentence, question or request; "" for what the question before it says too.
        ability: What a tool must be able to do.
        arguments: From the previous question's result (``""`` for the first) to the arguments of the ability.
    """

    text: str
    ability: str
    arguments: Callable[[str], Arguments]

    def answer(self, arguments: Arguments, observation: str) -> str:
        """Return the sentence for the user."""
        ability, found = self._find(observation)
        if ability is None or found is None or not ability.answer:
            return observation if observation.endswith((".", "!")) else f"{observation}."
        slots = arguments | found.groupdict() | _describe_shift(arguments)
        return ability.answer.format(**slots, observation=observation)

    def read_result(self, observation: str) -> str:
        """Return the value that the answer must hold, and that the next question may use."""
        _, found = self._find(observation)
        return observation if found is None else found.groupdict().get("result", found[0])

    def _find(self, observation: str) -> tuple[Ability | None, re.Match[str] | None]:
        ability = load_sheet("builtin", AbilitySheet).abilities.get(self.ability)
        return ability, ability.result.search(observation) if ability else None

    def correct(self, arguments: Arguments, error: str) -> Arguments | None:
        """Return better arguments than those that failed, or None if there are none."""
        return _CORRECTIONS[self.ability](arguments, error) if self.ability in _CORRECTIONS else None


def _describe_shift(arguments: Arguments) -> dict[str, Any]:
    """Return how a date is moved, if it is: by how many of which unit, and in which direction."""
    unit = next((name for name in ("days", "weeks", "months", "years") if name in arguments), None)
    if unit is None:
        return {}
    return {"n": abs(arguments[unit]), "unit": unit, "direction": "after" if arguments[unit] > 0 else "before"}


def _correct_zone(arguments: Arguments, error: str) -> Arguments | None:
    """Take the zone that the calendar proposes instead of the city."""
    advice = _ZONE_ADVICE.search(error)
    return advice and {key: advice[2] if value == advice[1] else value for key, value in arguments.items()}


def _correct_table(arguments: Arguments, error: str) -> Arguments | None:
    """Take the table that people mean by another word."""
    lists: Mapping[str, Any] = load_sheet("lookups", QuestionSheet).lists
    synonyms: dict[str, str] = dict(lists["synonyms"])
    unknown = _NO_TABLE.search(error)
    if unknown is None or unknown[1] not in synonyms:
        return None
    return {"query": arguments["query"].replace(unknown[1], synonyms[unknown[1]])}


_CORRECTIONS: Mapping[str, Callable[[Arguments, str], Arguments | None]] = {
    "now": _correct_zone,
    "convert_time": _correct_zone,
    "sql_query": _correct_table,
}


def make_questions(sampler: Sampler, sheet_name: str) -> tuple[Question, ...]:
    """Return a question of a sheet; if a second call needs the result of the first, a second one without a text."""
    sheet = load_sheet(sheet_name, QuestionSheet)
    family = sheet.families[_choose_family(sampler, sheet)]
    values = draw_values(sampler, family.values, sheet.lists)
    text = _pick_wording(sampler, family, values) if family.wording_first else ""
    dates = {name: value for name, value in values.items() if isinstance(value, dt.date)}
    written = {name: write_date(sampler, date) for name, date in dates.items()}
    text = text or _pick_wording(sampler, family, values)
    (first, *others) = (_make_call(call, values) for call in family.calls)
    return (
        Question(text.format(**values | written), *first),
        *(Question("", ability, arguments) for ability, arguments in others),
    )


def make_question(sampler: Sampler, sheet_name: str) -> Question:
    """Return a question of a sheet whose questions need one call."""
    (question,) = make_questions(sampler, sheet_name)
    return question


def make_invented_question(sampler: Sampler, tool: InventedTool) -> Question:
    """Return a question for an invented tool."""
    kinds = load_sheet("tools", InventedToolSheet).kinds
    values: Arguments = {
        name: sampler.integer(2, 60) if parameter.kind == "number" else sampler.name(kinds[parameter.kind])
        for name, parameter in tool.parameters.items()
    }
    return Question(tool.ask.say(sampler, **values), tool.name, lambda _: dict(values))


def make_incomplete_request(sampler: Sampler) -> tuple[str, str]:
    """Return what is missing, and a request that lacks it."""
    sheet = load_sheet("requests", RequestSheet)
    missing = sampler.pick(tuple(sheet.incomplete))
    wording = sheet.incomplete[missing]
    if sampler.held_out or sampler.chance(0.2):
        return missing, wording.say(sampler)
    values = draw_values(sampler, sheet.values, sheet.lists)
    return missing, sampler.pick(wording.varied).format(**values)


def _choose_family(sampler: Sampler, sheet: QuestionSheet) -> str:
    for name, share in sheet.sometimes.items():
        if sampler.chance(share):
            return name
    names = sheet.choose if sampler.held_out else sheet.choose + sheet.choose_in_training
    return sampler.pick(names) if len(names) > 1 else names[0]


def _pick_wording(sampler: Sampler, family: Family, values: Drawn) -> str:
    """Return the template, and add the values that come with this wording."""
    if family.only:
        return family.only
    phrase = family.pick(sampler)
    values |= {name: value for name, value in phrase.items() if name != "say"}
    return phrase["say"]


def _make_call(call: Mapping[str, Mapping[str, str]], values: Drawn) -> tuple[str, Callable[[str], Arguments]]:
    ((ability, templates),) = call.items()

    def fill(result: str) -> Arguments:
        slots = values | {"result": result}
        texts = {name.format(**slots): template.format(**slots) for name, template in templates.items()}
        return {name: _parse_number(text) if name in _NUMBERS else text for name, text in texts.items()}

    return ability, fill


def _parse_number(text: str) -> float | int:
    text = text.replace(",", "")
    return float(text) if "." in text else int(text)


def write_date(sampler: Sampler, date: dt.date) -> str:
    """Return a date as people write it; half of the time already as the calendar wants it."""
    if sampler.chance(0.45):
        return date.isoformat()
    return sampler.pick((*list_written_dates(date), date.strftime("%Y/%m/%d")))


def make_fixtures(folder: Path, rng: random.Random) -> tuple[BaseTool, BaseTool]:
    """Write small files and a database into `folder` and return the tools that read them."""
    lists: Mapping[str, Any] = load_sheet("lookups", QuestionSheet).lists
    files = folder / "files"
    for name in lists["folders"]:
        (files / name).mkdir(parents=True)
    for subject in lists["subjects"]:
        path = files / rng.choice(lists["folders"]) / f"{subject.removeprefix('the ').replace(' ', '-')}.md"
        remark = rng.choice(lists["remarks"]).format(n=rng.randint(2, 400))
        path.write_text(f"Remember: {subject} {remark}.\n", encoding="utf-8")
    database = folder / "data.sqlite"
    names = lists["names"]
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, columns in lists["tables"].items():
            connection.execute(f"CREATE TABLE {table} (name TEXT, {', '.join(f'{name} REAL' for name in columns)})")
            rows = [(name, *(rng.randint(10, 9000) / 10 for _ in columns)) for name in names[: rng.randint(5, 12)]]
            connection.executemany(f"INSERT INTO {table} VALUES (?, {', '.join('?' * len(columns))})", rows)
    return make_search_files(files), make_sql_query(database)
