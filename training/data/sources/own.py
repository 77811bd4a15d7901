"""Trajectories of our own agent: rows as `data build` writes them, or what `ask --json` and LangChain print.

One JSON object per line: a row `{"trajectory"}`, or `{"messages", "tools"}` with LangChain's messages and either our
tool specifications or OpenAI function schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from langchain_core.messages import AnyMessage
from pydantic import TypeAdapter, ValidationError

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Example, Tally, parse_row
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.data.tool_specs import parse_openai_tool

_make_adapter = cache(lambda: TypeAdapter(list[AnyMessage]))


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per line; a row keeps its id, its source and its split."""
    for number, (where, record) in enumerate(read_records(location, tally.skip)):
        with tally.reading(where):
            if "trajectory" not in record:
                record = {**record, "trajectory": read_transcript(record).to_row()}
            named = {"source": "own", **record, "id": str(record.get("id", f"own-{number}"))}
            example = parse_row(named, where)
            yield example


def read_transcript(record: Record) -> Trajectory:
    """Read what `ask --json` and LangChain print: messages, and the tools that were offered.

    Raises:
        TrajectoryError: If it is something else.
    """
    if not isinstance(record.get("messages"), list):
        raise TrajectoryError("neither 'trajectory' nor 'messages'; expected a row or a transcript.")
    return Trajectory.from_messages(read_messages(record["messages"]), read_tools(record.get("tools", ())))


def read_tools(tools: Sequence[Record]) -> list[ToolSpec]:
    """Read our specifications and OpenAI's function schemas."""
    return [_read_tool(tool) for tool in tools]


def _read_tool(tool: Record) -> ToolSpec:
    if "function" in tool or "name" not in tool:
        return parse_openai_tool(tool)
    return ToolSpec(tool["name"], tool.get("description") or "", tool.get("parameters") or {})


def read_messages(messages: Sequence[Any]) -> list[AnyMessage]:
    """Read `message.model_dump()` and `messages_to_dict()` alike.

    Raises:
        TrajectoryError: If one is no message.
    """
    flat = [
        {**message["data"], "type": message["type"]} if isinstance(message, Mapping) and "data" in message else message
        for message in messages
    ]
    try:
        return _make_adapter().validate_python(flat)
    except ValidationError as error:
        first = error.errors()[0]
        raise TrajectoryError(f"messages.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
