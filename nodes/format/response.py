"""The form that answers have to have, where the caller wants one: a class, or a JSON Schema of an object."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel, TypeAdapter
from typing_extensions import is_typeddict

from alpha_umi.errors import ConfigError
from alpha_umi.tools.spec.schema import make_validator

ResponseSchema: TypeAlias = type[Any] | Mapping[str, Any]
"""A pydantic model, a dataclass, a TypedDict, or a JSON Schema of an object."""

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class ResponseFormat:
    """What `read_response_format` makes of a schema.

    Args:
        schema: JSON Schema of an object, with a ``title``.
        adapter: Reads and checks values by the class that was given; None for a JSON Schema.
    """

    schema: Mapping[str, Any]
    adapter: TypeAdapter[Any] | None = field(default=None, compare=False)

    @property
    def request(self) -> dict[str, Any]:
        """Return how OpenAI's protocol asks for it, and LangChain too."""
        name = re.sub(r"[^\w-]", "_", self.schema["title"], flags=re.ASCII)[:64]
        return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(self.schema)}}

    def parse(self, text: str, *, reveal: Callable[[Any], Any] = lambda values: values) -> dict[str, Any]:
        """Return the values in a text, as JSON has them; those that have to fit are what `reveal` makes of them.

        Raises:
            ValueError: If it is no JSON object, or does not fit; a validator of the class may raise anything.
        """
        fenced = _FENCED.fullmatch(text.strip())
        values = json.loads(fenced[1] if fenced else text)
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        if self.adapter:
            self.adapter.validate_json(json.dumps(reveal(values)))
        elif fault := next(iter(make_validator(self.schema).iter_errors(reveal(values))), None):
            raise ValueError(fault.message)
        return values

    def build(self, values: Mapping[str, Any]) -> Any:
        """Return values that `parse` has returned as what the caller wants: an object of the class, if there is one."""
        return self.adapter.validate_json(json.dumps(values)) if self.adapter else values


def read_response_format(given: ResponseSchema) -> ResponseFormat:
    """Take a class or a JSON Schema for the form of answers.

    Raises:
        ConfigError: If it is none, or not one of an object.
    """
    adapter = None
    try:
        if isinstance(given, Mapping):
            schema = {"title": "answer", **given}
            make_validator(schema)
        elif is_typeddict(given) or is_dataclass(given) or (isinstance(given, type) and issubclass(given, BaseModel)):
            adapter = TypeAdapter(given)
            schema = {"title": given.__name__, **adapter.json_schema()}
        else:
            raise TypeError(f"it is a {type(given).__name__}")
    except Exception as error:  # a class may hold types that have no JSON Schema
        raise ConfigError(
            f"The response format {given!r} cannot be used: {error}. Give a pydantic model, a dataclass, a TypedDict "
            "or a JSON Schema."
        ) from error
    if schema.get("type", "object") != "object":
        raise ConfigError(
            f"The response format {given!r} is of type {schema['type']!r}; put it into an object's field."
        )
    return ResponseFormat({**schema, "type": "object"}, adapter)
