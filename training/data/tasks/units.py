"""Measurements in other units."""

from __future__ import annotations

from collections.abc import Callable

from alpha_umi.training.data.tasks.draw import Draw, Wording
from alpha_umi.training.data.tasks.piece import Arguments, Piece

_CONVERT = Wording(
    (
        "How many {to} are {value} {source}?",
        "Convert {value} {source} to {to}.",
        "What is {value} {source} in {to}?",
        "{value} {source} in {to}?",
        "How much is {value} {source} in {to}?",
        "Express {value} {source} in {to}.",
        "I have {value} {source}. How many {to} is that?",
        "Change {value} {source} into {to}.",
        "Please turn {value} {source} into {to}.",
        "Tell me {value} {source} in {to}.",
        "What's {value} {source} in {to}?",
        "How many {to} is {value} {source}?",
        "How many {to} are there in {value} {source}?",
        "I need {value} {source} in {to}.",
        "Can you convert {value} {source} to {to}?",
        "{value} {source} to {to}, please.",
        "A parcel has {value} {source}. What is that in {to}?",
        "My book says {value} {source}. How much is that in {to}?",
        "Calculate how many {to} {value} {source} are.",
        "Write {value} {source} in {to}.",
    ),
    (
        "How many {to} do {value} {source} make?",
        "Give me {value} {source} as {to}.",
        "The label says {value} {source}. What is that in {to}?",
    ),
)
_TEMPERATURE = Wording(
    (
        "My thermometer shows {value} degrees {source}. What would it be in {to}?",
        "How hot is {value} degrees {source} in {to}?",
        "Turn {value} degrees {source} into {to}.",
        "Express {value} degrees {source} in {to}.",
        "The recipe needs {value} degrees {source}. How many degrees {to} is it?",
        "What is {value} degrees {source} in {to}?",
        "Convert {value} degrees {source} to {to}.",
        "It is {value} degrees {source}. How much is that in {to}?",
        "The oven is at {value} degrees {source}. What is that in {to}?",
        "How many degrees {to} are {value} degrees {source}?",
        "{value} degrees {source} in {to}?",
        "Water of {value} degrees {source}: what is that in {to}?",
        "Change {value} degrees {source} to {to}.",
    ),
    ("Give me {value} degrees {source} in {to}.", "The forecast says {value} degrees {source}. What is it in {to}?"),
)
_DEGREES = {"Celsius": "degC", "Fahrenheit": "degF"}
_KINDS = (
    ("miles", "kilometers", "meters", "yards", "feet"),
    ("inches", "centimeters", "millimeters", "feet", "meters"),
    ("kilograms", "pounds", "ounces", "grams"),
    ("liters", "gallons", "pints", "milliliters", "cups"),
    ("hours", "minutes", "seconds", "days", "weeks"),
    ("acres", "hectares", "km^2", "m^2"),
    ("km/hour", "miles/hour", "m/s", "knots"),
    ("gigabytes", "megabytes", "kilobytes", "bytes"),
    ("km", "mi", "m", "ft"),
    ("kg", "lb", "g", "oz"),
    ("joules", "calories", "kilowatt_hours"),
    ("bar", "psi", "pascals"),
)


def make_unit_question(draw: Draw) -> Piece:
    """Return one question for the unit converter."""
    if draw.chance(0.15):
        source, to = draw.pick((("Celsius", "Fahrenheit"), ("Fahrenheit", "Celsius")))
        value = draw.number(1, 250)
        question = draw.say(_TEMPERATURE, value=value, source=source, to=to)
        return convert_from(question, lambda _: value, _DEGREES[source], _DEGREES[to])
    source, to = draw.rng.sample(draw.pick(_KINDS), 2)
    value = draw.number(2, 900)
    return convert_from(draw.say(_CONVERT, value=value, source=source, to=to), lambda _: value, source, to)


def convert_from(question: str, value: Callable[[str], str], source: str, to: str) -> Piece:
    """Return a question for a value that may come from the previous piece's result."""

    def arguments(result: str) -> Arguments:
        text = value(result).replace(",", "")
        return {"value": float(text) if "." in text else int(text), "from_unit": source, "to_unit": to}

    return Piece(question, "convert_units", arguments, result=lambda text: text.split(" = ")[-1].split(" ")[0])
