"""Weekdays, date arithmetic and time zones for the calendar."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from alpha_umi.training.data.tasks.draw import Draw, Wording
from alpha_umi.training.data.tasks.piece import Arguments, Piece, fixed

_WEEKDAY = Wording(
    (
        "Name the weekday of {date}.",
        "Which weekday will we have on {date}?",
        "The exam takes place on {date}. What weekday is this?",
        "Say which day of the week {date} is.",
        "Check the weekday of {date}.",
        "We land on {date}. What day of the week do we land?",
        "Which weekday is {date}?",
        "What day of the week is {date}?",
        "On which weekday does {date} fall?",
        "Is {date} a weekend day?",
        "What weekday was {date}?",
        "Tell me the weekday of {date}.",
        "{date}: which day of the week is that?",
        "I was born on {date}. Which weekday was it?",
        "Our meeting is on {date}. What day is that?",
        "Find out the weekday for {date}.",
        "What's the weekday of {date}?",
        "Which day of the week was {date}?",
        "Was {date} a Monday?",
        "The party is on {date}. Which weekday is that?",
        "Weekday of {date}?",
        "Please tell me which weekday {date} is.",
        "What day will {date} be?",
        "Does {date} fall on a Sunday?",
        "I got married on {date}. What weekday was that?",
    ),
    (
        "What day does {date} fall on?",
        "Do you know the weekday of {date}?",
        "My flight leaves on {date}. Which weekday is it?",
    ),
)
_AFTER = Wording(
    (
        "A training starts on {date} and lasts {n} {unit}. On what date does it finish?",
        "From {date}, go {n} {unit} into the future.",
        "{n} {unit} past {date} is what date?",
        "The baby is due {n} {unit} after {date}. When is that?",
        "Move {date} forward by {n} {unit}.",
        "Which day comes {n} {unit} on from {date}?",
        "I signed on {date} for {n} {unit}. When am I free?",
        "What date is {n} {unit} after {date}?",
        "Add {n} {unit} to {date}.",
        "Which date comes {n} {unit} after {date}?",
        "A contract starts on {date} and runs for {n} {unit}. When does it end?",
        "What is the date {n} {unit} from {date}?",
        "I have {n} {unit} from {date} on. What is the deadline?",
        "Count {n} {unit} forward from {date}.",
        "What day is it {n} {unit} after {date}?",
        "If I start on {date}, what date is it {n} {unit} later?",
        "My visa is valid for {n} {unit} from {date}. When does it run out?",
        "When is {n} {unit} after {date}?",
        "{date} plus {n} {unit}: which date is that?",
        "The warranty began on {date} and lasts {n} {unit}. Until when?",
    ),
    ("Which day is {n} {unit} later than {date}?", "A course begins on {date} and takes {n} {unit}. When is it over?"),
)
_BEFORE = Wording(
    (
        "The deadline is {date}. I want to be done {n} {unit} earlier. When is that?",
        "Which day was {n} {unit} prior to {date}?",
        "Take {n} {unit} off {date}.",
        "{n} {unit} before {date}, which date do I get?",
        "I need a reminder {n} {unit} ahead of {date}. On what date?",
        "From {date}, step {n} {unit} into the past.",
        "Work out the date {n} {unit} earlier than {date}.",
        "What date was {n} {unit} before {date}?",
        "Go back {n} {unit} from {date}.",
        "Which date is {n} {unit} earlier than {date}?",
        "Subtract {n} {unit} from {date}.",
        "I must book {n} {unit} before {date}. Which date is that?",
        "What day was it {n} {unit} before {date}?",
        "{date} minus {n} {unit}: which date is that?",
        "When was {n} {unit} before {date}?",
    ),
    ("Which day lies {n} {unit} before {date}?", "Count {n} {unit} back from {date}."),
)
_BETWEEN = Wording(
    (
        "How many days apart are {date} and {end}?",
        "Give me the days from {date} until {end}.",
        "How many days separate {date} from {end}?",
        "Between {date} and {end}, how many days go by?",
        "How many days are there between {date} and {end}?",
        "How many days is it from {date} to {end}?",
        "Count the days from {date} to {end}.",
        "My holiday is from {date} to {end}. How many days is that?",
        "What is the number of days between {date} and {end}?",
        "How long is it from {date} until {end} in days?",
        "A project ran from {date} to {end}. How many days did it take?",
        "How many days from {date} to {end}?",
        "Tell me how many days lie from {date} to {end}.",
        "Number of days from {date} to {end}?",
        "What is the difference in days between {date} and {end}?",
        "I stay from {date} until {end}. How many days am I there?",
        "How many days pass between {date} and {end}?",
    ),
    ("How many days lie between {date} and {end}?", "From {date} to {end}: how many days are that?"),
)
_UNTIL = Wording(
    (
        "How long is it until {date} in days?",
        "How far away is {date}, in days?",
        "Days until {date}?",
        "We move on {date}. How many days is that from now?",
        "What is the number of days from now to {date}?",
        "How many days must I wait for {date}?",
        "My rent is due on {date}. How many days do I still have?",
        "Tell me how many days away {date} is.",
        "How many days lie ahead before {date}?",
        "The show opens on {date}. How many days are there to wait?",
        "How soon is {date}? Tell me in days.",
        "From today, how many days does it take to get to {date}?",
        "How many days until {date}?",
        "How many days are left until {date}?",
        "How many days is it from today to {date}?",
        "Count the days from today until {date}.",
        "How many days do I have until {date}?",
        "The exam is on {date}. How many days are left?",
        "How many days remain before {date}?",
    ),
    ("How many more days is it to {date}?", "In how many days is {date}?"),
)
_SINCE = Wording(
    (
        "How many days back is {date}?",
        "Days since {date}?",
        "We moved here on {date}. How many days ago was that?",
        "What is the number of days from {date} to now?",
        "How long have I waited since {date}, in days?",
        "I quit smoking on {date}. How many days is that now?",
        "How far back is {date}, in days?",
        "Tell me how many days ago {date} was.",
        "{date}: how many days have we had since then?",
        "How long is it since {date}? Give me days.",
        "The last visit was on {date}. How many days ago is that?",
        "From {date} up to today, how many days is it?",
        "How many days ago was {date}?",
        "How many days have passed since {date}?",
        "How many days is it since {date}?",
        "I started on {date}. How many days have I been here?",
        "Count the days since {date}.",
    ),
    ("How long ago was {date} in days?", "How many days have gone by since {date}?"),
)
_TODAY = Wording(
    (
        "Do you have the time?",
        "What's the time?",
        "Time?",
        "Give me today's date.",
        "How late is it?",
        "What is the date and the time now?",
        "Say what day we have.",
        "I need the current date.",
        "Tell me today's weekday.",
        "Is it Monday today?",
        "What's the current time?",
        "The date, please.",
        "What is today's date?",
        "What time is it?",
        "Which day is it today?",
        "What's the date today?",
        "Tell me the time.",
        "What weekday is today?",
        "Which date is it?",
    ),
    ("What day is it today?", "Can you tell me the time?", "What date do we have today?"),
)
_NOW = Wording(
    (
        "Do they still sleep in {place} or is it morning there?",
        "Could you look up the time in {place}?",
        "My plane lands in {place}. What is the time there now?",
        "What hour is it in {place}?",
        "{place}: what time is it there?",
        "Find out how late it is in {place}.",
        "What do the clocks in {place} show?",
        "What's the time in {place}?",
        "Time in {place}?",
        "Is it day or night in {place} now?",
        "My friend lives in {place}. What time is it for her?",
        "What date and time is it in {place}?",
        "What time is it in {place}?",
        "What is the time in {place} now?",
        "Tell me the current time in {place}.",
        "How late is it in {place}?",
        "What time do they have in {place} right now?",
        "I want to call someone in {place}. What time is it there?",
    ),
    ("Do you know what time it is in {place}?", "What's the local time in {place}?"),
)
_CONVERT = Wording(
    (
        "The call starts {time} in {zone}. Which time is that in {place}?",
        "{time} {zone} in {place} time?",
        "Change {time} {zone} to the time in {place}.",
        "How late is it in {place} at {time} in {zone}?",
        "A train leaves at {time} {zone} time. Give me that in {place} time.",
        "Say what {time} in {zone} is for people in {place}.",
        "It is {time} in {zone}. What time is that in {place}?",
        "Convert {time} from {zone} to {place} time.",
        "A call is at {time} {zone} time. When is it in {place}?",
        "What is {time} in {zone} in the time zone {place}?",
        "The show starts at {time} in {zone}. What time is that in {place}?",
        "If it is {time} in {zone}, how late is it in {place}?",
        "My meeting is at {time} in {zone}. When is that for {place}?",
        "What is the {place} time for {time} in {zone}?",
    ),
    ("When it is {time} in {zone}, what time is it in {place}?", "Translate {time} {zone} into {place} time."),
)
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
# Cities that name a time zone, and zones; the calendar itself says which zone a city stands for.
_CITIES = (
    *("Tokyo", "Berlin", "Paris", "London", "Madrid", "Rome", "Lisbon", "Vienna", "Oslo", "Stockholm", "Helsinki"),
    *("Athens", "Istanbul", "Moscow", "Dubai", "Karachi", "Kolkata", "Dhaka", "Bangkok", "Singapore", "Shanghai"),
    *("Seoul", "Sydney", "Melbourne", "Auckland", "Honolulu", "Los Angeles", "Denver", "Chicago", "New York"),
    *("Toronto", "Mexico City", "Bogota", "Lima", "Santiago", "Sao Paulo", "Cairo", "Lagos", "Nairobi", "Johannesburg"),
    *("Warsaw", "Prague", "Budapest", "Dublin", "Amsterdam", "Brussels", "Zurich", "Copenhagen", "Kathmandu", "Manila"),
)
_ZONES = (
    *("Europe/Berlin", "Europe/London", "Europe/Paris", "Europe/Madrid", "Europe/Athens", "Europe/Oslo", "Asia/Tokyo"),
    *("America/New_York", "America/Los_Angeles", "America/Chicago", "America/Denver", "America/Toronto", "Asia/Dubai"),
    *("America/Sao_Paulo", "Asia/Kolkata", "Asia/Shanghai", "Asia/Singapore", "Asia/Seoul", "Australia/Sydney"),
    *("Pacific/Auckland", "Africa/Cairo", "Africa/Nairobi", "Africa/Lagos", "Africa/Johannesburg", "Asia/Bangkok"),
)
_ADVICE = re.compile(r"there is no time zone '(.+?)'\. Write it like ([\w/+-]+)")


def make_date_question(draw: Draw) -> Piece:
    """Return one question for the calendar."""
    return draw.pick(_FAMILIES if draw.held_out else (*_FAMILIES, *_HARD))(draw)


def write_date(draw: Draw, date: dt.date) -> str:
    """Return a date as people write it; half of the time already as the calendar wants it."""
    month = _MONTHS[date.month - 1]
    ordinal = {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10 if date.day not in (11, 12, 13) else 0, "th")
    forms = (
        f"{month} {date.day}, {date.year}",
        f"{date.day} {month} {date.year}",
        f"{month} {date.day}{ordinal}, {date.year}",
        f"the {date.day}{ordinal} of {month} {date.year}",
        date.strftime("%Y/%m/%d"),
    )
    return date.isoformat() if draw.chance(0.45) else draw.pick(forms)


def first_date(observation: str) -> str:
    """Return the date at the start of an observation such as ``2027-03-01, a Monday``."""
    return observation.split(",")[0].split(" is ")[0]


def _make_weekday(draw: Draw) -> Piece:
    date = draw.date()
    question = draw.say(_WEEKDAY, date=write_date(draw, date))
    return Piece(question, "weekday", fixed(date=date.isoformat()), result=lambda text: text.rsplit(" ", 1)[-1])


def _make_shift(wording: Wording, sign: int) -> Callable[[Draw], Piece]:
    def make(draw: Draw) -> Piece:
        date, unit = draw.date(), draw.pick(("days", "days", "days", "weeks", "months", "years"))
        n = draw.integer(2, {"days": 400, "weeks": 60, "months": 30, "years": 12}[unit])
        question = draw.say(wording, n=n, unit=unit, date=write_date(draw, date))
        return make_shift(question, date.isoformat(), unit, sign * n)

    return make


def make_shift(question: str, date: str, unit: str, n: int) -> Piece:
    """Return a question for the date `n` units after (or before) another."""
    direction = "after" if n > 0 else "before"

    def answer(arguments: Arguments, observation: str) -> str:
        return f"{abs(n)} {unit} {direction} {arguments['date']} is {observation}."

    return Piece(question, "add", fixed(date=date, **{unit: n}), answer, first_date)


def make_difference(question: str, arguments: Callable[[str], Arguments]) -> Piece:
    """Return a question for the number of days between two dates."""

    def answer(arguments: Arguments, observation: str) -> str:
        return f"From {arguments['date']} to {arguments['end_date']} it is {observation}."

    return Piece(question, "difference", arguments, answer, lambda text: text.split(" ", 1)[0])


def _make_between(draw: Draw) -> Piece:
    start, end = sorted((draw.date(), draw.date()))
    question = draw.say(_BETWEEN, date=write_date(draw, start), end=write_date(draw, end))
    return make_difference(question, fixed(date=start.isoformat(), end_date=end.isoformat()))


def _make_until(draw: Draw) -> Piece:
    date = draw.date().replace(year=draw.pick((2031, 2032)), day=draw.pick(range(1, 29)))
    question = draw.say(_UNTIL, date=write_date(draw, date))
    return make_difference(question, fixed(date="today", end_date=date.isoformat()))


def _make_since(draw: Draw) -> Piece:
    date = draw.date().replace(year=draw.pick((2008, 2012, 2015, 2017, 2018)), day=draw.pick(range(1, 29)))
    question = draw.say(_SINCE, date=write_date(draw, date))
    return make_difference(question, fixed(date=date.isoformat(), end_date="today"))


def _make_today(draw: Draw) -> Piece:
    return Piece(draw.say(_TODAY), "now", fixed(), _its_time, _time_of)


def _make_now(draw: Draw) -> Piece:
    place = draw.name(_CITIES if draw.chance(0.7) else _ZONES)
    return Piece(draw.say(_NOW, place=place), "now", fixed(zone=place), _its_time, _time_of, _correct_zone)


def _make_convert(draw: Draw) -> Piece:
    zone = draw.name(_ZONES)
    place = draw.name(_CITIES if draw.chance(0.4) else [other for other in _ZONES if other != zone])
    time = f"{draw.date()} {draw.pick(range(24)):02}:{draw.pick((0, 15, 30, 45)):02}"
    question = draw.say(_CONVERT, time=time, zone=zone, place=place)
    arguments = fixed(date=time, zone=zone, to_zone=place)
    return Piece(question, "convert_time", arguments, _its_time, _time_of, _correct_zone)


def _its_time(arguments: Arguments, observation: str) -> str:
    return f"It is {observation}."


def _time_of(observation: str) -> str:
    return observation.split(" in ", 1)[0]


def _correct_zone(arguments: Arguments, error: str) -> Arguments | None:
    """Take the zone that the calendar proposes instead of the city."""
    advice = _ADVICE.search(error)
    if advice is None:
        return None
    return {key: advice[2] if value == advice[1] else value for key, value in arguments.items()}


_FAMILIES: tuple[Callable[[Draw], Piece], ...] = (
    _make_weekday,
    _make_weekday,
    _make_weekday,
    _make_shift(_AFTER, 1),
    _make_shift(_AFTER, 1),
    _make_shift(_BEFORE, -1),
    _make_between,
    _make_between,
    _make_until,
    _make_since,
    _make_today,
    _make_now,
    _make_convert,
)
# Made more often in training, where a name for the tool makes them harder than the others.
_HARD = (_make_until, _make_since, _make_today, _make_now)
