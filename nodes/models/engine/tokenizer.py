"""A checkpoint's tokenizer without transformers, whose import takes seconds.

What it does with a text is `tokenizers`' work, as it is in transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from alpha_umi.documents import read_document
from alpha_umi.errors import ConfigError

_AGAIN = "copy the model again"
_NO_LIMIT = int(1e30)
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class Tokenizer:
    """Text ↔ token ids of one vocabulary; the methods are named as in transformers.

    Args:
        folder: Has a ``tokenizer.json``, and a ``tokenizer_config.json`` that names special tokens and the window.

    Raises:
        ConfigError: If there is no such file, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        """Read both files."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ConfigError(f"{folder} has no fast tokenizer (tokenizer.json); save one next to the model.")
        try:
            self.backend_tokenizer = Backend.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise ConfigError(f"{path} cannot be read: {error}; {_AGAIN}.") from error
        self.backend_tokenizer.no_padding()
        self.backend_tokenizer.no_truncation()
        config_path = folder / "tokenizer_config.json"
        config = read_document(config_path, _AGAIN, dict[str, Any]) if config_path.is_file() else {}
        self.model_max_length = int(config.get("model_max_length") or _NO_LIMIT)
        named = {name: config.get(name) for name in _SPECIAL}
        contents = {name: token["content"] if isinstance(token, dict) else token for name, token in named.items()}
        self.special_tokens_map = {name: content for name, content in contents.items() if isinstance(content, str)}
        self.eos_token_id, self.unk_token_id = (self._find(name) for name in ("eos_token", "unk_token"))

    def _find(self, name: str) -> int | None:
        content = self.special_tokens_map.get(name)
        return None if content is None else self.backend_tokenizer.token_to_id(content)

    def __len__(self) -> int:
        """Return the size of the vocabulary, added tokens included."""
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of a text, (T,)."""
        return self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of ids."""
        return self.backend_tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)

    @cached_property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens that were added to the vocabulary, special ones included, by id."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    def get_added_vocab(self) -> dict[str, int]:
        """Return the ids of the added tokens."""
        return {token.content: id_ for id_, token in self.added_tokens_decoder.items()}
