"""Weights in llama.cpp; imports neither torch nor transformers.

Everything around the forward pass is the same as with torch: grammars, jumps, guesses, activated LoRA, prefix cache.
llama.cpp holds the keys and values of all sequences in one store of cells, where a sequence that goes on from another
shares its cells.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np

from alpha_umi.documents import read_document
from alpha_umi.errors import ConfigError, ModelFault
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.checkpoint import CheckpointPart, hash_file, hash_weights, resolve_base
from alpha_umi.nodes.models.engine.fit import ADAPTER_CONFIG, MODEL_CONFIG, check_part_folder, read_adapter_config
from alpha_umi.nodes.models.engine.llamacpp.gguf import (
    QUANTIZATIONS,
    Quantization,
    find_architecture,
    write_adapter,
    write_model,
)
from alpha_umi.nodes.models.engine.llamacpp.header import VERSION, load_library, own
from alpha_umi.nodes.models.engine.llamacpp.prefixes import SavedPrefixes
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.spans import Adapter, Cancelled, Logits, Span
from alpha_umi.nodes.models.engine.weights import cache_dir, resolve

MIN_CELLS = 8_192
_MAX_RUNNING, _MAX_ENTRIES = 40, 80
_FORMAT = 1
"""Of the files in the cache; a change makes them anew."""
_PREFILL_TOKENS = 64
_NO_ROOM = 1


def choose_quantization(dtype: str) -> Quantization:
    """Read a type setting: ``auto`` (``q8_0``), ``q8_0``, ``q4_0``, ``f16`` or ``f32``.

    Raises:
        ConfigError: If it is none of them.
    """
    chosen = "q8_0" if dtype == "auto" else {"float16": "f16", "float32": "f32"}.get(dtype, dtype)
    if chosen not in QUANTIZATIONS:
        raise ConfigError(f"llama.cpp takes no dtype {dtype!r}; use auto, {', '.join(QUANTIZATIONS)}.")
    return chosen


class LlamaCppBackbone(Backbone):
    """The weights in llama.cpp; the GGUF is made once and kept in the cache folder."""

    prefill_tokens = _PREFILL_TOKENS
    keeps_openings = True
    guessed_tokens = 4  # with 8 bits a CPU computes instead of waiting for memory, so guesses cost time

    def __init__(self, folder: Path, quantization: Quantization) -> None:
        """Make the GGUF if there is none yet, which takes seconds, and load it."""
        self._ffi, self._lib = load_library()
        self._quantization = quantization
        super().__init__(folder, PrefixCache(max_entries=_MAX_ENTRIES))
        checkpoint = self._checkpoint
        part = checkpoint.backbone if checkpoint else CheckpointPart("none")
        if checkpoint is None:
            check_part_folder(folder, "full")
        base = resolve(checkpoint.base) if checkpoint and part.kind != "full" else folder
        self._model_folder = cast(Path, part.path) if part.kind == "full" else base
        self._config = read_document(self._model_folder / MODEL_CONFIG, "copy or pull the model again", dict[str, Any])
        tokenizer = folder if (folder / "tokenizer.json").is_file() else base
        self._hash = part.sha256 + (checkpoint.base_sha256 if checkpoint else hash_weights(folder))
        files = [self._model_folder / MODEL_CONFIG, tokenizer / "tokenizer.json"]

        def write(out: Path) -> None:
            find_architecture(self._model_folder)  # at once, not after minutes of checking weights
            if checkpoint and base != folder:
                resolve_base(checkpoint)  # a later start needs no weights of the base, so they are checked only here
            merged = [part.path] if part.kind == "lora" and part.path else []
            write_model(self._model_folder, merged, tokenizer, out, quantization)

        key = (self._hash, quantization, *map(hash_file, files))
        self.file = _make_once(f"{folder.name}-{quantization}", key, write)
        self._saved = SavedPrefixes(cache_dir() / "prefixes", f"{VERSION} {self.file.name}")
        self._model = self._load()
        self.room_tokens = max(self.window_tokens, MIN_CELLS)
        self._context = self._open()
        self._memory = self._lib.llama_get_memory(self._context)
        self._batch = _Batch(self._ffi, self._lib, self.room_tokens)
        self._free_ids = list(range(_MAX_RUNNING + _MAX_ENTRIES))
        self._loaded: dict[Adapter, Any] = {}
        self._current: Adapter | None = None
        self._n_loaded = 0

    def _load(self) -> Any:
        parameters = self._lib.llama_model_default_params()
        parameters.n_gpu_layers = 0
        model = self._lib.llama_model_load_from_file(str(self.file).encode(), parameters)
        if model == self._ffi.NULL:
            raise ConfigError(f"llama.cpp cannot load {self.file}; delete it, so that it is made again.")
        return own(model, "llama_model_free")

    def _open(self) -> Any:
        parameters = self._lib.llama_context_default_params()
        parameters.n_ctx = self.room_tokens
        parameters.n_batch = self.room_tokens
        parameters.n_ubatch = 4 * _PREFILL_TOKENS
        parameters.n_seq_max = _MAX_RUNNING + _MAX_ENTRIES
        parameters.n_threads = parameters.n_threads_batch = _count_threads()
        parameters.kv_unified = True
        if self._quantization == "f32":
            parameters.type_k = parameters.type_v = parameters.flash_attn_type = 0  # GGML_TYPE_F32, and no rounding
        context = self._lib.llama_init_from_model(self._model, parameters)
        if context == self._ffi.NULL:
            raise ModelFault(f"There is not enough memory for the keys and values of {self.room_tokens:,} tokens.")
        return own(context, "llama_free", self._model)

    @property
    def n_vocab(self) -> int:
        """Length of the logits."""
        return int(self._config["vocab_size"])

    @property
    def _n_positions(self) -> int:
        return int(self._config["max_position_embeddings"])

    @property
    def _model_eos_ids(self) -> Sequence[int]:
        path = self._model_folder / "generation_config.json"
        named = read_document(path, "copy the model again", dict[str, Any]) if path.is_file() else self._config
        ids = named.get("eos_token_id")
        return [each for each in (ids if isinstance(ids, list) else [ids]) if isinstance(each, int)]

    @property
    def bytes_per_token(self) -> int:
        """Of keys and values, in float16."""
        config = self._config
        n_heads = config.get("num_key_value_heads") or config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        return int(2 * 2 * config["num_hidden_layers"] * n_heads * size)

    def make_past(self) -> LlamaPast:
        """Return an empty sequence."""
        return LlamaPast(self, self.take_id(), 0)

    def take_id(self) -> int:
        """Return the number of a sequence that nobody has."""
        return self._free_ids.pop()

    def copy(self, source: int, n_tokens: int) -> int:
        """Return a new sequence that shares the first tokens of another."""
        target = self.take_id()
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, n_tokens)
        return target

    def forget(self, sequence: int, start: int) -> None:
        """Forget a sequence's tokens from a position on."""
        self._lib.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def give_back(self, sequence: int) -> None:
        """Forget a sequence."""
        self.forget(sequence, 0)
        self._free_ids.append(sequence)

    def recall(self, ids: Sequence[int]) -> None:
        """Read from the cache folder what the prefix cache lacks of a prompt's beginning."""
        past, n_known = self.cache.take(None, ids, self.make_past)
        past.release()
        if n_known == len(ids) or (data := self._saved.read(ids)) is None:
            return
        read = self.make_past()
        if self._lib.llama_state_seq_set_data(self._context, self._ffi.from_buffer(data), len(data), read.sequence):
            read.n_tokens = len(ids)
            self.cache.put(None, ids, read)
        read.release()

    def retain(self, ids: Sequence[int]) -> None:
        """Write to the cache folder what the prefix cache has of a prompt's beginning, once."""
        if len(ids) < _PREFILL_TOKENS or not self._saved.wants(ids, len(ids) * self.bytes_per_token):
            return
        taken, n_known = self.cache.take(None, ids, self.make_past)
        past = cast(LlamaPast, taken)
        if n_known == len(ids):
            data = bytearray(self._lib.llama_state_seq_get_size(self._context, past.sequence))
            self._lib.llama_state_seq_get_data(self._context, self._ffi.from_buffer(data), len(data), past.sequence)
            self._saved.write(ids, bytes(data))
        past.release()

    def compute(self, spans: Sequence[Span]) -> list[Logits]:
        """Do one pass for what the base computes, and one for each adapter."""
        if any(span.cancelled.is_set() for span in spans):
            raise Cancelled
        starts = [span.past.n_tokens for span in spans]
        rows: list[list[Logits]] = [[] for _ in spans]
        tokens = [
            _Token(number, span.past.sequence, start + i, id_, adapter, i >= len(span.ids) - span.n_guesses - 1)
            for number, (span, start) in enumerate(zip(spans, starts, strict=True))
            for i, (id_, adapter) in enumerate(zip(span.ids, span.adapters, strict=True))
        ]
        tokens.sort(key=lambda token: (token.adapter is not None, token.adapter.name if token.adapter else ""))
        try:
            for adapter, group in groupby(tokens, lambda token: token.adapter):
                self._compute(adapter, list(group), rows)
        except BaseException:
            for span, start in zip(spans, starts, strict=True):
                self.forget(span.past.sequence, start)
            raise
        for span, start in zip(spans, starts, strict=True):
            span.past.n_tokens = start + len(span.ids)
        return [np.stack(each) for each in rows]

    def _compute(self, adapter: Adapter | None, tokens: Sequence[_Token], rows: Sequence[list[Logits]]) -> None:
        self._use(adapter)
        filled = self._batch.fill(tokens)
        while (code := self._lib.llama_decode(self._context, filled)) == _NO_ROOM and self.cache.evict():
            pass
        if code == _NO_ROOM:
            raise ModelFault(
                f"There is no room for more than {self.room_tokens:,} tokens at once. Run fewer threads at once, lower "
                "max_tokens or shorten the conversation; then ask again, or resume the thread."
            )
        if code:
            raise ModelFault(f"llama.cpp could not compute {len(tokens)} tokens (code {code}); ask again.")
        for i, token in enumerate(tokens):
            if token.is_wanted:
                pointer = self._lib.llama_get_logits_ith(self._context, i)
                buffer = self._ffi.buffer(pointer, 4 * self.n_vocab)
                rows[token.span].append(np.frombuffer(buffer, np.float32).copy())

    def _use(self, adapter: Adapter | None) -> None:
        if adapter == self._current:
            return
        if adapter is None:
            self._lib.llama_set_adapters_lora(self._context, self._ffi.NULL, 0, self._ffi.NULL)
        else:
            adapters = self._ffi.new("struct llama_adapter_lora *[]", [self._loaded[adapter]])
            self._lib.llama_set_adapters_lora(self._context, adapters, 1, self._ffi.new("float[]", [1.0]))
        self._current = adapter

    def _load_adapter(self, folder: Path, *, again: bool = False) -> Adapter:
        if folder in self._adapters and not again:
            return self._adapters[folder]
        check_part_folder(folder, "lora")
        settings = read_adapter_config(folder)
        key = (self._hash, self._quantization, hash_weights(folder), hash_file(folder / ADAPTER_CONFIG))

        def write(out: Path) -> None:
            write_adapter(self._model_folder, folder, out, self._quantization)

        file = _make_once(f"{self.folder.name}-{folder.name}", key, write)
        loaded = self._lib.llama_adapter_lora_init(self._model, str(file).encode())
        if loaded == self._ffi.NULL:
            raise ConfigError(f"The adapter in {folder} does not fit {self.folder}; copy or train it again.")
        adapter = Adapter(folder, f"adapter_{self._n_loaded}", tuple(settings.get("alora_invocation_tokens") or ()))
        self._n_loaded += 1
        self._loaded[adapter] = loaded
        self._adapters[folder] = adapter
        return adapter

    def forget_adapters(self, in_use: Collection[Adapter | None]) -> None:
        """Remove adapters that were replaced and that no sequence uses any more."""
        for old in self._replaced.difference(in_use):
            self._replaced.remove(old)
            self.cache.drop(old)
            if self._current == old:
                self._use(None)
            self._lib.llama_adapter_lora_free(self._loaded.pop(old))


@dataclass(slots=True)
class LlamaPast:
    """One sequence in llama.cpp's store, see `alpha_umi.nodes.models.engine.spans.Past`."""

    backbone: LlamaCppBackbone
    sequence: int
    n_tokens: int

    @property
    def can_shrink(self) -> bool:
        """All models that are known here hold all tokens."""
        return True

    def shrink(self, n_tokens: int) -> None:
        """Forget all but the first tokens."""
        if n_tokens < self.n_tokens:
            self.backbone.forget(self.sequence, n_tokens)
            self.n_tokens = n_tokens

    def keep(self, n_tokens: int) -> LlamaKept:
        """Return another sequence that shares the first tokens."""
        sequence = self.backbone.copy(self.sequence, n_tokens)
        return LlamaKept(self.backbone, sequence, n_tokens * self.backbone.bytes_per_token)

    def release(self) -> None:
        """Give the sequence back."""
        self.backbone.give_back(self.sequence)


@dataclass(frozen=True, slots=True)
class LlamaKept:
    """A sequence that only others go on from, see `alpha_umi.nodes.models.engine.spans.Kept`."""

    backbone: LlamaCppBackbone
    sequence: int
    n_bytes: int

    def begin(self, n_tokens: int) -> LlamaPast:
        """Return a sequence that shares the first tokens."""
        return LlamaPast(self.backbone, self.backbone.copy(self.sequence, n_tokens), n_tokens)

    def release(self) -> None:
        """Give the sequence back."""
        self.backbone.give_back(self.sequence)


@dataclass(frozen=True, slots=True)
class _Token:
    """A token to compute: of which span, in which sequence and place, by whom, and whether logits are wanted."""

    span: int
    sequence: int
    position: int
    id: int
    adapter: Adapter | None
    is_wanted: bool


class _Batch:
    """Arrays that llama.cpp reads tokens from, for at most `n_tokens`."""

    def __init__(self, ffi: Any, library: Any, n_tokens: int) -> None:
        """Let llama.cpp allocate them."""
        self._batch = library.llama_batch_init(n_tokens, 0, 1)
        self._owner = ffi.gc(ffi.new("llama_batch *", self._batch), lambda batch: library.llama_batch_free(batch[0]))

    def fill(self, tokens: Iterable[_Token]) -> Any:
        """Return the arrays filled with tokens."""
        batch, n_tokens = self._batch, 0
        for n_tokens, token in enumerate(tokens, 1):
            i = n_tokens - 1
            batch.token[i], batch.pos[i], batch.logits[i] = token.id, token.position, token.is_wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, token.sequence
        batch.n_tokens = n_tokens
        return batch


def _make_once(name: str, key: tuple[str, ...], write: Callable[[Path], None]) -> Path:
    """Return a file of the cache that is made from what the key names; processes may make it at the same time."""
    digest = sha256("\n".join((str(_FORMAT), *key)).encode()).hexdigest()[:16]
    path = cache_dir() / "gguf" / f"{name}-{digest}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            write(Path(folder) / path.name)
            os.replace(Path(folder) / path.name, path)
    return path


def _count_threads() -> int:
    """Return what ``OMP_NUM_THREADS`` says, else the cores that nothing else computes on.

    At each of hundreds of steps of a pass the threads wait for the slowest by turning, so one that shares its core
    holds up all.
    """
    if (named := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        return max(int(named), 1)
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_busy = round(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0  # Windows has none
    return max(n_cores - n_busy, 1)
