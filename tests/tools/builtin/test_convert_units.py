import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import ToolException

from alpha_umi.tools import Toolbox
from alpha_umi.tools.builtin.convert_units import tool


def convert(value: float, from_unit: str, to_unit: str) -> str:
    return str(tool.invoke({"value": value, "from_unit": from_unit, "to_unit": to_unit}))


@pytest.mark.parametrize(
    ("value", "from_unit", "to_unit", "result"),
    [
        (5, "mi", "km", "5 mi = 8.04672 km"),
        (0.1, "m", "cm", "0.1 m = 10 cm"),
        (1, "lbs", "kg", "1 lbs = 0.45359237 kg"),
        (60, "mph", "km/h", "60 mph = 96.56064 km/h"),
        (1, "meters per second", "km/hour", "1 meters per second = 3.6 km/hour"),
        (1, "square foot", "m^2", "1 square foot = 0.09290304 m^2"),
        (1, "kg*m/s^2", "N", "1 kg*m/s^2 = 1 N"),
        (1, "GB", "MB", "1 GB = 1000 MB"),
        (1, "hour", " s\n", "1 hour = 3600 s"),
        (212, "degF", "degC", "212 degF = 100 degC"),
        (20, "°C", "°F", "20 °C = 68 °F"),
        (20, "C", "F", "20 C = 68 F"),
        (0, "C", "kelvin", "0 C = 273.15 kelvin"),
        (-40, "fahrenheit", "celsius", "-40 fahrenheit = -40 celsius"),
        (1, "F", "microfarad", "1 F = 1000000 microfarad"),
    ],
)
def test_measurement_is_converted(value: float, from_unit: str, to_unit: str, result: str) -> None:
    assert convert(value, from_unit, to_unit) == result


@pytest.mark.parametrize(
    ("from_unit", "to_unit", "message"),
    [
        ("mi", "kg", "mi measures [length] and kg [mass]"),
        ("kilometrs", "m", "no unit 'kilometrs'. Did you mean kilometer"),
        ("xyzzy", "m", "no unit 'xyzzy'. Write its English name"),
        ("", "m", "cannot read the unit ''"),
        ("5", "m", "cannot read the unit '5'"),
        ("__class__", "m", "no unit '__class__'"),
        ("m; import os", "m", "cannot read"),
        ("m(1)", "m", "cannot read"),
        ("'m'", "m", "cannot read"),
    ],
)
def test_mistake_is_explained(from_unit: str, to_unit: str, message: str) -> None:
    with pytest.raises(ToolException) as caught:
        convert(1, from_unit, to_unit)
    assert message in str(caught.value)


@pytest.mark.parametrize("unit", ["m**9**9**9", "9**9**9", "m^99999999", "m" * 100_000, "m " * 10_000, "m*" * 30 + "1"])
def test_bomb_is_refused(unit: str) -> None:
    with pytest.raises(ToolException):
        convert(1, unit, "m")


@pytest.mark.parametrize("value", [1e308, math.inf, math.nan])
def test_result_without_a_value_is_refused(value: float) -> None:
    with pytest.raises(ToolException, match="too large"):
        convert(value, "km", "nm")


@given(st.text(max_size=20).filter(lambda text: "Error" not in text))  # a message quotes what cannot be read
def test_any_unit_gives_a_result_or_an_explanation(text: str) -> None:
    message = Toolbox([tool]).execute("convert_units", {"value": 1, "from_unit": text, "to_unit": "m"}, "1")
    assert " = " in message.text or message.text.startswith("convert_units failed: ")
    assert "Error" not in message.text
