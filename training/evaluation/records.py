"""What is kept of one evaluated step: what was right, what the roles wrote, and what they were shown.

One line of ``predictions.jsonl``. It holds the raw texts, so that every metric can be computed again without a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Decision


@dataclass(frozen=True, slots=True)
class Output:
    """The texts of one step as the roles wrote them.

    Args:
        plan: The planner's text with its ``Next:``.
        call: The caller's text, or None if it was not asked.
        answer: The summarizer's text, or None if it was not asked.
    """

    plan: str
    call: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of all model calls made for one step or task; 0 where a model does not say."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Add two counts."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
        )

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any] | None) -> Usage:
        """Read the ``usage_metadata`` of a LangChain message."""
        metadata = metadata or {}
        cached = (metadata.get("input_token_details") or {}).get("cache_read") or 0
        return cls(metadata.get("input_tokens", 0), cached, metadata.get("output_tokens", 0))


@dataclass(frozen=True, slots=True)
class Prediction:
    """One step, predicted from the reference history.

    Args:
        key: ``example/turn.step``, counted from 0; unique in a run.
        example: Id of the trajectory.
        source: Where the trajectory came from.
        step: Position in its turn, counted from 0.
        prompt_chars: Length of the planner's prompt in characters, tool descriptions included.
        instruction: What the user asked in this turn.
        observation: The last observation before the step, cut; ``""`` if there is none.
        offered: Names of the tools on offer.
        decision: The decision that is right.
        reference: What is right; `call` and `answer` are None where the data has none.
        predicted: The pipeline: caller and summarizer go on from the planner's own text.
        isolated: Caller and summarizer go on from the reference plan; None if that was not asked for.
        usage: Of all calls made for this step.
        overflowed: Some prompt did not fit the model's window; its output counts as empty.
    """

    key: str
    example: str
    source: str
    step: int
    prompt_chars: int
    instruction: str
    observation: str
    offered: tuple[str, ...]
    decision: Decision
    reference: Output
    predicted: Output
    isolated: Output | None = None
    usage: Usage = Usage()
    overflowed: bool = False

    def to_row(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Prediction:
        """Read one line of ``predictions.jsonl``.

        Raises:
            TrajectoryError: If it is none.
        """
        try:
            return _adapter().validate_python(row)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise TrajectoryError(
                f"Not a line of predictions.jsonl ({where}: {first['msg']}); evaluate into a new folder."
            ) from error


@cache
def _adapter() -> TypeAdapter[Prediction]:
    return TypeAdapter(Prediction)
