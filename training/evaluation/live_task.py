"""What a live suite asks, and what comes back: the words that suites, runner and judge share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool

from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.evaluation.tasks import Outcome

Check: TypeAlias = Callable[[Trajectory], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class LiveTask:
    """One query of a live suite.

    Args:
        group: Query file or suite it belongs to; tasks of one group are reported together.
        query_id: Unique in its group.
        query: What the user says.
        make_tools: Returns the tools for one run of the task; recorded tools count which answers were given.
        check: Scores a finished run exactly, by metric; None where only a judge can tell.
    """

    group: str
    query_id: str
    query: str
    make_tools: Callable[[], Sequence[BaseTool]]
    check: Check | None = None

    @property
    def key(self) -> str:
        """Its name in result files, unique in the suite."""
        return f"{self.group}/{self.query_id}"


@dataclass(frozen=True, slots=True)
class LiveOutcome(Outcome):
    """What the agent did with one query.

    Args:
        reason: Why there is no proper answer, as the graph says it.
        tree: The whole search as an answer file of ToolBench, if the strategy is one.
    """

    reason: str | None = None
    tree: Mapping[str, Any] | None = None


Run: TypeAlias = Callable[[LiveTask], LiveOutcome]
