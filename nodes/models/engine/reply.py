"""One call, answered: messages to prompt, tokens to text, text to message chunks.

Runs in an engine's thread and imports torch; `alpha_umi.nodes.models.local` is the way in.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from langchain_core.messages import AIMessageChunk, BaseMessage, ChatMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from alpha_umi.errors import ConfigError, InputError
from alpha_umi.nodes.format.escaping import Style
from alpha_umi.nodes.format.parsing import parse_calls
from alpha_umi.nodes.format.render import fit_messages, render_messages, template_kwargs
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.decode import Text, TextStream, Writing, make_sampler, open_text, write_tokens
from alpha_umi.nodes.models.engine.grammar import Grammar, caller_grammar, planner_grammar
from alpha_umi.nodes.models.local import Call
from alpha_umi.tools.spec import ToolSpec


def write_reply(
    call: Call, backbone: Backbone, emit: Callable[[ChatGenerationChunk], None], cancelled: threading.Event
) -> Writing:
    """Hand on the text piece by piece and last an empty chunk with usage and the reason of the end.

    Args:
        call: What to answer.
        backbone: The model.
        emit: Is handed the chunks.
        cancelled: Set when nobody reads on.

    Raises:
        ConfigError: If adapter, template or `max_tokens` do not fit the model.
        ContextOverflow: If the prompt does not fit the window.
    """
    input_ids = _make_prompt(call, backbone)
    grammar = _make_grammar(call)
    mask = backbone.grammars.make_mask(grammar, call.max_tokens) if grammar else None
    stream = TextStream(backbone.tokenizer, call.stop)
    pieces: list[str] = []

    def hand_on(piece: str) -> None:
        if piece:
            pieces.append(piece)
            emit(ChatGenerationChunk(message=AIMessageChunk(content=piece)))

    def accept(token: int) -> bool:
        hand_on(stream.feed(token))
        return not stream.stopped

    with open_text(backbone, backbone.find_adapter(call.adapter, call.role), input_ids) as text:
        yield from write_tokens(
            text,
            cancelled,
            sampler=make_sampler(call.temperature, call.top_p, call.seed),
            max_new_tokens=call.max_tokens,
            eos_ids=backbone.eos_ids,
            constraint=mask,
            accept=accept,
            lookup=call.prompt_lookup,
        )
    hand_on(stream.flush())
    is_complete = stream.stopped or (mask is not None and mask.finished) or text.ids[-1] in backbone.eos_ids
    emit(_make_last_chunk(call, "".join(pieces), text, "stop" if is_complete else "length"))


def _make_last_chunk(call: Call, written: str, text: Text, finish_reason: str) -> ChatGenerationChunk:
    n_output = len(text.ids) - text.n_prompt
    message = AIMessageChunk(
        content="",
        tool_call_chunks=_make_tool_calls(written) if call.wants_tool_calls else [],
        usage_metadata=UsageMetadata(
            input_tokens=text.n_prompt,
            output_tokens=n_output,
            total_tokens=len(text.ids),
            input_token_details=InputTokenDetails(cache_read=text.n_reused),
        ),
        response_metadata={
            "model_name": call.model_name,
            "finish_reason": finish_reason,
            "prefilled_tokens": text.n_prompt - text.n_reused,
            "cache_evictions": text.n_evicted,
        },
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message)


def _make_tool_calls(text: str) -> list[ToolCallChunk]:
    """Return the caller's text as any LangChain agent wants it; what does not parse becomes an invalid call."""
    return [
        tool_call_chunk(
            name=parsed.name,
            args=parsed.arguments if isinstance(parsed.arguments, str) else json.dumps(parsed.arguments),
            id=f"call_{uuid4().hex}",
            index=i,
        )
        for i, parsed in enumerate(parse_calls(text))
    ]


def _make_prompt(call: Call, backbone: Backbone) -> list[int]:
    limit_tokens = backbone.window_tokens - call.max_tokens
    if limit_tokens < 1:
        raise ConfigError(
            f"max_tokens={call.max_tokens} leaves no room for a prompt in the model's window of "
            f"{backbone.window_tokens} tokens; choose a smaller one."
        )
    tools = [ToolSpec.from_openai(tool) for tool in call.tools]
    encode = partial(
        backbone.encode,
        template=backbone.find_template(call.style, call.adapter),
        arguments=template_kwargs(call.role, tools),
    )
    messages = _read_messages(call.messages, tools, call.style)
    return encode(fit_messages(messages, lambda fitted: len(encode(fitted)), limit_tokens))


def _read_messages(messages: tuple[BaseMessage, ...], tools: list[ToolSpec], style: Style) -> list[ChatMessage]:
    """Take role messages as they are and anything else as a trajectory."""
    if not messages:
        raise InputError("There are no messages to answer; pass at least one.")
    role_messages = [message for message in messages if isinstance(message, ChatMessage)]
    if len(role_messages) == len(messages):
        return role_messages
    return render_messages(Trajectory.from_messages(messages, tools), style=style)


def _make_grammar(call: Call) -> Grammar | None:
    if not call.constrained or call.role == "summarizer":
        return None
    if call.role == "caller":
        return caller_grammar(call.tools)
    names = [tool["function"]["name"] for tool in call.tools] if call.guard_names else []
    return planner_grammar(call.max_rationale_tokens, names)
