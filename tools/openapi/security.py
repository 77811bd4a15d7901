"""Which credentials an operation is sent, from the document's security schemes or from places that the user names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from alpha_umi.errors import ConfigError
from alpha_umi.tools.http.credentials import Credential, read_variable
from alpha_umi.tools.openapi.document import BadReference, Document

_PLACES: dict[str, Literal["header", "query", "cookie"]] = {"header": "header", "query": "query", "cookie": "cookie"}


class Security:
    """The credentials of one document."""

    def __init__(self, document: Document, auth: Mapping[str, str]) -> None:
        """Read what `auth` names.

        Args:
            document: The document, whose security schemes `auth` may name.
            auth: Security scheme, or ``header:NAME``, ``query:NAME``, ``cookie:NAME``, to the environment variable
                that holds the credential. The latter three are sent with every operation.

        Raises:
            ConfigError: If there is no such scheme, or a variable is not set.
        """
        self._default = document.content.get("security")
        self._is_declared = self._default is not None or _is_declared_anywhere(document)
        self._always: list[Credential] = []
        self._schemes: dict[str, Credential] = {}
        known = _read_schemes(document)
        for name, variable in auth.items():
            read_variable(variable)
            place, _, parameter = name.partition(":")
            if place in _PLACES and parameter:
                self._always.append(Credential(variable, _PLACES[place], parameter))
            elif name in known:
                self._schemes[name] = _make_credential(name, known[name], variable)
            else:
                raise ConfigError(
                    f"{document.name} has no security scheme {name!r}; it has: {', '.join(known) or 'none'}. "
                    "Name one of them, or a place such as 'header:X-Api-Key'."
                )

    def select(self, operation: Mapping[str, Any]) -> tuple[Credential, ...]:
        """Return what is sent with an operation: the first of its alternatives for which there is everything."""
        wanted = operation.get("security", self._default)
        if not self._is_declared:  # a document that forgot to, and a user who named schemes
            return (*self._always, *self._schemes.values())
        for alternative in wanted if isinstance(wanted, list) else []:
            if isinstance(alternative, Mapping) and alternative and self._schemes.keys() >= alternative.keys():
                return (*self._always, *(self._schemes[name] for name in alternative))
        return tuple(self._always)


def _is_declared_anywhere(document: Document) -> bool:
    """Say whether any operation tells which schemes it wants."""
    items = [item for item in document.content["paths"].values() if isinstance(item, Mapping)]
    return any(isinstance(node, Mapping) and "security" in node for item in items for node in item.values())


def _read_schemes(document: Document) -> dict[str, Mapping[str, Any]]:
    components = document.content.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, Mapping) else None
    known: dict[str, Mapping[str, Any]] = {}
    for name, node in (schemes or {}).items() if isinstance(schemes, Mapping) else ():
        try:
            scheme = document.resolve(node)
        except BadReference:
            continue
        if isinstance(scheme, Mapping):
            known[str(name)] = scheme
    return known


def _make_credential(name: str, scheme: Mapping[str, Any], variable: str) -> Credential:
    kind = str(scheme.get("type", "")).lower()
    if kind == "apikey" and scheme.get("in") in _PLACES and isinstance(scheme.get("name"), str):
        return Credential(variable, _PLACES[scheme["in"]], scheme["name"])
    if kind == "http" and str(scheme.get("scheme", "")).lower() == "basic":
        return Credential(variable, "header", "Authorization", "Basic")
    if kind in ("http", "oauth2", "openidconnect"):
        return Credential(variable, "header", "Authorization", "Bearer")
    raise ConfigError(
        f"Security scheme {name!r} is of a kind that cannot be used ({kind or 'no type'}); "
        "name the place instead, such as 'header:X-Api-Key'."
    )
