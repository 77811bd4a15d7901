"""Units of measurement, by pint."""

from __future__ import annotations

import difflib
import functools
import math
import re

import pint
from langchain_core.tools import StructuredTool, ToolException

_MAX_UNIT_CHARS = 60
# Names with at most one small whole power each: pint would compute 9**9**9 where a unit ought to be.
_NAME = r"[A-Za-z_°µμΩÅ][A-Za-z0-9_µμΩ]*(?:\s*(?:\^|\*\*)\s*-?[0-9])?"
_UNIT = re.compile(rf"{_NAME}(?:\s*[*/·]\s*{_NAME}|\s+{_NAME})*")
_TEMPERATURES = {"C": "degC", "F": "degF"}


def convert_units(value: float, from_unit: str, to_unit: str) -> str:
    """Convert a measurement to another unit: lengths, masses, volumes, speeds, temperatures, data sizes and more.

    Args:
        value: The number, for example 5.
        from_unit: Its unit, for example mi, km/hour, degF.
        to_unit: The wanted unit, for example km.
    """
    source, target = _parse_pair(from_unit, to_unit)
    try:
        result = float(_registry().Quantity(value, source).to(target).magnitude)
    except pint.DimensionalityError:
        raise ToolException(
            f"{from_unit} measures {source.dimensionality} and {to_unit} {target.dimensionality}. Choose a unit of the "
            "same kind."
        ) from None
    except (pint.PintError, ArithmeticError, ValueError) as error:
        raise ToolException(f"cannot convert {from_unit} to {to_unit}: {error}.") from error
    if not math.isfinite(result):
        raise ToolException("the result is too large. Choose a larger unit.")
    return f"{value:.10g} {from_unit.strip()} = {result:.10g} {to_unit.strip()}"


def _parse_pair(from_unit: str, to_unit: str) -> tuple[pint.Unit, pint.Unit]:
    """Read C and F as temperatures if that is what the other unit is, otherwise as coulomb and farad."""
    temperatures = [_parse_unit(_TEMPERATURES.get(unit.strip(), unit)) for unit in (from_unit, to_unit)]
    if all(unit.is_compatible_with("kelvin") for unit in temperatures):
        return temperatures[0], temperatures[1]
    return _parse_unit(from_unit), _parse_unit(to_unit)


def _parse_unit(text: str) -> pint.Unit:
    text = text.strip()
    if len(text) > _MAX_UNIT_CHARS or not _UNIT.fullmatch(text):
        raise ToolException(
            f"cannot read the unit {text[:_MAX_UNIT_CHARS]!r}. Write a name such as km, kg*m/s^2 or degC."
        )
    try:
        return _registry().Unit(text)
    except pint.UndefinedUnitError:
        near = difflib.get_close_matches(text, list(_registry()), cutoff=0.7)
        hint = f"Did you mean {' or '.join(near)}?" if near else "Write its English name, such as kilometer."
        raise ToolException(f"there is no unit {text!r}. {hint}") from None
    except (pint.PintError, ArithmeticError, ValueError, TypeError) as error:
        raise ToolException(f"cannot read the unit {text!r}: {error}.") from error


@functools.cache
def _registry() -> pint.UnitRegistry[float]:
    return pint.UnitRegistry()


tool = StructuredTool.from_function(convert_units, parse_docstring=True, metadata={"effects": "none"})
