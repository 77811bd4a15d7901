"""`alpha-umi graph`: the picture of the agent."""

from __future__ import annotations

import typer


def graph() -> None:
    """Print the agent's graph as a Mermaid drawing; no weights are loaded."""
    from alpha_umi.graph.agent import graph as agent  # noqa: PLC0415 - LangGraph takes a second

    typer.echo(agent.get_graph(xray=True).draw_mermaid(), nl=False)
