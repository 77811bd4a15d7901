import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.tools import ToolException

from alpha_umi.tools import Toolbox
from alpha_umi.tools.builtin.calculator import tool


def compute(expression: str) -> str:
    return str(tool.invoke({"expression": expression}))


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("17% of 2340", "397.8"),
        ("2340 * 17%", "397.8"),
        ("0.1 + 0.2", "0.3"),
        ("1,234.5 * 2", "2469"),
        ("12,345,678 + 1", "12345679"),
        ("2^10", "1024"),
        ("2**100", str(2**100)),
        ("-7 // 2", "-4"),
        ("-2 ** 2", "-4"),
        ("17 % 5", "2"),
        ("17 % (0 - 5)", "-3"),
        ("17 % -5", "-3"),
        ("1/3", "0.333333333333333"),
        ("10**30 / 3", "3.33333333333333e+29"),
        ("0.1 ** 20", "1e-20"),
        ("-0.0", "0"),
        ("3 × 4 ÷ 2 − 1", "5"),
        ("2 x 3", "6"),
        ("  7\n+ 1 ", "8"),
        ("sqrt(16)", "4"),
        ("sqrt(2)", "1.4142135623731"),
        ("sqrt(10**40)", str(10**20)),
        ("SQRT(1/4)", "0.5"),
        ("abs(-3.5)", "3.5"),
        ("round(2.675, 2)", "2.68"),
        ("round(1234.5678)", "1235"),
        ("min(3, 1, 2) + max(4, 5)", "6"),
        ("floor(2.7) + ceil(2.1)", "5"),
        ("floor(sqrt(2))", "1"),
        ("log(8, 2)", "3"),
        ("log(e)", "1"),
        ("exp(0)", "1"),
        ("sin(pi)", "0"),
        ("cos(pi)", "-1"),
        ("2 * pi", "6.28318530717959"),
        # percentages bind tightest, and after + and - they are of what stands before
        ("100 / 5%", "2000"),
        ("(10 + 7)% of 100", "17"),
        ("50 + 10% of 200", "70"),
        ("200 + 10%", "220"),
        ("80 - 25%", "60"),
        ("50%-5", "-4.5"),
        ("10% + 5%", "0.15"),
        ("20% of 10%", "0.02"),
        ("max(10%, 5%)", "0.1"),
        # commas separate inside of functions and group digits outside
        ("max(1,234)", "234"),
        ("max((1,234), 5)", "1234"),
        ("max(1, 2) + 1,234", "1236"),
    ],
)
def test_expression_has_its_value(expression: str, result: str) -> None:
    assert compute(expression) == result


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "cannot read"),
        ("(1", "cannot read"),
        ("1 2", "cannot read"),
        ("2a", "cannot read"),
        ("1 / 0", "division by zero"),
        ("5 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("3,5 + 1", "a comma is in the wrong place"),
        ("sqrt(1,234)", "write 1234, not 1,234"),
        ("sqrt(-1)", "sqrt is not defined"),
        ("log(0)", "log is not defined"),
        ("round(1, 10**9)", "round is not defined"),
        ("(-8) ** (1/3)", "not a real number"),
        ("tan(1)", "there is no function 'tan'. The functions are sqrt, abs"),
        ("x + 1", "'x' is not arithmetic"),
        ("1 < 2", "'1 < 2' is not arithmetic"),
        ("'a' * 3", "not arithmetic"),
        ("[1] * 3", "not arithmetic"),
        ("1 if 1 else 2", "not arithmetic"),
        ("__import__('os').system('true')", "not arithmetic"),
        ("().__class__", "not arithmetic"),
        ("round(1, ndigits=2)", "not arithmetic"),
        ("max(*[1])", "not arithmetic"),
        ("lambda: 1", "not arithmetic"),
    ],
)
def test_mistake_is_explained(expression: str, message: str) -> None:
    with pytest.raises(ToolException) as caught:
        compute(expression)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9",
        "9**9**9**9",
        "-9**99999",
        "0.5**99999",
        "1e300 ** 100",
        "1e99999999999",
        "1e-99999999999",
        "exp(1e10)",
        "*".join(["9**900"] * 70),
        "round(1, 9999999999)",
        "1" * 501,
        "(" * 240 + "1" + ")" * 240,
        "1" + "+1" * 249 + "+",
    ],
)
def test_bomb_is_refused(expression: str) -> None:
    with pytest.raises(ToolException):
        compute(expression)


Sum = tuple[str, Fraction | None]
"""An expression and its exact value, None where it divides by zero."""

NUMBERS: st.SearchStrategy[Sum] = st.decimals(-1000, 1000, places=3).map(lambda d: (f"{d:f}", Fraction(d)))
OPERATORS: dict[str, Callable[[Fraction, Fraction], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": lambda base, exponent: base ** round(exponent),
}
FUNCTIONS: dict[str, Callable[[Fraction], Any]] = {"abs": abs, "floor": math.floor, "ceil": math.ceil, "round": round}


def apply(function: Callable[..., Any], *operands: Fraction | None) -> Fraction | None:
    try:
        return None if None in operands else Fraction(function(*operands))
    except ZeroDivisionError:
        return None


def join(left: Sum, symbol: str, right: Sum) -> Sum:
    if symbol == "**":
        right = (str(len(left[0]) % 7 - 3), Fraction(len(left[0]) % 7 - 3))
    return f"({left[0]}) {symbol} ({right[0]})", apply(OPERATORS[symbol], left[1], right[1])


def call(name: str, inner: Sum) -> Sum:
    return f"{name}({inner[0]})", apply(FUNCTIONS[name], inner[1])


def extend(inner: st.SearchStrategy[Sum]) -> st.SearchStrategy[Sum]:
    return st.builds(join, inner, st.sampled_from(sorted(OPERATORS)), inner) | st.builds(
        call, st.sampled_from(sorted(FUNCTIONS)), inner
    )


@given(st.recursive(NUMBERS, extend, max_leaves=5))
def test_result_is_that_of_exact_fractions(example: Sum) -> None:
    expression, value = example
    assume(len(expression) <= 500)
    if value is None:
        with pytest.raises(ToolException, match="division by zero"):
            compute(expression)
        return
    assume(max(value.numerator.bit_length(), value.denominator.bit_length()) < 1000)
    result = Fraction(compute(expression))
    assert abs(result - value) <= (0 if value.denominator == 1 else abs(value) * Fraction(1, 10**14))


@given(st.text(st.sampled_from("0123456789.,%*/+-^() eofxsqrt_'\"[]{}=<>!:;\\λ\n\x00"), max_size=40))
def test_any_text_gives_a_number_or_an_explanation(text: str) -> None:
    message = Toolbox([tool]).execute("calculator", {"expression": text}, "1")
    if message.status == "success":
        assert math.isfinite(Fraction(message.text))
    else:
        assert message.text.startswith("calculator failed: ")
        assert not any(name in message.text for name in ("Error", "Exception"))
