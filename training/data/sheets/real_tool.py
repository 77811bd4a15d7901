"""Tools that exist, for sheets that refer to them: found under the names that `load_tools` knows, and run."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from langchain_core.tools import BaseTool, ToolException

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.tools.load import load_tools
from alpha_umi.tools.toolbox import Toolbox

_MAX_NAMES = 8
_MAX_REPLIES = 1000


class RealTool:
    """A tool that exists, and what it replied.

    Args:
        tool: Any LangChain tool.
        source: Where it was found, as `load_tools` takes it.

    Raises:
        ConfigError: If it cannot be described to a model.
    """

    def __init__(self, tool: BaseTool, source: str) -> None:
        """Read its description."""
        self.source = source
        self.spec = spec_from_tool(tool)
        self._toolbox = Toolbox([tool])
        self._run = lru_cache(_MAX_REPLIES)(self._execute)

    def run(self, arguments: Mapping[str, Any]) -> str:
        """Return what the tool replies; it is asked once, so that the answer tells what was observed.

        Raises:
            ToolException: If the call fails.
        """
        return self._run(json.dumps(arguments))

    def _execute(self, arguments: str) -> str:
        message = self._toolbox.execute(self.spec.name, json.loads(arguments), "")
        if message.status == "error":
            raise ToolException(message.text.removeprefix(f"{self.spec.name} failed: "))
        return message.text


class ToolFinder:
    """Finds tools by reference, such as ``my_tools:TOOLS#book_table``; each source is loaded once."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._sources: dict[str, dict[str, BaseTool] | ConfigError] = {}

    def find(self, reference: str) -> RealTool:
        """Return the one tool that a reference means.

        Raises:
            ConfigError: If its source cannot be loaded, has no such tool, or has several and none is named.
        """
        source, _, name = reference.rpartition("#") if "#" in reference else (reference, "", "")
        tools = self._load(source)
        if not name and len(tools) == 1:
            [name] = tools
        if not name:
            raise ConfigError(
                f"{source} has {len(tools)} tools; name one of them, as in {source}#{min(tools, default='NAME')}."
            )
        if name not in tools:
            near = difflib.get_close_matches(name, tools, _MAX_NAMES, 0)
            raise ConfigError(
                f"{source} has no tool {name!r}; correct what stands after '#'. It has {', '.join(near)}."
            )
        return RealTool(tools[name], source)

    def _load(self, source: str) -> Mapping[str, BaseTool]:
        if source not in self._sources:
            try:
                self._sources[source] = {tool.name: tool for tool in load_tools([source])}
            except ConfigError as error:
                self._sources[source] = error
        found = self._sources[source]
        if isinstance(found, ConfigError):
            raise found
        return found


def read_reply(text: str) -> dict[str, Any]:
    """Return a reply as ``reply``, and the parts of one in JSON by their path.

    Example:
        >>> read_reply('{"rain": [2, 5]}')
        {'reply': '{"rain": [2, 5]}', 'reply.rain': [2, 5], 'reply.rain.0': 2, 'reply.rain.1': 5}
    """
    parts: dict[str, Any] = {"reply": text}

    def read(path: str, value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in items:
            parts[f"{path}.{key}"] = part
            read(f"{path}.{key}", part)

    try:
        read("reply", json.loads(text))
    except (ValueError, RecursionError):  # plain text has no parts
        return {"reply": text}
    return parts
