"""Tasks: one to three questions in one request, with the tools at hand; some cannot be done."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

from langchain_core.tools import BaseTool

from alpha_umi.training.data.clean import quote_part
from alpha_umi.training.data.tasks.questions import (
    Question,
    make_incomplete_request,
    make_invented_question,
    make_question,
    make_questions,
)
from alpha_umi.training.data.tasks.sampler import Sampler
from alpha_umi.training.data.tasks.sheets import JoinStyle, Kind, RequestSheet, load_sheet
from alpha_umi.training.data.tasks.toolset import (
    Toolset,
    describe_need,
    find_tool,
    list_abilities,
    list_asked,
    load_builtin,
    make_toolset,
)

_BULLETS = ("", "- ", "* ")


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """What the user says in one turn, and what to do: answer the questions in order, refuse, or reply without tools."""

    instruction: str
    questions: tuple[Question, ...] = ()
    refusal: str = ""
    reply: str = ""


@dataclass(frozen=True, slots=True)
class _Draft:
    """Requests and what the tools at hand must and must not be able to do."""

    requests: tuple[TaskRequest, ...]
    questions: tuple[Question, ...] = ()
    without: tuple[str, ...] = ()
    broken: str | None = None

    def clashes_with(self, other: _Draft) -> bool:
        """Tell whether one needs a tool that the other must not have."""
        needed, excluded = self._find_tools()
        others_needed, others_excluded = other._find_tools()
        return bool(needed & others_excluded or excluded & others_needed)

    def _find_tools(self) -> tuple[set[str], set[str]]:
        return {find_tool(question.ability) for question in self.questions}, set(map(find_tool, self.without))


@dataclass(frozen=True, slots=True)
class GeneratedTask:
    """One generated task."""

    kind: Kind
    requests: tuple[TaskRequest, ...]
    toolset: Toolset


def make_task(rng: random.Random, *, held_out: bool, fixtures: Sequence[BaseTool]) -> GeneratedTask:
    """Return one task; the same state of `rng` gives the same.

    Args:
        rng: Source of randomness.
        held_out: Whether wording, numbers, names and tool names are those that never occur in training.
        fixtures: Tools for the user's files and database; see `make_fixtures`.
    """
    sampler = Sampler(rng, held_out=held_out)
    moment = dt.datetime.combine(sampler.date(), dt.time(sampler.pick(range(24)), sampler.pick(range(60))))
    maker = _TaskMaker(sampler)
    kind = maker.pick_kind()
    draft = maker.make_conversation() if kind == "conversation" else maker.make(kind)
    abilities = sorted({question.ability for question in draft.questions})
    builtin = load_builtin(moment, fixtures)
    toolset = make_toolset(sampler, abilities, builtin, without=draft.without, broken=draft.broken)
    return GeneratedTask(kind, draft.requests, toolset)


class _TaskMaker:
    """Makes the requests of one task."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._sheet = load_sheet("requests", RequestSheet)

    def pick_kind(self) -> Kind:
        kind = self._pick_kind()
        trained = not self._sampler.held_out
        return "conversation" if trained and self._sampler.chance(self._sheet.conversations) else kind

    def _pick_kind(self, without: Sequence[Kind] = ()) -> Kind:
        shares = self._sheet.shares["heldout" if self._sampler.held_out else "train"]
        kinds = [kind for kind in shares if kind not in without]
        return self._sampler.rng.choices(kinds, [shares[kind] for kind in kinds])[0]

    def make(self, kind: Kind) -> _Draft:
        makers: dict[Kind, Callable[[], _Draft]] = {
            "single": lambda: self._answerable([self._question()]),
            "several": lambda: self._answerable([self._question() for _ in range(self._sampler.pick((2, 2, 3)))]),
            "chain": lambda: self._answerable(make_questions(self._sampler, "chains")),
            "no tool": self._no_tool,
            "no value": self._no_value,
            "outage": self._outage,
            "bad value": lambda: self._answerable(make_questions(self._sampler, "bad_values")),
            "chat": self._chat,
            "turns": self._turns,
        }
        return makers[kind]()

    def make_conversation(self) -> _Draft:
        """Several requests for the same tools; only the first may lack a value, which later ones could take from it."""
        wanted, drafts = self._sampler.pick((2, 3, 3, 4)), [self.make(self._pick_kind(without=("outage", "turns")))]
        while len(drafts) < wanted:
            draft = self.make(self._pick_kind(without=("outage", "turns", "no value", "chat")))
            if not any(draft.clashes_with(other) for other in drafts):
                drafts.append(draft)
        if self._sampler.chance(0.1):
            drafts.append(_Draft((self._thank(),)))
        return _Draft(
            tuple(request for draft in drafts for request in draft.requests),
            tuple(question for draft in drafts for question in draft.questions),
            tuple(ability for draft in drafts for ability in draft.without),
        )

    def _question(self) -> Question:
        sampler = self._sampler
        tool = sampler.pick(list_asked(held_out=sampler.held_out))
        subjects = self._sheet.subjects
        subject = sampler.rng.choices(list(subjects), list(subjects.values()))[0]
        return make_invented_question(sampler, tool) if subject == "invented" else make_question(sampler, subject)

    def _say(self, instruction: str) -> str:
        """Put words of courtesy around a request, or write it carelessly."""
        sampler = self._sampler
        if sampler.chance(0.12):
            return _lower(instruction)
        if sampler.chance(0.12):
            return instruction.rstrip("?.")
        opening = self._sheet.openings.say(sampler)
        instruction = _lower(instruction) if opening.endswith((", ", ": ")) else instruction
        return f"{opening}{instruction}{self._sheet.closings.say(sampler)}"

    def _thank(self) -> TaskRequest:
        return TaskRequest(self._sheet.thanks.say(self._sampler), reply=self._sheet.thanks.reply)

    def _answerable(self, questions: Sequence[Question]) -> _Draft:
        request = TaskRequest(self._say(join_questions(self._sampler, questions)), tuple(questions))
        return _Draft((request,), tuple(questions))

    def _no_tool(self) -> _Draft:
        """Ask for what no tool can do, sometimes together with what one could."""
        sampler = self._sampler
        if sampler.chance(0.25):
            question = self._sheet.impossible.say(sampler, topic=sampler.name(self._sheet.topics))
            return _Draft((self._refuse(question, question, "no tool can do this"),))
        # Half of the time what the built-in tools cannot do, so that these alone are often not enough.
        tool = sampler.pick(list_asked(held_out=sampler.held_out))
        impossible = make_invented_question(sampler, tool) if sampler.chance(0.6) else self._question()
        possible = [each for each in [self._question()] if sampler.chance(0.25) and each.ability != impossible.ability]
        questions = sampler.rng.sample([impossible, *possible], 1 + len(possible))
        joined = join_questions(sampler, questions)
        request = self._refuse(joined, impossible.text, f"no tool can {describe_need(impossible.ability)}")
        return _Draft((request,), tuple(possible), (impossible.ability,))

    def _no_value(self) -> _Draft:
        missing, instruction = make_incomplete_request(self._sampler)
        return _Draft((self._refuse(instruction, instruction, f"the request does not say {missing}"),))

    def _refuse(self, text: str, part: str, reason: str) -> TaskRequest:
        instruction = self._say(text)
        return TaskRequest(instruction, refusal=f"{quote_part(1, part, instruction)}: {reason}.")

    def _outage(self) -> _Draft:
        """The tool that is tried first is out of order; half of the time there is another."""
        hidden = {name for name, ability in list_abilities().items() if ability.views}
        question = self._question()
        while question.ability not in hidden:
            question = self._question()
        draft = replace(self._answerable([question]), broken=question.ability)
        return draft if self._sampler.chance(0.5) else replace(draft, questions=(), without=(question.ability,))

    def _chat(self) -> _Draft:
        greetings = self._sheet.greetings
        return _Draft((TaskRequest(greetings.say(self._sampler), reply=greetings.reply),))

    def _turns(self) -> _Draft:
        """Two requests in one conversation, or one and a thank-you."""
        questions = (self._question(), self._question())
        requests = tuple(TaskRequest(self._say(question.text), (question,)) for question in questions)
        if self._sampler.chance(0.3):
            requests = (requests[0], self._thank())
        return _Draft(requests, questions)


def join_questions(sampler: Sampler, questions: Sequence[Question]) -> str:
    """Put questions into one request in one of the ways people do.

    Example:
        "What is 2 + 2?" and "Which weekday is 2027-03-01?" may become
        "What is 2 + 2, and which weekday is 2027-03-01?"
    """
    texts = [question.text for question in questions if question.text]
    if len(texts) == 1:
        return texts[0]
    sheet = load_sheet("requests", RequestSheet)
    style = sampler.pick(sheet.joins["heldout" if sampler.held_out else "train"])
    return _JOINS[style](sampler, sheet, texts)


def _run_on(texts: Sequence[str]) -> list[str]:
    """Make questions parts of one sentence: only the last keeps its end mark, and only the first its capital."""
    first, *rest = [*(text.rstrip("?.") for text in texts[:-1]), texts[-1]]
    return [first, *map(_lower, rest)]


def _lead(texts: Sequence[str], leads: Iterable[str]) -> str:
    """Put words in front of all questions but the first."""
    led = (
        f"{lead} {_lower(each) if lead.endswith(',') else each}" for lead, each in zip(leads, texts[1:], strict=False)
    )
    return " ".join([texts[0], *led])


_JOINS: Mapping[JoinStyle, Callable[[Sampler, RequestSheet, Sequence[str]], str]] = {
    "comma": lambda sampler, sheet, texts: ", and ".join(_run_on(texts)),
    "semicolon": lambda sampler, sheet, texts: "; ".join(_run_on(texts)),
    "series": lambda sampler, sheet, texts: f"{', '.join(_run_on(texts)[:-1])}, and {_run_on(texts)[-1]}",
    "marks": lambda sampler, sheet, texts: sampler.pick(sheet.marks).join(_run_on(texts)),
    "list": lambda sampler, sheet, texts: " ".join(f"{i}. {text}" for i, text in enumerate(texts, 1)),
    "lines": lambda sampler, sheet, texts: (bullet := sampler.pick(_BULLETS)) + f"\n{bullet}".join(texts),
    "counted": lambda sampler, sheet, texts: "".join(
        map("".join, zip(sampler.pick(sheet.counts), texts, strict=False))
    ),
    "led": lambda sampler, sheet, texts: _lead(texts, sampler.rng.sample(sheet.leads, len(texts) - 1)),
    "also": lambda sampler, sheet, texts: _lead(texts, repeat("Also,")),
    "besides": lambda sampler, sheet, texts: _lead(texts, repeat("Besides,")),
    "plain": lambda sampler, sheet, texts: " ".join(texts),
}


def _lower(question: str) -> str:
    return question if question.startswith(("I ", "I'", *"0123456789")) else question[:1].lower() + question[1:]
