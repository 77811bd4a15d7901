"""A checkpoint as GGUF, for llama.cpp's server and the programs that are built on llama.cpp."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, cast

from alpha_umi.documents import read_document, read_text
from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine.checkpoint import (
    REPEAT_NAMES,
    TEMPLATE,
    Checkpoint,
    CheckpointPart,
    read_checkpoint,
    resolve_base,
)
from alpha_umi.nodes.models.engine.fit import MODEL_CONFIG
from alpha_umi.nodes.models.engine.llamacpp.gguf import Quantization, write_adapter, write_model
from alpha_umi.nodes.models.engine.tokenizer import Tokenizer
from alpha_umi.training.export import make_folder, refuse_activated

_AGAIN = "copy the checkpoint again"
_MAX_CONTEXT_TOKENS = 8_192  # ollama takes memory for all of it at once

# The prompt of umi.jinja in Go's language of templates, in which the role that is asked is written down.
_MODELFILE = '''FROM ./{role}.gguf
TEMPLATE """{{{{ range .Messages }}}}<|im_start|>{{{{ .Role }}}}
{{{{ .Content }}}}<|im_end|>
{{{{ end }}}}<|im_start|>{role}
"""
PARAMETER stop "<|im_end|>"
PARAMETER temperature 0
PARAMETER num_ctx {n_tokens}
'''


def export_gguf(
    checkpoint: str | Path, out: str | Path, *, quantization: Quantization = "q8_0", base: str | Path | None = None
) -> list[Path]:
    """Write the backbone, stage 1 merged in, and a LoRA adapter or full model for each role that has one.

    The adapters of activated LoRAs carry their invocation tokens, before which llama.cpp's server leaves them off.

    Args:
        checkpoint: Folder of a trained checkpoint.
        out: A folder that does not exist yet; gets ``backbone.gguf`` and ``<role>.gguf``.
        quantization: Of the models; adapters are written in float16, with ``f32`` in float32.
        base: Where the base model is, if not where the checkpoint says.

    Returns:
        The files written.

    Raises:
        ConfigError: If llama.cpp does not know such a model or tokenizer, or `out` exists.
        TrainingStopped: If the disk is full; nothing is left behind.
    """
    source = read_checkpoint(checkpoint)
    names = ["backbone"]
    with make_folder(Path(out)) as folder:
        model, merged = _find_backbone(source, base)
        _write_model(source, model, merged, folder / "backbone.gguf", quantization)
        for role, part in source.roles.items():
            if part.kind == "none":
                continue
            names.append(role)
            file, path = folder / f"{role}.gguf", cast(Path, part.path)
            if part.kind == "full":
                _write_model(source, path, [], file, quantization, role)
            else:
                write_adapter(model, path, file, quantization)
    return [Path(out) / f"{name}.gguf" for name in names]


def merge_gguf(
    checkpoint: str | Path, out: str | Path, *, quantization: Quantization = "q8_0", base: str | Path | None = None
) -> list[Path]:
    """Write one full model per role, ``OUT/<role>.gguf``, and ``OUT/<role>.Modelfile`` for ollama.

    Where ollama's templates cannot make the prompts of the training, there is no Modelfile; a `UserWarning` says so.
    Arguments, return value and errors are those of `export_gguf`.

    Raises:
        ConfigError: If a role is an activated LoRA, which no full model equals.
    """
    source = read_checkpoint(checkpoint)
    refuse_activated(source, "'alpha-umi models export --format gguf' without --merged, for llama.cpp's server")
    has_template = _read_template(source) == load_template("umi")
    files = []
    with make_folder(Path(out)) as folder:
        for role in ROLES:
            model, adapters = _find_role(source, role, base)
            _write_model(source, model, adapters, folder / f"{role}.gguf", quantization, role)
            files.append(Path(out) / f"{role}.gguf")
            if has_template:
                text = _MODELFILE.format(role=role, n_tokens=_count_context(source, model))
                (folder / f"{role}.Modelfile").write_text(text, "utf-8")
                files.append(Path(out) / f"{role}.Modelfile")
    if not has_template:
        warnings.warn(
            "No Modelfile for ollama was written: its templates cannot make the prompts that this checkpoint was "
            "trained on. llama.cpp's server and LM Studio read the chat template in the models.",
            stacklevel=2,
        )
    return files


def _find_backbone(source: Checkpoint, base: str | Path | None) -> tuple[Path, list[Path]]:
    """Return the folder of a full model, and what is merged into it."""
    part = source.backbone
    if part.kind == "full":
        return cast(Path, part.path), []
    return resolve_base(source, base), _list_adapters(part)


def _find_role(source: Checkpoint, role: Role, base: str | Path | None) -> tuple[Path, list[Path]]:
    part = source.roles[role]
    if part.kind == "full":
        return cast(Path, part.path), []
    model, merged = _find_backbone(source, base)
    return model, [*merged, *_list_adapters(part)]


def _list_adapters(part: CheckpointPart) -> list[Path]:
    return [cast(Path, part.path)] if part.kind == "lora" else []


def _write_model(
    source: Checkpoint,
    model: Path,
    adapters: list[Path],
    out: Path,
    quantization: Quantization,
    role: Role | None = None,
) -> None:
    name = " ".join(filter(None, (source.path.resolve().name, role)))
    template = _set_variables(source, role) + _read_template(source)
    write_model(model, adapters, source.path, out, quantization, name=name, template=template)


def _read_template(source: Checkpoint) -> str:
    repeated = load_template("repeat_names") if source.card.get(REPEAT_NAMES) else ""  # the file knows no card
    return repeated + read_text(source.path / TEMPLATE, _AGAIN)


def _set_variables(source: Checkpoint, role: Role | None) -> str:
    """Return what stands before a template: the role of a model that plays one, and the texts of special tokens.

    llama.cpp would take the latter from its vocabulary, where a tokenizer that has none has one by default.
    """
    named = Tokenizer(source.path).special_tokens_map
    texts = {name: named.get(name, "") for name in ("bos_token", "eos_token")}
    given = [f"{{%- set {name} = {json.dumps(text)} -%}}\n" for name, text in texts.items()]
    return "".join(given) + (f"{{%- set role = role | default('{role}') -%}}\n" if role else "")


def _count_context(source: Checkpoint, model: Path) -> int:
    config = read_document(model / MODEL_CONFIG, _AGAIN, dict[str, Any])
    return min(_MAX_CONTEXT_TOKENS, int(config["max_position_embeddings"]), Tokenizer(source.path).model_max_length)
