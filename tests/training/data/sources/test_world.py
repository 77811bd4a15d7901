from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sheets.load import load_world
from alpha_umi.training.data.sources.world import read


def test_held_out_domains_and_wordings_stay_out_of_training() -> None:
    examples = list(read("60", Tally(), seed=0))
    held_out = {sheet.tool.name for sheet in load_world() if sheet.held_out}
    offered = {
        split: {tool.name for example in examples if example.split == split for tool in example.trajectory.tools}
        for split in ("train", "dev-instructions", "dev-tools")
    }
    assert held_out.isdisjoint(offered["train"] | offered["dev-instructions"])
    assert offered["dev-tools"] <= held_out
    assert [example.split for example in examples].count("train") == 60
    assert len({example.id for example in examples}) == len(examples)
    assert [example.trajectory for example in examples] == [e.trajectory for e in read("60", Tally(), seed=0)]


def test_sheets_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "domain: d\ntools:\n- {name: t, description: x, ask: [Do it.], cannot: do it, reply: done}\n"
    )
    examples = list(read(f"{tmp_path},20", Tally(), seed=0))
    assert all([tool.name for tool in example.trajectory.tools] == ["t"] for example in examples)
    assert {example.split for example in examples} == {"train", "dev-instructions"}


def test_there_are_as_many_tasks_as_asked_for(tmp_path: Path) -> None:
    # A tool that fails serves no other request, so such a group has one conversation.
    (tmp_path / "a.yaml").write_text(
        "domain: d\ntools:\n- {name: t, description: x, ask: [Do it.], cannot: do it, reply: done, fails: [no power]}\n"
    )
    examples = list(read(f"{tmp_path},180", Tally(), seed=4))
    assert [example.split for example in examples].count("train") == 180
    assert len({example.id for example in examples}) == len(examples) == 198


@pytest.mark.parametrize("location", ["", "many", "0", "folder"])
def test_a_location_without_a_number_is_refused(location: str) -> None:
    with pytest.raises(ConfigError, match="give the number of tasks"):
        list(read(location, Tally(), seed=0))
