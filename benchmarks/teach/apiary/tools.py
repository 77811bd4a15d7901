"""Tools of a beekeeper: hives, scales, honey, feed and mites."""

from datetime import date
from typing import Literal, TypeAlias

from alpha_umi import declare_effects

Apiary: TypeAlias = Literal["orchard", "heath", "rooftop"]
Feed: TypeAlias = Literal["sugar_syrup", "fondant", "pollen_patty"]
Treatment: TypeAlias = Literal["oxalic_acid", "formic_acid", "thymol"]

HIVES = {
    1: ("orchard", "Greta", 2024, 9),
    2: ("orchard", "Ida", 2025, 7),
    3: ("heath", "Saga", 2023, 5),
    4: ("heath", "Freya", 2025, 10),
    5: ("rooftop", "Lotte", 2024, 6),
    6: ("rooftop", "Maja", 2025, 8),
}
KILOGRAMS = {1: 41.5, 2: 38.0, 3: 29.5, 4: 52.0, 5: 33.5, 6: 36.0}
HONEY = {
    2024: {"orchard": 62, "heath": 81, "rooftop": 27},
    2025: {"orchard": 70, "heath": 55, "rooftop": 34},
    2026: {"orchard": 58, "heath": 93, "rooftop": 41},
}


@declare_effects("none")
def describe_hive(hive: int) -> str:
    """Give the place, the queen and the frames of brood of a hive.

    Args:
        hive: Number of the hive.
    """
    if hive not in HIVES:
        raise ValueError(f"there is no hive {hive}")
    apiary, queen, year, frames = HIVES[hive]
    return f"Hive {hive} stands in the {apiary}. Its queen is {queen}, born in {year}. It has {frames} frames of brood."


@declare_effects("none")
def list_hives(apiary: Apiary) -> str:
    """List the hives of an apiary.

    Args:
        apiary: Which apiary.
    """
    found = [str(number) for number, (place, *_) in HIVES.items() if place == apiary]
    return f"In the {apiary} are hives {' and '.join(found)}."


@declare_effects("none")
def read_scale(hive: int, day: date | None = None) -> str:
    """Read the weight of a hive from its scale.

    Args:
        hive: Number of the hive.
        day: Of which day; today if left out.
    """
    if hive not in HIVES:
        raise ValueError(f"there is no hive {hive}")
    lighter = 0.0 if day is None else (day.toordinal() % 7) / 2
    return f"Hive {hive} weighs {KILOGRAMS[hive] - lighter:.1f} kg."


@declare_effects("none")
def get_honey_yield(year: int, apiary: Apiary | None = None) -> str:
    """Tell how much honey was harvested in a year.

    Args:
        year: The year.
        apiary: Of one apiary only.
    """
    if year not in HONEY:
        raise ValueError(f"there are no records of {year}")
    kilograms = HONEY[year][apiary] if apiary else sum(HONEY[year].values())
    return f"{kilograms} kg of honey were harvested in {year}."


@declare_effects("once")
def record_inspection(hive: int, queen_seen: bool, brood_frames: int, notes: str | None = None) -> str:
    """Write an inspection of a hive into the log.

    Args:
        hive: Number of the hive.
        queen_seen: Whether the queen was seen.
        brood_frames: How many frames of brood there were.
        notes: Anything else.
    """
    return f"The inspection of hive {hive} is in the log."


@declare_effects("once")
def order_feed(kind: Feed, kilograms: float) -> str:
    """Order feed for the bees.

    Args:
        kind: Which feed.
        kilograms: How much, in kilograms.
    """
    return f"{kilograms:g} kg of {kind} are ordered."


@declare_effects("once")
def treat_mites(hives: list[int], treatment: Treatment) -> str:
    """Note that hives were treated against varroa mites.

    Args:
        hives: Numbers of the hives.
        treatment: What they were treated with.
    """
    return f"The treatment of {len(hives)} hives with {treatment} is noted."


TOOLS = [describe_hive, list_hives, read_scale, get_honey_yield, record_inspection, order_feed, treat_mites]
