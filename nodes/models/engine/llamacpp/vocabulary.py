"""A tokenizer in a GGUF: vocabulary, merges, special tokens and chat template.

Source of names and keys: llama.cpp's gguf-py; of what each name of a splitting does, ``src/llama-vocab.cpp``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpha_umi.documents import read_document
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.tokenizer import Tokenizer

_SPECIAL = ("bos", "eos", "unk", "pad")
_UNUSED, _NORMAL, _CONTROL, _USER_DEFINED = 5, 1, 3, 4
"""Types of tokens."""
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    "%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITTINGS = {_WORDS % "{1,3}": "llama-bpe", _WORDS % "": "qwen2"}
"""What llama.cpp calls a way to split a text into words, by the regular expression that does it."""


class NoGguf(ConfigError):
    """A model of a kind that cannot be written as GGUF here; torch can hold it."""


def add_tokenizer(writer: Any, folder: Path, config: Mapping[str, Any], template: str | None) -> None:
    """Add a byte-level BPE tokenizer to a GGUF.

    Args:
        writer: Of the GGUF.
        folder: Has a ``tokenizer.json``, and a ``tokenizer_config.json`` that names special tokens.
        config: Settings of the model; special tokens that only they name count as well.
        template: The chat template, if others than our own engine shall read the file; they read texts as we do.

    Raises:
        NoGguf: If it is of another kind, or, with a template, llama.cpp would read other tokens.
    """
    known = read_document(folder / "tokenizer.json", "copy the model again", dict[str, Any])
    model = known["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise NoGguf(f"{folder}: only byte-level BPE tokenizers can be written as GGUF; use 'hf:' with torch.")
    n_vocab = int(config["vocab_size"])
    tokens, types = [f"[PAD{i}]" for i in range(n_vocab)], [_UNUSED] * n_vocab
    for token, id_ in model["vocab"].items():
        tokens[id_], types[id_] = token, _NORMAL
    for added in known["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], _CONTROL if added["special"] else _USER_DEFINED
    splitting = _name_splitting(known)
    if template is not None and splitting is None:
        raise NoGguf(
            f"{folder}: llama.cpp has no name that is known here for how this tokenizer splits texts, so it would read "
            "other tokens. Serve the checkpoint with 'llamacpp:' or 'hf:', which take its own tokenizer."
        )
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting or "gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in model["merges"]])
    for name, id_ in find_special_ids(Tokenizer(folder), config).items():
        getattr(writer, f"add_{name}_token_id")(id_)
    writer.add_add_bos_token(False)
    if template is not None:
        writer.add_chat_template(template)


def find_special_ids(tokenizer: Tokenizer, config: Mapping[str, Any]) -> dict[str, int]:
    """Return the ids of ``bos``, ``eos``, ``unk`` and ``pad``, as far as the tokenizer or else the model names them."""
    found = {}
    for name in _SPECIAL:
        content = tokenizer.special_tokens_map.get(f"{name}_token")
        named = config.get(f"{name}_token_id")
        id_ = named[0] if isinstance(named, list) else named
        id_ = id_ if content is None else tokenizer.backend_tokenizer.token_to_id(content)
        if isinstance(id_, int):
            found[name] = id_
    return found


def _name_splitting(tokenizer: Mapping[str, Any]) -> str | None:
    """Return what llama.cpp calls the way that a tokenizer splits text into words, None if it is not known here."""
    whole = tokenizer.get("pre_tokenizer") or {}
    steps: list[dict[str, Any]] = whole.get("pretokenizers", [whole])
    kinds, last = [step.get("type") for step in steps], steps[-1]
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return None
    first, has_regex = steps[0], last.get("use_regex", True)
    if kinds == ["ByteLevel"]:
        return "gpt-2" if has_regex else None
    if kinds == ["Digits", "ByteLevel"]:
        return "smollm" if has_regex and first["individual_digits"] else None
    if kinds != ["Split", "ByteLevel"] or has_regex or first["behavior"] != "Isolated" or first["invert"]:
        return None
    return _SPLITTINGS.get(first["pattern"].get("Regex"))
