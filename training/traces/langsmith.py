"""Runs of the agent that LangSmith keeps: the root run of each turn, with the feedback on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from langchain_core.messages import AnyMessage, HumanMessage
from langsmith import Client
from langsmith.types.run import Run

from alpha_umi.nodes.format.openai_messages import from_openai
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources.own import read_messages
from alpha_umi.training.evaluation.langsmith.push import explain
from alpha_umi.training.traces.trace import OF_ANOTHER, Trace, get_state, make_trace

PAGE_SIZE = 100
_FAILED = "run that failed"
_FIELDS: Any = ["ID", "INPUTS", "OUTPUTS", "ERROR", "FEEDBACK_STATS"]
_BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
"""Before LangSmith was; without a time it returns the runs of one day."""


def read_runs(
    client: Client, project: str, catalogue: Mapping[str, ToolSpec], tally: Tally, *, tags: Sequence[str] = ()
) -> Iterator[Trace]:
    """Yield the trace of each root run; its turn is the last one, and those before it are context.

    Args:
        client: Of LangSmith.
        project: Name of the project.
        catalogue: The agent's tools by name, for runs whose inputs name none.
        tally: Counts what is changed or left out.
        tags: All of which a run has.

    Raises:
        ConfigError: If LangSmith cannot be reached, refuses the key, or has no such project.
    """
    for run in _list_runs(client, project, tags):
        where = f"run {run.id} of {project}"
        with tally.reading(where):
            if run.error:
                tally.drop(_FAILED)
            elif (state := get_state(run.outputs)) is None:
                tally.drop(OF_ANOTHER)
            elif trace := _read_run(run, where, state, catalogue, tally):
                yield trace


def _list_runs(client: Client, project: str, tags: Sequence[str]) -> Iterator[Run]:
    """Ask for one page after the other."""
    wanted = [f"has(tags, {json.dumps(tag)})" for tag in tags]
    given: dict[str, Any] = {"filter": f"and({', '.join(wanted)})" if wanted[1:] else wanted[0]} if wanted else {}
    with explain(client, "the query"), asyncio.Runner() as runner:
        id_ = client.read_project(project_name=project).id
        pages = client.runs.query_v2(
            project_ids=[str(id_)],
            is_root=True,
            min_start_time=_BEGINNING,
            page_size=PAGE_SIZE,
            selects=_FIELDS,
            **given,
        )
        iterator = aiter(pages)
        while (run := runner.run(_take(iterator))) is not None:
            yield run


async def _take(runs: Any) -> Run | None:
    run: Run | None = await anext(runs, None)
    return run


def _read_run(
    run: Run, where: str, state: Mapping[str, Any], catalogue: Mapping[str, ToolSpec], tally: Tally
) -> Trace | None:
    offered: Any = (run.inputs or {}).get("tools")
    tools = [ToolSpec.from_openai(tool) for tool in offered] if offered else [*catalogue.values()]
    messages = _read_messages(state, tools)
    n_turns = sum(isinstance(message, HumanMessage) for message in messages)
    trace = make_trace(f"run-{run.id}", where, messages, tools, tally, finish=state["finish"])
    stats = (run.feedback_stats or {}).items()
    scores = {key: each.avg for key, each in stats if each.avg is not None}
    return trace and replace(trace, n_context=n_turns - 1, scores=scores)


def _read_messages(state: Mapping[str, Any], tools: Sequence[ToolSpec]) -> list[AnyMessage]:
    """Read LangChain's messages, or those in OpenAI's form that `alpha_umi.as_target` returns."""
    messages = state["messages"]
    if any("role" in message for message in messages):
        return from_openai(messages, tools, gave_up=state["finish"] == "give up").to_messages()
    return read_messages(messages)
