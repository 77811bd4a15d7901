"""Find tools by name: built-in ones and the user's own in the same way.

A built-in tool is a file in `tools/builtin/` that exposes one object, `tool`; only the file asked for is imported. So
is the module of a source, whose function takes the text after the colon.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools import builtin
from alpha_umi.tools.convert import ToolLike, tell_apart, to_base_tool
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE, RemoteSettings
from alpha_umi.tools.replay import load_replay

_SOURCES = {
    "openapi": ("alpha_umi.tools.openapi", "load_openapi_source"),
    "mcp": ("alpha_umi.tools.mcp", "load_mcp"),
    "toolbench": ("alpha_umi.tools.toolbench", "load_toolbench"),
}
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:/|//")  # of one letter it is a drive


def list_builtin_tools() -> list[str]:
    """Return the names of the built-in tools, without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules(builtin.__path__))


def load_tools(specs: Sequence[str | ToolLike], *, remote: RemoteSettings = DEFAULT_REMOTE) -> list[BaseTool]:
    """Return LangChain tools for any mix of names, tools and functions.

    Names are ``builtin:NAME``, ``builtin:*``, ``module:object`` (a tool, a function or a list of them; a module in the
    working directory is found too), ``openapi:FILE_OR_URL``, ``mcp:FILE_OR_URL``, ``toolbench:FOLDER`` and
    ``replay:FILE#TASK``. `remote` says how often servers of tools are tried, and when they are left alone.
    """
    tools: list[BaseTool] = []
    for spec in specs:
        found = _find(spec, remote) if isinstance(spec, str) else [spec]
        tools += map(to_base_tool, found)
    return tell_apart(tools)


def _find(spec: str, remote: RemoteSettings) -> Sequence[ToolLike]:
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ConfigError(
            f"Tool {spec!r} cannot be read; write 'builtin:NAME', 'builtin:*' or 'module:object', or name a source: "
            "'openapi:FILE_OR_URL', 'mcp:FILE_OR_URL', 'toolbench:FOLDER' or 'replay:FILE#TASK'."
        )
    is_on_web = module in ("openapi", "mcp") and name.startswith(("http://", "https://"))
    if _ADDRESS.match(name) and not is_on_web:
        raise ConfigError(f"Tool {spec!r}: tools are reached at http:// and https:// only, as openapi: or mcp:.")
    if module == "builtin":
        return [_load_builtin(known) for known in (list_builtin_tools() if name == "*" else [name])]
    if module == "replay":
        return load_replay(name)
    if module in _SOURCES:
        path, function = _SOURCES[module]
        tools: list[BaseTool] = getattr(importlib.import_module(path), function)(name, remote=remote)
        return tools
    if module.endswith(".py"):
        dotted = re.sub(r"[/\\]+", ".", module.removesuffix(".py"))
        raise ConfigError(f"Tool {spec!r}: name the module, not its file: '{dotted}:{name}'.")
    found = _import_object(module, name)
    several = found if isinstance(found, list | tuple) else [found]
    try:
        return [to_base_tool(each) for each in several]
    except ConfigError as error:
        raise ConfigError(f"Tool {spec!r}: {error}") from error


def _load_builtin(name: str) -> BaseTool:
    known = list_builtin_tools()
    if name not in known:
        raise ConfigError(f"There is no built-in tool {name!r}; the built-in tools are {', '.join(known)}.")
    tool: BaseTool = importlib.import_module(f"{builtin.__name__}.{name}").tool
    return tool


def _import_object(module: str, name: str) -> Any:
    try:
        with _working_directory_importable():
            found: Any = importlib.import_module(module)
    except Exception as error:  # the user's module may raise anything while it is imported
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        is_missing = missing is not None and f"{module}.".startswith(f"{missing}.")
        hint = "Check the name, and run from the folder that holds the file" if is_missing else "Mend that module"
        raise ConfigError(
            f"Tools '{module}:{name}': importing {module!r} failed with {type(error).__name__}: {error}. {hint}."
        ) from error
    try:
        return getattr(found, name)
    except AttributeError as error:
        raise ConfigError(
            f"Tools '{module}:{name}': {getattr(found, '__file__', module)} has no {name!r}. "
            "Name a tool, a function or a list of them."
        ) from error


@contextmanager
def _working_directory_importable() -> Iterator[None]:
    """Let an import find the user's own file, as `python file.py` would, and leave the path as it was."""
    directory = os.getcwd()
    importlib.invalidate_caches()
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)
