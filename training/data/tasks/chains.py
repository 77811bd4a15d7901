"""Questions whose second call needs the result of the first."""

from __future__ import annotations

from alpha_umi.training.data.tasks.arithmetic import calculate_from
from alpha_umi.training.data.tasks.dates import make_difference, make_shift, write_date
from alpha_umi.training.data.tasks.draw import Draw, Wording
from alpha_umi.training.data.tasks.piece import Piece, fixed
from alpha_umi.training.data.tasks.units import convert_from

_WEEKS = Wording(
    (
        "Weeks from {date} to {end}?",
        "How many weeks go by between {date} and {end}?",
        "A strike began on {date} and ended on {end}. How many weeks did it take?",
        "In weeks, how far apart are {date} and {end}?",
        "I rent a flat from {date} until {end}. How many weeks are that?",
        "How many weeks separate {date} and {end}?",
        "Give me the weeks between {date} and {end}.",
        "Express the time between {date} and {end} in weeks.",
        "The show ran from {date} to {end}. Over how many weeks?",
        "How many weeks are there between {date} and {end}?",
        "How many weeks is it from {date} to {end}?",
        "Give me the time from {date} to {end} in weeks.",
        "Count the weeks from {date} to {end}.",
        "From {date} to {end}: how many weeks?",
        "I was away from {date} to {end}. How many weeks was that?",
        "A ship left on {date} and came back on {end}. For how many weeks was it gone?",
        "How long is it from {date} to {end}, in weeks?",
        "The lease starts on {date} and ends on {end}. How many weeks does it last?",
        "Tell me how many weeks lie between {date} and {end}.",
        "What is the time from {date} to {end} as weeks?",
    ),
    ("What is the number of weeks between {date} and {end}?", "A job lasted from {date} to {end}. How many weeks?"),
)
_LAPS = Wording(
    (
        "One piece has {a} {source}. How many {to} are {b} pieces?",
        "{b} jars with {a} {source} each, how many {to} in total?",
        "Take {b} times {a} {source} and write it in {to}.",
        "Each trip is {a} {source}. What do {b} trips make in {to}?",
        "One sack holds {a} {source}; I have {b}. Total in {to}?",
        "One lap is {a} {source}. How many {to} are {b} laps?",
        "I walk {a} {source} every day. How many {to} is that in {b} days?",
        "{b} boards of {a} {source} each: how many {to} are they together?",
        "A bottle holds {a} {source}. How many {to} are in {b} bottles?",
        "{b} times {a} {source}: what is that in {to}?",
        "Every box has {a} {source}. Give me the {to} of {b} boxes.",
        "I bought {b} packs with {a} {source} each. How many {to} do I have?",
        "Multiply {a} {source} by {b} and tell me the {to}.",
        "How many {to} are {b} rounds of {a} {source}?",
        "{b} tanks hold {a} {source} each. What is their sum in {to}?",
        "We do {a} {source} a week. What is it in {to} after {b} weeks?",
    ),
    ("Each bag weighs {a} {source}. How many {to} do {b} bags weigh?", "What are {b} times {a} {source} in {to}?"),
)
_PARTS = Wording(
    (
        "Convert {value} {source} to {to}. How big is a share if {b} people share it?",
        "{value} {source} in {to}, and then only one part in {b}.",
        "Give me {value} {source} in {to} over {b}.",
        "Change {value} {source} to {to} and share it among {b}.",
        "First convert {value} {source} to {to}, then split that into {b} portions. How big is one?",
        "Convert {value} {source} to {to} and divide the result by {b}.",
        "What is {value} {source} in {to}, split into {b} parts?",
        "I want to split {value} {source} into {b} parts. How many {to} is each?",
        "Turn {value} {source} into {to}, then divide by {b}.",
        "{value} {source} are shared by {b} people. How many {to} does each get?",
        "How many {to} is one of {b} pieces of {value} {source}?",
        "Cut {value} {source} into {b} pieces. What is one in {to}?",
        "Write {value} {source} in {to} and divide it by {b}.",
        "Divide {value} {source} by {b} after converting to {to}.",
        "There are {value} {source} for {b} days. How many {to} a day is that?",
    ),
    ("Express {value} {source} in {to} and take one of {b} equal parts.",),
)
_THEN = Wording(
    (
        "{p}% of {a} is paid {b} times. What is that in all?",
        "Work out {p}% of {a} first and then multiply by {b}.",
        "Get {p}% of {a} and take it {b} times.",
        "A tip is {p}% of {a}. What are {b} such tips?",
        "Each of {b} people gets {p}% of {a}. How much is that together?",
        "Take {p}% of {a} and multiply the result by {b}.",
        "What is {p}% of {a}, times {b}?",
        "Calculate {p}% of {a}, then multiply it by {b}.",
        "First work out {p}% of {a}. Then multiply by {b}.",
        "{p} percent of {a}, and that {b} times. How much is it?",
        "I save {p}% of {a} euros each month. How much is that after {b} months? First the share, then the product.",
        "What do I get if I multiply {p}% of {a} by {b}? Do it in two steps.",
        "Find {p}% of {a}. What is {b} times the result?",
    ),
    ("Multiply {p}% of {a} by {b}, but work out the percentage first.",),
)
_LATER = Wording(
    (
        "Start at {date} and go {n} days forward. How many days then remain until {end}?",
        "From the day {n} days after {date}, how many days is it to {end}?",
        "{date} plus {n} days: how many days is that day before {end}?",
        "My course starts on {date} and takes {n} days. How many days of rest until {end}?",
        "Find the date {n} days after {date}, then the days from there to {end}.",
        "What date is {n} days after {date}, and how many days is it from then to {end}?",
        "Add {n} days to {date}. How many days are left from that date to {end}?",
        "A job starts on {date} and takes {n} days. How many days are there from its end to {end}?",
        "Go {n} days forward from {date}. How far is that from {end}, in days?",
        "My holiday begins on {date} and lasts {n} days. How many days later is {end}?",
        "Take the day {n} days after {date}. How many days is it until {end}?",
        "{n} days after {date} I move. How many days are there from then to {end}?",
        "A loan from {date} runs {n} days. How many days before {end} does it end?",
    ),
    ("Count {n} days on from {date}. How many days lie between that day and {end}?",),
)
_PAY = (
    "From {date} to {end} I earn {b} euros a day. How much is that?",
    "A car costs {b} euros a day from {date} to {end}. What is the price?",
    "I read {b} pages every day from {date} to {end}. How many pages are that?",
    "How many days are there from {date} to {end}, times {b}?",
    "Count the days between {date} and {end} and multiply them by {b}.",
)
_LESS = (
    "What is {value} {source} in {to}, minus {b}?",
    "Convert {value} {source} to {to} and take away {b}.",
    "Turn {value} {source} into {to} and add {b}.",
    "How many {to} are {value} {source} plus another {b} {to}?",
)
_SHARE = (
    "Add {a} and {b}. What is {p}% of the sum?",
    "What is {p}% of the sum of {a} and {b}? Add first.",
    "Subtract {b} from {a} and take {p}% of what remains.",
    "Multiply {a} by {b}, then give me {p}% of it.",
    "Divide {a} by {b}. How much is {p}% of the result?",
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
    kinds = (_make_weeks, _make_laps, _make_parts, _make_then, _make_later)
    # In training alone: there, a chain must not be one of five kinds of sentence, and weeks are easily taken for days.
    return draw.pick(kinds if draw.held_out else (*kinds, _make_weeks, _make_pay, _make_less, _make_share))(draw)


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


def _make_pay(draw: Draw) -> tuple[Piece, Piece]:
    start, end = sorted((draw.date(), draw.date()))
    b = draw.integer(2, 300)
    question = draw.pick(_PAY).format(date=write_date(draw, start), end=write_date(draw, end), b=b)
    days = make_difference(question, fixed(date=start.isoformat(), end_date=end.isoformat()))
    return days, calculate_from("", lambda result: f"{result} * {b}")


def _make_less(draw: Draw) -> tuple[Piece, Piece]:
    value, b = draw.number(2, 900), draw.integer(2, 40)
    source, to = draw.pick(_SIZES)
    wording = draw.pick(_LESS)
    sign = "+" if "add" in wording or "plus" in wording else "-"
    converted = convert_from(wording.format(value=value, source=source, to=to, b=b), lambda _: value, source, to)
    return converted, calculate_from("", lambda result: f"{result} {sign} {b}")


def _make_share(draw: Draw) -> tuple[Piece, Piece]:
    p, a, b = draw.integer(2, 95), draw.number(20, 4000), draw.integer(2, 400)
    wording = draw.pick(_SHARE)
    sign = {"Add": "+", "Wha": "+", "Sub": "-", "Mul": "*", "Div": "/"}[wording[:3]]
    first = calculate_from(wording.format(a=a, b=b, p=p), lambda _: f"{a} {sign} {b}")
    return first, calculate_from("", lambda result: f"{p}% of {result}")
