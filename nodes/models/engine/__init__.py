"""Runs weights in this process: one backbone, the adapters of all roles, one prefix cache.

The modules, from the top; each imports only those below it::

    scheduler      one thread and one queue per backbone; decides which sequences share a forward pass
    reply          one request, answered: messages to prompt, tokens to message chunks
    decode         logits to tokens to text; prompt lookup; a sequence on its part of the prefix cache
    choice         which of the two computes
    pytorch · llamacpp  rooms: weights and adapters, and a forward pass over them
    backbone       what both have in common
    checkpoint     which weights play which role, and whether they belong together
    weights        what a model name means, and downloads
    grammar · prefix_cache · spans · tokenizer
    argument_rules a tool's schema as a part of the caller's grammar
    copying        words and numbers of the conversation, which values may have to be copied from
    tightening     a tool's schema, closed and bounded
    value_rules    texts, numbers and listed values as parts of the caller's grammar

The chat models in front import this room, never the other way round. This file is what both sides share; it imports no
torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from alpha_umi.nodes.format.escaping import Style
    from alpha_umi.nodes.format.trajectory import Role
    from alpha_umi.tools.spec import ToolSpec

# Bounds memory, and how long each sequence waits for its next token.
MAX_SEQUENCES = 32
DEFAULT_TOKENS_PER_BATCH = 32_768

EngineName: TypeAlias = Literal["auto", "torch", "llamacpp"]


@dataclass(frozen=True)
class GenerationRequest:
    """What one reply is generated from.

    Args:
        messages: Role messages, or any LangChain conversation.
        tools: May be called.
        stop: Strings that end the text and are no part of it.
        wants_tool_calls: Also return the caller's text as LangChain tool calls.
        model_name: For the reply's metadata.
        answer_schema: JSON Schema that the summarizer's text is held to, as JSON.
        is_general: The messages are a conversation for the model's own chat template.

    The other fields are those of `alpha_umi.nodes.models.local.LocalChatModel`.
    """

    messages: tuple[BaseMessage, ...]
    role: Role
    style: Style
    adapter: str | None
    tools: tuple[ToolSpec, ...]
    stop: tuple[str, ...]
    max_tokens: int
    max_rationale_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    constrained: bool
    guard_names: bool
    copy_values: bool
    prompt_lookup: bool
    wants_tool_calls: bool
    model_name: str
    answer_schema: str | None = None
    is_general: bool = False
