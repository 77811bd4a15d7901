"""A checkpoint as GGUF: the backbone with stage 1 merged in, and each role as a LoRA adapter. Imports no torch.

llama.cpp turns positions into angles in another order than transformers, so for models of its kind ``llama`` the rows
of queries and keys change places.

Source of names and keys: llama.cpp's gguf-py and ``convert_hf_to_gguf.py``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from alpha_umi.documents import read_document
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.fit import MODEL_CONFIG, check_plain_lora, explaining, read_adapter_config
from alpha_umi.nodes.models.engine.llamacpp.vocabulary import NoGguf, add_tokenizer

Quantization: TypeAlias = Literal["q8_0", "q4_0", "f16", "f32"]
QUANTIZATIONS: tuple[Quantization, ...] = get_args(Quantization)
Weights: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

_FILE_TYPES: Mapping[Quantization, int] = {"f32": 0, "f16": 1, "q8_0": 7, "q4_0": 2}
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_BLOCK = 32
"""Quantised numbers share a scale in blocks of so many."""


@dataclass(frozen=True, slots=True)
class _Architecture:
    """What llama.cpp calls a family of models, and whether it turns positions in pairs of neighbours."""

    name: str
    is_interleaved: bool


_ARCHITECTURES = {
    "LlamaForCausalLM": _Architecture("llama", is_interleaved=True),
    "MistralForCausalLM": _Architecture("llama", is_interleaved=True),
    "Qwen2ForCausalLM": _Architecture("qwen2", is_interleaved=False),
    "Qwen3ForCausalLM": _Architecture("qwen3", is_interleaved=False),
}


def read_weights(folder: Path) -> Iterator[tuple[str, Weights]]:
    """Yield the weights of a folder's safetensors in float32, whatever they are stored in."""
    for path in sorted(folder.glob("*.safetensors")):
        with explaining(path, "file of weights"):
            data = np.memmap(path, np.uint8, "r")
            (size,) = struct.unpack("<Q", data[:8].tobytes())
            header = json.loads(data[8 : 8 + size].tobytes())
            for name, entry in header.items():
                if name != "__metadata__":
                    start, end = (8 + size + each for each in entry["data_offsets"])
                    yield name, _widen(data[start:end], entry["dtype"]).reshape(entry["shape"])


def _widen(raw: np.ndarray[Any, Any], dtype: str) -> Weights:
    if dtype == "BF16":
        widened: Weights = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return widened
    if dtype == "F8_E4M3":
        return np.asarray(_list_float8()[raw], np.float32)
    name = {"F16": "float16", "F32": "float32", "F64": "float64"}[dtype]
    return np.asarray(raw.view(name), np.float32)


@cache
def _list_float8() -> Weights:
    """Return what each byte stands for: a sign, four bits of exponent (bias 7), three of mantissa."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    size[(byte & 127) == 127] = np.nan
    return np.where(byte & 128, -size, size).astype(np.float32)


def write_model(
    folder: Path,
    adapters: Sequence[Path],
    tokenizer: Path,
    out: Path,
    quantization: Quantization,
    *,
    name: str | None = None,
    template: str | None = None,
) -> None:
    """Write a model with its tokenizer.

    Args:
        folder: Of the model.
        adapters: LoRA adapters that are always on, which are merged in.
        tokenizer: Folder with a ``tokenizer.json``.
        out: File to write.
        quantization: Of the matrices; what a block of 32 does not divide stays in float16.
        name: Shown by programs that list models.
        template: The chat template, for files that others than our own engine read.

    Raises:
        NoGguf: If llama.cpp does not know such a model under any name that is known here.
        ConfigError: If a file is broken.
    """
    from gguf import GGML_QUANT_VERSION  # noqa: PLC0415 - optional

    config = read_document(folder / MODEL_CONFIG, "copy or pull the model again", dict[str, Any])
    architecture = find_architecture(folder)
    with _writing(out, architecture) as writer:
        if name is not None:
            writer.add_name(name)
        _add_settings(writer, config)
        writer.add_file_type(_FILE_TYPES[quantization])
        writer.add_quantization_version(GGML_QUANT_VERSION)
        add_tokenizer(writer, tokenizer, config, template)
        added = [_read_adapter(adapter) for adapter in adapters]
        for weight, numbers in read_weights(folder):
            if weight == "lm_head.weight" and config.get("tie_word_embeddings"):
                continue
            for halves in filter(None, (each.pop(weight.removesuffix(".weight"), None) for each in added)):
                numbers = numbers + halves[1] @ halves[0]
            kind, array = _quantize(_permute(weight, numbers, config, architecture), quantization)
            writer.add_tensor(_rename(weight, architecture, config), array, raw_dtype=kind)
        if left := [layer for each in added for layer in each]:
            raise ConfigError(
                f"{adapters[0]}: there is no layer {left[0]!r} in {folder} to merge into; train it again."
            )


def write_adapter(model: Path, adapter: Path, out: Path, quantization: Quantization) -> None:
    """Write a LoRA adapter for a GGUF of the model in that folder; in float16, but beside float32 in float32."""
    from gguf import GGUFValueType  # noqa: PLC0415 - optional

    config = read_document(model / MODEL_CONFIG, "copy or pull the model again", dict[str, Any])
    architecture, settings = find_architecture(model), read_adapter_config(adapter)
    with _writing(out, architecture) as writer:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(settings["r"]))  # the scale is in the numbers
        if tokens := settings.get("alora_invocation_tokens"):
            key, kinds = "adapter.alora.invocation_tokens", (GGUFValueType.ARRAY, GGUFValueType.UINT32)
            writer.add_key_value(key, list(map(int, tokens)), *kinds)
        for name, (down, up) in _read_adapter(adapter).items():
            target = _rename(f"{name}.weight", architecture, config)
            up = _permute(f"{name}.weight", up, config, architecture)
            for half, array in (("lora_a", down), ("lora_b", up)):
                writer.add_tensor(f"{target}.{half}", array if quantization == "f32" else array.astype(np.float16))


def find_architecture(folder: Path) -> _Architecture:
    """Return how llama.cpp knows the model in a folder.

    Raises:
        NoGguf: If it is not among those that are known here.
    """
    config = read_document(folder / MODEL_CONFIG, "copy or pull the model again", dict[str, Any])
    names = config.get("architectures") or [""]
    if names[0] not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise NoGguf(f"{folder} is a {names[0]!r}; as GGUF {known} can be written. Use 'hf:' with torch for it.")
    return _ARCHITECTURES[names[0]]


def _read_adapter(folder: Path) -> dict[str, tuple[Weights, Weights]]:
    """Return both halves of each layer's adapter, whose product is added; the scale is spread over them evenly.

    Raises:
        ConfigError: If the adapter is no plain LoRA.
    """
    settings = read_adapter_config(folder)
    check_plain_lora(folder, settings, ("rank_pattern", "alpha_pattern"))
    rank = np.sqrt(settings["r"]) if settings.get("use_rslora") else settings["r"]
    scale = np.float32(np.sqrt(settings["lora_alpha"] / rank))
    weights = dict(read_weights(folder))
    layers = [name.removesuffix(_DOWN) for name in weights if name.endswith(_DOWN)]
    if left := sorted(weights.keys() - {layer + half for layer in layers for half in (_DOWN, _UP)}):
        raise ConfigError(f"{folder}: {left[0]} is no half of a layer's LoRA; merge the adapter into its model.")
    return {
        layer.removeprefix(_PREFIX): (weights[layer + _DOWN] * scale, weights[layer + _UP] * scale) for layer in layers
    }


def _add_settings(writer: Any, config: Mapping[str, Any]) -> None:
    n_heads, n_layers = config["num_attention_heads"], config["num_hidden_layers"]
    rope = config.get("rope_parameters") or {}
    if (kind := rope.get("rope_type", "default")) != "default":
        raise NoGguf(f"Positions of kind {kind!r} cannot be written as GGUF here; use 'hf:' with torch.")
    writer.add_block_count(n_layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or n_heads)
    size = config.get("head_dim") or config["hidden_size"] // n_heads
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0))
    writer.add_vocab_size(config["vocab_size"])


@cache
def _map_names(arch: Any, n_layers: int) -> Any:
    from gguf import get_tensor_name_map  # noqa: PLC0415 - optional

    return get_tensor_name_map(arch, n_layers)


def _rename(name: str, architecture: _Architecture, config: Mapping[str, Any]) -> str:
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES  # noqa: PLC0415 - optional

    arch = next(key for key, value in MODEL_ARCH_NAMES.items() if value == architecture.name)
    assert isinstance(arch, MODEL_ARCH)
    names = _map_names(arch, config["num_hidden_layers"])
    renamed: str | None = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if renamed is None:
        raise NoGguf(f"The weights {name!r} have no place in a GGUF; use 'hf:' with torch for this model.")
    return renamed


def _permute(name: str, weights: Weights, config: Mapping[str, Any], architecture: _Architecture) -> Weights:
    """Put the rows of queries and keys into llama.cpp's order: from halves to neighbours."""
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    layer = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
    if not architecture.is_interleaved or layer not in heads:
        return weights
    n_heads = config.get(heads[layer]) or config["num_attention_heads"]
    halves = weights.reshape(n_heads, 2, -1, *weights.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weights.shape))


def _quantize(weights: Weights, quantization: Quantization) -> tuple[Any, np.ndarray[Any, Any]]:
    from gguf import GGMLQuantizationType, quants  # noqa: PLC0415 - optional

    if weights.ndim == 1 or quantization == "f32":
        return None, np.ascontiguousarray(weights)
    if quantization == "f16" or weights.shape[-1] % _BLOCK:
        return None, weights.astype(np.float16)
    kind = GGMLQuantizationType[quantization.upper()]
    return kind, quants.quantize(np.ascontiguousarray(weights), kind)


@contextmanager
def _writing(out: Path, architecture: _Architecture) -> Iterator[Any]:
    """Give the writer of a file, which keeps what is added on disk, since it may not fit into memory."""
    from gguf import GGUFWriter  # noqa: PLC0415 - optional

    writer = GGUFWriter(out, architecture.name, use_temp_file=True)
    try:
        yield writer
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
        if writer.temp_file is not None:
            writer.temp_file.close()
