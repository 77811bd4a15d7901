"""Vectors of texts in a SQLite file, so that a tool is embedded once, and again only when its text changes.

Safe to use from several threads and processes. A damaged file is put aside and made anew, because all of it can be.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alpha_umi.errors import ConfigError

Matrix: TypeAlias = NDArray[np.float32]
Embed: TypeAlias = Callable[[list[str]], Sequence[Sequence[float]]]

logger = logging.getLogger("alpha_umi.tools")

_BATCH_SIZE = 256
_BUSY_TIMEOUT_S = 30.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS tool_vectors (hash BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
# Half the size of single precision, whose further digits do not tell two tools apart.
_STORED = np.dtype("<f2")
# Stored like a tool's text: another model gives it another vector, whatever the models are called.
_PROBE = "Return the weather forecast of a city for the next days."
_SAME_MODEL_COSINE = 0.99
_LENGTH_TOLERANCE = 0.01


class VectorStore:
    """One file of vectors.

    Args:
        path: The file, made if need be; None keeps nothing.
    """

    def __init__(self, path: str | Path | None) -> None:
        """Name the file; nothing is read yet."""
        self._path = None if path is None else Path(path).expanduser()

    def embed(self, texts: Sequence[str], embed: Embed) -> Matrix:
        """Return the vectors of texts; only those that are not in the file are computed.

        They are kept batch by batch, so that a process that ends early loses little.

        Args:
            texts: In any order; repeated ones are computed once.
            embed: Gives one vector per text.

        Returns:
            float32, (texts, dimensions), each row of length 1.

        Raises:
            ConfigError: If the file cannot be read or written.
            ValueError: If `embed` does not give one vector of numbers per text.
        """
        text_of = {_hash(text): text for text in texts}
        known = self._load_own(embed)
        missing = [key for key in text_of if key not in known]
        if missing:
            logger.info("Embedding %d of %d tools.", len(missing), len(text_of))
        for start in range(0, len(missing), _BATCH_SIZE):
            batch = missing[start : start + _BATCH_SIZE]
            vectors = dict(zip(batch, embed_texts(embed, [text_of[key] for key in batch]), strict=True))
            self._save(vectors)
            known |= vectors
        return np.stack([known[_hash(text)] for text in texts])

    def _load_own(self, embed: Embed) -> dict[bytes, Matrix]:
        """Return what is in the file, if it is of the model that is asked now."""
        known = self._load()
        probe, key = embed_texts(embed, [_PROBE])[0], _hash(_PROBE)
        stored = known.get(key)
        if stored is not None and stored.shape == probe.shape and float(stored @ probe) > _SAME_MODEL_COSINE:
            return {key: vector for key, vector in known.items() if vector.shape == probe.shape}
        if known:
            logger.warning("The index %s is of another embedding model; its tools are embedded again.", self._path)
        self._save({key: probe}, clear=True)
        return {}

    def _load(self) -> dict[bytes, Matrix]:
        if self._path is None:
            return {}
        try:
            with self._connect() as database:
                rows = database.execute("SELECT hash, vector FROM tool_vectors").fetchall()
        except sqlite3.DatabaseError as error:
            self._put_aside(error)
            return {}
        vectors = {key: vector for key, data in rows if (vector := _decode(data)) is not None}
        if len(vectors) < len(rows):
            logger.warning("%d vectors in %s are damaged and made anew.", len(rows) - len(vectors), self._path)
        return vectors

    def _save(self, vectors: Mapping[bytes, Matrix], *, clear: bool = False) -> None:
        if self._path is None:
            return
        rows = [(key, vector.astype(_STORED).tobytes()) for key, vector in vectors.items()]
        try:
            with self._connect() as database:
                if clear:
                    database.execute("DELETE FROM tool_vectors")
                database.executemany("INSERT OR REPLACE INTO tool_vectors VALUES (?, ?)", rows)
        except sqlite3.DatabaseError as error:
            self._put_aside(error)

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename a damaged file instead of deleting it: the path may have named something else by mistake."""
        assert self._path is not None
        aside = self._path.with_name(f"{self._path.name}.damaged")
        logger.warning("The index %s is damaged (%s): moved to %s and made anew.", self._path, error, aside.name)
        try:
            os.replace(self._path, aside)
        except FileNotFoundError:  # another process was first
            pass
        except OSError as fault:
            raise self._make_error(fault) from fault

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction.

        Raises:
            ConfigError: If it cannot be opened, read or written.
            sqlite3.DatabaseError: If what is in it is no database of ours.
        """
        assert self._path is not None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)) as database, database:
                database.execute(_SCHEMA)
                yield database
        except (OSError, sqlite3.OperationalError) as error:
            raise self._make_error(error) from error

    def _make_error(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"The index of the tools {str(self._path)!r} cannot be used: {error}. Name another file, or none to keep "
            "the index in memory."
        )


def embed_texts(embed: Embed, texts: list[str]) -> Matrix:
    """Return one vector of length 1 per text, in one call.

    Raises:
        ValueError: If there is not one vector of numbers per text.
    """
    vectors: Matrix = np.array(embed(texts), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise ValueError(f"the embeddings of {len(texts)} texts are no {len(texts)} vectors of numbers")
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return vectors


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _decode(data: Any) -> Matrix | None:
    """Read a stored vector, None if it cannot be one."""
    if not isinstance(data, bytes) or not data or len(data) % _STORED.itemsize:
        return None
    vector = np.frombuffer(data, _STORED).astype(np.float32)
    length = float(np.linalg.norm(vector))
    return vector / length if abs(length - 1) < _LENGTH_TOLERANCE else None
