"""Settings of a training run, read from a YAML file.

Every setting has one home, a unit and a range, so that a wrong file is refused before any weights are loaded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from alpha_umi.documents import parse_document, read_text
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.state import History

Method: TypeAlias = Literal["umi", "multi-one-stage", "single", "single-multitask"]
StageKind: TypeAlias = Literal["full", "lora", "alora"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
StageName: TypeAlias = Literal["backbone", "planner", "caller", "summarizer"]
STAGES: tuple[StageName, ...] = get_args(StageName)

_STAGES_OF: dict[Method, tuple[StageName, ...]] = {
    "umi": STAGES,
    "multi-one-stage": ROLES,
    "single": ("backbone",),
    "single-multitask": ("backbone",),
}


class StageConfig(BaseModel):
    """How one model is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: StageKind = Field(
        description="full: all weights. lora: an adapter that is always on. alora: an adapter that is on from the "
        "role's marker onwards, so that the roles share the key/value cache before it."
    )
    learning_rate: float = Field(gt=0, le=1, description="Peak learning rate of AdamW; decays along a cosine to 0.")
    epochs: float = Field(default=1.0, gt=0, le=1000, description="Passes over the stage's trajectories.")
    max_steps: int | None = Field(default=None, ge=1, description="Stop after this many steps, for trials.")
    max_minutes: float | None = Field(
        default=None, gt=0, description="Stop after this time of training; the learning rate then follows the clock."
    )
    warmup_ratio: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the steps, or of the time, in which the rate rises from 0."
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Decoupled weight decay of AdamW.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this Euclidean norm.")
    tokens_per_forward: int = Field(
        default=4096, ge=1, description="Tokens per forward pass and device, with padding; a longer one goes alone."
    )
    forwards_per_step: int = Field(
        default=1, ge=1, description="Forward passes per device in one optimiser step (gradient accumulation)."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations: less memory, 1/3 more time."
    )
    lora_rank: int = Field(
        default=16, ge=1, le=1024, description="Rank of the adapter on all linear layers but the head."
    )
    lora_alpha: int = Field(default=32, ge=1, description="The adapter's output is scaled by alpha / rank.")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the adapter.")
    log_every_steps: int = Field(default=1, ge=1, description="Optimiser steps between two rows of metrics.")
    save_every_steps: int = Field(default=100, ge=1, description="Optimiser steps between two resumable checkpoints.")

    @model_validator(mode="after")
    def _check(self) -> StageConfig:
        if self.kind == "alora" and self.gradient_checkpointing:
            raise ValueError("kind 'alora' needs a cache, which gradient_checkpointing drops; turn that off")
        if self.save_every_steps % self.log_every_steps:
            # a row that straddles a checkpoint would be averaged over other steps after a resume
            raise ValueError("save_every_steps must be a multiple of log_every_steps")
        return self

    def count_steps(self, n_batches: int) -> int:
        """Return the optimiser steps of a stage on one device, for the batches of one epoch."""
        return self.max_steps or math.ceil(self.epochs * math.ceil(n_batches / self.forwards_per_step))


class TokenWeights(BaseModel):
    """Weights of the tokens on which routing and tool choice hang; 1 as in the paper, ms-swift uses 2."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: float = Field(default=1.0, ge=0, le=100, description="Weight of 'caller.', 'conclusion.' or 'give up.'.")
    action: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Weight of the choice of a tool: its name after 'Action:', and in a plan, after the part it is "
        "about, 'I call NAME' or 'no tool'.",
    )


class TrainConfig(BaseModel):
    """One training run: the method and the settings of each of its stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method = Field(default="umi", description="Row of the paper's Table 1; see docs/training.md.")
    base: str = Field(description="Base model: a short name, a folder, or a Hugging Face id that was pulled.")
    base_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", description="Refuse other weights.")
    start_from: str | None = Field(
        default=None,
        description="Checkpoint on the same base whose adapters the stages continue from, such as the one that ships; "
        "without it they start at random.",
    )
    reuse: bool = Field(
        default=True, description="Stage 2 sees stage 1's instructions again; false splits them between the two."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seeds the order of the data, the adapters and dropout.")
    max_tokens: int = Field(default=4096, ge=16, description="Longest sequence; old observations are cut to fit.")
    history: History | None = Field(
        default=History(),
        description="How conversations that are longer than max_tokens become several sequences, as threads are "
        "shortened that are served; null cuts observations alone.",
    )
    precision: Literal["auto", Precision] = Field(
        default="auto",
        description="Of frozen weights and arithmetic; trained weights are float32. auto takes the faster here, and "
        "umi.json records which.",
    )
    quantization: Literal["none", "nf4"] = Field(
        default="none", description="nf4 holds the frozen weights in 4 bits (QLoRA); needs CUDA and bitsandbytes."
    )
    device: Literal["auto", "cpu"] = Field(default="auto", description="auto takes a GPU where there is one.")
    caller_may_omit: bool = Field(
        default=False,
        description="When it is served, the caller may leave out required arguments; for data in which it leaves out "
        "what nobody said. umi.json records it.",
    )
    repeat_names: bool = Field(
        default=False,
        description="The line of a tool ends with its name once more, in training and where the checkpoint is served "
        "in process. umi.json records it.",
    )
    token_weights: TokenWeights = TokenWeights()
    stages: dict[StageName, StageConfig] = Field(description="Settings per stage, of those that are to run.")

    @model_validator(mode="before")
    @classmethod
    def _spread_defaults(cls, data: Any) -> Any:
        """Lay each stage's own settings over those in `defaults`."""
        if not isinstance(data, Mapping) or "defaults" not in data:
            return data
        rest = {key: value for key, value in data.items() if key != "defaults"}
        own: Any = rest.get("stages") or {}
        method: Any = rest.get("method", "umi")
        if not all(isinstance(each, Mapping) for each in (data["defaults"], own, *(dict(own).values()))):
            raise ValueError("'defaults', 'stages' and each stage are lines of 'setting: value'")
        names = dict.fromkeys((*(_STAGES_OF.get(cast(Method, method), ()) if isinstance(method, str) else ()), *own))
        return rest | {"stages": {name: {**data["defaults"], **(own.get(name) or {})} for name in names}}

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if "backbone" in self.stages and self.stages["backbone"].kind == "alora":
            raise ValueError("stage 'backbone' has no marker to start from, so its kind cannot be 'alora'")
        full = [name for name in self.stage_names if name in self.stages and self.stages[name].kind == "full"]
        if self.quantization != "none" and full:
            raise ValueError(f"quantization is for frozen weights; stage {full[0]!r} trains all of them")
        if self.start_from is not None and full:
            raise ValueError(f"start_from is for adapters; stage {full[0]!r} trains all weights, so give it as base")
        return self

    @property
    def stage_names(self) -> tuple[StageName, ...]:
        """The stages of the method, in the order in which they run."""
        return _STAGES_OF[self.method]

    @property
    def template(self) -> Literal["umi", "single"]:
        """The chat template the method trains; both take the same role messages."""
        return "single" if self.method == "single" else "umi"

    def require_stages(self, names: Collection[StageName]) -> None:
        """Raise ConfigError unless there are settings for these stages; those that do not run need none."""
        for name in names:
            if name not in self.stages:
                raise ConfigError(
                    f"Method {self.method!r} needs settings for stage {name!r}: add it under 'stages:', or "
                    "'defaults:' for all stages."
                )

    def get_roles(self, stage: StageName) -> tuple[Role, ...]:
        """Return the roles whose turns a stage is trained on."""
        return ROLES if stage == "backbone" else (stage,)


def list_configs() -> list[str]:
    """Return the names of the configurations that ship, without the files for `accelerate launch`."""
    paths = [Path(entry.name) for entry in (files("alpha_umi.training") / "configs").iterdir()]
    return sorted(path.stem for path in paths if path.suffix == ".yaml" and not path.stem.startswith("accelerate-"))


def load_config(source: str | Path) -> TrainConfig:
    """Read a configuration file, or one of those that ship by its name.

    Raises:
        ConfigError: If there is no such file or it holds a wrong setting; the message names the setting.
    """
    path = Path(source)
    if not path.is_file() and str(source) not in list_configs():
        raise ConfigError(f"No configuration {str(source)!r}: give a YAML file or one of {', '.join(list_configs())}.")
    shipped = files("alpha_umi.training") / "configs" / f"{source}.yaml"
    advice = "correct it; 'training/configs' has examples"
    text = read_text(path, advice) if path.is_file() else shipped.read_text("utf-8")
    try:
        return TrainConfig.model_validate(parse_document(text, str(source), advice))
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, each['loc'])) or 'file'}: {_describe_fault(each)}" for each in error.errors()]
        raise ConfigError("\n".join([f"{source} cannot be used:", *faults])) from error


def _describe_fault(fault: ErrorDetails) -> str:
    """Return what is wrong with a setting; for an unknown name, also which one may be meant."""
    if fault["type"] != "extra_forbidden":
        return fault["msg"]
    *above, name = map(str, fault["loc"])
    models: dict[str, type[BaseModel]] = {"stages": StageConfig, "token_weights": TokenWeights}
    if not above and name in StageConfig.model_fields:
        return "a setting of the stages; put it under 'defaults:' or under a stage"
    fields = list(models[above[0]].model_fields) if above else ["defaults", *TrainConfig.model_fields]
    close = get_close_matches(name, fields, 1)
    return f"no such setting; did you mean {close[0]}?" if close else f"no such setting; there are {', '.join(fields)}"
