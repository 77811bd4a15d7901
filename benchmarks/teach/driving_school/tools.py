"""Tools of a driving school: pupils, lessons, exams and prices."""

from datetime import date
from typing import Literal, TypeAlias

from alpha_umi import declare_effects

Instructor: TypeAlias = Literal["Nadia", "Omar", "Bruno"]
LessonKind: TypeAlias = Literal["city", "motorway", "night", "parking"]

PUPILS = {
    "Pia Lund": ("car", 14, "2027-05-20"),
    "Jon Reyes": ("motorbike", 6, "2027-06-02"),
    "Mira Okafor": ("car", 22, "2027-04-29"),
    "Sam Weber": ("lorry", 9, None),
}
FREE = {"Nadia": ("09:00", "14:30"), "Omar": ("11:00", "16:00"), "Bruno": ("08:00", "18:30")}
PRICES = {"city": 48, "motorway": 56, "night": 62, "parking": 44}


@declare_effects("none")
def get_pupil(name: str) -> dict[str, object]:
    """Return a pupil's licence class and the number of lessons taken.

    Args:
        name: First and last name.
    """
    if name not in PUPILS:
        raise ValueError(f"there is no pupil {name}")
    licence, lessons, _ = PUPILS[name]
    return {"name": name, "licence": licence, "lessons_taken": lessons}


@declare_effects("none")
def list_free_times(instructor: Instructor, day: date) -> str:
    """List when an instructor is free on a day.

    Args:
        instructor: The instructor.
        day: The day.
    """
    if day.weekday() == 6:
        return f"{instructor} does not work on {day}, a Sunday."
    return f"{instructor} is free on {day} at {' and '.join(FREE[instructor])}."


@declare_effects("once")
def book_lesson(pupil: str, instructor: Instructor, day: date, time: str, kind: LessonKind = "city") -> str:
    """Book a driving lesson.

    Args:
        pupil: First and last name of the pupil.
        instructor: Who teaches.
        day: The day.
        time: When it begins, HH:MM.
        kind: What is practised.
    """
    return f"{pupil} drives with {instructor} on {day} at {time}."


@declare_effects("once")
def cancel_lesson(lesson: str) -> str:
    """Cancel a booked lesson.

    Args:
        lesson: Number of the lesson, such as L-204.
    """
    return f"Lesson {lesson} is cancelled."


@declare_effects("none")
def get_exam_date(pupil: str) -> str:
    """Tell when a pupil takes the practical exam.

    Args:
        pupil: First and last name of the pupil.
    """
    if pupil not in PUPILS:
        raise ValueError(f"there is no pupil {pupil}")
    day = PUPILS[pupil][2]
    return f"{pupil} takes the exam on {day}." if day else f"{pupil} has no exam date yet."


@declare_effects("once")
def register_for_exam(pupil: str, part: Literal["theory", "practical"], day: date) -> str:
    """Register a pupil for an exam.

    Args:
        pupil: First and last name of the pupil.
        part: Which part of the exam.
        day: The day of the exam.
    """
    return f"{pupil} is registered for the {part} exam on {day}."


@declare_effects("none")
def get_lesson_price(kind: LessonKind, minutes: Literal[45, 90] = 45) -> str:
    """Tell what a lesson costs.

    Args:
        kind: What is practised.
        minutes: How long it takes.
    """
    return f"A {kind} lesson of {minutes} minutes costs {PRICES[kind] * minutes // 45} euros."


TOOLS = [
    get_pupil,
    list_free_times,
    book_lesson,
    cancel_lesson,
    get_exam_date,
    register_for_exam,
    get_lesson_price,
]
