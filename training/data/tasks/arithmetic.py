"""Sums, percentages and small word problems for the calculator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alpha_umi.training.data.tasks.draw import Draw, Wording
from alpha_umi.training.data.tasks.piece import Arguments, Piece, fixed

_PLAIN = Wording(
    (
        "What is {expression}?",
        "Calculate {expression}.",
        "Compute {expression}.",
        "{expression} = ?",
        "How much is {expression}?",
        "Work out {expression} for me.",
        "I need the result of {expression}.",
        "Tell me what {expression} is.",
        "Evaluate {expression}.",
        "Can you do the sum {expression}?",
        "Please solve {expression}.",
        "{expression}",
        "{expression}?",
        "What's {expression}?",
        "Give me {expression}.",
        "What do I get for {expression}?",
        "Can you calculate {expression}?",
        "I want to know {expression}.",
        "Result of {expression}?",
        "Let me know what {expression} gives.",
        "What value has {expression}?",
        "Do this sum: {expression}.",
        "My homework is {expression}. What is the answer?",
    ),
    (
        "What does {expression} come to?",
        "Find the value of {expression}.",
        "Could you calculate {expression}?",
        "What is the outcome of {expression}?",
    ),
)
_TIMES = Wording(
    (
        "What is {a} times {b}?",
        "Multiply {a} by {b}.",
        "What do I get if I multiply {a} and {b}?",
        "How much is {a} multiplied by {b}?",
        "{a} times {b}, please.",
        "What is the product of {a} and {b}?",
        "What does {a} times {b} make?",
        "Find {a} multiplied by {b}.",
        "What's {a} x {b}?",
        "How much do {a} and {b} give when multiplied?",
    ),
    ("Give me {a} times {b}.", "What's {a} multiplied with {b}?"),
)
_DIVIDE = Wording(
    (
        "What is {a} divided by {b}?",
        "Divide {a} by {b}.",
        "How often does {b} go into {a}?",
        "How much is {a} over {b}?",
        "Split {a} into {b} equal parts. How big is each?",
        "What's {a} divided by {b}?",
        "Work out {a} divided by {b}.",
        "How much is {a} shared by {b}?",
        "{a} divided by {b}, please.",
    ),
    ("What do you get when you divide {a} by {b}?", "If {a} is shared equally among {b}, how much is one share?"),
)
_PLUS = Wording(
    (
        "What's {a} plus {b}?",
        "Put {a} and {b} together.",
        "Total of {a} plus {b}?",
        "Give me {a} plus {b}.",
        "If I add {a} to {b}, what is it?",
        "What is {a} plus {b}?",
        "Add {a} and {b}.",
        "What is the sum of {a} and {b}?",
        "How much is {a} and {b} together?",
        "Add {b} to {a}.",
        "What do {a} and {b} add up to?",
        "{a} plus {b} is what?",
        "I have {a} and get {b} more. How much is that?",
    ),
    ("What's the total of {a} and {b}?", "Sum {a} and {b}."),
)
_MINUS = Wording(
    (
        "Take {b} off {a}.",
        "What is left of {a} if {b} is gone?",
        "Reduce {a} by {b}.",
        "Calculate {a} less {b}.",
        "What's {a} less {b}?",
        "Deduct {b} from {a}. What is left?",
        "What is {a} minus {b}?",
        "Subtract {b} from {a}.",
        "Take {b} away from {a}.",
        "How much is left of {a} after taking off {b}?",
        "What is the difference between {a} and {b}?",
        "I had {a} and spent {b}. What is left?",
        "{a} minus {b}, please.",
        "How much is {a} less {b}?",
    ),
    ("What remains if I subtract {b} from {a}?", "How much more is {a} than {b}?"),
)
_PERCENT = Wording(
    (
        "What is {p}% of {a}?",
        "How much is {p}% of {a}?",
        "Calculate {p}% of {a}.",
        "I need {p} percent of {a}.",
        "What's {p} percent of {a}?",
        "Tell me {p}% of {a}.",
        "Find {p}% of {a}.",
        "What does {p}% of {a} make?",
        "What would {p}% of {a} be?",
        "{p}% of {a}?",
        "How much do I get if I take {p}% of {a}?",
        "Can you tell me {p}% of {a}?",
        "The commission is {p}% of {a}. How much is it?",
        "I save {p}% of {a}. How much is that?",
        "A tax of {p}% on {a}: how much is the tax?",
        "{p} percent of {a} is how much?",
    ),
    ("Work out {p} percent of {a}.", "If I take {p}% of {a}, what do I get?", "Give me {p}% of {a}."),
)
_DISCOUNT = Wording(
    (
        "There is {p}% off on a {thing} of {a}. What does it cost now?",
        "A {thing} is marked {a}, less {p}%. How much must I pay?",
        "With {p} percent discount, what is the price of a {thing} for {a}?",
        "The shop cuts {p}% from {a} for a {thing}. What remains to pay?",
        "A {thing} cost {a} and is now {p} percent less. What is it now?",
        "How much do I pay for a {a} dollar {thing} in a {p}% sale?",
        "What is {a} minus {p}%?",
        "Reduce {a} by {p}%.",
        "A {thing} costs {a} dollars and is {p}% off. What do I pay?",
        "The price of a {thing} is {a}. What is it after a discount of {p}%?",
        "What does a {thing} for {a} euros cost with {p}% off?",
        "Take {p}% off the price of {a} for this {thing}.",
        "A {thing} at {a} is reduced by {p} percent. What is the new price?",
    ),
    (
        "How much is a {thing} of {a} dollars when it is {p}% cheaper?",
        "I get {p}% off a {thing} for {a}. What is left?",
    ),
)
_INCREASE = Wording(
    (
        "My salary of {a} grows by {p}%. What will it be?",
        "What do I pay for {a} plus {p}% VAT?",
        "{a} and {p}% more: how much is it?",
        "The fare was {a} and is now {p} percent higher. What is it?",
        "Put {p}% onto {a}.",
        "Raise {a} by {p}%.",
        "What is {a} increased by {p} percent?",
        "After a rise of {p}%, what are {a} euros?",
        "The rent of {a} goes up by {p}%. What is it then?",
        "What is {a} plus {p}% tax?",
        "Add {p}% to {a}.",
        "A bill of {a} plus a tip of {p}%: how much is that?",
        "Increase {a} by {p} percent.",
    ),
    ("A price of {a} rises by {p}%. What is the new price?", "How much is {a} with {p}% on top?"),
)
_EACH = Wording(
    (
        "At {a} per {thing}, what do {b} come to?",
        "{b} {thing}s for {a} each, how much altogether?",
        "How much money do I need for {b} {thing}s of {a}?",
        "One {thing} needs {a} grams of paint. How much do {b} need?",
        "Each of {b} people pays {a}. How much is collected?",
        "I sell {b} {thing}s for {a} apiece. What do I earn?",
        "A {thing} is {a} cm wide. How wide are {b} in a row?",
        "One {thing} costs {a}. How much do {b} cost?",
        "I buy {b} of them at {a} each. What is the total?",
        "If a {thing} is {a} dollars, what do I pay for {b}?",
        "We need {b} {thing}s at {a} apiece. How much is that?",
        "A {thing} weighs {a} kg. How much do {b} weigh together?",
    ),
    ("What is the price of {b} {thing}s if each is {a}?", "Every {thing} takes {a} minutes. How long do {b} take?"),
)
_SHARE = Wording(
    (
        "{b} people divide {a} among themselves. What is one part?",
        "Pour {a} grams of flour into {b} bowls evenly. How much is in each?",
        "A bill of {a} is split {b} ways. What is my part?",
        "How much does each get if {b} of us share {a}?",
        "Fill {a} liters into {b} equal cans. How much is in each?",
        "We are {b} and owe {a} together. What does everyone owe?",
        "{b} friends share {a} dollars equally. How much does each get?",
        "Split a bill of {a} between {b} people.",
        "I have {a} metres of rope and cut it into {b} equal pieces. How long is each?",
        "A {thing} for {a} is paid in {b} equal rates. How much is one rate?",
    ),
    ("{a} sweets are divided among {b} children. How many does each get?", "What does each of {b} people pay of {a}?"),
)
_TOTAL = Wording(
    (
        "What is {a} and {b} and {c} altogether?",
        "Put {a}, {b} and {c} together.",
        "{a}, {b} and {c}: what is the sum?",
        "I paid {a}, then {b}, then {c}. How much in all?",
        "Give me the sum of {a}, {b} and {c}.",
        "How much is {a} plus {b} plus {c}?",
        "We collected {a}, {b} and {c}. How much is it all?",
        "I spent {a}, {b} and {c}. How much is that in total?",
        "Add up {a}, {b} and {c}.",
        "What is the sum of {a}, {b} and {c}?",
        "My bills are {a}, {b} and {c}. What do I owe altogether?",
    ),
    ("What do {a}, {b} and {c} make together?", "Total {a}, {b} and {c}."),
)
_AVERAGE = Wording(
    (
        "Give me the average of {a}, {b} and {c}.",
        "{a}, {b} and {c}: what is the average?",
        "The days had {a}, {b} and {c} degrees. What is the average?",
        "Work out the mean of {a}, {b} and {c}.",
        "What is the mean of {a}, {b} and {c}?",
        "How much is the average of {a}, {b} and {c}?",
        "What is the average of {a}, {b} and {c}?",
        "Find the mean of {a}, {b} and {c}.",
        "My scores are {a}, {b} and {c}. What is my average?",
        "Average {a}, {b} and {c}.",
    ),
    ("What's the mean value of {a}, {b} and {c}?", "On average, how much are {a}, {b} and {c}?"),
)
_AREA = Wording(
    (
        "How big is a floor of {a} by {b} metres?",
        "The wall is {a} m high and {b} m wide. How many square metres is it?",
        "Give me the area of a plot that is {a} by {b} metres.",
        "A carpet is {a} long and {b} wide. What area does it cover?",
        "A yard is {a} m by {b} m. What area is that?",
        "A room is {a} metres long and {b} metres wide. What is its area?",
        "What is the area of a {a} by {b} rectangle?",
        "How many square metres has a garden of {a} m by {b} m?",
    ),
    ("A field measures {a} by {b} metres. How large is it?", "Find the area of a rectangle with sides {a} and {b}."),
)
_ROOT = Wording(
    (
        "Square root of {a}?",
        "Give me the root of {a}.",
        "What's the square root of {a}?",
        "What is the square root of {a}?",
        "Find the square root of {a}.",
        "sqrt({a})?",
        "Calculate the square root of {a}.",
    ),
    ("Which number squared gives {a}?", "Tell me the square root of {a}."),
)
_POWER = Wording(
    (
        "What's {a} to the power {b}?",
        "Give me {a}^{b}.",
        "Take {a} to the power of {b}.",
        "{a} to the power of {b}, please.",
        "What is {a} to the power of {b}?",
        "Raise {a} to the power {b}.",
        "Calculate {a} to the power of {b}.",
        "How much is {a}^{b}?",
    ),
    ("Compute {a} raised to {b}.", "What's {a} to the {b}th power?"),
)
_THINGS = ("ticket", "book", "chair", "coat", "lamp", "phone", "shirt", "bike", "table", "bag", "box", "pen", "cable")


def make_arithmetic(draw: Draw) -> Piece:
    """Return one question for the calculator."""
    return draw.pick(_FAMILIES)(draw)


def calculate_from(question: str, expression: Callable[[str], str]) -> Piece:
    """Return a question whose expression is made from the previous piece's result."""
    return Piece(question, "calculate", lambda result: {"expression": expression(result)}, _answer)


def _answer(arguments: Arguments, observation: str) -> str:
    return f"{arguments['expression']} = {observation}."


def _piece(draw: Draw, wording: Wording, expression: str, **slots: Any) -> Piece:
    question = draw.say(wording, expression=expression, **slots)
    return Piece(question, "calculate", fixed(expression=expression), _answer)


def _make_plain(draw: Draw) -> Piece:
    a, b, c = (draw.number(2, 900) for _ in range(3))
    signs = [draw.pick("+-*/") for _ in range(2)]
    shapes = (
        f"{a} {signs[0]} {b}",
        f"{a} {signs[0]} {b} {signs[1]} {c}",
        f"({a} {draw.pick('+-')} {b}) {signs[1]} {c}",
    )
    return _piece(draw, _PLAIN, draw.pick((shapes[0], *shapes)))


def _make_binary(wording: Wording, sign: str, high: int) -> Callable[[Draw], Piece]:
    def make(draw: Draw) -> Piece:
        a, b = draw.grouped(20, 9999), draw.grouped(2, high)
        return _piece(draw, wording, f"{a} {sign} {b}", a=a, b=b)

    return make


def _make_percent(draw: Draw) -> Piece:
    p, a = draw.integer(1, 99), draw.grouped(20, 9999)
    return _piece(draw, _PERCENT, f"{p}% of {a}", p=p, a=a)


def _make_change(wording: Wording, sign: str) -> Callable[[Draw], Piece]:
    def make(draw: Draw) -> Piece:
        p, a = draw.integer(2, 60), draw.number(20, 2000)
        return _piece(draw, wording, f"{a} {sign} {p}%", p=p, a=a, thing=draw.name(_THINGS))

    return make


def _make_story(wording: Wording, sign: str) -> Callable[[Draw], Piece]:
    def make(draw: Draw) -> Piece:
        a, b = draw.number(2, 900), draw.integer(2, 48)
        return _piece(draw, wording, f"{a} {sign} {b}", a=a, b=b, thing=draw.name(_THINGS))

    return make


def _make_three(wording: Wording, template: str) -> Callable[[Draw], Piece]:
    def make(draw: Draw) -> Piece:
        slots = {name: draw.number(3, 800) for name in "abc"}
        return _piece(draw, wording, template.format(**slots), **slots)

    return make


def _make_area(draw: Draw) -> Piece:
    a, b = draw.number(2, 90), draw.number(2, 90)
    return _piece(draw, _AREA, f"{a} * {b}", a=a, b=b)


def _make_root(draw: Draw) -> Piece:
    a = draw.integer(2, 60) ** 2 if draw.chance(0.6) else draw.integer(2, 5000)
    return _piece(draw, _ROOT, f"sqrt({a})", a=a)


def _make_power(draw: Draw) -> Piece:
    a, b = draw.integer(2, 30), draw.pick((2, 3, 4, 5, 6, 8, 10))
    return _piece(draw, _POWER, f"{a}^{b}", a=a, b=b)


_FAMILIES: tuple[Callable[[Draw], Piece], ...] = (
    _make_plain,
    _make_plain,
    _make_percent,
    _make_percent,
    _make_binary(_TIMES, "*", 999),
    _make_binary(_DIVIDE, "/", 99),
    _make_binary(_PLUS, "+", 9999),
    _make_binary(_MINUS, "-", 999),
    _make_change(_DISCOUNT, "-"),
    _make_change(_INCREASE, "+"),
    _make_story(_EACH, "*"),
    _make_story(_SHARE, "/"),
    _make_three(_TOTAL, "{a} + {b} + {c}"),
    _make_three(_AVERAGE, "({a} + {b} + {c}) / 3"),
    _make_area,
    _make_root,
    _make_power,
)
