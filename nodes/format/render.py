"""A trajectory as role messages, and the chat template that turns these into a prompt.

The same messages and the same template file serve training, in-process generation and a remote server, and training and
in-process generation get their token ids from the same `encode_messages`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Literal, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from langchain_core.messages import ChatMessage

from alpha_umi.errors import ContextOverflow
from alpha_umi.nodes.format.encoding import FastTokenizer, Part, encode_parts
from alpha_umi.nodes.format.escaping import Style, escape, escape_json
from alpha_umi.nodes.format.history import SUMMARY_QUESTION
from alpha_umi.nodes.format.tool_docs import render_tools
from alpha_umi.nodes.format.trajectory import Call, Decision, Role, Step, Trajectory
from alpha_umi.tools.spec import ToolSpec

STUB = "[observation removed to fit the context window]"
BATCH_SIZE = 4

_UMI_SYSTEM = """Three roles solve the user's task in turns.
planner: think about the next step, then end with "Next: caller." to use a tool, "Next: conclusion." to answer the \
user, or "Next: give up."
caller: write the tool call of this step as "Action: " and the tool's name, then on a new line "Action Input: " and \
one JSON object.
summarizer: write the answer for the user.

Tools, one JSON object per line:
"""


def render_messages(trajectory: Trajectory, *, style: Style = "umi", repeat_names: bool = False) -> list[ChatMessage]:
    """Return the role messages of a trajectory, safe to be put into a prompt in a style of chat template.

    Roles: ``system`` (the tools), ``user``, ``planner``, ``caller``, ``observation``, ``summarizer``. An unfinished
    last step is left unfinished, so that the next role can be prompted with the result. With `repeat_names` the line of
    a tool ends with its name once more.
    """
    messages = _render_system(trajectory, style, repeat_names)
    for turn in trajectory.turns:
        messages.append(ChatMessage(role="user", content=escape(turn.instruction, style=style)))
        for step in turn.steps:
            messages += _render_step(step, style)
    return messages


def list_said(messages: Iterable[ChatMessage]) -> list[str]:
    """Return the texts of role messages that come from the user or from tools, without descriptions of tools.

    A summary of old turns stands for what they said.
    """
    said, question = [], ""
    for message in messages:
        if message.role == "system":
            text, roles, _ = str(message.content).partition(_UMI_SYSTEM)
            said += [text.strip()] if roles and text.strip() else []
        elif message.role in ("user", "observation"):
            said.append(str(message.content))
            question = str(message.content) if message.role == "user" else question
        elif message.role == "summarizer" and question == SUMMARY_QUESTION:
            said.append(str(message.content))
    return said


def render_plan(rationale: str, decision: Decision, *, style: Style = "umi") -> str:
    """Return what the planner writes; `alpha_umi.nodes.format.parsing.parse_plan` reads it back.

    Source: for the paper's styles, GLPFT/process_data/toolbench/prepro_raw_stage_2.py, whose ``Next`` follows a newline
    and a space.
    """
    gap = "\n" if style == "umi" else "\n "
    rationale = escape(rationale.strip(), style=style)
    return f"{rationale}{gap}Next: {decision}." if rationale else f"{gap[1:]}Next: {decision}."


def render_calls(calls: Sequence[Call], *, style: Style = "umi") -> str:
    """Return what the caller writes; `alpha_umi.nodes.format.parsing.parse_calls` reads it back.

    Arguments that never parsed are repeated as written.
    """
    return "\n".join(_render_call(call, style) for call in calls)


def _render_system(trajectory: Trajectory, style: Style, repeat_names: bool) -> list[ChatMessage]:
    docs = render_tools(trajectory.tools, style=style, repeat_names=repeat_names)
    if style == "umi":
        text = f"{escape(trajectory.system)}\n\n" if trajectory.system else ""
        return [ChatMessage(role="system", content=f"{text}{_UMI_SYSTEM}{docs or 'none'}")]
    messages = [ChatMessage(role="system", content=docs)] if docs else []
    if trajectory.system:
        # The paper's prompts have no place for a system text, but its data has several user turns in a row.
        messages.append(ChatMessage(role="user", content=escape(trajectory.system, style=style)))
    return messages


def _render_step(step: Step, style: Style) -> list[ChatMessage]:
    messages = [ChatMessage(role="planner", content=render_plan(step.rationale, step.decision, style=style))]
    if step.calls:
        messages.append(ChatMessage(role="caller", content=render_calls(step.calls, style=style)))
    answered = [i for i, call in enumerate(step.calls) if call.observation is not None]
    for call in step.calls[: max(answered, default=-1) + 1]:
        text = "[no observation]" if call.observation is None else call.observation.text
        messages.append(ChatMessage(role="observation", content=escape(text, style=style)))
    if step.decision == "conclusion" and step.answer is not None:
        messages.append(ChatMessage(role="summarizer", content=escape(step.answer.strip(), style=style)))
    if not step.weight:
        messages = [message.model_copy(update={"additional_kwargs": {"weight": 0}}) for message in messages]
    return messages


def _render_call(call: Call, style: Style) -> str:
    name = escape(call.name, style=style)
    if isinstance(call.arguments, str):
        raw = escape(call.arguments.strip(), style=style)
        return f"Action: {name}\nAction Input: {raw}" if call.name else raw
    if style == "umi":
        text = json.dumps(call.arguments, ensure_ascii=False, separators=(",", ":"))
    else:
        text = json.dumps(call.arguments, ensure_ascii=False, indent=2)
    return f"Action: {name}\nAction Input: {escape_json(text, style=style)}"


def template_kwargs(role: Role, tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """Return what a chat template needs in addition to the messages; plain JSON, fit for ``chat_template_kwargs``."""
    return {"role": role, "tool_names": [tool.name for tool in tools]}


@cache
def load_template(style: Style | Literal["single", "repeat_names"]) -> str:
    """Return the Jinja chat template of a style, or of the paper's Single-LLM, to be stored in a tokenizer.

    ``repeat_names`` stands before one of them where a server is to do what `render_messages` does of that name.
    """
    return (files("alpha_umi.nodes.format") / "templates" / f"{style}.jinja").read_text(encoding="utf-8")


@lru_cache(maxsize=8)
def _compile(template: str) -> Template:
    """Return a chat template with what transformers gives to it."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    environment.filters["tojson"] = _to_json  # jinja2's own writes for HTML
    return environment.from_string(template)


class _Generation(Extension):
    """Transformers' tag around what a model writes; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def encode_messages(
    messages: Sequence[ChatMessage], tokenizer: FastTokenizer, template: str, **arguments: Any
) -> list[int]:
    """Return the token ids that a chat template (as text, with its arguments) makes of role messages, (T,).

    A whole sequence takes no arguments. The tokenizer is a fast one, whose own chat template is not used. What is no
    part of the template gives no control token; if the template changes texts, only what is escaped does not.
    """
    texts = [*(str(message.text) for message in messages), *arguments.get("tool_names", ())]

    def write(contents: Sequence[str]) -> str:
        rows = [{"role": message.role, "content": text} for message, text in zip(messages, contents, strict=False)]
        named = {"tool_names": contents[len(messages) :]} if "tool_names" in arguments else {}
        given = {"messages": rows, "add_generation_prompt": False, **tokenizer.special_tokens_map}
        return _compile(template).render(given | arguments | named)

    marks = [f"\ue000{i}\ue001" for i in range(len(texts))]
    pieces = re.split("\ue000(\\d+)\ue001", write(marks))  # the template's, and between them the numbers of texts
    parts = [Part(texts[int(piece)]) if i % 2 else Part(piece, is_own=True) for i, piece in enumerate(pieces)]
    whole = write(texts)
    if "".join(part.text for part in parts) != whole:
        parts = [Part(whole, is_own=True)]
    return [token.id for token in encode_parts(parts, tokenizer)]


def encode_prompt(
    messages: Sequence[ChatMessage],
    tokenizer: FastTokenizer,
    template: str,
    role: Role,
    tools: Sequence[ToolSpec],
) -> list[int]:
    """Return the prompt that asks a role for its next turn, (T,); arguments as for `encode_messages`."""
    return encode_messages(messages, tokenizer, template, add_generation_prompt=True, **template_kwargs(role, tools))


def fit_messages(
    messages: Sequence[ChatMessage], count_tokens: Callable[[list[ChatMessage]], int], limit_tokens: int
) -> list[ChatMessage]:
    """Replace whole oldest observations by a stub until the prompt fits.

    They go in batches of `BATCH_SIZE`, so that the prompt's prefix, and with it a KV cache, changes rarely. The system
    message, the instructions and everything from the last planner message on are never touched.

    Raises:
        ContextOverflow: If the prompt is too long even without the old observations.
    """
    last_planner = max((i for i, message in enumerate(messages) if message.role == "planner"), default=0)
    old = [
        i
        for i, message in enumerate(messages[:last_planner])
        if message.role == "observation" and len(message.content) > len(STUB)
    ]

    def cut(n_batches: int) -> list[ChatMessage]:
        removed = set(old[: n_batches * BATCH_SIZE])
        stub = ChatMessage(role="observation", content=STUB)
        return [stub if i in removed else message for i, message in enumerate(messages)]

    if count_tokens(list(messages)) <= limit_tokens:
        return list(messages)
    low, high = 1, -(-len(old) // BATCH_SIZE)
    shortest = cut(high)
    if (excess := count_tokens(shortest) - limit_tokens) > 0:
        raise ContextOverflow(
            f"The prompt is {excess} tokens over the limit of {limit_tokens}, even without its old observations. "
            "Offer fewer tools, shorten the instruction, cut observations shorter, or use a model with a larger window."
        )
    while low < high:
        middle = (low + high) // 2
        if count_tokens(cut(middle)) <= limit_tokens:
            high = middle
        else:
            low = middle + 1
    return cut(high)
