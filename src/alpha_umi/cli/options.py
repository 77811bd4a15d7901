"""The options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer
from typer.core import TyperCommand

from alpha_umi.errors import ConfigError, hide_passwords

if TYPE_CHECKING:
    from typer._click.core import Context

    from alpha_umi.graph.config import UmiSettings
    from alpha_umi.nodes.state import UmiContext

Model: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="CONFIG",
        show_default="$ALPHA_UMI_CONFIG, else hf:smollm2-135m-umi",
        help="A YAML configuration, or one role spec for all roles such as hf:PATH or openai:MODEL.",
    ),
]
Tools: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--tools",
        "-t",
        metavar="TOOL",
        show_default=False,
        help="Tools in addition to the configured ones: MODULE:OBJECT (modules of this folder count), builtin:NAME, "
        "openapi:FILE, mcp:FILE_OR_URL, toolbench:FOLDER. Repeatable.",
    ),
]
MaxSteps: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, max=100, show_default=False, help="Tool-calling steps before the agent must conclude."),
]
Temperature: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.0, max=2.0, show_default=False, help="0 decodes greedily; above 0 samples."),
]
StrategyName: TypeAlias = Annotated[
    Literal["react", "dfsdt"] | None,
    typer.Option("--strategy", show_default=False, help="react: one chain of steps. dfsdt: search in a tree of them."),
]
Approve: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--approve/--yes",
        " /-y",
        show_default="ask before calls that may change something",
        help="Ask before each tool call, or before none.",
    ),
]
ResponseFormat: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", show_default=False, help="JSON Schema of an object that the answer has to fit."),
]
Thread: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default=False, help="Keep the conversation under this name, or continue it."),
]
Database: TypeAlias = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        envvar="ALPHA_UMI_THREADS",
        show_default="threads.sqlite among the user's settings",
        help="SQLite file that keeps the threads.",
    ),
]
Checkpointer: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="ALPHA_UMI_CHECKPOINTER",
        show_default="the file of --database",
        help="Keep the threads in PostgreSQL: postgresql://user@host/database.",
    ),
]


_TEXT = re.compile(r"-(?![A-Za-z-])(?![\d.]*$)")
"""What begins like an option and is none; a mere number may be the value of one."""


class QuestionCommand(TyperCommand):
    """A command whose argument may begin with a sign: ``-5 + 3?`` is no option, as none begins with a digit."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Put what is no option behind all options, where it is an argument."""
        is_text = [bool(_TEXT.match(arg)) and "--" not in args[:i] for i, arg in enumerate(args)]
        texts = [arg for arg, is_one in zip(args, is_text, strict=True) if is_one]
        others = [arg for arg, is_one in zip(args, is_text, strict=True) if not is_one]
        return super().parse_args(ctx, [*others, *(["--", *texts] if texts else [])])


def is_given(ctx: typer.Context, option: str) -> bool:
    """Return whether an option was given on the command line, and not in the environment."""
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def refuse_address(path: Path) -> Path:
    """Return where results go, unless its name, which is shown, holds a password as an address does."""
    if hide_passwords(str(path)) != str(path):
        raise typer.BadParameter("it is an address with a password; give the path of a folder.")
    return path


DEFAULT_DATABASE = Path(typer.get_app_dir("alpha-umi")) / "threads.sqlite"


def make_context(settings: UmiSettings, *, approve: bool | None) -> UmiContext:
    """Return what runs are set to.

    `approve` asks about every call, beside what the configuration says; False asks about none, whatever it says.
    """
    if approve is False:
        settings.approve_tools = False
    return settings.make_context().model_copy(update={"approve_tools": bool(approve)})


def load_configuration(
    model: str | None,
    tools: list[str] | None,
    max_steps: int | None,
    temperature: float | None,
    strategy: Literal["react", "dfsdt"] | None = None,
) -> UmiSettings:
    """Return the configuration overridden by the command line's options.

    Raises:
        ConfigError: If the configuration cannot be used.
    """
    from alpha_umi.graph.config import load_settings

    is_file = model is not None and Path(model).is_file()
    if model is not None and not is_file and ":" not in model:
        is_yaml = Path(model).suffix in (".yaml", ".yml")
        hint = "there is no such file" if is_yaml else f"for local weights write hf:{model}"
        raise ConfigError(f"--model {model!r} is neither a file nor a role spec; {hint}.")
    settings = load_settings(Path(model) if model and is_file else None)
    if model and not is_file:
        settings.models = model
    if max_steps is not None:
        settings.limits.max_steps = max_steps
    if temperature is not None:
        settings.generation.temperature = temperature
    if strategy is not None:
        settings.search.strategy = strategy
    settings.tools = list(dict.fromkeys([*settings.tools, *(tools or [])]))
    return settings
