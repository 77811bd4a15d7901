"""Where a model's weights are: on one device, or spread over all GPUs; and of which type. Imports torch.

Attention needs no choice of its own: `forward` calls torch's scaled dot-product attention, which takes its
flash kernel where device, type and head size allow it.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, cast

import torch
from transformers import PreTrainedModel

from alpha_umi.errors import ConfigError

BALANCED: Final = "balanced"
"""What transformers calls a device map that gives each GPU about as many layers."""

Place: TypeAlias = torch.device | Literal["balanced"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_place(name: str) -> Place:
    """Read a device setting: ``auto``, ``cpu``, ``cuda:1`` …, or ``balanced`` for all GPUs together.

    Raises:
        ConfigError: If there is no such device, here or at all.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place: Place = BALANCED if name == BALANCED else torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"Unknown device {name!r}; use 'auto', 'cpu', 'cuda' or 'balanced'.") from error
    if _get_type(place) == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"Device {name!r}: torch finds no CUDA here; use 'auto' or 'cpu', or install torch for CUDA.")
    return place


def choose_dtype(name: str, place: Place) -> torch.dtype:
    """Read a type setting: one of `DTYPES`, or ``auto`` for bfloat16 where the hardware computes in it.

    Raises:
        ConfigError: If there is no such type.
    """
    if name != "auto":
        if name not in DTYPES:
            raise ConfigError(f"Unknown dtype {name!r}; use 'auto', {', '.join(map(repr, DTYPES))}.")
        return DTYPES[name]
    if _get_type(place) == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    has_bfloat16 = _get_type(place) == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return torch.bfloat16 if has_bfloat16 else torch.float32


def place_model(model: PreTrainedModel, place: Place) -> PreTrainedModel:
    """Move a model that was loaded on the CPU to its place.

    Raises:
        ConfigError: If all GPUs together are too small for it.
    """
    if place != BALANCED:
        return cast(PreTrainedModel, model.to(place))  # type: ignore[arg-type] # a mixin's odd signature
    # accelerate takes seconds; PEFT brings it along
    from accelerate import dispatch_model, infer_auto_device_map  # type: ignore[import-untyped]  # noqa: PLC0415
    from accelerate.utils import get_balanced_memory  # type: ignore[import-untyped]  # noqa: PLC0415

    keep: dict[str, Any] = {
        "dtype": model.dtype,
        "no_split_module_classes": sorted(model._no_split_modules or ()),
    }
    device_map = infer_auto_device_map(model, get_balanced_memory(model, **keep), **keep)
    if {"cpu", "disk"} & set(map(str, device_map.values())):
        raise ConfigError(
            f"The {torch.cuda.device_count()} GPUs here have too little free memory for this model; free some, use a "
            "smaller model, or a server (docs/serving.md)."
        )
    skip_keys = sorted(model._skip_keys_device_placement or ())  # caches stay with their layers
    return cast(PreTrainedModel, dispatch_model(model, device_map, skip_keys=skip_keys))


def _get_type(place: Place) -> str:
    return "cuda" if place == BALANCED else torch.device(place).type
