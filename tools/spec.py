"""What a model is told about a tool: name, description and JSON-Schema arguments.

Knows nothing about how a tool is run; see `alpha_umi.tools.toolbox` for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from alpha_umi.errors import ConfigError

_NAME = re.compile(r"[\w.:/-]{1,128}")


def _no_arguments() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool as the planner and the caller see it.

    Args:
        name: What the caller writes after ``Action:``; letters, digits and ``_.:/-``.
        description: One or two sentences for the model.
        parameters: JSON Schema of type ``object`` for the arguments.

    Raises:
        ConfigError: If the name or the schema cannot be used.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=_no_arguments)

    def __post_init__(self) -> None:
        """Refuse names and schemas that no caller could ever satisfy."""
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"Tool name {self.name!r} cannot be used: use 1 to 128 letters, digits, '_', '.', ':', '/' or '-'."
            )
        if self.parameters.get("type", "object") != "object":
            raise ConfigError(f"Tool {self.name!r}: 'parameters' must be a JSON Schema of type 'object'.")
        try:
            Draft202012Validator.check_schema(dict(self.parameters))
        except SchemaError as error:
            raise ConfigError(f"Tool {self.name!r}: 'parameters' is not valid JSON Schema: {error.message}") from error
