"""One call, answered: messages to prompt, tokens to text, text to message chunks.

Runs in an engine's thread and imports torch; `alpha_umi.nodes.models.hf` is the way in.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

from langchain_core.messages import AIMessageChunk, BaseMessage, ChatMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from alpha_umi.errors import ConfigError, InputError
from alpha_umi.nodes.escaping import Style
from alpha_umi.nodes.models.backbone import Backbone
from alpha_umi.nodes.models.decode import TextStream, generate_tokens, make_sampler
from alpha_umi.nodes.models.grammar import Grammar, caller_grammar, planner_grammar
from alpha_umi.nodes.models.hf import Call
from alpha_umi.nodes.models.reuse import open_prefix
from alpha_umi.nodes.parsing import parse_calls
from alpha_umi.nodes.render import fit_messages, render_messages, template_kwargs
from alpha_umi.nodes.trajectory import Trajectory
from alpha_umi.tools.spec import ToolSpec


def write_reply(call: Call, backbone: Backbone, cancelled: threading.Event) -> Iterator[ChatGenerationChunk]:
    """Yield the text piece by piece and last an empty chunk with usage and the reason of the end.

    Args:
        call: What to answer.
        backbone: The model; nothing else may use it meanwhile.
        cancelled: Once set, the reply ends where it stands.

    Raises:
        ConfigError: If adapter, template or `max_tokens` do not fit the model.
        ContextOverflow: If the prompt does not fit the window.
    """
    input_ids = _make_prompt(call, backbone)
    grammar = _make_grammar(call)
    mask = backbone.grammars.make_mask(grammar, call.max_tokens) if grammar else None
    text = TextStream(backbone.tokenizer, call.stop)
    pieces: list[str] = []
    adapter = backbone.find_adapter(call.adapter, call.role)
    with open_prefix(backbone, adapter, input_ids, cancelled) as prefix, backbone.use(adapter) as model:
        output_ids = prefix.new_ids
        for token in generate_tokens(
            model,
            input_ids,
            sampler=make_sampler(call.temperature, call.top_p, call.seed),
            max_new_tokens=call.max_tokens,
            eos_ids=backbone.eos_ids,
            constraint=mask,
            cancelled=cancelled,
            past=prefix.past,
        ):
            output_ids.append(token)
            if piece := text.feed(token):
                pieces.append(piece)
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if text.stopped:
                break
    if piece := text.flush():
        pieces.append(piece)
        yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
    is_complete = text.stopped or (mask is not None and mask.finished) or not backbone.eos_ids.isdisjoint(output_ids)
    yield _make_last_chunk(
        call,
        "".join(pieces) if call.wants_tool_calls else "",
        UsageMetadata(
            input_tokens=len(input_ids),
            output_tokens=len(output_ids),
            total_tokens=len(input_ids) + len(output_ids),
            input_token_details=InputTokenDetails(cache_read=prefix.n_reused_tokens),
        ),
        "stop" if is_complete else "cancelled" if cancelled.is_set() else "length",
    )


def _make_last_chunk(call: Call, text: str, usage: UsageMetadata, finish_reason: str) -> ChatGenerationChunk:
    message = AIMessageChunk(
        content="",
        tool_call_chunks=_make_tool_calls(text) if call.wants_tool_calls else [],
        usage_metadata=usage,
        response_metadata={"model_name": call.model_name, "finish_reason": finish_reason},
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
    return caller_grammar(call.tools) if call.role == "caller" else planner_grammar(call.max_rationale_tokens)
