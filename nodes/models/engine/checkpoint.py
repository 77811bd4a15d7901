"""A trained checkpoint: which weights play which role, and whether they belong together.

CKPT/umi.json                        what follows, with hashes, settings and metrics; written last
CKPT/backbone/                       stage 1: an adapter on the base model, or a full model
CKPT/{planner,caller,summarizer}/    stage 2: an adapter on the backbone, or a full model
CKPT/tokenizer.json, chat_template.jinja, …

Reading a checkpoint loads no weights.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.escaping import Style
from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine.weights import resolve

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PartKind: TypeAlias = Literal["none", "full", "lora", "alora"]
PART_KINDS: tuple[PartKind, ...] = get_args(PartKind)
CARD = "umi.json"
TEMPLATE = "chat_template.jinja"
FORMAT = 1
CALLER_MAY_OMIT = "caller_may_omit"
"""In the card: the caller may leave out required arguments; not if it is absent."""
REPEAT_NAMES = "repeat_names"
"""In the card: the line of a tool ends with its name once more; not if it is absent."""
_ATTENTION_LAYERS = {"full_attention", "sliding_attention", "attention"}


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
    missing = [role for role in ROLES if role not in card["roles"]]
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
    card = _read_json(path, "checkpoint")
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ConfigError(f"{path} does not describe a trained checkpoint of format {FORMAT}; is it a base model?")
    return card


def _read_json(path: Path, what: str) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); copy the {what} again.") from error


def find_template(folders: Sequence[Path], style: Style) -> str:
    """Return the chat template of the first folder whose card names one, else that of the style.

    Raises:
        ConfigError: If that folder was trained with another style, or its template was changed since.
    """
    for folder, card in _iter_cards(folders):
        claim = card["template"]
        if claim.get("style") != style:
            raise ConfigError(
                f"{folder} was trained with the chat template {claim.get('style')!r}, not {style!r}; set style to it."
            )
        _check_template(folder, claim.get("sha256"))
        return (folder / TEMPLATE).read_text("utf-8")
    return load_template(style)


def is_set(folders: Sequence[Path], setting: str) -> bool:
    """Say whether the card of the first of these checkpoints has `CALLER_MAY_OMIT` or `REPEAT_NAMES`."""
    return next((card.get(setting) is True for _, card in _iter_cards(folders)), False)


def _iter_cards(folders: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folders that hold a training's card, which names a template."""
    for folder in folders:
        try:
            card = json.loads((folder / CARD).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(card, dict) and isinstance(card.get("template"), dict):
            yield folder, card


def _check_template(folder: Path, sha256: str | None) -> None:
    """Refuse a checkpoint whose chat template was changed since the training."""
    if hash_file(folder / TEMPLATE) != sha256:
        raise ConfigError(f"{folder / TEMPLATE} is not the one of the training; restore it or train again.")


def _read_part(folder: Path, entry: Mapping[str, Any]) -> CheckpointPart:
    if entry["kind"] == "none":
        return CheckpointPart("none")
    if entry["kind"] not in PART_KINDS:
        raise ConfigError(f"{folder / CARD}: unknown kind {entry['kind']!r}; update alpha-umi.")
    path = folder / entry["path"]
    check_part_folder(path, entry["kind"])
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{folder / CARD}: the part {entry['path']!r} is outside the checkpoint; copy it again.")
    if not entry["sha256"] or hash_weights(path) != entry["sha256"]:
        raise ConfigError(
            f"{path} holds other weights than {CARD} says. If a training was interrupted, run it again with --resume; "
            "otherwise copy the checkpoint again."
        )
    tokens = tuple(entry.get("invocation_tokens", ()))
    if entry["kind"] == "alora" and tokens != tuple(read_adapter_config(path).get("alora_invocation_tokens") or ()):
        raise ConfigError(f"{path} is switched on by other tokens than {CARD} says; copy the checkpoint again.")
    return CheckpointPart(entry["kind"], path, entry["sha256"], tokens)


def check_part_folder(path: Path, kind: PartKind) -> None:
    """Refuse an adapter where a full model is wanted, and the other way round.

    Raises:
        ConfigError: Says what was found and what was expected.
    """
    is_adapter, is_model = (path / "adapter_config.json").is_file(), (path / "config.json").is_file()
    if not is_adapter and not is_model:
        raise ConfigError(f"{path} holds neither an adapter nor a model; copy the checkpoint again.")
    if kind == "full" and not is_model:
        raise ConfigError(
            f"{path} holds an adapter, but a full model is expected; give a merged model "
            "('alpha-umi models merge'), or say kind 'lora'."
        )
    if kind != "full" and not is_adapter:
        raise ConfigError(f"{path} holds a full model, but an adapter is expected; say kind 'full'.")
    if kind == "full":
        check_layers(path)
    check_safetensors(path, "*.safetensors" if kind == "full" else "adapter_model.safetensors")
    if kind != "full":
        read_adapter_config(path)


def check_layers(path: Path) -> None:
    """Refuse a model with layers that carry a state from token to token, or attend in another way than the engine.

    The engine computes the tokens of several texts in one batch, which is right for attention alone. Training refuses
    the same models, since what it makes has to be run.

    Raises:
        ConfigError: Names the layers.
    """
    config = _read_json(path / "config.json", "model")
    kinds = config.get("layer_types") or config.get("layers_block_type") or []
    others = ", ".join(sorted({str(kind) for kind in kinds} - _ATTENTION_LAYERS))
    if others := others or ("" if _attends_plainly(config, has_kinds=bool(kinds)) else str(config["model_type"])):
        raise ConfigError(
            f"{path} has layers of kind {others}, which cannot be computed in this process, so it is not trained here "
            "either; take a model with attention alone, such as Llama, Qwen, Gemma, Mistral, Granite or SmolLM. To use "
            "it as it is, run it on a server (docs/serving.md)."
        )


def _attends_plainly(config: Mapping[str, Any], *, has_kinds: bool) -> bool:
    """Say whether transformers lets a model's attention be replaced, and ours does what its own does."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING  # noqa: PLC0415 - takes seconds

    from alpha_umi.nodes.models.engine.kv_cache import hands_cache_on  # noqa: PLC0415 - imports torch

    kind = str(config.get("model_type"))
    model: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(CONFIG_MAPPING[kind], None) if kind in CONFIG_MAPPING else None
    if model is None:
        return True  # loading says what is wrong
    has_state = getattr(model, "_is_stateful", False) and not has_kinds
    # what torch's kernel cannot do, we can if it is a cap on scores
    is_known = model._supports_sdpa or bool(config.get("attn_logit_softcapping"))
    return bool(model._supports_attention_backend and is_known and not has_state and hands_cache_on(model))


def read_adapter_config(path: Path) -> dict[str, Any]:
    """Return an adapter's settings.

    Raises:
        ConfigError: If it is no LoRA adapter, or names a module that PEFT would import.
    """
    config = _read_json(path / "adapter_config.json", "adapter")
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise ConfigError(f"{path} is no LoRA adapter ({kind}); train it again as LoRA.")
    if config.get("megatron_config"):
        raise ConfigError(f"{path} names a module to import ('megatron_config'); take that out of its settings.")
    return dict(config)


def check_safetensors(path: Path, pattern: str = "*.safetensors") -> None:
    """Refuse weights in pickle files, which can run any code when they are read.

    Raises:
        ConfigError: If the folder has no weights as safetensors.
    """
    if not any(path.glob(pattern)):
        raise ConfigError(
            f"{path} holds no {pattern}, the only kind of weights that is loaded; "
            "save it again with 'save_pretrained', or copy what is missing."
        )
    for index in path.glob("*.safetensors.index.json"):  # transformers reads what it names, whatever its kind
        content = _read_json(index, "model")
        files = content.get("weight_map") if isinstance(content, dict) else None
        names = map(str, files.values()) if isinstance(files, dict) else ()
        if other := next((name for name in names if not name.endswith(".safetensors")), None):
            raise ConfigError(f"{index} names {other!r}, which is no safetensors file; save the model again.")


def resolve_base(checkpoint: Checkpoint, base: str | Path | None = None) -> Path:
    """Return the folder of the base model after checking that its weights are those of the training.

    `base` says where it is on this machine, if not at the place or under the name it was trained with.

    Raises:
        ModelNotAvailable: If it is not here.
        ConfigError: If it has other weights.
    """
    folder = resolve(base or checkpoint.base)
    check_safetensors(folder)
    if (found := hash_weights(folder)) != checkpoint.base_sha256:
        raise ConfigError(
            f"Base model {folder} has other weights (sha256 {found[:12]}…) than {checkpoint.path} was trained on "
            f"({checkpoint.base!r}, {checkpoint.base_sha256[:12]}…); pull or name the right one."
        )
    return folder


def load_backbone(checkpoint: Checkpoint, *, dtype: torch.dtype, base: str | Path | None = None) -> PreTrainedModel:
    """Load the model that all roles share, stage 1 merged in, on the CPU and in evaluation mode; see `resolve_base`."""
    part = checkpoint.backbone
    folder = cast(Path, part.path) if part.kind == "full" else resolve_base(checkpoint, base)
    return load_merged(folder, part, dtype=dtype)


def load_merged(base: Path, part: CheckpointPart, *, dtype: torch.dtype) -> PreTrainedModel:
    """Load a model, and merge an adapter into it where `part` is one.

    Training and serving both come here: a merge in another order or type would give slightly other weights.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - takes seconds

    folder = cast(Path, part.path) if part.kind == "full" else base
    check_part_folder(folder, "full")
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

    check_part_folder(adapter, "lora")
    with quiet_peft():
        adapted = PeftModel.from_pretrained(model, str(adapter))
    return cast("PreTrainedModel", adapted.merge_and_unload())


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing its own bars while it loads and saves."""
    from transformers.utils import logging  # noqa: PLC0415 - takes seconds

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Hide warnings that are not for the user.

    PEFT 0.21 reads a property that transformers 5.23 has renamed, and gives ranks to experts that are not adapted.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*_pattern keys did not match any", category=RuntimeWarning)
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


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
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
