"""The graph's state and its three views: input, output and context."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from alpha_umi.nodes.trajectory import Decision

Finish: TypeAlias = Literal["answer", "give up", "step limit"]
Messages: TypeAlias = Annotated[list[AnyMessage], add_messages]


class UmiContext(BaseModel):
    """What a caller, or an assistant in Studio, may set for a run."""

    model_config = ConfigDict(extra="forbid")

    max_steps: int = Field(default=8, ge=1, le=100, description="Tool-calling steps before the agent must conclude.")
    approve_tools: bool = Field(default=False, description="Ask a person before any tool runs.")
    temperature: float = Field(default=0.0, ge=0.0, le=2.0, description="0 decodes greedily; above 0 samples.")
    strategy: Literal["react"] = Field(default="react", description="How the agent searches for an answer.")


class UmiInput(TypedDict):
    """What the graph takes."""

    messages: Messages


class UmiOutput(TypedDict):
    """What the graph returns beside the transcript."""

    messages: Messages
    answer: str | None
    finish: Finish | None
    reason: str | None


class UmiState(UmiOutput):
    """Everything a checkpoint holds; plain JSON types and messages only.

    `settings` is the run's `UmiContext`, copied at entry: a thread that is resumed without its context keeps its gate.
    """

    settings: dict[str, Any]
    decision: Decision | None
    n_steps: int
    n_bad_plans: int


class ToolTask(TypedDict):
    """What one `Send` carries to the tools node: one call."""

    name: str
    arguments: dict[str, Any]
    id: str
