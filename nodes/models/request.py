"""From a trajectory to one call of a chat model.

A model that was trained for the roles (`role_aware = True` on its class) gets the role messages it was trained on, and
the tools as they are. Any other LangChain chat model is used 0-shot: the same facts as a system message, the earlier
turns, and one human message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import indent
from typing import Any, ClassVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage

from alpha_umi.nodes.format.escaping import Style, escape, escape_json
from alpha_umi.nodes.format.render import render_messages
from alpha_umi.nodes.format.trajectory import Role, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec

RETRY_TEMPERATURE = 0.7

_INSTRUCTIONS: dict[Role, str] = {
    "planner": (
        "You are the planner of a team that solves the user's task step by step with tools. Plan the next step only: "
        "say in one to three sentences what is known, what is missing, and which tool to call with which values. Never "
        "write the tool call or the answer yourself; others do. End with exactly one of these three lines:\n"
        "Next: caller.      (a tool has to be called)\n"
        "Next: conclusion.  (the task can be answered now)\n"
        "Next: give up.     (the task cannot be solved with these tools)"
    ),
    "caller": (
        "You are the caller of a team that solves the user's task step by step with tools. Turn the last plan into one "
        "tool call. Write exactly these two lines and nothing else:\n"
        "Action: <name of one of the tools>\n"
        "Action Input: <its arguments as one JSON object on one line>"
    ),
    "summarizer": (
        "You are the summarizer of a team that solves the user's task step by step with tools. Answer the user from "
        "the observations. Write the answer only, without mentioning the team, the plans or the tools."
    ),
}
_QUESTIONS: dict[Role, str] = {
    "planner": "Write the next plan.",
    "caller": "Write the tool call for the last plan.",
    "summarizer": "Write the answer.",
}
_RETRY = "Your last plan was of no use because it did not end with a 'Next:' line. End with one of the three lines."


class RoleAwareChatModel(BaseChatModel):
    """A chat model that takes role messages, and as keyword arguments ``role`` and ``tools``.

    Args:
        style: Of the role messages it is sent; that of the weights' chat template.
    """

    role_aware: ClassVar[bool] = True

    style: Style = "umi"

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """Return what traces show of a call, in plain JSON."""
        params = super()._get_invocation_params(stop, **kwargs)
        return params | {"tools": [_describe_as_openai(tool) for tool in params.get("tools") or ()]}


def _describe_as_openai(tool: ToolSpec | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a tool as `ToolSpec.to_openai` does, without copying its schema: this is done at every call."""
    if not isinstance(tool, ToolSpec):
        return tool
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


@dataclass(frozen=True)
class RoleRequest:
    """What one chat model call is made of: ``model.invoke(request.messages, config, **request.kwargs)``."""

    messages: list[BaseMessage]
    kwargs: dict[str, Any] = field(default_factory=dict)


def make_request(
    model: BaseChatModel,
    role: Role,
    trajectory: Trajectory,
    *,
    temperature: float,
    retry: bool = False,
    hint: str = "",
    found: Sequence[ToolSpec] = (),
) -> RoleRequest:
    """Return the call that asks `model` to play `role` on `trajectory`.

    Args:
        model: A role-aware model or any LangChain chat model.
        role: Whose output is wanted.
        trajectory: Everything so far; its last turn is the one to go on with.
        temperature: Sampling temperature, 0 for greedy. A model that is not role-aware keeps its own setting at 0, and
            where it is known to refuse one.
        retry: The planner's last output had no decision: sample, or ask more clearly, so that it is not repeated.
        hint: Said for this one call and nowhere else. It comes after everything that calls have in common, so that a
            prefix cache serves the call as well as any other; the model samples, so that it can follow.
        found: Further tools that may be called; the trajectory's observations document them.
    """
    if is_role_aware(model):
        if retry or hint:
            temperature = max(temperature, RETRY_TEMPERATURE)
        style: Style = getattr(model, "style", "umi")
        messages: list[BaseMessage] = [*render_messages(trajectory, style=style)]
        if hint:
            content = escape(hint, style=style)
            messages.append(ChatMessage(role="user", content=content, additional_kwargs={"hint": True}))
        return RoleRequest(messages, {"role": role, "tools": [*trajectory.tools, *found], "temperature": temperature})
    takes_temperature = "temperature" in type(model).model_fields and (model.profile or {}).get("temperature", True)
    kwargs = {"temperature": temperature} if temperature > 0 and takes_temperature else {}
    return RoleRequest(_make_zero_shot_messages(role, trajectory, retry=retry, hint=hint), kwargs)


def is_role_aware(model: BaseChatModel) -> bool:
    """Tell whether a model takes role messages and the keyword arguments ``role`` and ``tools``."""
    return bool(getattr(model, "role_aware", False))


def _make_zero_shot_messages(role: Role, trajectory: Trajectory, *, retry: bool, hint: str) -> list[BaseMessage]:
    """Return system, human, ai, …, human: what every chat model and chat template takes."""
    system = [trajectory.system, _INSTRUCTIONS[role], *([_RETRY] if retry and role == "planner" else [])]
    if role != "summarizer":
        system.append(_describe_tools(trajectory.tools))
    messages: list[BaseMessage] = [SystemMessage(escape("\n\n".join(filter(None, system))))]
    *earlier, current = trajectory.turns
    for turn in earlier:
        messages += [HumanMessage(escape(turn.instruction)), AIMessage(escape(_describe_outcome(turn)))]
    log = [_describe_step(step) for step in current.steps]
    parts = [current.instruction, *(["Done so far:", *log] if log else []), *([hint] if hint else []), _QUESTIONS[role]]
    # Many a server puts the text into its template as it is.
    return [*messages, HumanMessage(escape("\n\n".join(parts)))]


def _describe_tools(tools: tuple[ToolSpec, ...]) -> str:
    lines = [
        escape_json(json.dumps({"name": spec.name, "description": spec.description, "parameters": spec.parameters}))
        for spec in tools
    ]
    return "\n".join(["Tools:", *(lines or ["(none)"])])


def _describe_outcome(turn: Turn) -> str:
    """Say how an earlier turn ended; never empty, which some servers refuse."""
    texts = [turn.steps[-1].answer, turn.steps[-1].rationale] if turn.steps else []
    return next((text for text in texts if text and text.strip()), "(no answer)")


def _describe_step(step: Step) -> str:
    """Write one step as text; indented, so that a tool's output cannot pose as a plan or another observation."""
    lines = ["Plan:", indent(f"{step.rationale}\nNext: {step.decision}.".lstrip(), "  ")]
    for call in step.calls:
        arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
        lines += ["Call:", indent(f"Action: {call.name}\nAction Input: {arguments}", "  ")]
        if call.observation is not None:
            lines += ["Observation:", indent(call.observation.text or "(empty)", "  ")]
    return "\n".join(lines)
