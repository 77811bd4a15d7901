"""A judge: any chat model, asked several times, whose answers are read whatever they look like.

An answer without a verdict is sent back once with what is wrong with it; then the vote counts as unsure. Needs no
structured output of the model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.evaluation.judge_prompts import make_preference, make_rating

Rating: TypeAlias = Literal["solved", "unsolved", "unsure"]
Preference: TypeAlias = Literal["win", "loss", "tie", "unsure"]
_RATINGS: tuple[Rating, ...] = get_args(Rating)
_SIDES = ("A", "B", "tie")
MAX_REPLY_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class Vote:
    """One opinion of the judge.

    Args:
        choice: A `Rating` or a `Preference`.
        texts: The judge's replies as it wrote them; two if it was asked again.
        swapped: Whether our run was shown as B.
    """

    choice: str
    texts: tuple[str, ...]
    swapped: bool = False


class Judge:
    """Rates runs and compares them.

    Args:
        model: Any chat model; several votes of one that decodes greedily are all the same.
        n_votes: How often each question is asked. A comparison is asked in both orders in turn, so an even number
            cancels a liking for the first.
    """

    def __init__(self, model: BaseChatModel, n_votes: int = 4) -> None:
        """Ask nothing yet."""
        self._model = model
        self._n_votes = n_votes

    def rate(self, trajectory: Trajectory) -> list[Vote]:
        """Tell whether a run did what its user asked for."""
        question = make_rating(trajectory)
        return [self._vote(question, "VERDICT", _RATINGS) for _ in range(self._n_votes)]

    def prefer(self, ours: Trajectory, theirs: Trajectory) -> list[Vote]:
        """Tell whether our run of a query is better than another one."""
        questions = (make_preference(ours, theirs), make_preference(theirs, ours))
        votes = []
        for i in range(self._n_votes):
            vote = self._vote(questions[i % 2], "BETTER", _SIDES)
            votes.append(Vote(_read_side(vote.choice, swapped=i % 2 == 1), vote.texts, swapped=i % 2 == 1))
        return votes

    def _vote(self, question: Sequence[BaseMessage], word: str, choices: Sequence[str]) -> Vote:
        """Ask, and ask once more if the reply cannot be read."""
        first = self._ask(question)
        if choice := parse_choice(first, word, choices):
            return Vote(choice, (first,))
        fault = (
            f"Your reply has no line that is exactly '{word}: ' and one of {', '.join(choices)}. Write that line only."
        )
        second = self._ask([*question, AIMessage(first or "(empty)"), HumanMessage(fault)])
        return Vote(parse_choice(second, word, choices) or "unsure", (first, second))

    def _ask(self, messages: Sequence[BaseMessage]) -> str:
        return self._model.invoke(list(messages)).text.strip()[-MAX_REPLY_CHARS:]


def _read_side(side: str, *, swapped: bool) -> Preference:
    if side not in ("A", "B"):
        return "tie" if side == "tie" else "unsure"
    return "win" if (side == "A") != swapped else "loss"


def parse_choice(text: str, word: str, choices: Sequence[str]) -> str | None:
    r"""Return what the last line of the form ``WORD: choice`` chose, or a reply that is nothing but a choice.

    Marks around the words do not matter, as in ``**Verdict:** solved.`` or ``{"verdict": "solved"}``; further words on
    the line do, so that a repeated list of the choices is none.

    Example:
        >>> parse_choice("It lacks the price.\nVERDICT: unsolved", "VERDICT", ["solved", "unsolved", "unsure"])
        'unsolved'
    """
    either = "|".join(map(re.escape, choices))
    line = re.compile(rf"\b{word}[^\w\n]{{1,12}}({either})[^\w\n]{{0,12}}$", re.IGNORECASE | re.MULTILINE)
    found = line.findall(text)
    if not found and (alone := re.fullmatch(rf"[\W_]{{0,12}}({either})[\W_]{{0,12}}", text, re.IGNORECASE)):
        found = [alone[1]]
    by_name = {choice.lower(): choice for choice in choices}
    return by_name[found[-1].lower()] if found else None


def decide_rating(votes: Sequence[Vote]) -> Rating:
    """Return what most votes that are not unsure say; unsure if there are none or as many on both sides."""
    counts = Counter(vote.choice for vote in votes)
    if counts["solved"] == counts["unsolved"]:
        return "unsure"
    return "solved" if counts["solved"] > counts["unsolved"] else "unsolved"


def decide_preference(votes: Sequence[Vote]) -> Preference:
    """Return which side has more votes; a tie if neither has, unsure if no vote could be read."""
    counts = Counter(vote.choice for vote in votes)
    if counts["unsure"] == len(votes):
        return "unsure"
    if counts["win"] == counts["loss"]:
        return "tie"
    return "win" if counts["win"] > counts["loss"] else "loss"
