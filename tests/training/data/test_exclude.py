from __future__ import annotations

import json
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.training.data.dataset import Example
from alpha_umi.training.data.split import load_exclusions

EXAMPLE = Example("toolbench-82_x", "toolbench", Trajectory((), (Turn("Where is  Graz?"),)), "f:1", task_id="82")


@pytest.mark.parametrize(
    "text",
    [
        "82\n83\n",
        "toolbench-82_x",
        "where is graz?\n",
        json.dumps({"82": 0, "83": 1}),
        json.dumps(["1", "82"]),
        json.dumps([{"query_id": 82, "query": "other"}]),
        json.dumps({"instruction": "Where is Graz?", "conversations": []}) + "\n" + json.dumps({"id": "x"}) + "\n",
    ],
)
def test_exclusions_match_id_number_or_instruction_in_any_form(tmp_path: Path, text: str) -> None:
    path = tmp_path / "test.txt"
    path.write_text(text)
    assert EXAMPLE in load_exclusions(path)


@pytest.mark.parametrize("text", ["8\n820\n", "Where is Linz?", json.dumps(["gsm8k-82"])])
def test_exclusions_do_not_match_other_tasks(tmp_path: Path, text: str) -> None:
    path = tmp_path / "test.txt"
    path.write_text(text)
    assert EXAMPLE not in load_exclusions(path)


def test_exclusions_that_exclude_nothing_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    with pytest.raises(ConfigError, match="names no id"):
        load_exclusions(empty)
    with pytest.raises(ConfigError, match="no such file"):
        load_exclusions(tmp_path / "nowhere")
