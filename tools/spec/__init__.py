"""A tool as it is described to a model: name, description and JSON-Schema arguments."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from alpha_umi.errors import ConfigError, hide_passwords
from alpha_umi.tools.spec.schema import ArgumentValidator, make_validator

Effects: TypeAlias = Literal["none", "idempotent", "once"]
EFFECTS: tuple[Effects, ...] = get_args(Effects)
ROLE_MARKER = r"(?:system|user|assistant|caller|observation|conclusion):"
"""What opens a role's turn in the prompts of the paper's styles."""
_NAME = re.compile(r"[\w.:/-]{1,128}")
_ROLE = re.compile(rf"(?<!\w){ROLE_MARKER}")


def _no_arguments() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool as the planner and the caller see it.

    Args:
        name: What the caller writes after ``Action:``; letters, digits and ``_.:/-``, and no role's marker.
        description: One or two sentences for the model.
        parameters: JSON Schema of type ``object`` for the arguments.
        effects: What a call changes outside the agent: ``none``; ``idempotent``: doing it twice is doing it once; or
            ``once``, which is assumed of every tool that declares nothing. Models are not told.
        source: Where the tool comes from, for the rules of approval: ``builtin``, ``openapi``, ``mcp``, ``toolbench``,
            ``replay`` or ``langchain`` (functions as well), with the name that the user gave it: ``mcp:bank``. Models
            are not told.
        own_name: What its source calls it, if that is not its name here.

    Raises:
        ConfigError: If the name or the schema cannot be used, or there are no such effects.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=_no_arguments)
    # Not compared: tools that read the same to a model are the same in training data and recordings.
    effects: Effects = field(default="once", compare=False)
    source: str = field(default="langchain", compare=False)
    own_name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Refuse names and schemas that no caller could ever satisfy."""
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"Tool name {self.name!r} cannot be used: use 1 to 128 letters, digits, '_', '.', ':', '/' or '-'."
            )
        if _holds_marker(self.name):
            raise ConfigError(f"Tool name {self.name!r} reads like a role of the prompt; rename the tool.")
        if self.effects not in EFFECTS:
            raise ConfigError(f"Tool {self.name!r}: effects {self.effects!r} are none of {', '.join(EFFECTS)}.")
        if self.parameters.get("type", "object") != "object":
            raise ConfigError(f"Tool {self.name!r}: 'parameters' must be a JSON Schema of type 'object'.")
        try:
            make_validator(self.parameters)
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigError(f"Tool {self.name!r}: 'parameters' cannot be used: {error}") from error

    def make_validator(self, *, is_exact: bool = False) -> ArgumentValidator:
        """Return a validator for the arguments; with `is_exact` one that leaves nothing unchecked."""
        return make_validator(self.parameters, is_exact=is_exact)

    def to_openai(self) -> dict[str, Any]:
        """Return the tool as chat-completion APIs and `bind_tools` describe it."""
        function = {"name": self.name, "description": self.description, "parameters": deepcopy(dict(self.parameters))}
        return {"type": "function", "function": function}

    @classmethod
    def from_openai(cls, tool: Mapping[str, Any]) -> ToolSpec:
        """Read `{"type": "function", "function": {"name", "description", "parameters"}}`.

        Raises:
            ConfigError: If it is not of that form, or its name or schema cannot be used.
        """
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, Mapping) or "name" not in function:
            raise ConfigError(
                f"Not a tool: {tool!r:.200}. Give {{'type': 'function', 'function': {{'name', 'description', "
                "'parameters'}}."
            )
        parameters = function.get("parameters") or _no_arguments()
        return cls(str(function["name"]), function.get("description") or "", deepcopy(dict(parameters)))


def clean_name(name: str) -> str:
    """Return a name with what `ToolSpec` does not allow replaced by underscores.

    Example:
        >>> clean_name("Get_Hotel_Reviews(Tips)")
        'Get_Hotel_Reviews_Tips'
    """
    cleaned = re.sub(r"[^\w.:/-]+", "_", name).strip("_")[:128]
    return cleaned.replace(":", "_") if _holds_marker(cleaned) else cleaned


def _holds_marker(name: str) -> bool:
    """Tell whether a name opens a role's turn, as a tokenizer may read it."""
    return bool(_ROLE.search(re.sub(r"[^\w.:/-]", "", unicodedata.normalize("NFKD", name))))


def read_hints(annotations: Mapping[str, Any]) -> Effects:
    """Read the hints that an MCP server gives about a tool; what it does not claim is not assumed."""
    if annotations.get("readOnlyHint"):
        return "none"
    return "idempotent" if annotations.get("idempotentHint") else "once"


_logger = logging.getLogger("alpha_umi.tools")
_MAX_LINES = 20


def log_omissions(source: str, omissions: Sequence[str]) -> None:
    """Log what was left out of a source, or is doubtful, as one warning."""
    if not omissions:
        return
    lines = [f"{source}: {len(omissions):,} parts are left out or doubtful:", *omissions[:_MAX_LINES]]
    if len(omissions) > _MAX_LINES:
        lines.append(f"… and {len(omissions) - _MAX_LINES:,} more")
    _logger.warning(hide_passwords("\n- ".join(lines)))
