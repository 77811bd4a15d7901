from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import ROLE_COLOURS, show_row, show_sample
from alpha_umi.training.samples import IGNORE_INDEX, make_sample

RUN = Trajectory(
    (ToolSpec("add", "Adds."),),
    (
        Turn(
            "2 and 2?",
            (
                Step("I add [b]them[/b].", "caller", (Call("c", "add", {"a": 2}, Observation("It is four.")),)),
                Step("Done.", "conclusion", answer="Four."),
            ),
        ),
    ),
)


def test_show_sample_colours_each_role_and_dims_the_rest(tokenizer: PreTrainedTokenizerFast) -> None:
    sample = make_sample(RUN, tokenizer)
    text = show_sample(sample, tokenizer)
    coloured = {str(span.style): text.plain[span.start : span.end] for span in text.spans[:-4]}
    assert "Done.\nNext: conclusion." in coloured[ROLE_COLOURS["planner"]]
    assert coloured[ROLE_COLOURS["caller"]].startswith("Action: add")
    assert coloured[ROLE_COLOURS["summarizer"]].startswith("Four.")
    dimmed = "".join(text.plain[span.start : span.end] for span in text.spans if span.style == "dim")
    assert "It is four." in dimmed
    assert "2 and 2?" in dimmed
    n_trained = sum(label != IGNORE_INDEX for label in sample.labels)
    assert f"{len(sample.input_ids):,} tokens, {n_trained:,} trained" in text.plain


def test_show_sample_prints_the_text_as_it_is(tokenizer: PreTrainedTokenizerFast) -> None:
    screen = io.StringIO()
    Console(file=screen, width=400).print(show_sample(make_sample(RUN, tokenizer), tokenizer))
    assert "I add [b]them[/b]." in screen.getvalue()


def test_show_row_finds_the_row_of_a_built_folder(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [{"id": f"own-{i}", "split": "train", "trajectory": RUN.to_row()} for i in range(2)]
    (tmp_path / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert show_row(tmp_path, 1, tokenizer).plain.startswith("own-1 (train)\n<|im_start|>system")
    for number in (2, -1):
        with pytest.raises(ConfigError, match=f"no trajectory number {number}"):
            show_row(tmp_path, number, tokenizer)


@pytest.mark.parametrize("row", [{"id": "x"}, {"id": "x", "trajectory": {"tools": 3}}])
def test_show_row_names_a_line_that_is_no_trajectory(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, row: dict[str, object]
) -> None:
    (tmp_path / "trajectories.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(TrajectoryError, match=r"trajectories\.jsonl:1"):
        show_row(tmp_path, 0, tokenizer)
