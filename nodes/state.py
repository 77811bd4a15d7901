"""The graph's state and its three views: input, output and context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langgraph.graph.message import add_messages
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypedDict

from alpha_umi.nodes.approval import ApprovalDecision, ApprovalRule
from alpha_umi.nodes.format.trajectory import Decision

Finish: TypeAlias = Literal["answer", "give up", "step limit", "no progress", "search limit"]
Strategy: TypeAlias = Literal["react", "dfsdt"]
NodeStatus: TypeAlias = Literal["open", "failed", "gave up", "answer"]
Messages: TypeAlias = Annotated[list[AnyMessage], add_messages]


class SearchSettings(BaseModel):
    """How the agent searches for an answer, and what it takes for no progress; None turns a limit off."""

    model_config = ConfigDict(extra="forbid")

    strategy: Strategy = Field(
        default="react", description="react: one chain of steps. dfsdt: a tree of them, depth first."
    )
    max_restarts: int = Field(default=0, ge=0, le=20, description="react: how often to start afresh after giving up.")
    beam_width: int = Field(default=2, ge=1, le=10, description="dfsdt: different plans to try from one point.")
    max_queries: int = Field(default=60, ge=4, le=10_000, description="dfsdt: model calls one question may take.")
    repeat_limit: int | None = Field(
        default=2, ge=2, description="The same call this often in one chain is no progress."
    )
    failure_limit: int | None = Field(default=3, ge=1, description="As many failing calls in a row are no progress.")


class Unsure(BaseModel):
    """What to do with a plan that its planner thinks too improbable.

    The probability is that of the decision and of the tool that is named, as the model's logits or a server's
    ``logprobs`` have it; a plan for which nobody knows it counts as sure.
    """

    model_config = ConfigDict(extra="forbid")

    below: float = Field(gt=0.0, le=1.0, description="Probability below which the planner is unsure.")
    then: Literal["ask", "escalate", "give up"] = Field(
        description="ask: a person, before the call runs. escalate: the planner's next model makes this plan. give up."
    )


class History(BaseModel):
    """What becomes of a thread's old turns before they fill a model's window; the state keeps all messages.

    As for LangChain's `SummarizationMiddleware`: where a prompt grows over `trigger`, whole oldest turns leave it until
    it has no more than `keep`. Up to 1 these are parts of the window that a prompt has, above 1 tokens. Where a model's
    window is not known, parts count only once it refuses a prompt as too long.
    """

    model_config = ConfigDict(extra="forbid")

    then: Literal["drop", "summarize"] = Field(
        default="drop",
        description="drop: prompts no longer hold old turns. summarize: they hold a summary, by the summarizer.",
    )
    trigger: float = Field(
        default=0.8, gt=0.0, description="Longest prompt with old turns: up to 1 part of the window, else tokens."
    )
    keep: float = Field(default=0.4, gt=0.0, description="What a prompt then keeps, counted like trigger.")

    def count(self, limit_tokens: int | None) -> tuple[int | None, int | None]:
        """Return `trigger` and `keep` in tokens; None where it takes the longest prompt that a model takes to say."""
        trigger, keep = (_count(bound, limit_tokens) for bound in (self.trigger, self.keep))
        return trigger, keep if trigger is None or keep is None else min(trigger, keep)


def _count(bound: float, limit_tokens: int | None) -> int | None:
    if bound > 1:
        return int(bound) if limit_tokens is None else min(int(bound), limit_tokens)
    return None if limit_tokens is None else int(bound * limit_tokens)


class UmiContext(SearchSettings):
    """What a caller, or an assistant in Studio, may set for a run."""

    max_steps: int = Field(
        default=8,
        ge=1,
        le=100,
        description="Tool-calling steps of one chain; after them react concludes and dfsdt turns back.",
    )
    approve_tools: bool | list[ApprovalRule] = Field(
        default=False,
        description="Ask a person before any tool runs, beside what the agent itself asks about; or rules, of which "
        "those that ask win. A call for which none holds is asked about.",
    )
    interrupt_mode: Literal["batched", "per_call"] = Field(
        default="batched",
        description="batched: one question about all calls of a step. per_call: a question about each, in their order.",
    )
    temperature: float = Field(default=0.0, ge=0.0, le=2.0, description="0 decodes greedily; above 0 samples.")
    unsure: Unsure | None = Field(default=None, description="What to do with a plan that its planner is unsure of.")
    history: History | None = Field(
        default=History(), description="What becomes of old turns before they fill the window; None: nothing."
    )


class UmiInput(TypedDict):
    """What the graph takes."""

    messages: Messages


class RunInput(UmiInput):
    """The input with what `UmiAgent` adds: the run's settings, and values that are redacted; no schema shows them."""

    settings: NotRequired[SkipJsonSchema[dict[str, Any]]]
    originals: NotRequired[SkipJsonSchema[dict[str, SecretStr]]]


class UmiOutput(TypedDict):
    """What the graph returns: the transcript, the answer, how the turn ended and why.

    `structured_response` is the answer in the response format, None without one. A checkpoint holds it as JSON.
    """

    messages: Messages
    answer: str | None
    finish: Finish | None
    reason: str | None
    structured_response: Any


class Shortened(TypedDict):
    """What prompts hold of a long thread: from the human message with this id on, and a summary of what was before."""

    start: str
    summary: str | None


class Stall(TypedDict):
    """What the no-progress guard noticed in this turn, and at which step the planner was told."""

    reason: str
    told_at_step: int


class Review(TypedDict):
    """What the gate knows of a call: the digest that it is about, what can be decided, empty if it may run, and why."""

    id: str
    allow: list[ApprovalDecision]
    is_asked: bool
    reason: NotRequired[str]


class Gate(TypedDict):
    """The reviews of the newest step by call id, digests of what was rejected in this turn, an answer's fault."""

    reviews: dict[str, Review]
    rejected: list[str]
    fault: str | None


class Outcome(TypedDict):
    """What came out of a call that ran."""

    text: str
    is_error: bool


def add_outcomes(known: dict[str, Outcome], new: dict[str, Outcome]) -> dict[str, Outcome]:
    """Add what calls that ran at the same time gave; an empty dictionary begins a turn."""
    return {**known, **new} if new else {}


def add_originals(known: dict[str, SecretStr], new: dict[str, SecretStr]) -> dict[str, SecretStr]:
    """Add what texts stand for that were written at the same time."""
    return {**known, **new}


class TreeNode(TypedDict):
    """One node.

    `step` is the JSON form of a `Step`, None for the root. `status` is ``open`` where plans may still start from,
    ``gave up`` where the planner saw no way on, ``failed`` for every other dead end; `reason` says why. `ids` are those
    of its messages: of the plan at ``""``, of each result at the id of its call.
    """

    id: int
    parent: int | None
    depth: int
    step: dict[str, Any] | None
    status: NodeStatus
    reason: str | None
    usage: dict[str, Any] | None
    ids: NotRequired[dict[str, str]]


class Tree(TypedDict):
    """All nodes, the one that the search is at, and whether it has stopped looking for further ones."""

    nodes: list[TreeNode]
    cursor: int
    is_exhausted: bool


class UmiState(UmiOutput):
    """Everything a checkpoint holds; plain JSON types and messages only.

    `settings` is the run's `UmiContext`, copied at entry: a thread that is resumed without its context keeps its gate.
    `last_given` is the id of the last message that the run was given; what follows it is the turn's own.
    `plan_id` is the id that a plan takes whose first attempt had no decision; both are streamed under it.
    `n_queries` counts the model calls of the turn, `usage` sums up their tokens.
    `tree` is that of the last search, None for a turn of react.
    `ran` holds what calls that must not run twice gave in this turn, by their digests, also calls of chains that were
    given up.
    `shortened` says which old turns prompts no longer hold, None as long as they hold all.
    `offered` names the tools that the system message documents, None for all; see
    `alpha_umi.nodes.role.tool_selection`.
    `originals` holds the values that redaction has replaced in this thread, by the texts in their place.
    """

    settings: dict[str, Any]
    last_given: str | None
    decision: Decision | None
    n_steps: int
    n_bad_plans: int
    plan_id: str | None
    n_queries: int
    usage: UsageMetadata | None
    n_restarts: int
    stall: Stall | None
    tree: Tree | None
    shortened: Shortened | None
    offered: list[str] | None
    gate: Gate
    ran: Annotated[dict[str, Outcome], add_outcomes]
    originals: Annotated[dict[str, SecretStr], add_originals]


def list_turn(state: UmiState) -> Sequence[AnyMessage]:
    """Return the messages that the present turn has added to those that it was given."""
    messages = state["messages"]
    last_given = state.get("last_given")  # threads of before there was one end with a human message
    starts = [i + 1 for i, message in enumerate(messages) if message.id == last_given is not None]
    asked = [i + 1 for i, message in enumerate(messages) if isinstance(message, HumanMessage)]
    return messages[max([*starts, *asked], default=0) :]


class ToolTask(TypedDict):
    """What one `Send` carries to the tools node: one call, whether a person decided on it, and whether it is alone."""

    name: str
    arguments: dict[str, Any]
    id: str
    approve: NotRequired[bool]
    is_alone: NotRequired[bool]
