"""From a trajectory to one call of a chat model.

A model that was trained for the roles (`role_aware = True` on its class) gets the role messages it was trained on, and
the tools as they are. Any other LangChain chat model is used 0-shot: the same facts as a system message, the earlier
turns, and one human message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, ChatMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.runnables import RunnableBinding

from alpha_umi.nodes.format.escaping import Style, escape
from alpha_umi.nodes.format.render import render_messages
from alpha_umi.nodes.format.response import ResponseFormat
from alpha_umi.nodes.format.trajectory import Role, Trajectory
from alpha_umi.nodes.format.zero_shot import render_zero_shot
from alpha_umi.tools.spec import ToolSpec

RETRY_TEMPERATURE = 0.7
_FORM = "The answer has to be one JSON object that fits this JSON Schema, and nothing else:"
RoleModel: TypeAlias = BaseChatModel | Sequence[BaseChatModel]
"""A role's model, or several: the next one is asked where one fails, or is unsure and `unsure` says to escalate."""


class PromptSize(NamedTuple):
    """Tokens of a prompt, and the most that a prompt may have, None where nobody knows."""

    n_tokens: int
    limit_tokens: int | None


class RoleAwareChatModel(BaseChatModel):
    """A chat model that takes role messages, and as keyword arguments ``role`` and ``tools``.

    Args:
        style: Of the role messages it is sent; that of the weights' chat template.
    """

    role_aware: ClassVar[bool] = True

    style: Style = "umi"

    def measure(self, request: RoleRequest) -> PromptSize:
        """Return the size of a prompt; may load the model."""
        return _estimate(self, request)

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """Return what traces show of a call, in plain JSON."""
        params = super()._get_invocation_params(stop, **kwargs)
        if tools := params.get("tools"):
            params["tools"] = [_describe_as_openai(tool) for tool in tools]
        return params


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
    logprobs: bool = False,
    response_format: ResponseFormat | None = None,
) -> RoleRequest:
    """Return the call that asks `model` to play `role` on `trajectory`.

    Args:
        model: A role-aware model or any LangChain chat model.
        role: Whose output is wanted.
        trajectory: Everything so far; its last turn is the one to continue.
        temperature: Sampling temperature, 0 for greedy. A model that is not role-aware keeps its own setting at 0, and
            where it is known to refuse one.
        retry: The planner's last output had no decision: sample, or ask more clearly, so that it is not repeated.
        hint: Said for this one call and nowhere else. It comes after everything that calls have in common, so that a
            prefix cache serves the call as well as any other; the model samples, so that it can follow.
        found: Further tools that may be called; the trajectory's observations document them.
        logprobs: Ask a server for the probabilities of the tokens.
        response_format: What the text is held to: by a grammar, or by what the model has for it.
    """
    asked: dict[str, Any] = {"logprobs": True} if logprobs and "logprobs" in type(model).model_fields else {}
    if is_role_aware(model):
        if retry or hint:
            temperature = max(temperature, RETRY_TEMPERATURE)
        style: Style = getattr(model, "style", "umi")
        messages: list[BaseMessage] = [*render_messages(trajectory, style=style)]
        if hint:
            content = escape(hint, style=style)
            messages.append(ChatMessage(role="user", content=content, additional_kwargs={"hint": True}))
        tools = [*trajectory.tools, *found]
        if response_format:
            asked["response_format"] = response_format.request
        asked |= _constrain(model, role, tools)
        return RoleRequest(messages, {"role": role, "tools": tools, "temperature": temperature, **asked})
    takes_temperature = "temperature" in type(model).model_fields and (model.profile or {}).get("temperature", True)
    kwargs = {"temperature": temperature} if temperature > 0 and takes_temperature else {}
    asked |= _constrain(model, role, [*trajectory.tools, *found])
    if response_format:
        is_ours = isinstance(model, RoleAwareChatModel)
        asked |= {"response_format": response_format.request} if is_ours else hold_to(model, response_format)
        hint = f"{_FORM}\n{json.dumps(response_format.schema, ensure_ascii=False)}"
    return RoleRequest(render_zero_shot(role, trajectory, retry=retry, hint=hint), {**kwargs, **asked})


def _constrain(model: BaseChatModel, role: Role, tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """Return the arguments by which a model of a server is held to the grammar of a role."""
    constrain: Callable[..., dict[str, Any]] | None = getattr(model, "constrain", None)
    return constrain(role, tools) if constrain else {}


def measure_prompt(model: BaseChatModel, request: RoleRequest) -> PromptSize:
    """Return the size of a prompt: exact for weights in this process, else by LangChain's estimate and profiles."""
    return model.measure(request) if isinstance(model, RoleAwareChatModel) else _estimate(model, request)


def _estimate(model: BaseChatModel, request: RoleRequest) -> PromptSize:
    return PromptSize(count_tokens_approximately(request.messages), (model.profile or {}).get("max_input_tokens"))


def hold_to(model: BaseChatModel, response_format: ResponseFormat) -> dict[str, Any]:
    """Return the arguments by which LangChain holds calls of a model to a schema, none if it has no way."""
    try:
        bound = getattr(model.with_structured_output(dict(response_format.schema)), "first", None)
    except Exception:  # of another package; the schema is in the prompt, and the answer is checked
        return {}
    return dict(bound.kwargs) if isinstance(bound, RunnableBinding) else {}


def is_role_aware(model: BaseChatModel) -> bool:
    """Tell whether a model takes role messages and the keyword arguments ``role`` and ``tools``."""
    return bool(getattr(model, "role_aware", False))
