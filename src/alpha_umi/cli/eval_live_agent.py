"""The agent as the function that a live evaluation calls.

Here graph and evaluation meet, which know nothing about each other.
"""

from __future__ import annotations

from functools import reduce
from operator import add

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig

from alpha_umi.cli.eval_options import Subject
from alpha_umi.cli.export import make_answer_file
from alpha_umi.graph.factory import create_umi_agent
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.evaluation import Usage
from alpha_umi.training.evaluation.live_task import LiveOutcome, LiveTask, Run

_OUTPUT = ["messages", "finish", "reason", "answer", "settings", "n_queries", "tree"]


def make_run(subject: Subject) -> Run:
    """Return a function that runs the agent on one query, with the query's tools and in a thread of its own."""
    limits, context = subject.settings.limits, subject.settings.make_context()

    def run(task: LiveTask) -> LiveOutcome:
        toolbox = Toolbox(
            task.make_tools(), timeout_s=limits.tool_timeout_s, max_observation_chars=limits.max_observation_chars
        )
        agent = create_umi_agent(subject.models, toolbox, defaults=context)
        usage = UsageMetadataCallbackHandler()  # of all calls: a search asks for more than its last path shows
        config: RunnableConfig = {"configurable": {"thread_id": task.key}, "callbacks": [usage]}
        state = agent.invoke({"messages": [HumanMessage(task.query)]}, config, output_keys=_OUTPUT)
        total = reduce(add, map(Usage.from_metadata, usage.usage_metadata.values()), Usage())
        tree = state.get("tree")
        n_tokens = total.input_tokens + total.output_tokens
        return LiveOutcome(
            Trajectory.from_messages(state["messages"], toolbox.specs),
            total,
            state["finish"],
            state["reason"],
            make_answer_file(state, tree, toolbox.specs, n_tokens) if tree else None,
        )

    return run
