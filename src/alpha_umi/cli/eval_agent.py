"""The live agent as the function that an evaluation calls.

Here graph and evaluation meet, which know nothing about each other.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AnyMessage, HumanMessage

from alpha_umi.cli.eval_options import Subject
from alpha_umi.graph.factory import create_umi_agent
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.evaluation import Outcome, Task, Usage
from alpha_umi.training.evaluation.static import describe_model
from alpha_umi.training.evaluation.tasks import Ask


def describe_agent(subject: Subject) -> dict[str, Any]:
    """Return all that its outcomes depend on beside the tasks."""
    return {
        "specs": subject.settings.models,
        "models": {role: describe_model(model) for role, model in subject.models.items()},
        "limits": subject.settings.limits.model_dump(),
        "context": subject.settings.make_context().model_dump(),
    }


def make_ask(subject: Subject) -> Ask:
    """Return a function that runs the agent on a task: with the task's tools, all instructions in one thread."""
    limits, context = subject.settings.limits, subject.settings.make_context()

    def ask(task: Task) -> Outcome:
        toolbox = Toolbox(
            task.tools, timeout_s=limits.tool_timeout_s, max_observation_chars=limits.max_observation_chars
        )
        agent = create_umi_agent(subject.models, toolbox, defaults=context)
        usage = UsageMetadataCallbackHandler()  # of all calls: not every one of them leaves a message
        messages: list[AnyMessage] = []
        finish = None
        for instruction in task.instructions:
            state = agent.invoke({"messages": [*messages, HumanMessage(instruction)]}, {"callbacks": [usage]})
            messages, finish = state["messages"], state["finish"]
        tokens = reduce(add, map(Usage.from_metadata, usage.usage_metadata.values()), Usage())
        return Outcome(Trajectory.from_messages(messages, toolbox.specs), tokens, finish)

    return ask
