"""The compiled graph that `langgraph dev` serves, built from the configuration (`ALPHA_UMI_CONFIG`).

It has no checkpointer, because the server brings its own, and loads no weights before its first call.
"""

from alpha_umi.graph.config import load_settings
from alpha_umi.graph.factory import make_agent

graph = make_agent(load_settings())
