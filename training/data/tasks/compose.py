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
from alpha_umi.training.data.tasks.fakes import FAKES
from alpha_umi.training.data.tasks.kits import VIEWS, Kit, describe_need, load_builtin, make_kit
from alpha_umi.training.data.tasks.lookups import make_lookup
from alpha_umi.training.data.tasks.piece import Piece, fixed
from alpha_umi.training.data.tasks.units import convert_from, make_unit_question

Kind: TypeAlias = Literal["single", "several", "chain", "no tool", "no value", "outage", "bad value", "chat", "turns"]
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
class Task:
    """One generated task."""

    kind: Kind
    requests: tuple[Request, ...]
    kit: Kit


_OPENINGS = Wording(
    ("", "", "", "", "Hi! ", "Please help: ", "Quick question: ", "Hello, ", "I have a question. ", "Hey, "),
    ("", "", "Good morning. ", "Can you help me? "),
)
_CLOSINGS = Wording(("", "", "", "", "", " Thanks!", " Thank you.", " Please be exact."), ("", "", " Many thanks."))
_GREETINGS = Wording(
    ("Hello!", "Hi there", "Good evening", "Hey", "Hello, who are you?", "What can you do?", "Help"),
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
_NO_VALUE: dict[str, Wording] = {
    "the numbers": Wording(
        ("How much is 20% of my salary?", "Add the two numbers.", "What is the sum of my bills?", "Divide it by 3."),
        ("What is half of my savings?", "Multiply the two prices."),
    ),
    "the date": Wording(
        ("Which weekday is my birthday?", "How many days until the party?", "What date is 3 weeks after the meeting?"),
        ("On which weekday is our wedding?", "How many days are left until the exam?"),
    ),
    "the unit": Wording(
        ("Convert 12 miles.", "How much is 5 kg in the other unit?", "Convert 30 liters for me.", "Change 40 inches."),
        ("Convert 9 hours please.", "Turn 17 gallons into something else."),
    ),
}
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
    kind = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    return _Maker(draw, load_builtin(moment, fixtures)).make(kind)


class _Maker:
    """Makes one task of a given kind."""

    def __init__(self, draw: Draw, builtin: dict[str, BaseTool]) -> None:
        self._draw = draw
        self._builtin = builtin

    def make(self, kind: Kind) -> Task:
        makers: dict[Kind, Callable[[], tuple[tuple[Request, ...], Kit]]] = {
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
        requests, kit = makers[kind]()
        return Task(kind, requests, kit)

    def _piece(self) -> Piece:
        draw = self._draw
        fakes = [fake for fake in FAKES if fake.held_out == draw.held_out]
        makers: tuple[Callable[[Draw], Piece], ...] = (
            make_arithmetic,
            make_date_question,
            make_unit_question,
            draw.pick(fakes).make_piece,
            make_lookup,
        )
        return draw.rng.choices(makers, (0.36, 0.26, 0.16, 0.15, 0.07))[0](draw)

    def _kit(self, pieces: Sequence[Piece], without: Sequence[str] = (), broken: str | None = None) -> Kit:
        abilities = {piece.ability for piece in pieces}
        return make_kit(self._draw, sorted(abilities), self._builtin, without=without, broken=broken)

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

    def _answerable(self, pieces: list[Piece]) -> tuple[tuple[Request, ...], Kit]:
        return (Request(self._say(join_questions(self._draw, pieces)), tuple(pieces)),), self._kit(pieces)

    def _no_tool(self) -> tuple[tuple[Request, ...], Kit]:
        """Ask for what no tool can do, sometimes together with what one could."""
        draw = self._draw
        if draw.chance(0.25):
            question = draw.say(_FACTS, topic=draw.name(_TOPICS))
            return (Request(self._say(question), refusal="No tool can do this."),), self._kit([])
        # Half of the time what the built-in tools cannot do, so that these alone are often not enough.
        fake = draw.pick([fake for fake in FAKES if fake.held_out == draw.held_out])
        impossible = fake.make_piece(draw) if draw.chance(0.6) else self._piece()
        possible = [piece for piece in [self._piece()] if draw.chance(0.25) and piece.ability != impossible.ability]
        pieces = draw.rng.sample([impossible, *possible], 1 + len(possible))
        kit = self._kit(possible, without=[impossible.ability])
        refusal = f"No tool can {describe_need(impossible.ability)}."
        return (Request(self._say(join_questions(draw, pieces)), refusal=refusal),), kit

    def _no_value(self) -> tuple[tuple[Request, ...], Kit]:
        missing = self._draw.pick(tuple(_NO_VALUE))
        instruction = self._say(self._draw.say(_NO_VALUE[missing]))
        return (Request(instruction, refusal=f"The request does not say {missing}."),), self._kit([])

    def _outage(self) -> tuple[tuple[Request, ...], Kit]:
        """The tool that is tried first is out of order; half of the time there is another."""
        draw = self._draw
        piece = self._piece()
        while piece.ability not in {view.ability for view in VIEWS}:
            piece = self._piece()
        request = Request(self._say(piece.question), (piece,))
        if draw.chance(0.5):
            return (request,), self._kit([piece], broken=piece.ability)
        return (request,), self._kit([], without=[piece.ability], broken=piece.ability)

    def _bad_value(self) -> tuple[tuple[Request, ...], Kit]:
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
        return (Request(self._say(piece.question), (piece,)),), self._kit([piece])

    def _chat(self) -> tuple[tuple[Request, ...], Kit]:
        return (Request(self._draw.say(_GREETINGS), reply=_GREETING_REPLY),), self._kit([])

    def _turns(self) -> tuple[tuple[Request, ...], Kit]:
        """Two requests in one conversation, or one and a thank-you."""
        pieces = [self._piece(), self._piece()]
        requests = tuple(Request(self._say(piece.question), (piece,)) for piece in pieces)
        if self._draw.chance(0.3):
            requests = (requests[0], Request(self._draw.say(_THANKS), reply=_THANKS_REPLY))
        return requests, self._kit(pieces)


def join_questions(draw: Draw, pieces: Sequence[Piece]) -> str:
    """Put questions into one request in one of the ways people do.

    Example:
        "What is 2 + 2?" and "Which weekday is 2027-03-01?" may become
        "What is 2 + 2, and which weekday is 2027-03-01?"
    """
    questions = [piece.question for piece in pieces if piece.question]
    if len(questions) == 1:
        return questions[0]
    styles = ("comma", "comma", "also", "plain", "list", "then")
    # Held-out tasks join in ways that training does not.
    style = draw.pick(("semicolon", "besides", "comma") if draw.held_out else styles)
    first, *rest = questions
    if style == "comma":
        return "".join([first.rstrip("?."), *(f", and {_lower(question)}" for question in _open(rest))])
    if style == "semicolon":
        return "; ".join([first.rstrip("?."), *(_lower(question) for question in _open(rest))])
    if style == "list":
        return " ".join(f"{i}. {question}" for i, question in enumerate(questions, 1))
    word = {"also": " Also, ", "besides": " Besides, ", "then": " Then: ", "plain": " "}[style]
    return first + "".join(word + (question if style in ("plain", "then") else _lower(question)) for question in rest)


def _open(questions: Sequence[str]) -> list[str]:
    """Take the end mark from all questions but the last."""
    return [*(question.rstrip("?.") for question in questions[:-1]), questions[-1]]


def _lower(question: str) -> str:
    return question if question.startswith(("I ", "I'", *"0123456789")) else question[:1].lower() + question[1:]
