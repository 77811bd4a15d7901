"""Credentials: a configuration names environment variables, whose values are read when needed and never shown."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from alpha_umi.errors import ConfigError

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a secret goes in a request; knows the name of the variable that holds it, not the secret.

    Args:
        variable: Environment variable; for ``Basic`` it holds ``user:password``.
        place: Part of the request.
        name: Name of the header, query parameter or cookie.
        scheme: Word before the value in an ``Authorization`` header.
    """

    variable: str
    place: Literal["header", "query", "cookie"]
    name: str
    scheme: Literal["", "Bearer", "Basic"] = ""

    def read(self) -> str:
        """Return the value as it is sent."""
        value = read_variable(self.variable)
        if self.scheme == "Basic":
            value = base64.b64encode(value.encode()).decode()
        return f"{self.scheme} {value}".lstrip()

    def secrets(self) -> tuple[str, ...]:
        """Return every form of the value that must not be shown."""
        value = read_variable(self.variable)
        if self.scheme != "Basic":
            return (value,)
        return (base64.b64encode(value.encode()).decode(), value, value.partition(":")[2])


def read_variable(name: str) -> str:
    """Return the value of an environment variable.

    Raises:
        ConfigError: If it is not set, or holds what a header cannot.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"The environment variable {name!r} is named as a credential but is not set; "
            "export it, or take it out of the configuration."
        )
    if not value.isprintable():  # libraries quote such a value when they refuse it
        raise ConfigError(f"The environment variable {name!r} holds a line break; export the credential alone.")
    return value


def expand_variables(text: str) -> tuple[str, tuple[str, ...]]:
    """Replace every ``${VARIABLE}`` and return the text with the values that must not be shown."""
    secrets = tuple(read_variable(name) for name in _VARIABLE.findall(text))
    return _VARIABLE.sub(lambda match: read_variable(match[1]), text), secrets


def is_loopback(host: str) -> bool:
    """Say whether a host name is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def require_private(url: str) -> None:
    """Refuse to send a credential where others can read it.

    Raises:
        ConfigError: If the address is neither HTTPS nor this machine.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ConfigError(
            f"Credentials are only sent over HTTPS or to this machine, not to {parts.scheme}://{parts.hostname}. "
            "Use an https:// address, or reach the server through a local port."
        )
