"""What is done when there is no memory left for a forward pass. Imports torch."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import torch

from alpha_umi.errors import ModelFault
from alpha_umi.nodes.models.backbone import Backbone
from alpha_umi.nodes.models.forward import Span, compute

# What torch's allocators say in errors that are no torch.OutOfMemoryError: on the CPU, on Apple's GPUs, in cuBLAS.
_SAYINGS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def compute_in_memory(backbone: Backbone, spans: Sequence[Span]) -> list[torch.Tensor]:
    """Do what `compute` does; where memory is short, let go of the cached prompts and try once more.

    Raises:
        ModelFault: If that was not enough; nothing was appended.
    """
    try:
        return compute(backbone, spans)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    backbone.cache.clear()  # beyond the handler, whose traceback holds the tensors of the pass
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        return compute(backbone, spans)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
    raise ModelFault(
        f"There is not enough memory to write this text ({reason}). Run fewer threads at once, lower max_tokens, "
        "shorten the conversation, or take a smaller dtype, model or another device; then ask again, or resume the "
        "thread."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory could not be had."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)
