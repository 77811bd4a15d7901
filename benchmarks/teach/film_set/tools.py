"""Tools of a film production: scenes, call times, equipment and notes to the departments."""

from datetime import date
from typing import Literal, TypeAlias

from alpha_umi import declare_effects

Location: TypeAlias = Literal["harbour", "castle", "studio", "forest"]
Equipment: TypeAlias = Literal["camera_crane", "drone", "smoke_machine", "steadicam"]
Department: TypeAlias = Literal["costume", "make_up", "lighting", "sound", "props"]

SCENES = {
    7: ("harbour", 3, "Lena Voss and Amir Khan", "2027-09-02"),
    12: ("castle", 5, "Lena Voss", "2027-09-03"),
    15: ("studio", 2, "Amir Khan and Rosa Bell", "2027-09-03"),
    21: ("forest", 4, "Rosa Bell", "2027-09-06"),
    22: ("forest", 1, "Lena Voss and Rosa Bell", "2027-09-07"),
    30: ("harbour", 6, "Amir Khan", "2027-09-09"),
}
CALLS = {"Lena Voss": "05:45", "Amir Khan": "07:00", "Rosa Bell": "06:30"}


@declare_effects("none")
def get_scene(scene: int) -> str:
    """Tell where and when a scene is shot, who plays in it and how many pages it has.

    Args:
        scene: Number of the scene.
    """
    if scene not in SCENES:
        raise ValueError(f"there is no scene {scene}")
    location, pages, cast, day = SCENES[scene]
    return f"Scene {scene} is shot at the {location} on {day} with {cast}. It has {pages} pages."


@declare_effects("none")
def list_scenes(location: Location) -> str:
    """List the scenes that are shot at a location.

    Args:
        location: The location.
    """
    found = [str(number) for number, (place, *_) in SCENES.items() if place == location]
    return f"At the {location}: scenes {' and '.join(found)}."


@declare_effects("none")
def get_call_time(actor: str, day: date) -> str:
    """Tell when an actor has to be on set.

    Args:
        actor: First and last name.
        day: The day of the shoot.
    """
    if actor not in CALLS:
        raise ValueError(f"there is no {actor} in the cast")
    return f"{actor} is called for {CALLS[actor]} on {day}."


@declare_effects("idempotent")
def move_scene(scene: int, day: date) -> str:
    """Shoot a scene on another day.

    Args:
        scene: Number of the scene.
        day: The new day.
    """
    return f"Scene {scene} is shot on {day} now."


@declare_effects("once")
def rent_equipment(item: Equipment, day: date, days: int = 1) -> str:
    """Rent equipment for the shoot.

    Args:
        item: What is rented.
        day: The first day.
        days: For how many days.
    """
    return f"The {item} is rented from {day} for {days} days."


@declare_effects("once")
def send_note(department: Department, text: str) -> str:
    """Send a note to the head of a department.

    Args:
        department: The department.
        text: What the note says.
    """
    return f"The note to {department} is sent."


@declare_effects("none")
def get_daylight(day: date) -> str:
    """Tell when the sun rises and sets on a day.

    Args:
        day: The day.
    """
    minutes = day.timetuple().tm_yday % 60
    return f"On {day} the sun rises at 06:{minutes:02d} and sets at 19:{59 - minutes:02d}."


TOOLS = [get_scene, list_scenes, get_call_time, move_scene, rent_equipment, send_note, get_daylight]
