"""A checkpoint in forms that other programs load: full models, or one full backbone with an adapter per role."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from alpha_umi.errors import ConfigError
from alpha_umi.files import make_folder_atomically, write_json
from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine.checkpoint import (
    CARD,
    REPEAT_NAMES,
    Checkpoint,
    CheckpointPart,
    hash_file,
    hash_weights,
    load_backbone,
    load_merged,
    merge_adapter,
    read_checkpoint,
)
from alpha_umi.nodes.models.engine.fit import find_settings, load_hf_tokenizer, no_progress_bar, read_adapter_config
from alpha_umi.training.checkpoint_folder import LOGS, WORK
from alpha_umi.training.stage import change_adapter_config
from alpha_umi.training.trainer import saving


def merge(checkpoint: str | Path, out: str | Path, *, base: str | Path | None = None) -> list[Path]:
    """Write one full model per role, each with the tokenizer, to ``OUT/<role>``.

    Args:
        checkpoint: Folder of a trained checkpoint.
        out: A folder that does not exist yet.
        base: Where the base model is, if not where the checkpoint says.

    Returns:
        The folders written.

    Raises:
        ConfigError: If a role is an activated LoRA, which no full model equals, or `out` exists.
        TrainingStopped: If the disk is full; nothing is left behind.
    """
    source = read_checkpoint(checkpoint)
    refuse_activated(source, "'alpha-umi models export'")
    with make_folder(Path(out)) as folder:
        for role in ROLES:
            _load_role(source, role, base).save_pretrained(folder / role)
            _save_tokenizer(source, folder / role)
    return [Path(out) / role for role in ROLES]


def export(checkpoint: str | Path, out: str | Path, *, base: str | Path | None = None) -> list[Path]:
    """Write the backbone as a full model to ``OUT/backbone``, and the roles to ``OUT/<role>``.

    The adapters carry `alora_invocation_tokens`, so PEFT and servers that know activated LoRA switch them on at the
    role's marker by themselves. Others may ignore that: a `UserWarning` says so.

    Arguments, return value and errors are those of `merge`.
    """
    source = read_checkpoint(checkpoint)
    parts: list[tuple[Role, CheckpointPart]] = [
        (role, source.roles[role]) for role in ROLES if source.roles[role].kind != "none"
    ]
    with make_folder(Path(out)) as folder:
        load_backbone(source, dtype=_get_dtype(source), base=base).save_pretrained(folder / "backbone")
        _save_tokenizer(source, folder / "backbone")
        for role, part in parts:
            shutil.copytree(cast(Path, part.path), folder / role)
            if part.kind != "full":
                _widen(folder / role)
                change_adapter_config(folder / role, {"base_model_name_or_path": str(Path(out) / "backbone")})
            else:
                _save_tokenizer(source, folder / role)
    if activated := [role for role, part in parts if part.kind == "alora"]:
        warnings.warn(
            f"{', '.join(activated)}: an activated LoRA is only right where 'alora_invocation_tokens' is obeyed (PEFT, "
            "llama.cpp, this package). vLLM ignores it without an error and answers worse; for vLLM train the role "
            "with kind 'lora'.",
            stacklevel=2,
        )
    return [Path(out) / name for name in ("backbone", *(role for role, _ in parts))]


def refuse_activated(source: Checkpoint, instead: str) -> None:
    """Refuse to merge a checkpoint with activated LoRAs.

    Raises:
        ConfigError: Names the roles, and what to use instead.
    """
    if activated := [role for role in ROLES if source.roles[role].kind == "alora"]:
        raise ConfigError(
            f"{', '.join(activated)}: an activated LoRA (alora) is off before the role's marker, so it cannot be "
            f"merged into one set of weights; use {instead}, or train the role with kind 'lora'."
        )


@contextmanager
def make_folder(out: Path) -> Iterator[Path]:
    """Give a folder that appears as `out`, which must not exist, only when it is complete."""
    if out.exists():
        raise ConfigError(f"{out} exists already; give a folder that does not.")
    with saving(out), no_progress_bar(), make_folder_atomically(out) as folder:
        yield folder


def _load_role(source: Checkpoint, role: Role, base: str | Path | None) -> PreTrainedModel:
    part, dtype = source.roles[role], _get_dtype(source)
    if part.kind == "full":
        return load_merged(cast(Path, part.path), part, dtype=dtype)
    backbone = load_backbone(source, dtype=dtype, base=base)
    return merge_adapter(backbone, cast(Path, part.path)) if part.kind == "lora" else backbone


def _get_dtype(source: Checkpoint) -> torch.dtype:
    return cast(torch.dtype, getattr(torch, source.card["config"]["precision"]))


def _save_tokenizer(source: Checkpoint, folder: Path) -> None:
    tokenizer = load_hf_tokenizer(source.path)
    if source.card.get(REPEAT_NAMES):  # a server knows the template and not the card
        tokenizer.chat_template = load_template("repeat_names") + tokenizer.chat_template
    tokenizer.save_pretrained(folder)


_WEIGHTS, _DOWN = "adapter_model.safetensors", "lora_A"
_LARGEST_EXPONENT = 8  # numbers below 2 ** 8; the largest of float8_e4m3fn is 448


def compact(checkpoint: str | Path, out: str | Path) -> Path:
    """Write a checkpoint again with its adapters rounded to 8 bits each; full models are copied as they are.

    Arguments and errors are those of `merge`; returns `out`.
    """
    source, target = read_checkpoint(checkpoint), Path(out)
    with make_folder(target) as fresh:
        shutil.copytree(source.path, fresh, ignore=shutil.ignore_patterns(LOGS, WORK), dirs_exist_ok=True)
        for part in (source.backbone, *source.roles.values()):
            if part.kind in ("lora", "alora"):
                _round(fresh / cast(Path, part.path).relative_to(source.path))
        roles = {role: _rehash(source.card["roles"][role], part, fresh) for role, part in source.roles.items()}
        backbone = _rehash(source.card["backbone"], source.backbone, fresh)
        card = {**source.card, "backbone": backbone, "roles": roles}
        write_json(fresh / CARD, {**card, "config": _forget_path(source.card["config"])})
    return target


def _forget_path(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where on this machine the training started from; the name of a checkpoint that ships says something."""
    start = config.get("start_from")
    return {**config, "start_from": None if start is not None and Path(start).is_absolute() else start}


def _widen(adapter: Path) -> None:
    """Turn 8 bits into bfloat16, since few programs load an adapter of less."""
    tensors = load_file(adapter / _WEIGHTS)
    if any(tensor.dtype == torch.float8_e4m3fn for tensor in tensors.values()):
        wide = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
        save_file(wide, adapter / _WEIGHTS, metadata={"format": "pt"})


def _round(adapter: Path) -> None:
    """Round to float8_e4m3fn, whose 4 bits of precision change an adapter's product by some 3%.

    Each half is scaled by a power of 2, of which bfloat16 loses nothing, into the range of these numbers. The two
    powers of a layer make the same product everywhere, which `lora_alpha` takes back; so PEFT loads it like any other.
    """
    tensors = {name: tensor.float() for name, tensor in load_file(adapter / _WEIGHTS).items()}
    ups = {name: name.replace(_DOWN, "lora_B") for name in tensors if _DOWN in name}
    exponents = {name: _LARGEST_EXPONENT - int(tensor.abs().max().frexp().exponent) for name, tensor in tensors.items()}
    total = min(exponents[down] + exponents[up] for down, up in ups.items())
    exponents |= {down: total - exponents[up] for down, up in ups.items()}
    rounded = {name: tensor.ldexp(torch.tensor(exponents[name])) for name, tensor in tensors.items()}
    rounded = {name: tensor.to(torch.float8_e4m3fn).contiguous() for name, tensor in rounded.items()}
    save_file(rounded, adapter / _WEIGHTS, metadata={"format": "pt"})
    alpha = read_adapter_config(adapter)["lora_alpha"]
    change_adapter_config(adapter, {"lora_alpha": alpha * 2.0**-total})


def _rehash(entry: Mapping[str, Any], part: CheckpointPart, folder: Path) -> dict[str, Any]:
    if part.kind == "none":
        return dict(entry)
    path = folder / entry["path"]
    settings = hash_file(find_settings(path, part.kind))
    return {**entry, "sha256": hash_weights(path), "settings_sha256": settings}
