"""The data contract: one trajectory, how it is rendered for a model, and how what a model writes is read."""

from alpha_umi.nodes.format.escaping import escape, escape_json
from alpha_umi.nodes.format.parsing import ParsedCall, Plan, parse_calls, parse_plan
from alpha_umi.nodes.format.render import load_template, render_calls, render_messages, render_plan
from alpha_umi.nodes.format.tool_docs import render_tool, render_tools
from alpha_umi.nodes.format.trajectory import Call, Decision, Observation, Role, Step, Trajectory, Turn

__all__ = [
    "Call",
    "Decision",
    "Observation",
    "ParsedCall",
    "Plan",
    "Role",
    "Step",
    "Trajectory",
    "Turn",
    "escape",
    "escape_json",
    "load_template",
    "parse_calls",
    "parse_plan",
    "render_calls",
    "render_messages",
    "render_plan",
    "render_tool",
    "render_tools",
]
