"""One thing that a task asks for: the question, the call that answers it, the sentence that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Arguments: TypeAlias = dict[str, Any]


def _no_correction(arguments: Arguments, error: str) -> Arguments | None:
    return None


def _as_sentence(arguments: Arguments, observation: str) -> str:
    return observation if observation.endswith((".", "!")) else f"{observation}."


@dataclass(frozen=True, slots=True)
class Piece:
    """One question and how it is answered.

    Args:
        question: A whole sentence, question or request.
        ability: What a tool must be able to do; `alpha_umi.training.data.tasks.kits` knows which tools can.
        arguments: From the previous piece's result (``""`` for the first) to the arguments of the ability.
        answer: From arguments and observation to the sentence for the user.
        result: From an observation to the value that the answer must hold and that the next piece may use.
        correct: From failed arguments and the tool's error to better arguments, or None if there are none.
    """

    question: str
    ability: str
    arguments: Callable[[str], Arguments]
    answer: Callable[[Arguments, str], str] = _as_sentence
    result: Callable[[str], str] = str
    correct: Callable[[Arguments, str], Arguments | None] = _no_correction


def fixed(**arguments: Any) -> Callable[[str], Arguments]:
    """Return arguments that do not depend on an earlier result."""
    return lambda _: dict(arguments)
