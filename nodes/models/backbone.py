"""One model in memory: tokenizer, weights, adapters, chat template, grammars.

Knows nothing about threads (`alpha_umi.nodes.models.engine`) or about decoding. Imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from langchain_core.messages import ChatMessage
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.escaping import Style
from alpha_umi.nodes.models.checkpoint import CARD, TEMPLATE, hash_file, quiet_peft
from alpha_umi.nodes.models.grammar import GrammarCompiler
from alpha_umi.nodes.render import load_template

_LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)


class Backbone:
    """One base model in memory with any number of LoRA adapters; for use in its engine's thread only.

    Args:
        folder: A full model: ``config.json``, safetensors and a fast tokenizer.
        device: Where it runs.
        dtype: Type of the weights, also of the adapters'.

    Raises:
        ConfigError: If the folder holds no such model.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load tokenizer and weights; takes seconds."""
        self.folder = folder
        self._device = device
        self._dtype = dtype
        _check_model_folder(folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self.model = self._load_model()
        except _LOAD_ERRORS as error:
            raise ConfigError(f"The model in {folder} cannot be loaded: {error}; copy or pull it again.") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ConfigError(f"{folder} has no fast tokenizer (tokenizer.json); save one beside the model.")
        self.tokenizer = tokenizer
        self._adapted: PeftModel | None = None
        self._adapter_names: dict[Path, str] = {}

    def _load_model(self) -> PreTrainedModel:
        with _no_progress_bar():
            model: Any = AutoModelForCausalLM.from_pretrained(
                self.folder,
                dtype=self._dtype,
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
        loaded: PreTrainedModel = model.to(self._device).eval()
        return loaded

    @property
    def window_tokens(self) -> int:
        """The most tokens that prompt and output may have together."""
        return min(int(self.model.config.max_position_embeddings), int(self.tokenizer.model_max_length))

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end a turn: those the model names, and the end marker of `umi.jinja`."""
        config = self.model.generation_config
        named = config.eos_token_id if config is not None else None
        ids = [*(named if isinstance(named, list) else [named]), self.tokenizer.eos_token_id]
        ids.append(self.tokenizer.get_added_vocab().get("<|im_end|>"))
        return frozenset(id_ for id_ in ids if isinstance(id_, int))

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """Compiles grammars for this vocabulary."""
        return GrammarCompiler(self.tokenizer, self.model.config.vocab_size, sorted(self.eos_ids))

    def encode(self, messages: Sequence[ChatMessage], template: str, arguments: Mapping[str, Any]) -> list[int]:
        """Return the prompt's token ids.

        Args:
            messages: Role messages.
            template: Chat template, see `find_template`.
            arguments: What the template needs beside them, from `alpha_umi.nodes.render.template_kwargs`.
        """
        ids = self.tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.text} for message in messages],
            chat_template=template,
            add_generation_prompt=True,
            return_dict=False,
            tokenizer_kwargs={"verbose": False},  # too long a prompt is cut by `fit_messages`, not complained about
            **arguments,
        )
        return list(ids)

    def find_template(self, style: Style, adapter: str | None = None) -> str:
        """Return the chat template the weights were trained with, else the one of the style.

        Raises:
            ConfigError: If the checkpoint was trained with another style, or its template was changed since.
        """
        places = [self.folder] if adapter is None else [self._find_adapter(adapter), self.folder]
        for place in places:
            for folder in (place, place.parent):
                if claim := _read_template_claim(folder):
                    return _check_template(folder, claim, style)
        return load_template(style)

    @contextmanager
    def use(self, adapter: str | None = None) -> Iterator[PreTrainedModel]:
        """Give the model with this adapter switched on, or with none.

        Args:
            adapter: Folder of a LoRA adapter: inside the model's folder, or any path. Loaded at first use, then kept.

        Raises:
            ConfigError: If there is no such adapter or it does not fit the model.
        """
        if adapter is not None:
            name = self._load_adapter(self._find_adapter(adapter))
            if self._adapted is not None:
                self._adapted.set_adapter(name, inference_mode=True)
            yield self.model
        elif self._adapted is not None:
            with self._adapted.disable_adapter():
                yield self.model
        else:
            yield self.model

    def _find_adapter(self, adapter: str) -> Path:
        for folder in (self.folder / adapter, Path(adapter).expanduser()):
            if (folder / "adapter_config.json").is_file():
                return folder.resolve()
        here = sorted(path.parent.name for path in self.folder.glob("*/adapter_config.json"))
        raise ConfigError(
            f"There is no adapter {adapter!r}: neither as a path nor in {self.folder} is there such a folder with an "
            f"adapter_config.json. In the model's folder there are: {', '.join(here) or 'none'}."
        )

    def _load_adapter(self, folder: Path) -> str:
        if folder in self._adapter_names:
            return self._adapter_names[folder]
        _check_adapter_folder(folder)
        name = f"adapter_{len(self._adapter_names)}"
        load = partial(PeftModel.from_pretrained, self.model) if self._adapted is None else self._adapted.load_adapter
        try:
            with quiet_peft():
                loaded = load(
                    str(folder), adapter_name=name, autocast_adapter_dtype=False, torch_device=str(self._device)
                )
        except _LOAD_ERRORS as error:
            # PEFT leaves its layers behind: start afresh
            self.model, self._adapted, self._adapter_names = self._load_model(), None, {}
            raise ConfigError(f"The adapter in {folder} does not fit {self.folder}: {error}") from error
        self._adapted = loaded if isinstance(loaded, PeftModel) else self._adapted
        self._adapter_names[folder] = name
        return name


def _check_model_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ConfigError(f"{folder} holds an adapter, not a full model; name its base too: 'hf:BASE#{folder}'.")
        if (folder / CARD).is_file():
            raise ConfigError(f"{folder} is a training's checkpoint; name one of its parts: 'hf:{folder}/backbone'.")
        raise ConfigError(f"{folder} holds no model: there is no config.json. Give the folder of a saved model.")
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"{folder} holds no weights as *.safetensors, the only kind that is loaded; "
            "save it again with 'save_pretrained', or copy what is missing."
        )


def _check_adapter_folder(folder: Path) -> None:
    if not (folder / "adapter_model.safetensors").is_file():
        raise ConfigError(f"{folder} holds no adapter_model.safetensors; copy the adapter again.")
    config = _read_json(folder / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise ConfigError(f"{folder} is no LoRA adapter ({config.get('peft_type')}); train it again as LoRA.")
    if config.get("alora_invocation_tokens"):
        raise ConfigError(f"{folder} is an activated LoRA, but plain LoRA is expected; train it with kind 'lora'.")


def _read_template_claim(folder: Path) -> Mapping[str, Any] | None:
    """Return what a checkpoint's card says about its chat template."""
    claim = _read_json(folder / CARD).get("template")
    return claim if isinstance(claim, Mapping) else None


def _read_json(path: Path) -> Mapping[str, Any]:
    """Return a file's JSON object, empty where there is none."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _check_template(folder: Path, claim: Mapping[str, Any], style: Style) -> str:
    if claim.get("style") != style:
        raise ConfigError(
            f"{folder} was trained with the chat template {claim.get('style')!r}, not {style!r}; set style to it."
        )
    if hash_file(folder / TEMPLATE) != claim.get("sha256"):
        raise ConfigError(f"{folder / TEMPLATE} is not the one of the training; restore it or train again.")
    return (folder / TEMPLATE).read_text("utf-8")


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
