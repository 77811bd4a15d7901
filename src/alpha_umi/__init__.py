"""α-UMi on LangGraph: agents made of small, locally fine-tuned models.

The public names are imported at first use, so that `import alpha_umi` stays cheap.

Source: "Small LLMs Are Weak Tool Learners: A Multi-LLM Agent", arXiv 2401.07324.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alpha_umi.errors import AlphaUmiError
    from alpha_umi.graph.embed import as_runnable, as_tool
    from alpha_umi.graph.factory import create_umi_agent
    from alpha_umi.graph.target import as_target
    from alpha_umi.nodes.approval import ApprovalRule, ask_when
    from alpha_umi.nodes.format.trajectory import Trajectory
    from alpha_umi.nodes.state import UmiContext
    from alpha_umi.tools.convert import declare_effects
    from alpha_umi.tools.pii import RedactionRule
    from alpha_umi.tools.spec import ToolSpec
    from alpha_umi.tools.toolbox import Toolbox

__all__ = [
    "AlphaUmiError",
    "ApprovalRule",
    "RedactionRule",
    "ToolSpec",
    "Toolbox",
    "Trajectory",
    "UmiContext",
    "as_runnable",
    "as_target",
    "as_tool",
    "ask_when",
    "create_umi_agent",
    "declare_effects",
]

_HOMES = {
    "AlphaUmiError": "alpha_umi.errors",
    "ApprovalRule": "alpha_umi.nodes.approval",
    "RedactionRule": "alpha_umi.tools.pii",
    "ToolSpec": "alpha_umi.tools.spec",
    "Toolbox": "alpha_umi.tools.toolbox",
    "Trajectory": "alpha_umi.nodes.format.trajectory",
    "UmiContext": "alpha_umi.nodes.state",
    "as_runnable": "alpha_umi.graph.embed",
    "as_target": "alpha_umi.graph.target",
    "as_tool": "alpha_umi.graph.embed",
    "ask_when": "alpha_umi.nodes.approval",
    "create_umi_agent": "alpha_umi.graph.factory",
    "declare_effects": "alpha_umi.tools.convert",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("alpha-umi")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
