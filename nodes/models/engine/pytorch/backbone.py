"""Weights and adapters in torch, and the devices that they are on. Imports torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import PreTrainedModel

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.checkpoint import CheckpointPart, load_backbone, load_merged
from alpha_umi.nodes.models.engine.fit import (
    check_adapters,
    check_layers,
    check_part_folder,
    check_plain_lora,
    explaining,
    no_progress_bar,
    quiet_peft,
)
from alpha_umi.nodes.models.engine.prefix_cache import DEFAULT_MAX_BYTES, PrefixCache
from alpha_umi.nodes.models.engine.pytorch.forward import compute_with_oom_retry
from alpha_umi.nodes.models.engine.pytorch.kv_cache import TorchPast
from alpha_umi.nodes.models.engine.pytorch.lora import MultiLora
from alpha_umi.nodes.models.engine.spans import Adapter, Logits, Span

# Measured on two AVX-512 cores with 135M parameters: 128 tokens at once cost 10% of the rate, 256 cost 2%.
CPU_PREFILL_TOKENS = 256
GPU_PREFILL_TOKENS = 2048
CPU_CACHE_BYTES = 512 * 1024**2
"""Of the prefix cache, which shares a CPU's memory with everything else."""
BALANCED: Final = "balanced"
"""What transformers calls a device map that gives each GPU about as many layers."""

Device: TypeAlias = torch.device | Literal["balanced"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_AS_STORED: dict[str, Any] = {"autocast_adapter_dtype": False}
_LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)


class TorchBackbone(Backbone):
    """The weights in torch.

    Args:
        folder: A full model (``config.json``, safetensors and a fast tokenizer), or a training's checkpoint.
        device: Where it runs.
        dtype: Type of the weights, also of the adapters'.

    Raises:
        ConfigError: If the folder holds no such model.
    """

    guessed_tokens = 16  # beyond it a CPU computes instead of waiting for memory

    def __init__(self, folder: Path, device: Device, dtype: torch.dtype) -> None:
        """Load tokenizer and weights; takes seconds."""
        on_cpu = device != BALANCED and torch.device(device).type == "cpu"
        super().__init__(folder, PrefixCache(CPU_CACHE_BYTES if on_cpu else DEFAULT_MAX_BYTES))
        self._device = device
        self._dtype = dtype
        if self._checkpoint is None:
            check_layers(folder)
        with explaining(folder, "model"):
            self.model = self._load_model()
        self.prefill_tokens = CPU_PREFILL_TOKENS if on_cpu else GPU_PREFILL_TOKENS
        self._adapted: PeftModel | None = None
        self._multi_lora = MultiLora()
        self._n_loaded = 0

    def _load_model(self) -> PreTrainedModel:
        with no_progress_bar():
            if self._checkpoint is not None:
                model = load_backbone(self._checkpoint, dtype=self._dtype)
            else:
                model = load_merged(self.folder, CheckpointPart("none"), dtype=self._dtype)
        return place_model(model, self._device)

    @property
    def n_vocab(self) -> int:
        """Length of the logits."""
        return int(self.model.config.vocab_size)

    @property
    def _n_positions(self) -> int:
        return int(self.model.config.max_position_embeddings)

    @property
    def _model_eos_ids(self) -> Sequence[int]:
        config = self.model.generation_config
        named = config.eos_token_id if config is not None else None
        return [each for each in (named if isinstance(named, list) else [named]) if isinstance(each, int)]

    def make_past(self) -> TorchPast:
        """Return an empty cache for one text."""
        return TorchPast(self.model.config)

    def compute(self, spans: Sequence[Span]) -> list[Logits]:
        """Do one forward pass, see `alpha_umi.nodes.models.engine.pytorch.forward.compute`."""
        return compute_with_oom_retry(self, spans)

    @contextmanager
    def use(self, adapters: Sequence[Adapter | None]) -> Iterator[PreTrainedModel]:
        """Give the model with one adapter, or none, for each row of its input; a single one is that of all rows."""
        with self._multi_lora.use([adapter.name if adapter else None for adapter in adapters], self.model.device):
            yield self.model

    def forget_adapters(self, in_use: Collection[Adapter | None]) -> None:
        """Remove adapters that were replaced and that no generation uses any more."""
        for old in self._replaced.difference(in_use):
            self._replaced.remove(old)
            self.cache.drop(old)
            if self._adapted is not None and old.name in self._adapted.peft_config:
                self._adapted.set_adapter(self._adapters[old.path].name, inference_mode=True)
                self._adapted.delete_adapter(old.name)
                self._multi_lora.attach(self._adapted)

    def _load_adapter(self, folder: Path, *, again: bool = False) -> Adapter:
        if folder in self._adapters and not again:
            return self._adapters[folder]
        config = _read_adapter_config(self.model.config, folder)
        adapter = Adapter(folder, f"adapter_{self._n_loaded}", tuple(config.alora_invocation_tokens or ()))
        self._n_loaded += 1
        # Switched on and off here, at the marker: PEFT's own search for the marker needs the whole prompt each time.
        config.alora_invocation_tokens = None
        config.inference_mode = True
        is_first = self._adapted is None
        try:
            with quiet_peft():
                if self._adapted is None:
                    self._adapted = cast(PeftModel, get_peft_model(self.model, config, adapter.name, **_AS_STORED))
                else:
                    self._adapted.add_adapter(adapter.name, config, **_AS_STORED)
                self._adapted.load_adapter(str(folder), adapter.name, torch_device=str(self.model.device), **_AS_STORED)
                self._multi_lora.attach(self._adapted)
        except _LOAD_ERRORS as error:
            # PEFT leaves what it began: take it out, or load the model again where it was the first adapter
            if is_first:
                self.model, self._adapted, self._multi_lora = self._load_model(), None, MultiLora()
            elif self._adapted is not None and adapter.name in self._adapted.peft_config:
                self._adapted.delete_adapter(adapter.name)
            raise ConfigError(f"The adapter in {folder} does not fit {self.folder}: {error}") from error
        self._adapters[folder] = adapter
        return adapter


def _read_adapter_config(model: Any, folder: Path) -> LoraConfig:
    check_part_folder(folder, "lora")
    config = cast(LoraConfig, PeftConfig.from_pretrained(str(folder)))
    check_plain_lora(folder, vars(config))
    check_adapters(model, [folder])
    return config


def choose_device(name: str) -> Device:
    """Read a device setting: ``auto``, ``cpu``, ``cuda:1`` …, or ``balanced`` for all GPUs together.

    Raises:
        ConfigError: If there is no such device, here or at all.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device: Device = BALANCED if name == BALANCED else torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"Unknown device {name!r}; use 'auto', 'cpu', 'cuda' or 'balanced'.") from error
    if _get_type(device) == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"Device {name!r}: torch finds no CUDA here; use 'auto' or 'cpu', or install torch for CUDA.")
    return device


def choose_dtype(name: str, device: Device) -> torch.dtype:
    """Read a type setting: one of `DTYPES`, or ``auto`` for bfloat16 where the hardware computes in it.

    Raises:
        ConfigError: If there is no such type.
    """
    if name != "auto":
        if name not in DTYPES:
            raise ConfigError(f"Unknown dtype {name!r}; use 'auto', {', '.join(map(repr, DTYPES))}.")
        return DTYPES[name]
    if _get_type(device) == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    has_bfloat16 = _get_type(device) == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return torch.bfloat16 if has_bfloat16 else torch.float32


def place_model(model: PreTrainedModel, device: Device) -> PreTrainedModel:
    """Move a model that was loaded on the CPU to its device.

    Raises:
        ConfigError: If all GPUs together are too small for it.
    """
    if device != BALANCED:
        return cast(PreTrainedModel, model.to(device))  # type: ignore[arg-type] # a mixin's odd signature
    # accelerate takes seconds; PEFT brings it along
    from accelerate import dispatch_model, infer_auto_device_map  # type: ignore[import-untyped]  # noqa: PLC0415
    from accelerate.utils import get_balanced_memory  # type: ignore[import-untyped]  # noqa: PLC0415

    keep: dict[str, Any] = {"dtype": model.dtype, "no_split_module_classes": sorted(model._no_split_modules or ())}
    device_map = infer_auto_device_map(model, get_balanced_memory(model, **keep), **keep)
    if {"cpu", "disk"} & set(map(str, device_map.values())):
        raise ConfigError(
            f"The {torch.cuda.device_count()} GPUs here have too little free memory for this model; free some, use a "
            "smaller model, or a server (docs/serving.md)."
        )
    skip_keys = sorted(model._skip_keys_device_placement or ())  # caches stay with their layers
    return cast(PreTrainedModel, dispatch_model(model, device_map, skip_keys=skip_keys))


def _get_type(device: Device) -> str:
    return "cuda" if device == BALANCED else torch.device(device).type
