"""The agent inside other LangChain apps: as a node of another graph, as a tool, and in an LCEL pipe.

`agent.as_tool()` of LangGraph needs a flat input and cannot be used on a graph over messages; `as_tool` here can.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeGuard

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import ensure_config, get_config_list
from langchain_core.tools import StructuredTool
from langgraph.channels import LastValue
from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot, StateUpdate
from pydantic import BaseModel, ConfigDict, TypeAdapter

from alpha_umi.errors import InputError
from alpha_umi.nodes.approval import name_decisions
from alpha_umi.nodes.durability.claims import aclaim_run, claim_run
from alpha_umi.nodes.entry import read_context
from alpha_umi.nodes.format.response import ResponseFormat
from alpha_umi.nodes.redaction import Door, read_originals, show_state
from alpha_umi.nodes.state import UmiContext, UmiInput, UmiOutput, UmiState
from alpha_umi.tools.pii import Redaction
from alpha_umi.tools.toolbox import Toolbox

_READ, _SCRATCHPAD = "__pregel_read", "__pregel_scratchpad"
"""Of LangGraph's private constants; they name where a node finds the channels of its graph, and the counts of its task.
"""
_OUTPUT = UmiOutput.__required_keys__  # LangGraph streams all of the state to a graph around
_PROBE = HumanMessage("", id="1")
_DESCRIPTION = "Answers a question by planning and calling tools. Give it one complete question in plain words."


class UmiAgent(CompiledStateGraph[UmiState, UmiContext, UmiInput, UmiOutput]):
    """The compiled agent. As a node it leaves alone the keys of the graph around that mean something else."""

    def __init__(
        self,
        *,
        toolbox: Toolbox,
        remake: Callable[[Toolbox], UmiAgent],
        response_format: ResponseFormat | None = None,
        redaction: Redaction | None = None,
        **fields: Any,
    ) -> None:
        """Take the fields of a compiled graph, and what it was made of.

        Args:
            toolbox: Its tools.
            remake: Makes the same agent with other tools, which run unasked, and without a checkpointer.
            response_format: What its answers have to be.
            redaction: What its models must not see.
            fields: Those of LangGraph.
        """
        super().__init__(**fields)
        self.toolbox = toolbox
        self.remake = remake
        self.response_format = response_format
        self.redaction = redaction

    @classmethod
    def from_graph(
        cls,
        graph: CompiledStateGraph[UmiState, UmiContext, UmiInput, UmiOutput],
        toolbox: Toolbox,
        remake: Callable[[Toolbox], UmiAgent],
        response_format: ResponseFormat | None = None,
        redaction: Redaction | None = None,
    ) -> UmiAgent:
        """Make the agent of a compiled graph, as LangGraph copies one."""
        fields = {name: value for name, value in vars(graph).items() if name != "__orig_class__"}
        return cls(toolbox=toolbox, remake=remake, response_format=response_format, redaction=redaction, **fields)

    def __copy__(self) -> UmiAgent:
        """Return a copy, as `copy` of LangGraph does."""
        return self.copy()

    def __deepcopy__(self, _: object) -> UmiAgent:
        """Return a copy that shares models, tools and threads, which hold locks and connections."""
        return self.copy()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "An agent holds models, locks and connections and cannot be pickled: pass what it is made of, and call "
            "create_umi_agent in the other process."
        )

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Do what LangGraph does; `invoke` calls this too."""
        channels = _find_channels(config)
        with claim_run(self.checkpointer, config):
            if config and self.checkpointer and _is_answer(input):
                input = _name(input, self.get_state(config))
            known = super().get_state(ensure_config(config)) if self._redacts_thread(config) else None
            taken, config, door = self._open(input, config, known)
            parts = super().stream(_keep(taken, kwargs.get("context")), config, **kwargs)
            with closing(parts):  # type: ignore[type-var]  # typed as an iterator
                for part in parts:
                    for shown in door.show(part) if door else (part,):
                        yield _fit(self._build(shown), channels, input)
            yield from door.flush() if door else ()

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Do what LangGraph does; `ainvoke` calls this too."""
        channels = _find_channels(config)
        async with aclaim_run(self.checkpointer, config):
            if config and self.checkpointer and _is_answer(input):
                input = _name(input, await self.aget_state(config))
            known = await super().aget_state(ensure_config(config)) if self._redacts_thread(config) else None
            taken, config, door = self._open(input, config, known)
            parts = super().astream(_keep(taken, kwargs.get("context")), config, **kwargs)
            async with aclosing(parts):  # type: ignore[type-var]
                async for part in parts:
                    for shown in door.show(part) if door else (part,):
                        yield _fit(self._build(shown), channels, input)
            for shown in door.flush() if door else ():
                yield shown

    def _redacts_thread(self, config: RunnableConfig | None) -> bool:
        given = ensure_config(config).get("configurable", {})
        return bool(
            self.redaction and "thread_id" in given and (self.checkpointer or given.get(CONFIG_KEY_CHECKPOINTER))
        )

    def _open(
        self, given: Any, config: RunnableConfig | None, known: StateSnapshot | None
    ) -> tuple[Any, RunnableConfig | None, Door | None]:
        """Conceal what a run is given; the door shows what comes of it."""
        if self.redaction is None:
            return given, config, None
        door = Door(self.redaction, read_originals(known.values) if known else {})
        return door.take(given), door.mark(config), door

    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Do what LangGraph does."""
        return show_state(super().get_state(config, subgraphs=subgraphs))

    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Do what LangGraph does."""
        return show_state(await super().aget_state(config, subgraphs=subgraphs))

    def get_state_history(self, config: RunnableConfig, **kwargs: Any) -> Iterator[StateSnapshot]:
        """Do what LangGraph does."""
        return map(show_state, super().get_state_history(config, **kwargs))

    async def aget_state_history(self, config: RunnableConfig, **kwargs: Any) -> AsyncIterator[StateSnapshot]:
        """Do what LangGraph does."""
        async for snapshot in super().aget_state_history(config, **kwargs):
            yield show_state(snapshot)

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]) -> RunnableConfig:
        """Do what LangGraph does; `update_state` calls this too."""
        if self.redaction:
            door = Door(self.redaction, read_originals(super().get_state(config).values))
            supersteps = [[door.take(update) for update in step] for step in supersteps]
        return super().bulk_update_state(config, supersteps)

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """Do what LangGraph does; `aupdate_state` calls this too."""
        if self.redaction:
            door = Door(self.redaction, read_originals((await super().aget_state(config)).values))
            supersteps = [[door.take(update) for update in step] for step in supersteps]
        return await super().abulk_update_state(config, supersteps)

    def _build(self, part: Any) -> Any:
        """Put what the response format makes of the answer into the values in a part of a stream."""
        if self.response_format is None:
            return part
        if isinstance(part, tuple) and part[-2:-1] == ("values",):
            return (*part[:-1], self._build(part[-1]))
        if not isinstance(part, dict):
            return part
        if part.get("type") == "values" and "data" in part:
            return {**part, "data": self._build(part["data"])}
        values = part.get("structured_response")
        return {**part, "structured_response": self.response_format.build(values)} if values is not None else part

    def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        """Do what LangChain does."""
        return super().batch(inputs, _number(config, len(inputs)), **kwargs)

    async def abatch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        """Do what LangChain does."""
        return await super().abatch(inputs, _number(config, len(inputs)), **kwargs)


def _keep(given: Any, context: Any) -> Any:
    """Put a run's settings into its input, so that every checkpoint knows them; LangGraph keeps no context."""
    return {**given, "settings": read_context(context)} if isinstance(given, Mapping) else given


def _is_answer(given: Any) -> TypeGuard[Command[Any]]:
    return isinstance(given, Command) and given.resume is not None


def _name(given: Command[Any], state: StateSnapshot) -> Command[Any]:
    """Say which calls a person's answer is about."""
    return replace(given, resume=name_decisions(given.resume, state.interrupts))


def _number(config: RunnableConfig | Sequence[RunnableConfig] | None, n_runs: int) -> list[RunnableConfig]:
    """Number the runs of a batch in a node of another graph; as they begin, in any order, LangGraph would.

    The number is part of the name of a run's checkpoints: resumed, each must find its own.
    """
    configs = get_config_list(config, n_runs)
    for each in configs:
        if pad := each["configurable"].get(_SCRATCHPAD):
            numbered = replace(pad, subgraph_counter=partial(int, pad.subgraph_counter()))
            each["configurable"] = {**each["configurable"], _SCRATCHPAD: numbered}
    return configs


class _Values(dict[str, Any]):
    """All values of the agent; those that a graph around takes of them are the items, as which it reads an update."""

    def __init__(self, values: Mapping[str, Any], channels: Mapping[str, Any], given: Any) -> None:
        super().__init__(values)
        self._channels = channels
        self._given = given

    def items(self) -> Any:
        channels, is_checked = self._channels, isinstance(self._given, BaseModel)
        fitting = {
            name: value
            for name, value in super().items()
            if name == "messages" or (name in _OUTPUT and _takes(channels.get(name), value, is_checked=is_checked))
        }
        if "messages" in fitting and _repeats(channels.get("messages")):
            known = self._given["messages"] if isinstance(self._given, Mapping) else self._given.messages
            fitting["messages"] = fitting["messages"][len(convert_to_messages(known)) :]
        return fitting.items()


def _find_channels(config: RunnableConfig | None) -> Mapping[str, Any]:
    """Return the channels of the graph around, where the agent runs in one of its nodes."""
    read = ensure_config(config).get("configurable", {}).get(_READ)
    return next((each for each in getattr(read, "args", ()) if isinstance(each, Mapping)), {})


def _fit(part: Any, channels: Mapping[str, Any], given: Any) -> Any:
    """Let a graph around take of the values in a part of a stream what it can."""
    if isinstance(part, tuple) and part[-2:-1] == ("values",):
        return (*part[:-1], _fit(part[-1], channels, given))
    return _Values(part, channels, given) if channels and isinstance(part, dict) and "messages" in part else part


def _takes(channel: Any, value: Any, *, is_checked: bool) -> bool:
    """Say whether a key is for such values; LangGraph checks states of pydantic only, whose input is a model."""
    if value is None and not is_checked and isinstance(channel, LastValue):
        return True
    try:
        TypeAdapter(channel.ValueType, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(
            value, strict=True
        )
    except Exception:  # a type may be anything
        return False
    return True


def _repeats(channel: Any) -> bool:
    """Say whether a reducer of messages adds those that it knows once more."""
    try:
        return len(channel.operator([_PROBE], [_PROBE])) > 1
    except Exception:  # there is none, or it is foreign code for something else
        return False


def as_tool(agent: UmiAgent, *, name: str = "alpha_umi", description: str = _DESCRIPTION) -> StructuredTool:
    """Offer the agent to another agent: query in, answer out.

    Args:
        agent: The compiled agent.
        name: Tool name as the other agent sees it.
        description: Tells the other agent when to use it.
    """
    runnable = as_runnable(agent)

    def ask(query: str) -> str:
        return runnable.invoke(query).text

    async def ask_async(query: str) -> str:
        return (await runnable.ainvoke(query)).text

    return StructuredTool.from_function(ask, ask_async, name=name, description=description)


def as_runnable(agent: UmiAgent) -> Runnable[LanguageModelInput, AIMessage]:
    """Give the agent the interface of a chat model, for LCEL pipes between a prompt and a parser.

    The message's `text` is the answer, or why there is none; `response_metadata` holds `finish`, `reason` and
    `structured_response`, and `usage_metadata` the tokens of the whole turn.

    Raises:
        InputError: At a call, if a person has to decide on a tool call first, which a pipe cannot ask.
    """
    values = agent.copy(update={"stream_mode": "values", "output_channels": [*_OUTPUT, "usage"]})
    return RunnableLambda(_make_input) | values | RunnableLambda(_read_output)


def _make_input(value: LanguageModelInput) -> UmiInput:
    messages: Any = value.to_messages() if isinstance(value, PromptValue) else value
    return {"messages": messages}


def list_asked(state: Mapping[str, Any]) -> str:
    """Return the names of the tools whose calls a person has to decide on before the agent goes on."""
    questions = state.get("__interrupt__", ())
    return ", ".join(action["name"] for question in questions for action in question.value["action_requests"])


def _read_output(state: dict[str, Any]) -> AIMessage:
    """Make one message of the final state; streamed states without an end give an empty one."""
    if names := list_asked(state):
        raise InputError(
            f"The agent waits for a person's decision on calls of {names}, whom a pipe cannot ask. Invoke the agent "
            "itself and resume it with Command(resume=…), or let such calls run by its approvals."
        )
    finish, reason = state.get("finish"), state.get("reason")
    text = state.get("answer") or (f"No answer: {reason}" if finish else "")
    return AIMessage(
        text,
        response_metadata={name: state.get(name) for name in ("finish", "reason", "structured_response")},
        usage_metadata=state.get("usage"),
    )
