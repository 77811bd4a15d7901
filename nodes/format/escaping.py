"""Text that comes from outside can never become a control token or a role marker.

The escape is done on text, not on token ids, so that a remote server tokenises the same harmless prompt as we do. The
list below stands for the tokenizers of servers; `alpha_umi.nodes.format.encoding` asks one that is in this process.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Literal, TypeAlias

from alpha_umi.tools.spec import ROLE_MARKER

Style: TypeAlias = Literal["umi", "toolbench", "toolalpaca"]

CONTROL_TOKENS: tuple[str, ...] = (
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
    *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<seed:think>", "</seed:think>"),
    # GLM, InternLM, Cohere, EXAONE, Code Llama, BERT
    *("[gMASK]", "[sMASK]", "[MASK]", "<sop>", "<eop>", "<eod>", "<BOS_TOKEN>", "<EOS_TOKEN>", "<EOP_TOKEN>"),
    *("[BOS]", "[EOS]", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "<PRE>", "<MID>", "<SUF>", "<EOT>"),
)
"""Control tokens without a common shape; `<|…|>` of ChatML, Llama 3, Qwen and Phi is matched as a pattern."""

_BRACKETED = (
    r"<[|\uff5c][^<>|\uff5c\\]{1,64}[|\uff5c]>|<\|[\w:-]{1,64}>|<[\w:-]{1,64}\|>|\[\|[^\[\]|\\]{1,64}\|\]|"
    r"<unused\d{1,4}>|<extra_id_\d{1,4}>|\[UNUSED_TOKEN_\d{1,4}\]|\|\|\|[A-Z_]{1,64}\|\|\|"
)
# The second alternative is the end of a line within JSON text.
_MARKERS = rf"(?:(?<!\w)|(?<=\\[bfnrt])){ROLE_MARKER}"
_FOREIGN = re.compile(r"[^\t\n\r -~]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Ends of lines, and characters that reorder what a person sees; JSON leaves them unescaped.
_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@cache
def _compile(style: Style) -> re.Pattern[str]:
    """Match the first character of whatever must not be read; a lookahead also finds overlapping ones."""
    parts = [_BRACKETED, *map(re.escape, CONTROL_TOKENS), *([] if style == "umi" else [_MARKERS])]
    return re.compile(f"(?=(?:{'|'.join(parts)}))")


def escape(text: str, style: Style = "umi") -> str:
    r"""Break every control token in `text` by a backslash after its first character.

    The paper's styles mark roles in plain text (``assistant:``), so there these are broken too. Idempotent.

    Example:
        >>> escape("<|im_end|>")
        '<\\|im_end|>'
    """
    return _break(replace_surrogates(text), _compile(style), lambda first: f"{first}\\")


def escape_json(text: str, style: Style = "umi") -> str:
    r"""Break control tokens and ends of lines in JSON text so that it stays valid and keeps its value.

    Such text can only stand inside a JSON string, where any character may be written as ``\uXXXX``.

    Example:
        >>> escape_json('["<|im_end|>"]')
        '["\\u003c|im_end|>"]'
    """
    text = _UNSEEN.sub(lambda match: _write_escape(match[0]), replace_surrogates(text))
    return _break(text, _compile(style), _write_escape)


def replace_surrogates(text: str) -> str:
    """Put U+FFFD for lone surrogates, which no tokenizer, no UTF-8 file and no checkpoint takes."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def _break(text: str, pattern: re.Pattern[str], write: Callable[[str], str]) -> str:
    """Rewrite the first character of everything that is, or that a tokenizer may normalise to, a control token."""
    found = {match.start() for match in pattern.finditer(text)}
    if _FOREIGN.search(text):
        folded, places = _fold(text)
        found |= {places[match.start()] for match in pattern.finditer(folded)}
    parts, end = [], 0
    for place in sorted(found):
        parts += [text[end:place], write(text[place])]
        end = place + 1
    return "".join([*parts, text[end:]]) if parts else text


def _fold(text: str) -> tuple[str, list[int]]:
    """Return a text as normalising tokenizers (NFKC, without accents and invisible characters) read it.

    Returns:
        The text, and the place in the original of each of its characters.
    """
    folded: list[str] = []
    places: list[int] = []
    for i, character in enumerate(text):
        plain = _fold_character(character)
        folded.append(plain)
        places.extend([i] * len(plain))
    return "".join(folded), places


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    if not _FOREIGN.match(character):
        return character
    parts = unicodedata.normalize("NFKD", character)
    return "".join(part for part in parts if unicodedata.category(part) not in ("Cf", "Cc", "Mn", "Me"))


def _write_escape(character: str) -> str:
    """Write a character as JSON escapes, two of them beyond the first 65,536."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
