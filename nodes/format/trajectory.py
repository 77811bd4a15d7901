"""The one representation of what an agent did: tools, turns, steps.

A `Trajectory` converts losslessly to and from LangChain messages (the graph's state, a LangSmith trace) and to and from
plain JSON rows (the training file). Nothing here knows about prompts or tokens; see `alpha_umi.nodes.format.render`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import count
from typing import Any, Literal, TypeAlias, get_args

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call
from pydantic import TypeAdapter, ValidationError

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.reasoning import is_apart, split_reasoning
from alpha_umi.tools.observation import to_plain
from alpha_umi.tools.spec import ToolSpec

Role: TypeAlias = Literal["planner", "caller", "summarizer"]
Decision: TypeAlias = Literal["caller", "conclusion", "give up"]
ROLES: tuple[Role, ...] = get_args(Role)
DECISIONS: tuple[Decision, ...] = get_args(Decision)


@dataclass(frozen=True, slots=True)
class Observation:
    """What came back from a tool, as the model reads it."""

    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call of the caller.

    Args:
        id: Links the call to its observation; unique within the trajectory.
        name: Tool name as written, ``""`` if the caller wrote none.
        arguments: Parsed arguments, or the raw text where they did not parse.
        observation: Present once the tool has answered.
    """

    id: str
    name: str
    arguments: dict[str, Any] | str
    observation: Observation | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One decision of the planner and what followed from it; with `weight` 0 it is read, but not trained."""

    rationale: str
    decision: Decision
    calls: tuple[Call, ...] = ()
    answer: str | None = None
    weight: Literal[0, 1] = 1

    def __post_init__(self) -> None:
        """Keep the order that a LangChain message can express: parsed calls, then unparsable ones."""
        parsed = [isinstance(call.arguments, dict) for call in self.calls]
        if parsed != sorted(parsed, reverse=True):
            raise TrajectoryError("In one step, calls whose arguments do not parse must come after those that do.")


@dataclass(frozen=True, slots=True)
class Turn:
    """One user instruction and the steps taken for it."""

    instruction: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Tools and turns of one thread; the last turn may be unfinished.

    Raises:
        TrajectoryError: By the conversions, where the input is not a trajectory.
    """

    tools: tuple[ToolSpec, ...]
    turns: tuple[Turn, ...]
    system: str = ""

    @property
    def end(self) -> Step | None:
        """The last step of the last turn."""
        steps = self.turns[-1].steps if self.turns else ()
        return steps[-1] if steps else None

    @property
    def answer(self) -> str | None:
        """What the last turn ended with; None if the agent gave up or never came to an answer."""
        return self.end.answer if self.end and self.end.decision == "conclusion" else None

    @property
    def gave_up(self) -> bool:
        """Whether the agent said that it cannot do it."""
        return self.end is not None and self.end.decision == "give up"

    def to_messages(self) -> list[AnyMessage]:
        """Return the LangChain messages of this trajectory (tools are not part of them)."""
        messages: list[AnyMessage] = [SystemMessage(self.system)] if self.system else []
        for turn in self.turns:
            messages.append(HumanMessage(turn.instruction))
            for step in turn.steps:
                messages.append(make_message(step))
                messages += [make_observation_message(call) for call in step.calls if call.observation is not None]
        return messages

    @classmethod
    def from_messages(
        cls, messages: Iterable[BaseMessage | Mapping[str, Any]], tools: Sequence[ToolSpec] = ()
    ) -> Trajectory:
        """Read a transcript, ours or that of any LangChain agent, also as the JSON of a server or a LangSmith trace.

        Foreign AI messages are read as: tool calls → `caller` (the text is the rationale), otherwise `conclusion`. What
        a reasoning model thought is left out. What came before the first human message is told in its turn. A result
        goes to the call of its id or, where ids are missing or equal, of its name, in the order of the calls. What
        tools were offered, messages do not say.
        """
        reader = _Reader()
        for message in messages:
            with _blame(message):
                reader.add(message if isinstance(message, BaseMessage) else _message_adapter().validate_python(message))
        return cls(tuple(tools), reader.finish(), "\n\n".join(reader.system))

    @classmethod
    def from_history(
        cls, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec] = (), *, last_given: str | None = None
    ) -> Trajectory:
        """Read what an agent is to continue: its own steps for the last human message of those that it was given.

        What other agents wrote after that message, and results of calls that were trimmed away, are told in the turn.

        Args:
            messages: Those that were given, then the agent's own.
            tools: Those on offer.
            last_given: Id of the last message that was given; None if no other message than a human one can be it.
        """
        humans = [i for i, message in enumerate(messages) if isinstance(message, HumanMessage)]
        asked = humans[-1] if humans else len(messages)
        n_given = next((i + 1 for i, message in enumerate(messages) if message.id == last_given is not None), asked + 1)
        reader = _Reader(is_trimmed=True)
        for i, message in enumerate(messages):
            with _blame(message):
                reader.tell(message) if asked < i < n_given else reader.add(message)
        return cls(tuple(tools), reader.finish(), "\n\n".join(reader.system))

    def to_row(self) -> dict[str, Any]:
        """Return plain JSON types, as one line of `trajectories.jsonl`."""
        row = asdict(self)
        for tool in row["tools"]:  # how a call is run is nothing that a model learns
            del tool["effects"], tool["source"], tool["own_name"]
        for step in (step for turn in row["turns"] for step in turn["steps"]):
            if step["weight"]:
                del step["weight"]
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Trajectory:
        """Validate one row of `trajectories.jsonl`; the error names the field that is wrong."""
        try:
            return _row_adapter().validate_python(row)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "row"
            raise TrajectoryError(f"{where}: {first['msg']}") from error


def parse_steps(messages: Sequence[BaseMessage]) -> tuple[Step, ...]:
    """Read the messages that follow one human message."""
    return Trajectory.from_messages([HumanMessage(""), *messages]).turns[0].steps


@cache
def _message_adapter() -> TypeAdapter[AnyMessage]:
    return TypeAdapter(AnyMessage)


@cache
def _row_adapter() -> TypeAdapter[Trajectory]:
    return TypeAdapter(Trajectory)


def make_message(step: Step) -> AIMessage:
    """Put one step into one AI message: reasoning block, text block (the answer alone), tool calls.

    Example:
        >>> make_message(Step("I add.", "caller", (Call("1", "add", {"a": 1}),))).tool_calls
        [{'name': 'add', 'args': {'a': 1}, 'id': '1', 'type': 'tool_call'}]
    """
    content: list[str | dict[str, Any]] = []
    if step.rationale:
        content.append({"type": "reasoning", "reasoning": step.rationale})
    if step.answer is not None:
        content.append({"type": "text", "text": step.answer})
    calls, invalid = [], []
    for call in step.calls:
        if isinstance(call.arguments, str):
            error = "The arguments are not a JSON object."
            invalid.append(invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error=error))
        else:
            calls.append(tool_call(name=call.name, args=call.arguments, id=call.id))
    extra: dict[str, Any] = {"decision": step.decision} | ({} if step.weight else {"weight": 0})
    return AIMessage(content=content, tool_calls=calls, invalid_tool_calls=invalid, additional_kwargs=extra)


def make_observation_message(call: Call) -> ToolMessage:
    """Return the tool message of an answered call."""
    observation = call.observation or Observation("")
    status: Literal["error", "success"] = "error" if observation.is_error else "success"
    return ToolMessage(observation.text, tool_call_id=call.id, name=call.name, status=status)


def parse_message(message: AIMessage) -> Step:
    """Read one AI message as one step; the inverse of `make_message` for our own messages."""
    calls = [Call(call["id"] or "", call["name"], dict(call["args"])) for call in message.tool_calls]
    calls += [Call(bad["id"] or "", bad["name"] or "", bad["args"] or "") for bad in message.invalid_tool_calls]
    decision = message.additional_kwargs.get("decision")
    weight: Literal[0, 1] = 0 if message.additional_kwargs.get("weight") == 0 else 1
    if decision not in DECISIONS:
        return replace(_parse_foreign(message, tuple(calls)), weight=weight)
    # not `content_blocks`, which costs ten times as much and is asked for at every step of a run
    blocks = [block for block in message.content if isinstance(block, dict)]
    thoughts = [block["reasoning"] for block in blocks if block["type"] == "reasoning"]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    return Step("\n".join(thoughts), decision, tuple(calls), "".join(texts) if texts else None, weight)


def _parse_foreign(message: AIMessage, calls: tuple[Call, ...]) -> Step:
    said = split_reasoning(read_text(message))[1]
    calls = tuple(replace(call, arguments=to_plain(call.arguments)) for call in calls)  # code has written them, maybe
    return Step(said, "caller", calls) if calls else Step("", "conclusion", (), said)


def read_text(message: BaseMessage) -> str:
    """Return the text of a message; what else it holds, such as an image, is named, but for data, which are written."""
    if isinstance(message.content, str):
        return message.content
    shown = [part for part in message.content if not (isinstance(message, AIMessage) and is_apart(part))]
    parts = [{"text": part} if isinstance(part, str) else part for part in shown]
    return ("" if all("text" in part for part in parts) else "\n").join(map(_read_part, parts))


def _read_part(part: Mapping[str, Any]) -> str:
    if "type" not in part and "text" not in part:
        return json.dumps(part, ensure_ascii=False, default=str)
    return str(part.get("text", part.get("refusal", f"({part.get('type')}, not shown)")) or "")


def to_standard(message: BaseMessage) -> BaseMessage:
    """Return a message of a role by name, or of a function, as they were before tools, in the class that it means."""
    if not isinstance(message, ChatMessage | FunctionMessage):
        return message
    kind = _CLASSES.get(message.role.lower()) if isinstance(message, ChatMessage) else ToolMessage
    kept: dict[str, Any] = {name: getattr(message, name) for name in ("content", "id", "name", "additional_kwargs")}
    return message if kind is None else kind(**kept, **({"tool_call_id": ""} if kind is ToolMessage else {}))


_CLASSES: Mapping[str, type[BaseMessage]] = {
    **dict.fromkeys(("user", "human"), HumanMessage),
    **dict.fromkeys(("assistant", "ai", "model"), AIMessage),
    **dict.fromkeys(("system", "developer"), SystemMessage),
    **dict.fromkeys(("tool", "function"), ToolMessage),
}


class _Reader:
    """Makes turns of messages, one after the other.

    Args:
        is_trimmed: Results may have lost their calls; they are told then.
    """

    def __init__(self, *, is_trimmed: bool = False) -> None:
        self.system: list[str] = []
        self._turns: list[Turn] = []
        self._told: list[str] = []
        self._is_trimmed = is_trimmed
        self._written_ids: dict[str, str] = {}

    def finish(self) -> tuple[Turn, ...]:
        if self._told:
            raise TrajectoryError("There is no human message; start with one.")
        return tuple(self._turns)

    def add(self, message: BaseMessage) -> None:
        """Add a message to the texts of the system, or to the turns."""
        message = to_standard(message)
        if isinstance(message, SystemMessage):
            self.system.append(read_text(message))
        elif isinstance(message, HumanMessage):
            self._turns.append(Turn("\n\n".join([*self._told, read_text(message)])))
            self._told = []
        elif not isinstance(message, AIMessage | ToolMessage):
            raise TrajectoryError(
                f"A {message.type!r} message is no part of a trajectory; use system, human, ai and tool messages."
            )
        elif not self._turns:
            self.tell(message)
        elif isinstance(message, AIMessage):
            step = parse_message(message)
            self._replace(steps=(*self._turns[-1].steps, replace(step, calls=tuple(map(self._number, step.calls)))))
        else:
            self._attach(message)

    def tell(self, message: BaseMessage) -> None:
        """Say in the turn what a message says that is no part of it."""
        message = to_standard(message)
        if not isinstance(message, AIMessage | ToolMessage):
            self.add(message)
        elif not (text := _describe(message)):
            return
        elif self._turns:
            self._replace(instruction=f"{self._turns[-1].instruction}\n\n{text}")
        else:
            self._told.append(text)

    def _replace(self, **changes: Any) -> None:
        self._turns[-1] = replace(self._turns[-1], **changes)

    def _number(self, call: Call) -> Call:
        """Give a call an id of its own where it has none, or that of another call."""
        ids = (f"call_{n}" for n in count(1))
        id_ = (
            call.id
            if call.id and call.id not in self._written_ids
            else next(i for i in ids if i not in self._written_ids)
        )
        self._written_ids[id_] = call.id
        return replace(call, id=id_)

    def _attach(self, message: ToolMessage) -> None:
        """Hand a result to the open call that it answers, of the newest step that has one."""
        found = self._find_call(message)
        if found is None and self._is_trimmed:
            self.tell(message)
        elif found is None:
            raise TrajectoryError(
                f"The tool message for call {message.tool_call_id!r} answers no call of this turn that is open; "
                "keep every AI message together with the tool messages that answer it, one for each call."
            )
        else:
            observation = Observation(read_text(message), message.status == "error")
            steps = tuple(
                replace(step, calls=tuple(replace(c, observation=observation) if c is found else c for c in step.calls))
                for step in self._turns[-1].steps
            )
            self._replace(steps=steps)

    def _find_call(self, message: ToolMessage) -> Call | None:
        steps = self._turns[-1].steps
        waiting = [call for step in reversed(steps) for call in step.calls if call.observation is None]
        written = {call.id: self._written_ids[call.id] for call in waiting}
        same_id = [call for call in waiting if message.tool_call_id and written[call.id] == message.tool_call_id]
        no_id = [call for call in waiting if not message.tool_call_id or not written[call.id]]
        same_name = [call for call in same_id or no_id if call.name == message.name]
        return next(iter(same_name or same_id or ([] if message.name else no_id)), None)


def _describe(message: AIMessage | ToolMessage) -> str:
    if isinstance(message, ToolMessage):
        return f"[{message.name or 'A tool'} returned: {read_text(message)}]"
    step, who = parse_message(message), message.name or "The assistant"
    said = step.rationale if step.answer is None else step.answer
    lines = [f"{who} said: {said}"] if said.strip() else []
    lines += [f"{who} called {call.name} with {json.dumps(call.arguments, ensure_ascii=False)}" for call in step.calls]
    return "\n".join(f"[{line}]" for line in lines)


@contextmanager
def _blame(message: object) -> Iterator[None]:
    try:
        yield
    except TrajectoryError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:  # content blocks of other forms
        raise TrajectoryError(
            f"Not a message: {str(message)[:80]!r}; pass LangChain messages or their dumps."
        ) from error
