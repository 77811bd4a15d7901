"""Tasks: one to three questions in one request, with the tools at hand; some cannot be done."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from langchain_core.tools import BaseTool

from alpha_umi.training.data.tasks.arithmetic import calculate_from, make_arithmetic
from alpha_umi.training.data.tasks.chains import make_chain
from alpha_umi.training.data.tasks.dates import make_date_question
from alpha_umi.training.data.tasks.draw import Draw, Wording
from alpha_umi.training.data.tasks.fakes import list_asked
from alpha_umi.training.data.tasks.incomplete import make_incomplete
from alpha_umi.training.data.tasks.kits import VIEWS, Kit, describe_need, find_tool, load_builtin, make_kit
from alpha_umi.training.data.tasks.lookups import make_lookup
from alpha_umi.training.data.tasks.piece import Piece, fixed
from alpha_umi.training.data.tasks.units import convert_from, make_unit_question

Kind: TypeAlias = Literal[
    "single", "several", "chain", "no tool", "no value", "outage", "bad value", "chat", "turns", "conversation"
]
_SHARES: dict[Kind, float] = {
    "single": 0.30,
    "several": 0.27,
    "chain": 0.12,
    "no tool": 0.10,
    "no value": 0.04,
    "outage": 0.05,
    "bad value": 0.03,
    "chat": 0.03,
    "turns": 0.06,
}
"""How often which kind is made; what a demo shows most is made most."""
_TRAINED_SHARES: dict[Kind, float] = {**_SHARES, "several": 0.33, "chain": 0.16, "no value": 0.08, "outage": 0.08}
"""The same for training, where what is hard is made more often."""
_CONVERSATIONS = 0.5
"""How many training tasks are several of these one after the other. The tools, most of a short trajectory's tokens, are
read once for all of them, so that training sees more questions in the same time."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user says in one turn, and how it is to be dealt with.

    Args:
        instruction: The user's words.
        pieces: The questions in it, in the order in which they are answered.
        refusal: Why it cannot be done, if that is clear without a call.
        reply: What to answer, if no tool is needed.
    """

    instruction: str
    pieces: tuple[Piece, ...] = ()
    refusal: str = ""
    reply: str = ""


@dataclass(frozen=True, slots=True)
class _Draft:
    """Requests and what the tools at hand must and must not be able to do."""

    requests: tuple[Request, ...]
    pieces: tuple[Piece, ...] = ()
    without: tuple[str, ...] = ()
    broken: str | None = None

    def clashes_with(self, other: _Draft) -> bool:
        """Tell whether one needs a tool that the other must not have."""
        needed, excluded = self._find_tools()
        others_needed, others_excluded = other._find_tools()
        return bool(needed & others_excluded or excluded & others_needed)

    def _find_tools(self) -> tuple[set[str], set[str]]:
        return {find_tool(piece.ability) for piece in self.pieces}, set(map(find_tool, self.without))


@dataclass(frozen=True, slots=True)
class Task:
    """One generated task."""

    kind: Kind
    requests: tuple[Request, ...]
    kit: Kit


_OPENINGS = Wording(
    (
        *(
            "",
            "",
            "",
            "",
            "",
            "",
            "Hi! ",
            "Please help: ",
            "Quick question: ",
            "Hello, ",
            "I have a question. ",
            "Hey, ",
        ),
        *(
            "Are you there? ",
            "May I ask you something? ",
            "Do you have a minute? ",
            "Could you do me a favor? ",
            "Good evening. ",
        ),
        *("I need your help. ", "How are you? ", "Will you assist me? ", "Listen. ", "One thing: ", "Dear assistant, "),
    ),
    ("", "", "Good morning. ", "Can you help me? "),
)
_CLOSINGS = Wording(("", "", "", "", "", " Thanks!", " Thank you.", " Please be exact."), ("", "", " Many thanks."))
_STYLES = Wording(
    (
        "comma",
        "comma",
        "also",
        "plain",
        "list",
        "led",
        "led",
        "led",
        "led",
        "lines",
        "counted",
        "series",
        "marks",
        "marks",
    ),
    ("semicolon", "besides", "comma"),
)
_LEADS = (
    *("Then:", "Plus,", "And also,", "In addition,", "After that,", "Next,", "Another question:", "And:"),
    *("Moreover,", "Furthermore,", "On top of that,", "Another thing:", "I also want to know:", "One more:", "Now:"),
    *("While you are at it,", "What is more,", "Apart from that,", "As well,", "Afterwards,", "Last:", "Another one:"),
)
_MARKS = (" & ", ". ", ", ", "... ", " | ", ", then ", " and then ")  # none that could belong to a sum
_COUNTS = (("First: ", " Second: ", " Third: "), ("a) ", " b) ", " c) "), ("One: ", " Two: ", " Three: "))
_GREETINGS = Wording(
    (
        *(
            "Hello!",
            "Hi there",
            "Good evening",
            "Hey",
            "Hello, who are you?",
            "What can you do?",
            "Help",
            "Who made you?",
        ),
        *(
            "What is your job?",
            "What can I ask you?",
            "How do you work?",
            "What are you able to do?",
            "Nice to meet you.",
        ),
    ),
    ("Hi", "Good day!", "What are you good for?"),
)
_THANKS = Wording(("Thanks!", "Thank you very much.", "Great, thanks.", "Perfect."), ("Cheers!", "Thanks a lot."))
_GREETING_REPLY = "Hello! Ask me something that my tools can do."
_THANKS_REPLY = "You are welcome."
_FACTS = Wording(
    (
        "Who wrote {topic}?",
        "What is the capital of {topic}?",
        "Tell me a joke about {topic}.",
        "Write a poem about {topic}.",
        "Who invented {topic}?",
        "Sing a song about {topic}.",
        "Draw a picture of {topic}.",
    ),
    ("Who discovered {topic}?", "Write a short story on {topic}.", "Make a drawing of {topic}."),
)
_TOPICS = ("France", "the telephone", "Hamlet", "the moon", "radium", "Peru", "the bicycle", "Faust", "cats", "Kenya")
_BAD_DATES = ("2026-02-30", "2027-02-29", "2028-04-31", "2025-06-31", "2026-09-31", "2029-11-31", "2030-13-01")
_BAD_DATE = Wording(
    ("Which weekday is {date}?", "What day of the week is {date}?", "Tell me the weekday of {date}."),
    ("On what weekday does {date} fall?",),
)
_BAD_UNITS = (
    ("kilograms", "meters"),
    ("liters", "hours"),
    ("miles", "pounds"),
    ("seconds", "grams"),
    ("feet", "bytes"),
)


def make_task(rng: random.Random, *, held_out: bool, fixtures: Sequence[BaseTool]) -> Task:
    """Return one task.

    Args:
        rng: Source of randomness; the same state gives the same task.
        held_out: Whether wording, numbers, names and tool names are those that never occur in training.
        fixtures: Tools for the user's files and database; see `alpha_umi.training.data.tasks.lookups.make_fixtures`.
    """
    draw = Draw(rng, held_out=held_out)
    moment = dt.datetime.combine(draw.date(), dt.time(draw.pick(range(24)), draw.pick(range(60))))
    shares = _SHARES if held_out else _TRAINED_SHARES
    kind = rng.choices(list(shares), list(shares.values()))[0]
    if not held_out and draw.chance(_CONVERSATIONS):
        kind = "conversation"
    return _Maker(draw, load_builtin(moment, fixtures)).make(kind)


class _Maker:
    """Makes one task of a given kind."""

    def __init__(self, draw: Draw, builtin: dict[str, BaseTool]) -> None:
        self._draw = draw
        self._builtin = builtin

    def make(self, kind: Kind) -> Task:
        draft = self._conversation() if kind == "conversation" else self._draft(kind)
        abilities = sorted({piece.ability for piece in draft.pieces})
        kit = make_kit(self._draw, abilities, self._builtin, without=draft.without, broken=draft.broken)
        return Task(kind, draft.requests, kit)

    def _draft(self, kind: Kind) -> _Draft:
        makers: dict[Kind, Callable[[], _Draft]] = {
            "single": lambda: self._answerable([self._piece()]),
            "several": lambda: self._answerable([self._piece() for _ in range(self._draw.pick((2, 2, 3)))]),
            "chain": lambda: self._answerable(list(make_chain(self._draw))),
            "no tool": self._no_tool,
            "no value": self._no_value,
            "outage": self._outage,
            "bad value": self._bad_value,
            "chat": self._chat,
            "turns": self._turns,
        }
        return makers[kind]()

    def _conversation(self) -> _Draft:
        """Several requests for the same tools; only the first may lack a value, which later ones could take from it."""
        wanted, drafts = self._draw.pick((2, 3, 3, 4)), [self._draft(self._draw_kind(without=("outage", "turns")))]
        while len(drafts) < wanted:
            draft = self._draft(self._draw_kind(without=("outage", "turns", "no value", "chat")))
            if not any(draft.clashes_with(other) for other in drafts):
                drafts.append(draft)
        if self._draw.chance(0.1):
            drafts.append(_Draft((Request(self._draw.say(_THANKS), reply=_THANKS_REPLY),)))
        return _Draft(
            tuple(request for draft in drafts for request in draft.requests),
            tuple(piece for draft in drafts for piece in draft.pieces),
            tuple(ability for draft in drafts for ability in draft.without),
        )

    def _draw_kind(self, without: Sequence[Kind]) -> Kind:
        kinds = [kind for kind in _TRAINED_SHARES if kind not in without]
        return self._draw.rng.choices(kinds, [_TRAINED_SHARES[kind] for kind in kinds])[0]

    def _piece(self) -> Piece:
        draw = self._draw
        fakes = list_asked(held_out=draw.held_out)
        makers: tuple[Callable[[Draw], Piece], ...] = (
            make_arithmetic,
            make_date_question,
            make_unit_question,
            draw.pick(fakes).make_piece,
            make_lookup,
        )
        return draw.rng.choices(makers, (0.36, 0.26, 0.16, 0.15, 0.07))[0](draw)

    def _say(self, instruction: str) -> str:
        """Put words of courtesy around a request, or write it carelessly."""
        draw = self._draw
        if draw.chance(0.12):
            return _lower(instruction)
        if draw.chance(0.12):
            return instruction.rstrip("?.")
        opening = draw.say(_OPENINGS)
        instruction = _lower(instruction) if opening.endswith((", ", ": ")) else instruction
        return f"{opening}{instruction}{draw.say(_CLOSINGS)}"

    def _answerable(self, pieces: list[Piece]) -> _Draft:
        return _Draft((Request(self._say(join_questions(self._draw, pieces)), tuple(pieces)),), tuple(pieces))

    def _no_tool(self) -> _Draft:
        """Ask for what no tool can do, sometimes together with what one could."""
        draw = self._draw
        if draw.chance(0.25):
            question = draw.say(_FACTS, topic=draw.name(_TOPICS))
            return _Draft((Request(self._say(question), refusal="No tool can do this."),))
        # Half of the time what the built-in tools cannot do, so that these alone are often not enough.
        fake = draw.pick(list_asked(held_out=draw.held_out))
        impossible = fake.make_piece(draw) if draw.chance(0.6) else self._piece()
        possible = [piece for piece in [self._piece()] if draw.chance(0.25) and piece.ability != impossible.ability]
        pieces = draw.rng.sample([impossible, *possible], 1 + len(possible))
        refusal = f"No tool can {describe_need(impossible.ability)}."
        request = Request(self._say(join_questions(draw, pieces)), refusal=refusal)
        return _Draft((request,), tuple(possible), (impossible.ability,))

    def _no_value(self) -> _Draft:
        missing, instruction = make_incomplete(self._draw)
        refusal = f"The request does not say {missing}."
        return _Draft((Request(self._say(instruction), refusal=refusal),))

    def _outage(self) -> _Draft:
        """The tool that is tried first is out of order; half of the time there is another."""
        draw = self._draw
        piece = self._piece()
        while piece.ability not in {view.ability for view in VIEWS}:
            piece = self._piece()
        request = Request(self._say(piece.question), (piece,))
        if draw.chance(0.5):
            return _Draft((request,), (piece,), broken=piece.ability)
        return _Draft((request,), without=(piece.ability,), broken=piece.ability)

    def _bad_value(self) -> _Draft:
        """The tool finds out that the question makes no sense."""
        draw = self._draw
        if draw.chance(0.5):
            date = draw.name(_BAD_DATES)
            piece = Piece(draw.say(_BAD_DATE, date=date), "weekday", fixed(date=date))
        elif draw.chance(0.5):
            value, (source, to) = draw.integer(2, 400), draw.pick(_BAD_UNITS)
            piece = convert_from(f"Convert {value} {source} to {to}.", lambda _: str(value), source, to)
        else:
            expression = f"{draw.integer(2, 900)} / 0"
            piece = calculate_from(f"What is {expression}?", lambda _: expression)
        return _Draft((Request(self._say(piece.question), (piece,)),), (piece,))

    def _chat(self) -> _Draft:
        return _Draft((Request(self._draw.say(_GREETINGS), reply=_GREETING_REPLY),))

    def _turns(self) -> _Draft:
        """Two requests in one conversation, or one and a thank-you."""
        pieces = (self._piece(), self._piece())
        requests = tuple(Request(self._say(piece.question), (piece,)) for piece in pieces)
        if self._draw.chance(0.3):
            requests = (requests[0], Request(self._draw.say(_THANKS), reply=_THANKS_REPLY))
        return _Draft(requests, pieces)


def join_questions(draw: Draw, pieces: Sequence[Piece]) -> str:
    """Put questions into one request in one of the ways people do.

    Example:
        "What is 2 + 2?" and "Which weekday is 2027-03-01?" may become
        "What is 2 + 2, and which weekday is 2027-03-01?"
    """
    questions = [piece.question for piece in pieces if piece.question]
    if len(questions) == 1:
        return questions[0]
    # Held-out tasks join in ways that training does not.
    style = draw.pick(_STYLES.heldout if draw.held_out else _STYLES.train)
    first, *rest = questions
    opened = _open(rest)
    if style == "comma":
        return "".join([first.rstrip("?."), *(f", and {_lower(question)}" for question in opened)])
    if style == "semicolon":
        return "; ".join([first.rstrip("?."), *map(_lower, opened)])
    if style == "series":
        return ", and ".join([", ".join([first.rstrip("?."), *map(_lower, opened[:-1])]), _lower(opened[-1])])
    if style == "marks":
        return draw.pick(_MARKS).join([first.rstrip("?."), *map(_lower, opened)])
    if style == "list":
        return " ".join(f"{i}. {question}" for i, question in enumerate(questions, 1))
    if style == "lines":
        bullet = draw.pick(("", "- ", "* "))
        return "\n".join(bullet + question for question in questions)
    if style == "counted":
        return "".join(map("".join, zip(draw.pick(_COUNTS), questions, strict=False)))
    leads = (
        draw.rng.sample(_LEADS, len(rest))
        if style == "led"
        else [{"also": "Also,", "besides": "Besides,"}.get(style, "")] * len(rest)
    )
    return " ".join(
        [
            first,
            *(
                f"{lead} {_lower(each) if lead.endswith(',') else each}".lstrip()
                for lead, each in zip(leads, rest, strict=True)
            ),
        ]
    )


def _open(questions: Sequence[str]) -> list[str]:
    """Take the end mark from all questions but the last."""
    return [*(question.rstrip("?.") for question in questions[:-1]), questions[-1]]


def _lower(question: str) -> str:
    return question if question.startswith(("I ", "I'", *"0123456789")) else question[:1].lower() + question[1:]
