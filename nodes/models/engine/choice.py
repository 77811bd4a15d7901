"""What computes a model: torch or llama.cpp. Imports neither before it is chosen."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path

from alpha_umi.nodes.models.engine import EngineName
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.checkpoint import is_checkpoint
from alpha_umi.nodes.models.engine.llamacpp.gguf import QUANTIZATIONS
from alpha_umi.nodes.models.engine.llamacpp.header import is_installed
from alpha_umi.nodes.models.engine.llamacpp.vocabulary import NoGguf

_log = logging.getLogger(__name__)


def choose_loader(
    folder: Path, device: str, dtype: str, engine: EngineName
) -> tuple[Callable[[Path], Backbone], Hashable]:
    """Return what loads a model's folder, and what tells it from other ways to load the same folder.

    Raises:
        ConfigError: If a value cannot be used.
    """
    if engine == "torch" or (engine == "auto" and not _prefers_llamacpp(folder, device, dtype)):
        return _choose_torch_loader(device, dtype)
    from alpha_umi.nodes.models.engine.llamacpp.backbone import LlamaCppBackbone, choose_quantization  # noqa: PLC0415

    quantization = choose_quantization(dtype)
    load = partial(LlamaCppBackbone, quantization=quantization)
    if engine == "auto" and dtype == "auto":
        return partial(_load_either, load, device), ("auto", quantization)
    return load, quantization


def _prefers_llamacpp(folder: Path, device: str, dtype: str) -> bool:
    """Tell whether nothing asks for torch: a trained checkpoint without a GPU, or a type that only llama.cpp has."""
    if dtype in QUANTIZATIONS:
        return True
    is_trained = is_checkpoint(folder) or is_checkpoint(folder.parent)  # a role's full model is in a folder within
    return (
        dtype == "auto" and is_trained and is_installed() and (device == "cpu" or (device == "auto" and not _has_gpu()))
    )


def _load_either(load: Callable[[Path], Backbone], device: str, folder: Path) -> Backbone:
    """Load what llama.cpp cannot hold, or what cannot be kept for it, in torch."""
    try:
        return load(folder)
    except NoGguf:
        pass
    except OSError as error:
        _log.warning(
            "No GGUF of %s can be kept (%s), so torch computes; set ALPHA_UMI_CACHE to a folder.", folder, error
        )
    return _choose_torch_loader(device, "auto")[0](folder)


def _choose_torch_loader(device: str, dtype: str) -> tuple[Callable[[Path], Backbone], Hashable]:
    from alpha_umi.nodes.models.engine.pytorch.backbone import (  # noqa: PLC0415 - takes seconds
        TorchBackbone,
        choose_device,
        choose_dtype,
    )

    place = choose_device(device)
    torch_dtype = choose_dtype(dtype, place)
    return partial(TorchBackbone, device=place, dtype=torch_dtype), (place, torch_dtype)


def _has_gpu() -> bool:
    """Tell whether torch finds a GPU; it is imported, which takes seconds, only where there is a driver."""
    if not Path("/dev/kfd").exists():  # AMD's
        try:
            ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        except OSError:
            return False
    import torch  # noqa: PLC0415 - takes seconds

    return torch.cuda.is_available()
