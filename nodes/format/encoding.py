"""Texts → token ids, such that no text from outside gives a control token.

`alpha_umi.nodes.format.escaping` lists the control tokens of many families; here the tokenizer itself is the list.
What its normaliser, the flags of its tokens and the seams between texts make of a prompt is seen in the ids. Where a
control token stands for text from outside, the text is cut inside it and its parts are encoded apart: no character
changes. All other text is encoded as ever, in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class FastTokenizer(Protocol):
    """What is needed of a tokenizer; one of transformers does as well."""

    @property
    def backend_tokenizer(self) -> Backend:
        """What encodes."""

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The added tokens by id."""

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """What chat templates call ``eos_token`` and the like."""

    @property
    def unk_token_id(self) -> int | None:
        """What stands for unknown characters."""

    def __len__(self) -> int:
        """Return the size of the vocabulary."""

    def __hash__(self) -> int:
        """What is found out about it is kept."""


class Part(NamedTuple):
    """A stretch of a prompt; `is_own` where the template wrote it, so that it may hold control tokens."""

    text: str
    is_own: bool = False


class Token(NamedTuple):
    """A token, and which characters of the whole text it stands for, ``[start, end)``."""

    id: int
    start: int
    end: int


def encode_parts(parts: Sequence[Part], tokenizer: FastTokenizer) -> list[Token]:
    """Return the tokens of a text, of which only the template's own parts give control tokens.

    Control tokens are the special ones and the added ones of two characters or more. What else was added are letters
    and gaps that the vocabulary lacked, and what stands for unknown characters is text. A single character that is a
    special token cannot be cut and is left out.
    """
    parts = [part for part in parts if part.text]
    encoder = _Encoder("".join(part.text for part in parts), tokenizer)
    is_own = [part.is_own for part in parts for _ in part.text]
    seams = {0, *accumulate(len(part.text) for part in parts)}
    own = encoder.list_control(encoder.encode(seams, {seam for seam in seams if not all(is_own[seam : seam + 1])}))
    cuts, left_out = {0, len(is_own)}, set[int]()
    while True:
        tokens = encoder.encode(cuts, left_out)
        control = encoder.list_control(tokens)
        forged = [token for token in control if not all(is_own[token.start : token.end])]
        if not forged and ([token.id for token in control] == [token.id for token in own] or seams <= cuts):
            return tokens
        cuts |= {place for token in forged for place in _cut(token, seams)} or seams
        left_out |= {token.start for token in forged if token.end - token.start == 1}


def _cut(token: Token, seams: Iterable[int]) -> Sequence[int]:
    """Return where to cut a token: where a part ends, else in the middle, so that few rounds do for a long one."""
    if token.end - token.start == 1:
        return [token.start, token.end]
    inside = [seam for seam in seams if token.start < seam < token.end]
    return inside or [(token.start + token.end) // 2]


@lru_cache(maxsize=4)
def _list_control_tokens(tokenizer: FastTokenizer, n_tokens: int) -> Mapping[int, str]:
    """Return the spelling of each control token by its id; of some families there are thousands."""
    return {
        id_: token.content
        for id_, token in tokenizer.added_tokens_decoder.items()
        if token.special or len(token.content.strip(" \t\r\n▁")) > 1
    }


class _Encoder:
    """One text and the tokenizer that encodes it in pieces."""

    def __init__(self, text: str, tokenizer: FastTokenizer) -> None:
        self._text = text
        self._tokenizer = tokenizer
        if (backend := tokenizer.backend_tokenizer).truncation or backend.padding:  # of its file, or of a call before
            backend.no_truncation()
            backend.no_padding()
        self._control = _list_control_tokens(tokenizer, len(tokenizer))

    def encode(self, cuts: Iterable[int], left_out: Iterable[int] = ()) -> list[Token]:
        """Encode each piece between two cuts by itself, without those that begin at a place that is left out."""
        pieces = [(start, end) for start, end in pairwise(sorted(cuts)) if start not in left_out]
        if not pieces:
            return []
        texts = [self._text[start:end] for start, end in pieces]
        encodings = self._tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
        return [
            Token(id_, first + start, first + end)
            for (first, _), encoding in zip(pieces, encodings, strict=True)
            for id_, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        ]

    def list_control(self, tokens: Iterable[Token]) -> list[Token]:
        """Return the control tokens, without the white space that some of them take in around them."""
        control = [self._trim(token) for token in tokens if token.id in self._control]
        return [token for token in control if self._is_meant(token)]

    def _trim(self, token: Token) -> Token:
        seen = self._text[token.start : token.end]
        start = token.start + len(seen) - len(seen.lstrip())
        return Token(token.id, start, start + len(seen.strip())) if seen.strip() else token

    def _is_meant(self, token: Token) -> bool:
        """Tell whether a token stands for its spelling, and not for unknown characters or one byte of one."""
        content = self._control[token.id]
        if token.id != self._tokenizer.unk_token_id and not _BYTE.fullmatch(content):
            return True
        return self._normalise(content) in self._normalise(self._text[token.start : token.end])

    def _normalise(self, text: str) -> str:
        normaliser = self._tokenizer.backend_tokenizer.normalizer
        return str(normaliser.normalize_str(text)) if normaliser else text
