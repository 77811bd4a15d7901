"""Tools: what they are, how they run, where they come from."""

from alpha_umi.tools.convert import ToolLike, declare_effects, make_tool, spec_from_tool
from alpha_umi.tools.isolation import Isolation, isolate
from alpha_umi.tools.ledger import Ledger
from alpha_umi.tools.load import list_builtin_tools, load_tools
from alpha_umi.tools.spec import Effects, ToolSpec
from alpha_umi.tools.toolbox import Toolbox

__all__ = [
    "Effects",
    "Isolation",
    "Ledger",
    "ToolLike",
    "ToolSpec",
    "Toolbox",
    "declare_effects",
    "isolate",
    "list_builtin_tools",
    "load_tools",
    "make_tool",
    "spec_from_tool",
]
