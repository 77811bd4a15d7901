"""Whether a folder holds the weights that are wanted: their kind, names and shapes, before any is loaded.

Of weights only the headers are read, and models are made without memory (on torch's device ``meta``), so that a wrong
size costs nothing.
"""

from __future__ import annotations

import ast
import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Required,  # pydantic needs them before Python 3.12
    TypeAlias,
    cast,
    get_args,
)

from typing_extensions import TypedDict

from alpha_umi.documents import check_files, read_document
from alpha_umi.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

PartKind: TypeAlias = Literal["none", "full", "lora", "alora"]
PART_KINDS: tuple[PartKind, ...] = get_args(PartKind)
ADAPTER_CONFIG = "adapter_config.json"
MODEL_CONFIG = "config.json"
_ADAPTER = "adapter_model.safetensors"
# Settings of PEFT under which a layer does other than add x · A · B.
_BEYOND_LORA = (
    *("use_dora", "modules_to_save", "bias", "lora_bias", "use_qalora", "use_bdlora", "arrow_config", "kasa_config"),
    *("monteclora_config", "trainable_token_indices", "target_parameters", "layer_replication"),
)
_ATTENTION_LAYERS = {"full_attention", "sliding_attention", "attention"}
_FLOATS = {"F8_E4M3", "F8_E5M2", "F16", "BF16", "F32", "F64"}
_NO_MATTER = frozenset(
    {"transformers_version", "dtype", "torch_dtype", "_name_or_path", "use_cache", "architectures", "initializer_range"}
)
"""Settings of a model that change nothing in what it computes here, or differ by version."""
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
_UPDATE = re.compile(r"past_key_values?\.update\(")


class _Index(TypedDict):
    weight_map: dict[str, str]


class _ModelConfig(TypedDict, total=False):
    model_type: Required[str]
    layer_types: list[str] | None
    layers_block_type: list[str] | None
    attn_logit_softcapping: float | None


def check_part_folder(path: Path, kind: PartKind) -> None:
    """Refuse an adapter where a full model is wanted, and the other way round.

    Raises:
        ConfigError: Says what was found and what was expected.
    """
    is_adapter, is_model = (path / ADAPTER_CONFIG).is_file(), (path / MODEL_CONFIG).is_file()
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
    check_safetensors(path, "*.safetensors" if kind == "full" else _ADAPTER)
    if kind != "full":
        read_adapter_config(path)


def find_settings(path: Path, kind: PartKind) -> Path:
    """Return the file that says what the weights of a folder are."""
    return path / (MODEL_CONFIG if kind == "full" else ADAPTER_CONFIG)


def check_layers(path: Path) -> None:
    """Refuse a model with layers that carry a state from token to token, or attend in another way than the engine.

    The engine computes the tokens of several texts in one batch, which is right for attention alone. Training refuses
    the same models, since what it makes has to be run.

    Raises:
        ConfigError: Names the layers.
    """
    config: _ModelConfig = read_document(path / MODEL_CONFIG, "copy the model again", _ModelConfig)
    kinds: list[str] = config.get("layer_types") or config.get("layers_block_type") or []
    others = ", ".join(sorted({str(kind) for kind in kinds} - _ATTENTION_LAYERS))
    if others := others or ("" if _attends_plainly(config, has_kinds=bool(kinds)) else config["model_type"]):
        raise ConfigError(
            f"{path} has layers of kind {others}, which cannot be computed in this process, so it is not trained here "
            "either; take a model with attention alone, such as Llama, Qwen, Gemma, Mistral, Granite or SmolLM. To use "
            "it as it is, run it on a server (docs/serving.md)."
        )


def _attends_plainly(config: _ModelConfig, *, has_kinds: bool) -> bool:
    """Say whether transformers lets a model's attention be replaced, and ours does what its own does."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING  # noqa: PLC0415 - takes seconds

    kind = config["model_type"]
    model: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(CONFIG_MAPPING[kind], None) if kind in CONFIG_MAPPING else None
    if model is None:
        return True  # loading says what is wrong
    has_state = getattr(model, "_is_stateful", False) and not has_kinds
    # what torch's kernel cannot do, we can if it is a cap on scores
    is_known = model._supports_sdpa or bool(config.get("attn_logit_softcapping"))
    return bool(model._supports_attention_backend and is_known and not has_state and _hands_cache_on(model))


def _hands_cache_on(model: type) -> bool:
    """Say whether all attention of a model gets from the cache what it attends to, and does nothing else with it.

    The engine's caches give something of their own there. Latents, as DeepSeek caches them, have to be keys and values.
    """
    tree = ast.parse(inspect.getsource(import_module(model.__module__)))
    functions = [list(ast.walk(node)) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return all(
        _is_handed_on(node, nodes)
        for nodes in functions
        for node in nodes
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and _UPDATE.match(ast.unparse(node.value))
    )


def _is_handed_on(update: ast.Assign, nodes: Sequence[ast.AST]) -> bool:
    held = {ast.unparse(each) for each in cast(ast.Tuple, update.targets[0]).elts}
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "attention_interface"]
    later = [node for node in nodes if getattr(node, "lineno", 0) > (update.end_lineno or 0)]
    is_read = any(isinstance(node, ast.Attribute) and ast.unparse(node.value) in held for node in later)
    is_changed = any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in held for node in later
    )
    return (
        held <= {ast.unparse(argument) for call in calls for argument in call.args} and not is_read and not is_changed
    )


def read_adapter_config(path: Path) -> dict[str, Any]:
    """Return an adapter's settings.

    Raises:
        ConfigError: If it is no LoRA adapter, or names a module that PEFT would import.
    """
    config = read_document(path / ADAPTER_CONFIG, "copy the adapter again")
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise ConfigError(f"{path} is no LoRA adapter ({kind}); train it again as LoRA.")
    if config.get("megatron_config"):
        raise ConfigError(f"{path} names a module to import ('megatron_config'); take that out of its settings.")
    return dict(config)


def check_plain_lora(path: Path, settings: Mapping[str, Any], beyond: Sequence[str] = ()) -> None:
    """Refuse an adapter that does other than add x · A · B, or has more settings that make it so where it is used.

    Raises:
        ConfigError: Names the settings.
    """
    extras = [name for name in (*_BEYOND_LORA, *beyond) if settings.get(name) not in (None, False, [], {}, "none")]
    if extras:
        raise ConfigError(f"{path} is no plain LoRA, it sets {', '.join(extras)}; merge it into its model.")


def check_safetensors(path: Path, pattern: str = "*.safetensors") -> None:
    """Refuse weights in pickle files, which can run any code when they are read, and pipes and devices, without an end.

    Raises:
        ConfigError: If the folder has no weights as safetensors, or holds what is neither file nor folder.
    """
    check_files(path)
    if not any(path.glob(pattern)):
        raise ConfigError(
            f"{path} holds no {pattern}, the only kind of weights that is loaded; "
            "save it again with 'save_pretrained', or copy what is missing."
        )
    for index in path.glob("*.safetensors.index.json"):  # transformers reads what it names, whatever and wherever it is
        for name in read_document(index, "copy the model again", _Index)["weight_map"].values():
            if not name.endswith(".safetensors"):
                raise ConfigError(f"{index} names {name!r}, which is no safetensors file; save the model again.")
            if Path(name).name != name or not (path / name).is_file():
                raise ConfigError(f"{index} names {name!r}, which is not in its folder; copy the model again.")


def describe_model(path: Path) -> dict[str, Any]:
    """Return the settings of a model on which its computation depends, for the card of a checkpoint."""
    settings = load_config(path).to_dict()
    return {key: value for key, value in settings.items() if key not in _NO_MATTER and _is_plain(value)}


def check_settings(path: Path, expected: Mapping[str, Any], card: Path) -> None:
    """Refuse a model with other settings than a training had; what only one of them knows is of another version.

    Raises:
        ConfigError: Names the setting.
    """
    found = describe_model(path)
    for name in sorted(expected.keys() & found.keys()):
        if found[name] != expected[name]:
            raise ConfigError(
                f"{path / MODEL_CONFIG} has {name} {found[name]!r}, but {card} was trained with {expected[name]!r}; "
                "restore it, or pull or copy the model again."
            )


def check_fit(path: Path, adapters: Sequence[Path] = ()) -> None:
    """Refuse a model whose weights are not those that its configuration describes, and adapters that do not fit it.

    Raises:
        ConfigError: Names file and weights, and what was expected.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - takes seconds

    config = load_config(path)
    places = {name: file for file in sorted(path.glob("*.safetensors")) for name in _read_shapes(file)}
    n_layers, n_weights = getattr(config.get_text_config(), "num_hidden_layers", 0), len(places)
    if n_layers > n_weights:  # to make so many takes time, if no memory
        raise ConfigError(
            f"{path / MODEL_CONFIG} has num_hidden_layers {n_layers:,}, but there are {n_weights:,} weights in all; "
            "restore it, or copy the model again."
        )
    if getattr(config, "quantization_config", None) is None:
        with explaining(path, "model"), _no_reports():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                device_map="meta",
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        found = loaded[1]
        wrong = [(name, f"{tuple(is_)}", f"{tuple(wanted)}") for name, is_, wanted in sorted(found["mismatched_keys"])]
        wrong += [(name, "missing", "a weight") for name in sorted(found["missing_keys"])]
        wrong += [(name, "there", "no such weight") for name in sorted(found["unexpected_keys"])]
        _refuse([(places.get(name, path), name, *rest) for name, *rest in wrong], path / MODEL_CONFIG, "model")
    check_adapters(config, adapters)


def check_adapters(config: PretrainedConfig, adapters: Sequence[Path]) -> None:
    """Refuse adapters that are not what their own settings say, or not for a model of this configuration.

    Raises:
        ConfigError: Names file and weights, and what was expected.
    """
    import torch  # noqa: PLC0415 - takes seconds
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    model: Any = None
    shapes: dict[str, Shapes] = {}
    for path in adapters:
        check_part_folder(path, "lora")
        file = path / _ADAPTER
        with explaining(path, "adapter"), torch.device("meta"), _no_reports():
            settings = PeftConfig.from_pretrained(str(path))
            settings.alora_invocation_tokens, settings.lora_alpha = None, 1  # no matter for shapes
            kind = repr(settings)
            if kind not in shapes:  # takes half a second
                model = model or AutoModelForCausalLM.from_config(deepcopy(config))  # type: ignore[no-untyped-call]
                adapted: Any = get_peft_model(model, settings)
                weights = get_peft_model_state_dict(adapted, save_embedding_layers=False)
                shapes[kind] = {name: tuple(tensor.shape) for name, tensor in weights.items()}
                model = adapted.unload()
            wanted = shapes[kind]
        found = _read_shapes(file, _FLOATS)
        wrong = [
            (file, name, found.get(name, "missing"), wanted.get(name, "no such weight"))
            for name in sorted(wanted.keys() | found.keys())
            if wanted.get(name) != found.get(name)
        ]
        _refuse(wrong, path / ADAPTER_CONFIG, "adapter")


def load_hf_tokenizer(path: Path) -> Any:
    """Return transformers' tokenizer of a folder.

    Raises:
        ConfigError: If it cannot be loaded.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - takes seconds

    with explaining(path, "tokenizer"):
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)


def load_config(path: Path) -> PretrainedConfig:
    """Return transformers' configuration of a model.

    Raises:
        ConfigError: If it cannot be loaded.
    """
    from transformers import AutoConfig  # noqa: PLC0415 - takes seconds

    with explaining(path, "model"):
        return cast("PretrainedConfig", AutoConfig.from_pretrained(path, trust_remote_code=False))


def _read_shapes(file: Path, kinds: set[str] | None = None) -> Shapes:
    """Return the shape of each weight, from the file's header."""
    from safetensors import safe_open  # noqa: PLC0415

    with explaining(file, "file of weights"), safe_open(file, "numpy") as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        if kinds and (other := {each.get_dtype() for each in slices.values()} - kinds):
            raise ValueError(f"its weights are {', '.join(sorted(other))} and not floating point")
        return {name: tuple(each.get_shape()) for name, each in slices.items()}


def _refuse(wrong: Sequence[tuple[Path, str, Any, Any]], config: Path, what: str) -> None:
    if wrong:
        file, name, found, wanted = wrong[0]
        more = f" {len(wrong) - 1:,} other weights are wrong, too." if len(wrong) > 1 else ""
        raise ConfigError(
            f"{file}: {name} is {found}, but by {config} it has to be {wanted}; put back the file that was changed, or "
            f"copy or pull the {what} again.{more}"
        )


@contextmanager
def explaining(path: Path, what: str) -> Iterator[None]:
    """Make a clear error of whatever libraries raise of files that somebody changed."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
        raise ConfigError(f"The {what} in {path} cannot be loaded ({fault:.500}); copy or pull it again.") from error


@contextmanager
def _no_reports() -> Iterator[None]:
    """Keep libraries from telling what they find: here it is an error, and loading tells it again."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with no_progress_bar(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_plain(part) for name, part in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


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
