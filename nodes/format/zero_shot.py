"""A trajectory as the messages of a chat model that was not trained for the roles.

The same facts as in `alpha_umi.nodes.format.render`: a system message with instructions and tools, the earlier turns,
and one human message with everything that was done in the present one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any

from jinja2 import TemplateError
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.encoding import FastTokenizer
from alpha_umi.nodes.format.escaping import escape, escape_json
from alpha_umi.nodes.format.render import encode_messages
from alpha_umi.nodes.format.trajectory import Role, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec

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
_ROLES = {"human": "user", "ai": "assistant"}
_RETRY = "Your last plan was of no use because it did not end with a 'Next:' line. End with one of the three lines."


def render_zero_shot(role: Role, trajectory: Trajectory, *, retry: bool, hint: str) -> list[BaseMessage]:
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


def as_chat_message(message: BaseMessage) -> ChatMessage:
    """Return a message under the name that chat templates have for its role."""
    role = str(getattr(message, "role", _ROLES.get(message.type, message.type)))
    return ChatMessage(role=role, content=str(message.text))


def encode_chat(messages: Sequence[ChatMessage], tokenizer: FastTokenizer, template: str) -> list[int]:
    """Return the prompt that a model's own chat template makes of a conversation, (T,).

    Where the template knows no system role, its text comes before the user's first one. Models that may think are
    asked not to.

    Raises:
        ConfigError: If the template takes no such conversation.
    """
    rows: list[Mapping[str, Any]] = [{"role": each.role, "content": str(each.text)} for each in messages]
    for said in (rows, join_system(rows)):
        chat = [ChatMessage(role=row["role"], content=row["content"]) for row in said]
        try:
            return encode_messages(chat, tokenizer, template, add_generation_prompt=True, enable_thinking=False)
        except (TemplateError, TypeError) as error:
            refusal = error
    raise ConfigError(f"The model's chat template takes no such conversation: {refusal}. Use another model.")


def join_system(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    r"""Put the texts of system messages before the first message of the user.

    Example:
        >>> join_system([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
        [{'role': 'user', 'content': 'Be brief.\n\nHi'}]
    """
    told = [str(message["content"]) for message in messages if message["role"] in ("system", "developer")]
    others = [message for message in messages if message["role"] not in ("system", "developer")]
    first = next((i for i, message in enumerate(others) if message["role"] == "user"), 0)
    head: Mapping[str, Any] = others[first] if others else {"role": "user", "content": ""}
    joined = {**head, "content": "\n\n".join(filter(None, [*told, str(head["content"])]))}
    return [*others[:first], joined, *others[first + 1 :]]


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
