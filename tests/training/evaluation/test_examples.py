from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.training.data.dataset import Example
from alpha_umi.training.evaluation.examples import (
    StepOutput,
    choose_examples,
    hash_examples,
    load_examples,
    make_queries,
)


def write_rows(path: Path, examples: list[Example], **more: Any) -> Path:
    rows = ({"id": each.id, "source": each.source, "trajectory": each.trajectory.to_row(), **more} for each in examples)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_built_data_is_read_by_split(tmp_path: Path, examples: list[Example]) -> None:
    write_rows(tmp_path / "trajectories.jsonl", examples, split="dev-tools")
    read = load_examples(tmp_path, split="dev-tools")
    assert [(each.id, each.source, each.trajectory) for each in read] == [
        (each.id, each.source, each.trajectory) for each in examples
    ]
    assert hash_examples(read) == hash_examples(examples)
    with pytest.raises(ConfigError, match="no trajectory of the split 'train'"):
        load_examples(tmp_path / "trajectories.jsonl", split="train")


def test_training_data_are_left_out_unless_asked_for(tmp_path: Path, examples: list[Example]) -> None:
    path = write_rows(tmp_path / "a", examples[:1], split="train")
    with path.open("a") as file:
        file.write(write_rows(tmp_path / "b", examples[1:2], split="dev-tools").read_text())
        file.write(write_rows(tmp_path / "c", examples[2:3]).read_text())
    assert [each.id for each in load_examples(path)] == ["e1", "e2"]
    assert [each.id for each in load_examples(path, split="train")] == ["e0"]


def test_sources_can_be_chosen(tmp_path: Path, examples: list[Example]) -> None:
    path = write_rows(tmp_path / "a", examples)
    assert [each.id for each in load_examples(path, sources=["other"])] == ["e3"]
    with pytest.raises(ConfigError, match="from hand, other"):
        load_examples(path, sources=["toolbench"])


def test_a_larger_choice_holds_the_smaller_ones(examples: list[Example]) -> None:
    many = [replace(examples[0], id=f"e{i}") for i in range(40)]
    choices = [choose_examples(many, limit) for limit in (5, 20, 40, 99, None)]
    assert [len(choice) for choice in choices] == [5, 20, 40, 40, 40]
    assert all(set(map(id, small)) <= set(map(id, large)) for small, large in pairwise(choices))
    assert choices[0] != many[:5]  # from all of them, whatever their order
    assert choices[1] == sorted(choices[1], key=many.index)


def test_the_format_of_the_paper_is_read(tmp_path: Path) -> None:
    tool = {"Name": "add", "function": "Adds.", "input": {"a": "number"}}
    talk = [
        {"from": "user", "value": "Add 1."},
        {"from": "assistant", "value": "I add. Next: caller."},
        {"from": "caller", "value": 'Action: add\nAction Input: {"a": 1}'},
        {"from": "observation", "value": "2"},
        {"from": "assistant", "value": "Done. Next: conclusion."},
        {"from": "conclusion", "value": "It is 2."},
    ]
    path = tmp_path / "test.json"
    path.write_text(json.dumps([{"tools": [tool], "instruction": "Add 1.", "conversations": talk}]))
    queries = make_queries(load_examples(path, format="umi"))
    assert [query.reference for query in queries] == [
        StepOutput("I add.\nNext: caller.", 'Action: add\nAction Input: {"a":1}', None),
        StepOutput("Done.\nNext: conclusion.", None, "It is 2."),
    ]


@pytest.mark.parametrize(
    ("split", "format"), [("test", "trajectories"), ("train", "umi")], ids=["unknown split", "format without splits"]
)
def test_an_unusable_split_is_refused(tmp_path: Path, split: str, format: Any) -> None:
    with pytest.raises(ConfigError, match="Split"):
        load_examples(tmp_path, split=split, format=format)


@pytest.mark.parametrize("row", [{"id": 1, "trajectory": {}}, {"id": "a"}, {"id": "a", "trajectory": {"tools": 1}}])
def test_a_wrong_row_is_named(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(TrajectoryError, match=r"rows\.jsonl:1"):
        load_examples(path)


def test_every_step_is_asked_with_what_happened_before(examples: list[Example]) -> None:
    queries = make_queries(examples)
    assert len(queries) == 10
    keys = [query.key for query in queries]
    assert keys[:3] == ["e0/0.0", "e0/0.1", "e0/0.2"]
    assert keys[3:7] == ["e1/0.0", "e1/0.1", "e1/1.0", "e1/1.1"]
    second = queries[6]
    assert [len(turn.steps) for turn in second.history.turns] == [2, 1]
    assert second.step.answer == "8."
    assert second.extend(second.step).turns[-1].steps[-1] == second.step


def test_a_step_of_weight_0_is_not_asked_for(examples: list[Example]) -> None:
    turn = examples[0].trajectory.turns[0]
    steps = (replace(turn.steps[0], weight=0), *turn.steps[1:])
    masked = replace(examples[0], trajectory=replace(examples[0].trajectory, turns=(replace(turn, steps=steps),)))
    assert [query.key for query in make_queries([masked])] == [f"e0/0.{j}" for j in range(1, len(steps))]


def test_an_id_that_occurs_twice_is_refused(examples: list[Example]) -> None:
    with pytest.raises(ConfigError, match="twice"):
        make_queries([examples[0], replace(examples[1], id="e0")])


def test_the_hash_tells_data_apart(examples: list[Example]) -> None:
    assert hash_examples(examples) != hash_examples(examples[::-1])
    assert hash_examples(examples) != hash_examples([replace(examples[0], id="x"), *examples[1:]])
