"""What the commands of `alpha-umi eval` share: their options, and the models that are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from alpha_umi.cli.options import load_configuration

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from alpha_umi.graph.config import UmiSettings
    from alpha_umi.nodes.format.trajectory import Role

Model: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="CKPT|CONFIG",
        show_default="$ALPHA_UMI_CONFIG, else hf:smollm2-135m-umi",
        help="A checkpoint folder, a role spec such as hf:PATH or openai:MODEL, or a YAML configuration with one "
        "spec per role.",
    ),
]
Out: TypeAlias = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Folder for the results; a run that was stopped goes on there."),
]
Data: TypeAlias = Annotated[
    Path,
    typer.Option(metavar="FILE|DIR", help="A folder made by 'alpha-umi data build', or one file of trajectories."),
]
Split: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", show_default="all but train", help="Of the data: dev-tools, dev-instructions or train."
    ),
]
Source: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", show_default="all", help="Only trajectories from this source. Repeatable."),
]
Free: TypeAlias = Annotated[
    bool,
    typer.Option("--free", help="Let local models write freely, without the grammar, as in the published figures."),
]
Limit: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        show_default="all",
        help="Only N trajectories, drawn from all in the same way each time.",
    ),
]


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Args:
        models: One per role.
        settings: The whole configuration.
    """

    models: Mapping[Role, BaseChatModel]
    settings: UmiSettings


def load_subject(
    model: str | None, *, free: bool, max_steps: int | None = None, temperature: float | None = None
) -> Subject:
    """Return the models an option ``--model`` names; their weights are loaded at the first call.

    Raises:
        ConfigError: If it cannot be used.
        ModelNotAvailable: If its weights are not here.
    """
    from alpha_umi.nodes.models.specs import load_models  # noqa: PLC0415 - LangChain takes half a second

    name = f"hf:{model}" if model and Path(model).is_dir() else model
    settings = load_configuration(name, None, max_steps, temperature)
    if free:
        settings.generation.constrained = False
    generation = settings.generation.model_dump(exclude_none=True)
    return Subject(load_models(settings.models, remote=settings.remote, **generation), settings)
