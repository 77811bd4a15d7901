"""Tools: what they are, how they run, where they come from."""

from alpha_umi.tools.convert import ToolLike, make_tool, spec_from_tool
from alpha_umi.tools.load import list_builtin_tools, load_tools
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.toolbox import Toolbox

__all__ = [
    "ToolLike",
    "ToolSpec",
    "Toolbox",
    "list_builtin_tools",
    "load_tools",
    "make_tool",
    "spec_from_tool",
]
