"""Requests that lack a value without which no tool can be called."""

from __future__ import annotations

from alpha_umi.training.data.tasks.draw import Draw, Wording

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
# In training alone: a model that has seen four sentences learns these, and not what is missing.
_VARIED: dict[str, tuple[str, ...]] = {
    "the numbers": (
        "How much is {n}% of my {sum}?",
        "What is {n} times my {sum}?",
        "Take {n}% off the {sum}.",
        "Add my {sum} and my rent.",
        "Subtract {n} from my {sum}.",
        "Split the {sum} among {n} people.",
        "What is the {sum} divided by {n}?",
        "Double the {sum}.",
        "How much is a third of the {sum}?",
        "Add up the numbers on the {sum}.",
        "What is the square root of the number?",
        "Which of the two prices is higher?",
        "Add the three amounts.",
        "What is the average of my grades?",
        "Divide my {sum} by the number of days.",
        "How much is my {sum} plus {n}%?",
        "Multiply the {sum} by the number of months.",
        "What do I get if I add both numbers?",
        "I had some coins and found {n} more. How many are there now?",
        "How large is the garden in square metres?",
    ),
    "the date": (
        "Which weekday is the {event}?",
        "How many days until the {event}?",
        "What date is {n} days after the {event}?",
        "What day of the week was the {event}?",
        "How long is it from the {event} to the {event}?",
        "When is it {n} weeks before the {event}?",
        "The {event} takes {n} days. When is it over?",
        "Count the days since the {event}.",
        "Tell me the weekday of my {event}.",
        "How long do I have to wait for the {event}?",
        "Which day is our {event}?",
    ),
    "the unit": (
        "Convert {n} {unit}.",
        "Change {n} {unit} for me.",
        "What is {n} {unit} in that unit?",
        "Turn {n} {unit} into another unit.",
        "I have {n} {unit}. Convert them.",
        "Give me {n} {unit} in different units.",
        "Express {n} {unit} otherwise.",
        "{n} {unit} in the unit that we need?",
    ),
}
_SUMS = ("salary", "income", "bill", "invoice", "price", "budget", "pension", "bonus", "tax", "debt", "fee", "loan")
_EVENTS = ("party", "meeting", "birthday", "concert", "match", "holiday", "trip", "course", "visit", "interview")
_UNITS = ("miles", "liters", "inches", "kilograms", "feet", "pounds", "meters", "cups", "ounces", "minutes", "acres")


def make_incomplete(draw: Draw) -> tuple[str, str]:
    """Return what is missing, and the request."""
    missing = draw.pick(tuple(_NO_VALUE))
    if draw.held_out or draw.chance(0.2):
        return missing, draw.say(_NO_VALUE[missing])
    words = {"sum": draw.pick(_SUMS), "event": draw.pick(_EVENTS), "unit": draw.pick(_UNITS), "n": draw.integer(2, 90)}
    return missing, draw.pick(_VARIED[missing]).format(**words)
