"""Text that comes from outside can never become a control token or a role marker.

The escape is done on text, not on token ids, so that a remote server tokenises the same harmless prompt as we do.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, TypeAlias

Style: TypeAlias = Literal["umi", "toolbench", "toolalpaca"]

DEFAULT_CONTROL_TOKENS: tuple[str, ...] = (
    # Llama 2, Mistral
    *("<s>", "</s>", "<unk>", "<pad>", "<mask>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    *("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CONTENT]", "[CALL_ID]", "[ARGS]", "[THINK]", "[/THINK]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
    # Gemma
    *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "[@BOS@]"),
    # Qwen, DeepSeek and Hermes write these as added tokens
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>"),
    *("<think>", "</think>"),
    # SmolLM2, StarCoder
    *("<repo_name>", "<reponame>", "<file_sep>", "<filename>", "<gh_stars>", "<empty_output>"),
    *("<issue_start>", "<issue_comment>", "<issue_closed>", "<commit_before>", "<commit_msg>", "<commit_after>"),
    *("<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>", "<jupyter_script>"),
    *("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"),
)
"""Control tokens without a common shape; `<|…|>` of ChatML, Llama 3, Qwen and Phi is matched as a pattern."""

_BRACKETED = r"<[|\uff5c][^<>|\uff5c\\]{1,64}[|\uff5c]>|<unused\d{1,4}>|<extra_id_\d{1,4}>"
_MARKERS = r"(?<![\w\\])(?:system|user|assistant|caller|observation|conclusion):"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@cache
def _compile(control_tokens: tuple[str, ...], markers: bool) -> re.Pattern[str]:
    """Match the first character of whatever must not be read; a lookahead also finds overlapping ones."""
    parts = [_BRACKETED, *map(re.escape, control_tokens), *([_MARKERS] if markers else [])]
    return re.compile(f"(?=(?:{'|'.join(parts)}))(.)")


def escape(text: str, control_tokens: tuple[str, ...] = DEFAULT_CONTROL_TOKENS, style: Style = "umi") -> str:
    r"""Break every control token in `text` by a backslash after its first character.

    The paper's styles mark roles in plain text (``assistant:``), so there these are broken too. Idempotent; tokens must
    not contain a backslash.

    Example:
        >>> escape("<|im_end|>")
        '<\\|im_end|>'
    """
    text = replace_surrogates(text)
    return _compile(control_tokens, style != "umi").sub(r"\1\\", text)


def escape_json(text: str, control_tokens: tuple[str, ...] = DEFAULT_CONTROL_TOKENS) -> str:
    r"""Break control tokens in JSON text so that it stays valid and keeps its value.

    Such text can only stand inside a JSON string, where any character may be written as ``\uXXXX``.

    Example:
        >>> escape_json('["<|im_end|>"]')
        '["\\u003c|im_end|>"]'
    """
    text = replace_surrogates(text)
    return _compile(control_tokens, False).sub(lambda match: f"\\u{ord(match[1]):04x}", text)


def replace_surrogates(text: str) -> str:
    """Put U+FFFD for lone surrogates, which no tokenizer, no UTF-8 file and no checkpoint takes."""
    return _LONE_SURROGATE.sub("\ufffd", text)
