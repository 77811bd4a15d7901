"""A trained checkpoint: which weights play which role, and whether they belong together.

CKPT/umi.json                        what follows, with hashes, settings and metrics; written last
CKPT/backbone/                       stage 1: an adapter on the base model, or a full model
CKPT/{planner,caller,summarizer}/    stage 2: an adapter on the backbone, or a full model
CKPT/tokenizer.json, chat_template.jinja, …

Reading a checkpoint loads no weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, Required, cast, get_args  # pydantic needs them before Python 3.12

from typing_extensions import TypedDict

from alpha_umi.documents import check_document, check_files, read_document, read_text
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.escaping import Style
from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine.fit import (
    PART_KINDS,
    PartKind,
    check_adapters,
    check_fit,
    check_part_folder,
    check_safetensors,
    check_settings,
    find_settings,
    quiet_peft,
    read_adapter_config,
)
from alpha_umi.nodes.models.engine.weights import resolve

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CARD = "umi.json"
TEMPLATE = "chat_template.jinja"
FORMAT = 1
CALLER_MAY_OMIT = "caller_may_omit"
"""In the card: the caller may leave out required arguments; not if it is absent."""
REPEAT_NAMES = "repeat_names"
"""In the card: the line of a tool ends with its name once more; not if it is absent."""
_COPY = "copy the checkpoint again, or train it again"


class _Base(TypedDict):
    name: str
    sha256: str


class _Template(TypedDict):
    style: str
    sha256: str


class _Part(TypedDict, total=False):
    kind: Required[str]
    path: str
    sha256: str
    settings_sha256: str
    invocation_tokens: list[int]


class _Stage(TypedDict):
    inputs: dict[str, Any]
    metrics: dict[str, Any]


class _Card(TypedDict):
    """What `umi.json` has to hold; there may be more."""

    base: _Base
    base_settings: NotRequired[dict[str, Any]]
    template: _Template
    backbone: NotRequired[_Part]
    roles: dict[Role, _Part]
    stages: NotRequired[dict[str, _Stage]]


@dataclass(frozen=True, slots=True)
class CheckpointPart:
    """Weights on top of others: of the backbone on the base model, of a role on the backbone.

    The kind is ``none`` (nothing on top: no path, no hash), ``full`` (weights of its own), ``lora``, or ``alora``: on
    from the tokens of the role's marker onwards.
    """

    kind: PartKind
    path: Path | None = None
    sha256: str = ""
    invocation_tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `read_checkpoint` found: the base model as the training got it, stage 1 (backbone) and stage 2 (roles).

    The folder's tokenizer carries the chat template of that style; `card` is everything in ``umi.json``, for display.
    """

    path: Path
    base: str
    base_sha256: str
    style: str
    backbone: CheckpointPart
    roles: Mapping[Role, CheckpointPart]
    card: Mapping[str, Any]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check a checkpoint folder.

    Raises:
        ConfigError: If the folder holds no finished checkpoint, or its parts are not those that were trained together.
    """
    folder = Path(path).expanduser()
    card = read_card(folder)
    check_files(folder)
    missing = [part for part in ("backbone", *ROLES) if part not in {**card, **card["roles"]}]
    if missing:
        raise ConfigError(f"{folder}: {', '.join(missing)} not trained yet; run the training again with --resume.")
    _check_template(folder, card["template"]["sha256"])
    return Checkpoint(
        path=folder,
        base=card["base"]["name"],
        base_sha256=card["base"]["sha256"],
        style=card["template"]["style"],
        backbone=_read_part(folder, card["backbone"]),
        roles={role: _read_part(folder, card["roles"][role]) for role in ROLES},
        card=card,
    )


def is_checkpoint(folder: Path) -> bool:
    """Tell a training's checkpoint from a model, which has a ``config.json`` and may have a card too."""
    return (folder / CARD).is_file() and not (folder / "config.json").is_file()


def find_role_model(folder: Path, role: Role) -> Path | None:
    """Return the folder of a role's full model, None if the role uses the checkpoint's backbone."""
    part = read_checkpoint(folder).roles[role] if is_checkpoint(folder) else CheckpointPart("none")
    return part.path if part.kind == "full" else None


def read_card(folder: Path) -> dict[str, Any]:
    """Return the ``umi.json`` of a checkpoint, finished or not.

    Raises:
        ConfigError: If there is none, or it is that of something else.
    """
    path = folder / CARD
    if not path.exists():
        raise ConfigError(f"{folder} is no checkpoint: it has no {CARD}. Give the --out folder of 'alpha-umi train'.")
    card: dict[str, Any] = read_document(path, _COPY)
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ConfigError(f"{path} does not describe a trained checkpoint of format {FORMAT}; is it a base model?")
    check_document(card, str(path), _COPY, _Card)
    return card


def find_template(folders: Sequence[Path], style: Style) -> str:
    """Return the chat template of the first folder whose card names one, else that of the style.

    Raises:
        ConfigError: If that folder was trained with another style, or its template was changed since.
    """
    for folder, card in _iter_cards(folders):
        claim: _Template = card["template"]
        if claim["style"] != style:
            raise ConfigError(
                f"{folder} was trained with the chat template {claim['style']!r}, not {style!r}; set style to it."
            )
        _check_template(folder, claim["sha256"])
        return read_text(folder / TEMPLATE, _COPY)
    return load_template(style)


def find_own_template(folder: Path) -> str | None:
    """Return the chat template that came with an instruct model; None for what was trained for the roles, or has none.

    A model that was pulled under a short name has ours.
    """
    if any((place / CARD).is_file() for place in (folder, folder.parent)):
        return None
    config = folder / "tokenizer_config.json"
    if (folder / TEMPLATE).is_file():
        template: Any = read_text(folder / TEMPLATE, _COPY)
    else:
        template = read_document(config, _COPY, dict[str, Any]).get("chat_template") if config.is_file() else None
    if isinstance(template, list):  # several, by name
        template = next((each["template"] for each in template if each.get("name") == "default"), None)
    is_ours = template is None or any(template.endswith(load_template(style)) for style in get_args(Style))
    return None if is_ours else str(template)


def is_set(folders: Sequence[Path], setting: str) -> bool:
    """Say whether the card of the first of these checkpoints has `CALLER_MAY_OMIT` or `REPEAT_NAMES`."""
    return next((card.get(setting) is True for _, card in _iter_cards(folders)), False)


def _iter_cards(folders: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folders that hold a training's card, which names a template."""
    for folder in folders:
        if (folder / CARD).is_file():
            card = read_document(folder / CARD, _COPY, dict[str, Any])
            if "template" in card:
                check_document(card["template"], f"{folder / CARD}, template", _COPY, _Template)
                yield folder, card


def _check_template(folder: Path, sha256: str) -> None:
    """Refuse a checkpoint whose chat template was changed since the training."""
    if hash_file(folder / TEMPLATE) != sha256:
        raise ConfigError(f"{folder / TEMPLATE} is not the one of the training; restore it or train again.")


def _read_part(folder: Path, entry: Mapping[str, Any]) -> CheckpointPart:
    if entry["kind"] == "none":
        return CheckpointPart("none")
    if entry["kind"] not in PART_KINDS:
        raise ConfigError(f"{folder / CARD}: unknown kind {entry['kind']!r}; update alpha-umi.")
    if not entry.get("path"):
        raise ConfigError(f"{folder / CARD}: a part of kind {entry['kind']!r} has no path; {_COPY}.")
    path = folder / entry["path"]
    check_part_folder(path, entry["kind"])
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{folder / CARD}: the part {entry['path']!r} is outside the checkpoint; copy it again.")
    if not entry.get("sha256") or hash_weights(path) != entry["sha256"]:
        raise ConfigError(
            f"{path} holds other weights than {CARD} says. If a training was interrupted, run it again with --resume; "
            "otherwise copy the checkpoint again."
        )
    settings = find_settings(path, entry["kind"])
    if "settings_sha256" in entry and hash_file(settings) != entry["settings_sha256"]:
        raise ConfigError(f"{settings} is not the one of the training; restore it, or copy the checkpoint again.")
    tokens = tuple(entry.get("invocation_tokens", ()))
    if entry["kind"] == "alora" and tokens != tuple(read_adapter_config(path).get("alora_invocation_tokens") or ()):
        raise ConfigError(f"{path} is switched on by other tokens than {CARD} says; copy the checkpoint again.")
    return CheckpointPart(entry["kind"], path, entry["sha256"], tokens)


def resolve_base(checkpoint: Checkpoint, base: str | Path | None = None) -> Path:
    """Return the folder of the base model after checking that its weights are those of the training.

    `base` says where it is on this machine, if not at the place or under the name it was trained with.

    Raises:
        ModelNotAvailable: If it is not here.
        ConfigError: If it has other weights or settings.
    """
    folder = resolve(base or checkpoint.base)
    check_safetensors(folder)
    if (found := hash_weights(folder)) != checkpoint.base_sha256:
        raise ConfigError(
            f"Base model {folder} has other weights (sha256 {found[:12]}…) than {checkpoint.path} was trained on "
            f"({checkpoint.base!r}, {checkpoint.base_sha256[:12]}…); pull or name the right one."
        )
    check_settings(folder, checkpoint.card.get("base_settings", {}), checkpoint.path / CARD)
    return folder


def load_backbone(checkpoint: Checkpoint, *, dtype: torch.dtype, base: str | Path | None = None) -> PreTrainedModel:
    """Load the model that all roles share, stage 1 merged in, on the CPU and in evaluation mode; see `resolve_base`.

    Before that, the adapters of the roles are checked as well.
    """
    part = checkpoint.backbone
    folder = cast(Path, part.path) if part.kind == "full" else resolve_base(checkpoint, base)
    adapters = [cast(Path, role.path) for role in checkpoint.roles.values() if role.kind in ("lora", "alora")]
    return load_merged(folder, part, dtype=dtype, adapters=adapters)


def load_merged(
    base: Path, part: CheckpointPart, *, dtype: torch.dtype, adapters: Sequence[Path] = ()
) -> PreTrainedModel:
    """Load a model, and merge an adapter into it where `part` is one; that and `adapters` have to fit it.

    Training and serving both come here: a merge in another order or type would give slightly other weights.

    Raises:
        ConfigError: If weights are missing, too many or of other shapes; nothing is loaded then.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - takes seconds

    folder = cast(Path, part.path) if part.kind == "full" else base
    check_part_folder(folder, "full")
    check_fit(folder, [*([cast(Path, part.path)] if part.kind == "lora" else []), *adapters])
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    if part.kind == "lora":
        model = merge_adapter(model, cast(Path, part.path))
    model.eval()  # type: ignore[no-untyped-call]
    return model


def merge_adapter(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Return a model with an adapter that is always on merged into its weights."""
    from peft import PeftModel  # noqa: PLC0415 - takes seconds

    check_adapters(model.config, [adapter])
    with quiet_peft():
        adapted = PeftModel.from_pretrained(model, str(adapter))
    return cast("PreTrainedModel", adapted.merge_and_unload())


def hash_weights(folder: Path) -> str:
    """Return the sha256 over a folder's safetensors in the order of their names, empty if it has none."""
    return _hash_files(sorted(folder.glob("*.safetensors")))


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, empty if it does not exist."""
    return _hash_files([path] if path.is_file() else [])


def _hash_files(paths: list[Path]) -> str:
    if not paths:
        return ""
    digest = hashlib.sha256()
    for path in paths:
        if not path.is_file():  # a pipe or a device might never end
            raise ConfigError(f"{path} is no file; {_COPY}.")
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
