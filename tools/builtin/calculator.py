"""Exact arithmetic for models that cannot do it, by a walk over the parsed expression: nothing is run as Python.

Numbers stay fractions for as long as that is exact, so 0.1+0.2 is 0.3 and sums of money add up.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from typing import Any, TypeAlias

from langchain_core.tools import StructuredTool, ToolException

Number: TypeAlias = Fraction | float

_MAX_INPUT_CHARS = 500
_MAX_DIGITS = 1000
_MAX_BITS = 3322  # the same in binary

_SYMBOLS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "\n": " "})
_CALL_OR_THOUSANDS = re.compile(r"[a-z]\w*\s*\(|[()]|(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])")
# At the end of an operand; before a sign only without a space, as in "50%-5": 17 % -5 is a remainder.
_PERCENT_SIGN = re.compile(r"%(?=\s*(?:[),*/]|$))|(?<!\s)%(?=\s*[-+])")
_GLUED = re.compile(r"\d(?!e[-+]?\d)[a-z]")  # "2a", which is no number and makes Python warn
_PERCENT = "percent"
_UNREADABLE = "cannot read {!r}. Write one expression of numbers and operators, such as (3 + 4.5) * 2."


def calculator(expression: str) -> str:
    """Compute a number: + - * / // % ^ ( ), percentages, sqrt abs round min max floor ceil log exp sin cos pi e.

    Args:
        expression: Numbers and operators, for example "17% of 2340" or "(3 + 4.5) * 2". Angles are in radians.
    """
    if len(expression) > _MAX_INPUT_CHARS:
        raise ToolException(f"the expression is longer than {_MAX_INPUT_CHARS} characters. Compute it in parts.")
    source = _to_python(expression)
    try:
        return _render(_evaluate(ast.parse(source, mode="eval").body, source))
    except ZeroDivisionError:
        raise ToolException("division by zero. Check the numbers.") from None
    except ArithmeticError:
        raise ToolException("a number is too large to compute. Use smaller numbers or powers.") from None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ToolException(_UNREADABLE.format(expression)) from None


def _to_python(expression: str) -> str:
    """Rewrite what people write into what `ast.parse` reads; a percent sign becomes the tightest operator, a power.

    Example:
        >>> _to_python("17% of 2,340")
        '17 ** percent * 2340'
    """
    text = expression.strip().lower().translate(_SYMBOLS)
    text = _join_thousands(text)
    text = re.sub(r"(?<=[\d)])\s*x\s*(?=[\d(])", " * ", text)
    text = re.sub(r"%\s*of\b", f" ** {_PERCENT} *", text)
    text = _PERCENT_SIGN.sub(f" ** {_PERCENT}", text)
    if not text.isascii() or _GLUED.search(text):
        raise ToolException(_UNREADABLE.format(expression))
    return text


def _join_thousands(text: str) -> str:
    """Drop the commas of 1,234.5, except between the arguments of a function."""
    in_call: list[bool] = []

    def replace(match: re.Match[str]) -> str:
        token = match[0]
        if token.endswith("("):
            in_call.append(len(token) > 1)
        elif token == ")":
            del in_call[-1:]
        elif not any(in_call[-1:]):
            return token.replace(",", "")
        return token

    return _CALL_OR_THOUSANDS.sub(replace, text)


def _evaluate(node: ast.expr, source: str) -> Number:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return _parse_number(source[node.col_offset : node.end_col_offset])
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
            return _bound(_SIGNS[type(sign)](_evaluate(operand, source)))
        case ast.BinOp() if type(node.op) in _OPERATORS:
            return _combine(node, source)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, [_evaluate(argument, source) for argument in arguments])
        case ast.Tuple():
            raise ToolException("a comma is in the wrong place. Write decimals with a point: 1234.5.")
    raise ToolException(
        f"{ast.unparse(node)!r} is not arithmetic. Use only numbers, operators and the known functions."
    )


def _combine(node: ast.BinOp, source: str) -> Number:
    left = _evaluate(node.left, source)
    if _is_percentage(node):
        return left / 100
    right = _evaluate(node.right, source)
    if isinstance(node.op, ast.Add | ast.Sub) and _is_percentage(node.right) and not _is_percentage(node.left):
        right *= left  # 200 + 10% is 220, as on every pocket calculator
    return _bound(_OPERATORS[type(node.op)](left, right))


def _is_percentage(node: ast.expr) -> bool:
    match node:
        case ast.BinOp(op=ast.Pow(), right=ast.Name(id=name)):
            return name == _PERCENT
    return False


def _parse_number(literal: str) -> Fraction:
    number = Decimal(literal)
    if abs(number.adjusted()) > _MAX_DIGITS:
        raise OverflowError
    return Fraction(number)


def _call(name: str, arguments: list[Number]) -> Number:
    if name not in _FUNCTIONS:
        raise ToolException(f"there is no function {name!r}. The functions are {', '.join(_FUNCTIONS)}.")
    function, n_min, n_max = _FUNCTIONS[name]
    if not n_min <= len(arguments) <= n_max:
        raise ToolException(
            f"{name} was given {len(arguments)} numbers. Inside a function a comma separates numbers: write 1234, not "
            "1,234."
        )
    try:
        return _bound(function(*arguments))
    except ValueError:
        raise ToolException(f"{name} is not defined for these numbers.") from None


def _bound(value: Any) -> Number:
    if isinstance(value, complex):
        raise ToolException("the result is not a real number.")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OverflowError
        return value
    number = Fraction(value)
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > _MAX_BITS:
        raise OverflowError
    return number


def _power(base: Number, exponent: Number) -> Any:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        n_bits = max(base.numerator.bit_length(), base.denominator.bit_length()) - 1
        if n_bits * abs(exponent) > _MAX_BITS:  # known before the memory for it is asked for
            raise OverflowError
    return base**exponent


def _sqrt(number: Number) -> Number:
    if isinstance(number, Fraction) and number >= 0:
        root = Fraction(math.isqrt(number.numerator), math.isqrt(number.denominator))
        if root * root == number:
            return root
    return math.sqrt(number)


def _round(number: Number, n_digits: Number = 0.0) -> Any:
    if n_digits != int(n_digits) or not -100 <= n_digits <= 100:
        raise ValueError("n_digits")
    return round(number, int(n_digits))


def _render(value: Number) -> str:
    """Write a number without float noise: whole and short numbers exactly, all others to 15 digits."""
    if isinstance(value, Fraction) and value.denominator == 1:
        return str(value.numerator)
    context = Context(prec=28)
    if isinstance(value, Fraction):
        number = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    else:
        number = Decimal(repr(value))
    if isinstance(value, float) or context.flags[Inexact]:
        number = Context(prec=15).plus(number)
    if number == 0:
        return "0"
    number = number.normalize()
    return format(number, "f") if -10 < number.adjusted() < 21 else str(number).lower()


_CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
# name: (function, least and most numbers it takes); sin and cos lose the noise that makes sin(pi) differ from 0
_FUNCTIONS: dict[str, tuple[Callable[..., Number], int, float]] = {
    "sqrt": (_sqrt, 1, 1),
    "abs": (abs, 1, 1),
    "round": (_round, 1, 2),
    "min": (lambda *numbers: min(numbers), 1, math.inf),
    "max": (lambda *numbers: max(numbers), 1, math.inf),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "log": (math.log, 1, 2),
    "exp": (math.exp, 1, 1),
    "sin": (lambda angle: round(math.sin(angle), 15), 1, 1),
    "cos": (lambda angle: round(math.cos(angle), 15), 1, 1),
}

tool = StructuredTool.from_function(calculator, parse_docstring=True, metadata={"effects": "none"})
