"""The agent's configuration: defaults, overlaid by a YAML file, overlaid by ``ALPHA_UMI_…`` environment variables.

A nested setting is reached in the environment by two underscores: ``ALPHA_UMI_LIMITS__MAX_STEPS=4``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.approval import ApprovalRule
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.state import History, SearchSettings, UmiContext, Unsure
from alpha_umi.tools.http.breaker import RemoteSettings
from alpha_umi.tools.isolation import Isolation
from alpha_umi.tools.pii import RedactionRule
from alpha_umi.yaml_files import YamlFile, read_yaml

CONFIG_VARIABLE = "ALPHA_UMI_CONFIG"
"""YAML file of the configuration; without it there are the defaults."""
_INNER: Mapping[str, Any] = {"approve_tools": ApprovalRule, "isolation": Isolation, "redaction": RedactionRule}
"""What a list, or a mapping by names of tools, is made of."""
_TAGS = ("str", "list[str]", "one spec", "per role", "[key]", "all or none", "rules", "type", "rule")


def _get_models_kind(value: Any) -> str:
    return "per role" if isinstance(value, Mapping) else "one spec"


def _get_approvals_kind(value: Any) -> str:
    return "rules" if isinstance(value, Sequence) and not isinstance(value, str) else "all or none"


def _get_redaction_kind(value: Any) -> str:
    return "rule" if isinstance(value, Mapping | RedactionRule) else "type"


def _split_list(value: Any) -> Any:
    """Accept ``a, b`` where an environment variable can hold no list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


ModelSpecs: TypeAlias = Annotated[
    Annotated[str | list[str], Tag("one spec")] | Annotated[dict[Role, str | list[str]], Tag("per role")],
    Discriminator(_get_models_kind),  # so that an error is about the kind that was meant, not about both
]


ApproveTools: TypeAlias = Annotated[
    Annotated[bool | None, Tag("all or none")] | Annotated[list[ApprovalRule], Tag("rules")],
    Discriminator(_get_approvals_kind),
]


PiiRule: TypeAlias = Annotated[
    Annotated[str, Tag("type")] | Annotated[RedactionRule, Tag("rule")], Discriminator(_get_redaction_kind)
]


class _StrictSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LimitSettings(_StrictSettings):
    """Limits that end every run."""

    max_steps: int = Field(default=8, ge=1, le=100, description="Tool-calling steps before the agent must conclude.")
    tool_timeout_s: float = Field(default=30.0, gt=0, description="Seconds one tool call may take.")
    max_observation_chars: int = Field(default=4_000, ge=100, description="Longer tool outputs are cut in the middle.")


class GenerationSettings(_StrictSettings):
    """How the models named by a spec write; None leaves a setting to the model."""

    temperature: float = Field(default=0.0, ge=0.0, le=2.0, description="0 decodes greedily; above 0 samples.")
    max_tokens: int | None = Field(default=None, ge=1, description="Tokens one model call may write.")
    max_rationale_tokens: int | None = Field(
        default=None, ge=1, description="Tokens of the planner before its decision."
    )
    constrained: bool | None = Field(default=None, description="Hold a local planner and caller to their grammar.")
    guard_names: bool | None = Field(
        default=None, description='After "I call", let a constrained local planner write only names of offered tools.'
    )
    copy_values: bool | None = Field(
        default=None, description="Let a constrained local caller take texts and numbers only from the conversation."
    )
    seed: int | None = Field(default=None, ge=0, description="Makes sampling repeatable.")
    engine: Literal["auto", "torch", "llamacpp"] | None = Field(
        default=None, description="What computes local weights; auto is llama.cpp for checkpoints without a GPU."
    )
    device: str | None = Field(default=None, description="Where local weights are: cpu, cuda, cuda:1, mps, balanced.")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "q8_0", "q4_0", "f16", "f32"] | None = Field(
        default=None, description="Type of local weights; the last four with llama.cpp."
    )


class RetrievalSettings(_StrictSettings):
    """How the tools on offer are picked where there are more than a prompt holds."""

    top_k: int | None = Field(default=None, ge=1, le=100, description="Tools picked for a question; None offers all.")
    index: Path | None = Field(default=None, description="File of the tools' embeddings; None keeps none.")
    embeddings: str | None = Field(
        default="minilm", description="minilm, a sentence-transformers model, or None for words alone."
    )


class UmiSettings(BaseSettings):
    """The whole configuration; get one by `load_settings`."""

    model_config = SettingsConfigDict(env_prefix="ALPHA_UMI_", env_nested_delimiter="__", extra="forbid")

    models: ModelSpecs = Field(
        default="hf:smollm2-135m-umi",
        description="A role spec for all roles, or one per role; "
        "also a list, whose next is asked where one fails or is unsure.",
    )
    tools: Annotated[list[str], NoDecode, BeforeValidator(_split_list)] = Field(
        default=["builtin:calculator", "builtin:calendar", "builtin:convert_units"],
        description="Tools on offer: builtin:NAME, module:object, openapi:FILE, mcp:FILE_OR_URL, toolbench:FOLDER.",
    )
    checkpointer: str | None = Field(
        default=None, description="Where a server keeps its threads: a SQLite file, or postgresql://user@host/database."
    )
    isolation: dict[str, Isolation] = Field(
        default={}, description="Tools by name that run in processes of their own, with their bounds."
    )
    remote: RemoteSettings = RemoteSettings()
    limits: LimitSettings = LimitSettings()
    generation: GenerationSettings = GenerationSettings()
    search: SearchSettings = SearchSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    approve_tools: ApproveTools = Field(
        default=None,
        description="Calls a person is asked about, whatever a run's context says: all, none, or rules; null: those of "
        "tools that do not declare their effects as none or idempotent.",
    )

    unsure: Unsure | None = Field(default=None, description="What to do with a plan that its planner is unsure of.")
    history: History | None = Field(
        default=History(), description="What becomes of old turns before they fill the window; null: nothing."
    )
    response_format: dict[str, Any] | None = Field(
        default=None, description="JSON Schema of an object that answers have to fit."
    )
    redaction: list[PiiRule] = Field(
        default=[], description="Personal data that models, traces and logs must not see: types of it, or rules."
    )

    def make_context(self) -> UmiContext:
        """Return what a run is set to that brings no context of its own."""
        limits, generation = self.limits, self.generation
        return UmiContext(
            max_steps=limits.max_steps,
            temperature=generation.temperature,
            unsure=self.unsure,
            history=self.history,
            **self.search.model_dump(),
        )

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # pydantic passes the sources by name
        cls, settings_cls: type[BaseSettings], **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, whose values arrive as arguments."""
        return sources["env_settings"], sources["init_settings"]


def load_settings(path: Path | None = None) -> UmiSettings:
    """Read the configuration.

    Args:
        path: YAML file; default is the file that ``ALPHA_UMI_CONFIG`` names, or none.

    Raises:
        ConfigError: If the file or a variable cannot be used; it names the place and what is allowed there.
    """
    if path is None and os.environ.get(CONFIG_VARIABLE):
        path = Path(os.environ[CONFIG_VARIABLE])
    file = _read_file(path) if path else YamlFile({}, None)
    try:
        settings = {str(key): value for key, value in (file.values or {}).items()}
        if private := next((key for key in settings if key.startswith("_")), None):  # pydantic takes those for itself
            raise ConfigError(f"{path}: {private}: no such setting; settings here are {_list_fields([])}.")
        return UmiSettings(**settings)
    except ValidationError as error:
        faults = [_describe_fault(fault, path, file) for fault in error.errors()]
        raise ConfigError("The configuration cannot be used:\n" + "\n".join(faults)) from error
    except SettingsError as error:
        raise ConfigError(f"An ALPHA_UMI_… variable is not valid JSON ({error}); correct or unset it.") from error


def _read_file(path: Path) -> YamlFile:
    try:
        file = read_yaml(path, f"correct the path or {CONFIG_VARIABLE}")
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        fault = str(error).replace("<unicode string>", str(path))
        raise ConfigError(f"The configuration {str(path)!r} is not valid YAML: {fault}") from error
    if not isinstance(file.values or {}, dict):
        raise ConfigError(f"{path}, line 1: expected lines of 'setting: value'; settings are {_list_fields([])}.")
    return file


def _describe_fault(fault: ErrorDetails, path: Path | None, file: YamlFile) -> str:
    keys = [str(part) for part in fault["loc"] if part not in _TAGS]
    message = fault["msg"]
    if fault["type"] == "extra_forbidden":
        message = f"no such setting; settings here are {_list_fields(keys[:-1])}"
    return f"{_describe_origin(keys, path, file)}: {'.'.join(keys)}: {message}"


def _describe_origin(keys: Sequence[str], path: Path | None, file: YamlFile) -> str:
    """Say where a value came from; the environment first, because it wins over the file."""
    for n in range(len(keys), 0, -1):
        variable = f"ALPHA_UMI_{'__'.join(keys[:n])}".upper()
        if variable in os.environ:
            return f"Variable {variable}"
    return f"{path}, line {file.find_line(keys)}" if path else "Setting"


def _list_fields(keys: Sequence[str]) -> str:
    model: Any = UmiSettings
    for key in keys:
        if key in _INNER:
            model = _INNER[key]
        elif key in getattr(model, "model_fields", ()):  # else a place in a list, or the name of a tool
            model = model.model_fields[key].annotation
    return ", ".join(model.model_fields)
