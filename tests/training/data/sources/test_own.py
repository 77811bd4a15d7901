from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import messages_to_dict

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from tests.training.data.conftest import Read, WriteLines

ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})
RUN = Trajectory(
    (ADD,),
    (
        Turn(
            "2 and 2?",
            (
                Step("I add.", "caller", (Call("c1", "add", {"a": 2}, Observation("4", is_error=True)),)),
                Step("Done.", "conclusion", answer="4."),
            ),
        ),
    ),
)


def test_own_row_keeps_id_source_and_split(read: Read, write_lines: WriteLines) -> None:
    row = {"id": "r-1", "source": "gsm8k", "split": "dev-tools", "trajectory": RUN.to_row()}
    (example,), _ = read("own", write_lines([row]))
    assert (example.id, example.source, example.split) == ("r-1", "gsm8k", "dev-tools")
    assert example.trajectory == RUN


@pytest.mark.parametrize(
    "tools", [[ADD.to_openai()], [{"name": "add", "description": "Adds.", "parameters": ADD.parameters}]]
)
@pytest.mark.parametrize("flat", [True, False])
def test_own_transcript_is_read_as_it_was_printed(
    read: Read, write_lines: WriteLines, tools: list[Any], flat: bool
) -> None:
    messages = RUN.to_messages()
    dumped = [message.model_dump(mode="json") for message in messages] if flat else messages_to_dict(messages)
    (example,), _ = read("own", write_lines([{"answer": "4.", "messages": dumped, "tools": tools}]))
    assert example.trajectory == RUN


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"answer": "4."}, "neither 'trajectory' nor 'messages'"),
        ({"trajectory": {"tools": [], "turns": [{}]}}, "turns.0"),
        ({"messages": [{"type": "alien"}], "tools": []}, "messages.0"),
        ({"messages": [], "tools": [{"name": "no spaces allowed"}]}, "cannot be used"),
    ],
)
def test_own_wrong_row_is_named(read: Read, write_lines: WriteLines, record: dict[str, Any], message: str) -> None:
    with pytest.raises(TrajectoryError, match=f"records\\.jsonl:1: .*{message}"):
        read("own", write_lines([record]))
