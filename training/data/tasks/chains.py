"""Questions whose second call needs the result of the first."""

from __future__ import annotations

from alpha_umi.training.data.tasks.arithmetic import calculate_from
from alpha_umi.training.data.tasks.dates import make_difference, make_shift, write_date
from alpha_umi.training.data.tasks.draw import Draw, Wording
from alpha_umi.training.data.tasks.piece import Piece, fixed
from alpha_umi.training.data.tasks.units import convert_from

_WEEKS = Wording(
    (
        "How many weeks are there between {date} and {end}?",
        "How many weeks is it from {date} to {end}?",
        "Give me the time from {date} to {end} in weeks.",
        "Count the weeks from {date} to {end}.",
    ),
    ("What is the number of weeks between {date} and {end}?", "A job lasted from {date} to {end}. How many weeks?"),
)
_LAPS = Wording(
    (
        "One lap is {a} {source}. How many {to} are {b} laps?",
        "I walk {a} {source} every day. How many {to} is that in {b} days?",
        "{b} boards of {a} {source} each: how many {to} are they together?",
        "A bottle holds {a} {source}. How many {to} are in {b} bottles?",
    ),
    ("Each bag weighs {a} {source}. How many {to} do {b} bags weigh?", "What are {b} times {a} {source} in {to}?"),
)
_PARTS = Wording(
    (
        "Convert {value} {source} to {to} and divide the result by {b}.",
        "What is {value} {source} in {to}, split into {b} parts?",
        "I want to split {value} {source} into {b} parts. How many {to} is each?",
        "Turn {value} {source} into {to}, then divide by {b}.",
    ),
    ("Express {value} {source} in {to} and take one of {b} equal parts.",),
)
_THEN = Wording(
    (
        "Take {p}% of {a} and multiply the result by {b}.",
        "What is {p}% of {a}, times {b}?",
        "Calculate {p}% of {a}, then multiply it by {b}.",
    ),
    ("Multiply {p}% of {a} by {b}, but work out the percentage first.",),
)
_LATER = Wording(
    (
        "What date is {n} days after {date}, and how many days is it from then to {end}?",
        "Add {n} days to {date}. How many days are left from that date to {end}?",
        "A job starts on {date} and takes {n} days. How many days are there from its end to {end}?",
    ),
    ("Count {n} days on from {date}. How many days lie between that day and {end}?",),
)
_SIZES = (
    ("meters", "kilometers"),
    ("feet", "meters"),
    ("miles", "kilometers"),
    ("grams", "kilograms"),
    ("pounds", "kilograms"),
    ("milliliters", "liters"),
    ("minutes", "hours"),
)


def make_chain(draw: Draw) -> tuple[Piece, Piece]:
    """Return two pieces of one question; the first holds the whole wording."""
    return draw.pick((_make_weeks, _make_laps, _make_parts, _make_then, _make_later))(draw)


def _make_weeks(draw: Draw) -> tuple[Piece, Piece]:
    start, end = sorted((draw.date(), draw.date()))
    question = draw.say(_WEEKS, date=write_date(draw, start), end=write_date(draw, end))
    days = make_difference(question, fixed(date=start.isoformat(), end_date=end.isoformat()))
    return days, calculate_from("", lambda result: f"{result} / 7")


def _make_laps(draw: Draw) -> tuple[Piece, Piece]:
    a, b = draw.number(2, 600), draw.integer(2, 60)
    source, to = draw.pick(_SIZES)
    question = draw.say(_LAPS, a=a, b=b, source=source, to=to)
    return calculate_from(question, lambda _: f"{a} * {b}"), convert_from("", str, source, to)


def _make_parts(draw: Draw) -> tuple[Piece, Piece]:
    value, b = draw.number(2, 900), draw.integer(2, 40)
    source, to = draw.pick(_SIZES)
    question = draw.say(_PARTS, value=value, b=b, source=source, to=to)
    return convert_from(question, lambda _: value, source, to), calculate_from("", lambda result: f"{result} / {b}")


def _make_then(draw: Draw) -> tuple[Piece, Piece]:
    p, a, b = draw.integer(2, 95), draw.number(20, 4000), draw.integer(2, 40)
    question = draw.say(_THEN, p=p, a=a, b=b)
    return calculate_from(question, lambda _: f"{p}% of {a}"), calculate_from("", lambda result: f"{result} * {b}")


def _make_later(draw: Draw) -> tuple[Piece, Piece]:
    start, n = draw.date(), draw.integer(5, 300)
    end = start.replace(year=start.year + draw.pick((2, 3)), day=draw.pick(range(1, 29)))
    question = draw.say(_LATER, n=n, date=write_date(draw, start), end=write_date(draw, end))

    def arguments(result: str) -> dict[str, str]:
        return {"date": result, "end_date": end.isoformat()}

    return make_shift(question, start.isoformat(), "days", n), make_difference("", arguments)
