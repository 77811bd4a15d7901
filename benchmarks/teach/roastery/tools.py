"""Tools of a coffee roastery: beans, roasts, blends, orders and tastings."""

from datetime import date
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field

from alpha_umi import declare_effects

Origin: TypeAlias = Literal["Ethiopia", "Brazil", "Colombia", "Sumatra", "Kenya"]
Roast: TypeAlias = Literal["light", "medium", "dark"]

STOCK = {"Ethiopia": 180, "Brazil": 420, "Colombia": 95, "Sumatra": 60, "Kenya": 140}
PRICES = {"Ethiopia": 9, "Brazil": 5, "Colombia": 7, "Sumatra": 8, "Kenya": 11}
PROFILES = {"light": (205, 9), "medium": (215, 11), "dark": (228, 14)}
ORDERS = {"Cafe Luna": ["O-51", "O-58"], "Bakery Stein": ["O-60"], "Hotel Aurora": []}


class BlendPart(BaseModel):
    """One of the beans in a blend."""

    origin: Origin = Field(description="Where the beans come from.")
    percent: int = Field(description="Their share of the blend.", ge=1, le=100)


@declare_effects("none")
def get_bean_stock(origin: Origin) -> dict[str, object]:
    """Return how many kilograms of green beans are in store.

    Args:
        origin: Where the beans come from.
    """
    return {"origin": origin, "kilograms": STOCK[origin]}


@declare_effects("none")
def get_roast_profile(roast: Roast) -> str:
    """Give the temperature and the duration of a roast.

    Args:
        roast: How dark it is.
    """
    degrees, minutes = PROFILES[roast]
    return f"A {roast} roast takes {minutes} minutes at {degrees} degrees."


@declare_effects("once")
def schedule_roast(origin: Origin, roast: Roast, kilograms: float, day: date) -> str:
    """Plan a batch for the roaster.

    Args:
        origin: Which beans.
        roast: How dark.
        kilograms: How much, in kilograms.
        day: On which day.
    """
    return f"{kilograms:g} kg of {origin} are roasted on {day}."


@declare_effects("none")
def calculate_blend(parts: list[BlendPart]) -> str:
    """Calculate what a kilogram of a blend costs.

    Args:
        parts: The beans in it; their shares add up to 100 percent.
    """
    if sum(part.percent for part in parts) != 100:
        raise ValueError("the shares do not add up to 100 percent")
    cost = sum(PRICES[part.origin] * part.percent for part in parts) / 100
    return f"A kilogram of this blend costs {cost:.2f} euros."


@declare_effects("once")
def ship_coffee(customer: str, bags: int, grind: Literal["whole", "filter", "espresso"] = "whole") -> str:
    """Send bags of coffee to a customer.

    Args:
        customer: Name of the customer.
        bags: How many bags.
        grind: How it is ground.
    """
    return f"{bags} bags go to {customer}."


@declare_effects("none")
def list_orders(customer: str) -> dict[str, object]:
    """List the open orders of a customer.

    Args:
        customer: Name of the customer.
    """
    if customer not in ORDERS:
        raise ValueError(f"there is no customer {customer}")
    return {"customer": customer, "orders": ORDERS[customer]}


@declare_effects("idempotent")
def grade_sample(sample: str, score: float, notes: list[str] | None = None) -> str:
    """Keep the result of a tasting.

    Args:
        sample: Number of the sample, such as S-12.
        score: From 0 to 100.
        notes: What it tastes of, one word each.
    """
    return f"Sample {sample} has {score:g} points."


TOOLS = [
    get_bean_stock,
    get_roast_profile,
    schedule_roast,
    calculate_blend,
    ship_coffee,
    list_orders,
    grade_sample,
]
