"""Tools of an excavation: finds, trenches, layers, people and lab tests."""

from datetime import date
from typing import Literal, TypeAlias

from alpha_umi import declare_effects

Trench: TypeAlias = Literal["A", "B", "C", "D"]
Material: TypeAlias = Literal["pottery", "bone", "bronze", "iron", "glass", "flint"]
Digger: TypeAlias = Literal["Ines", "Tariq", "Wanda", "Piet"]
LabTest: TypeAlias = Literal["radiocarbon", "isotopes", "x_ray", "dna"]

FINDS = {
    "F-101": ("A", "pottery", 45, "a red bowl with a broken rim"),
    "F-102": ("A", "bronze", 60, "a brooch in the shape of a fish"),
    "F-103": ("B", "bone", 120, "the jaw of a dog"),
    "F-104": ("C", "glass", 30, "a blue bead"),
    "F-105": ("B", "pottery", 95, "the handle of an amphora"),
    "F-106": ("D", "flint", 150, "an arrowhead"),
}
LAYERS = {1: "modern", 2: "medieval", 3: "late Roman", 4: "Iron Age", 5: "Bronze Age"}


@declare_effects("none")
def list_finds(trench: Trench, material: Material | None = None) -> str:
    """List the numbers of the finds from a trench.

    Args:
        trench: The trench.
        material: Only finds of this material.
    """
    found = [
        number for number, (place, made_of, *_) in FINDS.items() if place == trench and material in (None, made_of)
    ]
    return f"From trench {trench}: {', '.join(found) or 'no finds'}."


@declare_effects("none")
def describe_find(number: str) -> str:
    """Describe a find: what it is, where and how deep it lay.

    Args:
        number: Number of the find, such as F-012.
    """
    if number not in FINDS:
        raise ValueError(f"there is no find {number}")
    trench, material, depth, text = FINDS[number]
    return f"{number} is {text}, of {material}, from trench {trench}, {depth} cm deep."


@declare_effects("once")
def log_find(trench: Trench, material: Material, depth_cm: int, description: str) -> str:
    """Add a new find to the catalogue.

    Args:
        trench: Where it was found.
        material: What it is made of.
        depth_cm: How deep it lay, in centimetres.
        description: What it is, in a few words.
    """
    return "The find is number F-107."


@declare_effects("none")
def date_layer(layer: int) -> str:
    """Tell from which period a layer of soil is.

    Args:
        layer: Number of the layer, from the top.
    """
    if layer not in LAYERS:
        raise ValueError(f"there is no layer {layer}")
    return f"Layer {layer} is {LAYERS[layer]}."


@declare_effects("idempotent")
def assign_digger(digger: Digger, trench: Trench, day: date) -> str:
    """Plan who works in which trench on a day.

    Args:
        digger: Who.
        trench: In which trench.
        day: On which day.
    """
    return f"{digger} works in trench {trench} on {day}."


@declare_effects("once")
def request_lab_test(finds: list[str], test: LabTest) -> str:
    """Send finds to the laboratory for a test.

    Args:
        finds: Numbers of the finds.
        test: Which test.
    """
    return f"{len(finds)} finds go to the laboratory for {test}."


TOOLS = [list_finds, describe_find, log_find, date_layer, assign_digger, request_lab_test]
