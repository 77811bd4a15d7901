"""A finished checkpoint in half the size: adapters in bfloat16, without what only its training needed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.checkpoint import CARD, Part, hash_weights, read_checkpoint
from alpha_umi.training.output import LOGS, WORK, write_json
from alpha_umi.training.trainer import saving

_WEIGHTS = "adapter_model.safetensors"


def compact(checkpoint: str | Path, out: str | Path) -> Path:
    """Write a checkpoint again with its adapters rounded to bfloat16; full models are copied as they are.

    Args:
        checkpoint: Folder of a trained checkpoint.
        out: A folder that does not exist yet.

    Returns:
        `out`.

    Raises:
        ConfigError: If the checkpoint cannot be used, or `out` exists.
        TrainingStopped: If the disk is full; nothing is left behind.
    """
    source, target = read_checkpoint(checkpoint), Path(out)
    if target.exists():
        raise ConfigError(f"{target} exists already; give a folder that does not.")
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    with saving(fresh):
        shutil.copytree(source.path, fresh, ignore=shutil.ignore_patterns(LOGS, WORK))
        for part in (source.backbone, *source.roles.values()):
            if part.kind in ("lora", "alora"):
                _round(fresh / cast(Path, part.path).relative_to(source.path) / _WEIGHTS)
        roles = {role: _rehash(source.card["roles"][role], part, fresh) for role, part in source.roles.items()}
        backbone = _rehash(source.card["backbone"], source.backbone, fresh)
        card = {**source.card, "backbone": backbone, "roles": roles}
        write_json(fresh / CARD, {**card, "config": _forget_path(source.card["config"])})
    os.replace(fresh, target)
    return target


def _forget_path(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where on this machine the training started from; the name of a checkpoint that ships says something."""
    start = config.get("start_from")
    return {**config, "start_from": None if start is not None and Path(start).is_absolute() else start}


def _round(path: Path) -> None:
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _rehash(entry: Mapping[str, Any], part: Part, folder: Path) -> dict[str, Any]:
    return dict(entry) if part.kind == "none" else {**entry, "sha256": hash_weights(folder / entry["path"])}
