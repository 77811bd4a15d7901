"""One model in memory: tokenizer, weights, adapters, grammars; what is the same whoever computes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.escaping import Style
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.engine.checkpoint import (
    CALLER_MAY_OMIT,
    CARD,
    REPEAT_NAMES,
    Checkpoint,
    find_own_template,
    find_template,
    is_checkpoint,
    is_set,
    read_checkpoint,
)
from alpha_umi.nodes.models.engine.grammar import GrammarCompiler
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.spans import Adapter, Logits, Past, Span
from alpha_umi.nodes.models.engine.tokenizer import Tokenizer


class Backbone(ABC):
    """One base model in memory with any number of LoRA adapters; for use in its engine's thread only.

    Args:
        folder: A full model (``config.json``, safetensors and a fast tokenizer), or a training's checkpoint.
        cache: Bounded to the memory that there is.

    Raises:
        ConfigError: If the folder holds no such model.
    """

    prefill_tokens: int
    """So many tokens of a prompt are computed in one pass, after which others have their turn."""
    room_tokens: float = math.inf
    """So many tokens of all sequences fit into memory."""
    keeps_openings = False
    """Whether `recall` and `retain` do anything."""
    guessed_tokens: int
    """So many guesses all sequences of a pass may have together: beyond it a pass takes longer."""

    def __init__(self, folder: Path, cache: PrefixCache) -> None:
        """Read the card and the tokenizer."""
        self.folder = folder
        self.cache = cache
        self._checkpoint: Checkpoint | None = read_checkpoint(folder) if is_checkpoint(folder) else None
        if self._checkpoint is None:
            _check_model_folder(folder)
        self.tokenizer = Tokenizer(_find_tokenizer(folder))
        self._adapters: dict[Path, Adapter] = {}
        self._replaced: set[Adapter] = set()

    @property
    @abstractmethod
    def n_vocab(self) -> int:
        """Length of the logits, which may be padded beyond the vocabulary."""

    @property
    @abstractmethod
    def _n_positions(self) -> int: ...

    @property
    @abstractmethod
    def _model_eos_ids(self) -> Sequence[int]: ...

    @abstractmethod
    def make_past(self) -> Past:
        """Return keys and values of no tokens, for a sequence to begin with."""

    @abstractmethod
    def compute(self, spans: Sequence[Span]) -> list[Logits]:
        """Append each span to its past; return the logits after each (float32, (1 + guesses, vocabulary)).

        Raises:
            Cancelled: Once one of the spans is; then, as after any error, nothing was appended.
            ModelFault: If there is not enough memory.
        """

    def recall(self, ids: Sequence[int]) -> None:  # noqa: B027 - nothing to do where nothing is kept
        """Let the prefix cache have a prompt's beginning as the base computes it, if an earlier process retained it."""

    def retain(self, ids: Sequence[int]) -> None:  # noqa: B027
        """Keep on disk what the prefix cache has of a prompt's beginning, as the base computes it."""

    @abstractmethod
    def forget_adapters(self, in_use: Collection[Adapter | None]) -> None:
        """Remove adapters that were replaced and that no sequence uses any more."""

    @abstractmethod
    def _load_adapter(self, folder: Path, *, again: bool = False) -> Adapter: ...

    @property
    def window_tokens(self) -> int:
        """The most tokens that prompt and output may have together."""
        return min(self._n_positions, self.tokenizer.model_max_length)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end a turn: those the model names, and the end marker of `umi.jinja`."""
        ids = [*self._model_eos_ids, self.tokenizer.eos_token_id, self.tokenizer.get_added_vocab().get("<|im_end|>")]
        return frozenset(id_ for id_ in ids if isinstance(id_, int))

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """The grammars of this vocabulary."""
        return GrammarCompiler(self.tokenizer, self.n_vocab, sorted(self.eos_ids))

    def find_template(self, style: Style, adapter: str | None = None) -> str:
        """Return the chat template the weights were trained with, else the one of the style.

        Raises:
            ConfigError: If the checkpoint was trained with another style, or its template was changed since.
        """
        return find_template(self._list_card_folders(adapter), style)

    @cached_property
    def own_template(self) -> str:
        """The chat template that came with the model.

        Raises:
            ConfigError: If there is none.
        """
        if (template := find_own_template(self.folder)) is None:
            raise ConfigError(f"{self.folder} has no chat template of its own; set prompts to 'roles'.")
        return template

    def may_omit(self, adapter: str | None = None) -> bool:
        """Say whether the weights were trained to leave out required arguments that nobody gave."""
        return is_set(self._list_card_folders(adapter), CALLER_MAY_OMIT)

    def repeats_names(self, adapter: str | None = None) -> bool:
        """Say whether the weights were trained on lists of tools whose lines end with the name once more."""
        return is_set(self._list_card_folders(adapter), REPEAT_NAMES)

    def find_adapter(self, name: str | None, role: Role) -> Adapter | None:
        """Return the adapter of that path, maybe inside the model's folder; loaded at first use and then kept.

        Without a name it is the checkpoint's for the role, if any.

        Raises:
            ConfigError: If there is no such adapter or it does not fit the model.
        """
        path = self._find_adapter_folder(name, role)
        return self._load_adapter(path) if path else None

    def reload_adapter(self, name: str | None, role: Role) -> None:
        """Let new sequences use what an adapter's folder holds now; those that run finish on the old one."""
        if self._checkpoint is not None:
            self._checkpoint = _read_again(self._checkpoint)
        path = self._find_adapter_folder(name, role)
        if path is not None and (old := self._adapters.get(path)) is not None:
            self._load_adapter(path, again=True)
            self._replaced.add(old)

    def _list_card_folders(self, adapter: str | None) -> list[Path]:
        folders = [self.folder] if adapter is None else [self._find_adapter(adapter), self.folder]
        return [path for folder in folders for path in (folder, folder.parent)]

    def _find_adapter_folder(self, name: str | None, role: Role) -> Path | None:
        if name is not None:
            return self._find_adapter(name)
        part = self._checkpoint.roles[role] if self._checkpoint else None
        return part.path if part and part.kind != "full" else None

    def _find_adapter(self, adapter: str) -> Path:
        for folder in (self.folder / adapter, Path(adapter).expanduser()):
            if (folder / "adapter_config.json").is_file():
                return folder.resolve()
        here = sorted(path.parent.name for path in self.folder.glob("*/adapter_config.json"))
        raise ConfigError(
            f"There is no adapter {adapter!r}: neither as a path nor in {self.folder} is there such a folder with an "
            f"adapter_config.json. In the model's folder there are: {', '.join(here) or 'none'}."
        )


def _read_again(old: Checkpoint) -> Checkpoint:
    """Read a checkpoint after some of its roles were trained again, on the same backbone."""
    new = read_checkpoint(old.path)
    if (new.base_sha256, new.backbone) != (old.base_sha256, old.backbone):
        raise ConfigError(f"{old.path} was trained again from its backbone on; restart the process to use it.")
    return new


def _check_model_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ConfigError(f"{folder} holds an adapter, not a full model; name its base too: 'hf:BASE#{folder}'.")
        raise ConfigError(f"{folder} holds no model: there is no config.json. Give the folder of a saved model.")


def _find_tokenizer(folder: Path) -> Path:
    """A role's own model within a checkpoint uses the checkpoint's tokenizer."""
    has_own = (folder / "tokenizer.json").is_file() or not (folder.parent / CARD).is_file()
    return folder if has_own else folder.parent
