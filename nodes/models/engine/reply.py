"""One request, answered: messages to prompt, tokens to text, text to message chunks.

Runs in a backbone's thread. Imports torch.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from uuid import uuid4

from langchain_core.messages import AIMessageChunk, ChatMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from alpha_umi.errors import ConfigError, InputError
from alpha_umi.nodes.format.certainty import CERTAINTY, measure_certainty
from alpha_umi.nodes.format.parsing import parse_calls
from alpha_umi.nodes.format.render import (
    encode_messages,
    encode_prompt,
    fit_messages,
    list_said,
    render_messages,
    template_kwargs,
)
from alpha_umi.nodes.format.tool_docs import render_tool
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.nodes.format.zero_shot import as_chat_message, encode_chat
from alpha_umi.nodes.models.engine import GenerationRequest
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.copying import find_next_part
from alpha_umi.nodes.models.engine.decode import (
    Decoding,
    TextStream,
    TokenSequence,
    decode_tokens,
    make_sampler,
    open_sequence,
)
from alpha_umi.nodes.models.engine.grammar import Grammar, answer_grammar, caller_grammar, planner_grammar
from alpha_umi.nodes.models.engine.prefix_cache import count_common
from alpha_umi.nodes.models.engine.spans import Adapter
from alpha_umi.tools.spec import ToolSpec


def generate_reply(
    request: GenerationRequest,
    backbone: Backbone,
    emit: Callable[[ChatGenerationChunk], None],
    cancelled: threading.Event,
) -> Decoding:
    """Emit the text bit by bit, and last an empty chunk with usage and the reason of the end.

    Raises:
        ConfigError: If adapter, template or `max_tokens` do not fit the model.
        ContextOverflow: If the prompt does not fit the window.
    """
    messages = _read_messages(request, backbone)
    input_ids = _make_prompt(request, backbone, messages)
    grammar = _make_grammar(request, backbone, messages)
    mask = backbone.grammars.make_mask(grammar, request.max_tokens) if grammar else None
    stream = TextStream(backbone.tokenizer, request.stop)
    written: list[str] = []

    def emit_text(text: str) -> None:
        if text:
            written.append(text)
            emit(ChatGenerationChunk(message=AIMessageChunk(content=text)))

    def accept(token: int) -> bool:
        emit_text(stream.feed(token))
        return not stream.stopped

    adapter = backbone.find_adapter(request.adapter, request.role)
    opening = _find_opening(request, backbone, messages, input_ids, adapter)
    backbone.recall(opening)
    with open_sequence(backbone, adapter, input_ids) as sequence:
        yield from decode_tokens(
            sequence,
            cancelled,
            sampler=make_sampler(request.temperature, request.top_p, request.seed),
            max_new_tokens=request.max_tokens,
            eos_ids=backbone.eos_ids,
            constraint=mask,
            accept=accept,
            prompt_lookup=request.prompt_lookup,
        )
    emit_text(stream.flush())
    is_complete = stream.stopped or (mask is not None and mask.finished) or sequence.ids[-1] in backbone.eos_ids
    last = _make_last_chunk(request, "".join(written), sequence, "stop" if is_complete else "length")
    if mask and request.role == "planner":
        names = [tool.name for tool in request.tools]
        last.message.response_metadata[CERTAINTY] = measure_certainty(mask.list_written(), names)
    emit(last)
    backbone.retain(opening)


def _find_opening(
    request: GenerationRequest,
    backbone: Backbone,
    messages: Sequence[ChatMessage],
    input_ids: Sequence[int],
    adapter: Adapter | None,
) -> Sequence[int]:
    """Return what prompts about other questions begin with as well: the instruction and the tools, no word of the user.

    It is empty where the backbone keeps none, or computes it with an adapter.
    """
    is_kept = backbone.keeps_openings and not request.is_general
    if not is_kept or messages[0].role != "system" or (adapter and not adapter.invocation_tokens):
        return ()
    template = backbone.find_template(request.style, request.adapter)
    kwargs = template_kwargs(request.role, request.tools)
    ids = encode_messages(messages[:1], backbone.tokenizer, template, add_generation_prompt=False, **kwargs)
    return input_ids[: count_common(ids, input_ids)]


def _make_last_chunk(
    request: GenerationRequest, text: str, sequence: TokenSequence, finish_reason: str
) -> ChatGenerationChunk:
    message = AIMessageChunk(
        content="",
        tool_call_chunks=_make_tool_calls(text) if request.wants_tool_calls else [],
        usage_metadata=UsageMetadata(
            input_tokens=sequence.n_prompt,
            output_tokens=len(sequence.ids) - sequence.n_prompt,
            total_tokens=len(sequence.ids),
            input_token_details=InputTokenDetails(cache_read=sequence.n_cached),
        ),
        response_metadata={
            "model_name": request.model_name,
            "finish_reason": finish_reason,
            "prefilled_tokens": sequence.n_prompt - sequence.n_cached,
            "cache_evictions": sequence.n_evicted,
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


def measure_prompt(request: GenerationRequest, backbone: Backbone) -> tuple[int, int]:
    """Return how many tokens a prompt has before anything is cut, and how many it may have.

    Raises:
        ConfigError: As for `generate_reply`.
    """
    n_tokens = len(_make_encode(request, backbone)(_read_messages(request, backbone)))
    return n_tokens, _get_limit_tokens(request, backbone)


def _make_prompt(request: GenerationRequest, backbone: Backbone, messages: list[ChatMessage]) -> list[int]:
    limit_tokens, encode = _get_limit_tokens(request, backbone), _make_encode(request, backbone)
    return encode(fit_messages(messages, lambda fitted: len(encode(fitted)), limit_tokens))


def _get_limit_tokens(request: GenerationRequest, backbone: Backbone) -> int:
    limit_tokens = backbone.window_tokens - request.max_tokens
    if limit_tokens < 1:
        raise ConfigError(
            f"max_tokens={request.max_tokens} leaves no room for a prompt in the model's window of "
            f"{backbone.window_tokens} tokens; choose a smaller one."
        )
    return limit_tokens


def _make_encode(request: GenerationRequest, backbone: Backbone) -> Callable[[list[ChatMessage]], list[int]]:
    if request.is_general:
        return partial(encode_chat, tokenizer=backbone.tokenizer, template=backbone.own_template)
    return partial(
        encode_prompt,
        tokenizer=backbone.tokenizer,
        template=backbone.find_template(request.style, request.adapter),
        role=request.role,
        tools=request.tools,
    )


def _read_messages(request: GenerationRequest, backbone: Backbone) -> list[ChatMessage]:
    """Take role messages as they are and anything else as a trajectory."""
    if not request.messages:
        raise InputError("There are no messages to answer; pass at least one.")
    if request.is_general:
        return [as_chat_message(message) for message in request.messages]
    role_messages = [message for message in request.messages if isinstance(message, ChatMessage)]
    if len(role_messages) < len(request.messages):
        trajectory = Trajectory.from_messages(request.messages, request.tools)
        role_messages = render_messages(trajectory, style=request.style)
    # Only here, in the engine's thread, the card is known: who renders a role's messages knows no files.
    return _repeat_names(role_messages, request.tools) if backbone.repeats_names(request.adapter) else role_messages


def _repeat_names(messages: list[ChatMessage], tools: Sequence[ToolSpec]) -> list[ChatMessage]:
    """Let the lines of tools in the system's message end with the name once more."""
    first, *rest = messages
    if first.role != "system":
        return messages
    text: str = str(first.content)
    for tool in tools:
        text = text.replace(render_tool(tool), render_tool(tool, repeat_name=True), 1)
    return [first.model_copy(update={"content": text}), *rest]


def _make_grammar(request: GenerationRequest, backbone: Backbone, messages: list[ChatMessage]) -> Grammar | None:
    if request.role == "summarizer" and request.answer_schema:
        return answer_grammar(request.answer_schema)
    if not request.constrained or request.role == "summarizer":
        return None
    is_general = request.is_general
    if request.role == "caller":
        schemas = {tool.name: tool.parameters for tool in request.tools}
        said = list_said(messages) if request.copy_values and not is_general else None
        return caller_grammar(schemas, may_omit=backbone.may_omit(request.adapter), said=said)
    names = [tool.name for tool in request.tools] if request.guard_names else []
    part = find_next_part(messages) if request.style == "umi" and not is_general else None
    return planner_grammar(request.max_rationale_tokens, names, part)
