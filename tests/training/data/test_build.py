from __future__ import annotations

import hashlib
import io
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.build import BuildSettings, build
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.report import BuildReport, SplitStats, render_report, summarize
from alpha_umi.training.data.split import Exclusions
from tests.training.data.conftest import WriteLines

QUIET = Console(file=io.StringIO())


def row(number: int, *, tool: str = "add", instruction: str = "") -> dict[str, Any]:
    steps = (
        Step("I call.", "caller", (Call("c", tool, {"n": number}, Observation(f"{number}")),)),
        Step("Done.", "conclusion", answer=f"It is {number}."),
    )
    tools = tuple(map(ToolSpec, dict.fromkeys((tool, "spare", "other"))))
    trajectory = Trajectory(tools, (Turn(instruction or f"Question {number}?", steps),))
    return {"id": f"row-{number}", "source": "tests", "trajectory": trajectory.to_row()}


def rows_in(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "trajectories.jsonl").read_text().splitlines()]


def test_build_writes_rows_with_splits_and_reports(tmp_path: Path, write_lines: WriteLines) -> None:
    out = tmp_path / "out"
    path = write_lines([row(i, tool=f"tool{i % 40}") for i in range(400)])
    report = build([f"own:{path}"], out, BuildSettings(seed=1), console=QUIET)
    rows = rows_in(out)
    assert len(rows) == 400
    assert all(row.keys() == {"id", "source", "split", "trajectory"} for row in rows)
    splits = {
        name: [row for row in rows if row["split"] == name] for name in ("train", "dev-tools", "dev-instructions")
    }
    assert 10 <= len(splits["dev-tools"]) <= 40
    assert 5 <= len(splits["dev-instructions"]) <= 40
    heldout = set(report.heldout_tools)
    for row_ in splits["train"] + splits["dev-instructions"]:
        assert not heldout & {tool["name"] for tool in row_["trajectory"]["tools"]}
    for row_ in splits["dev-tools"]:
        assert heldout & {tool["name"] for tool in row_["trajectory"]["tools"]}
    content = json.loads((out / "report.json").read_text())
    assert content["sha256"] == hashlib.sha256((out / "trajectories.jsonl").read_bytes()).hexdigest()
    assert content["splits"]["train"]["trajectories"] == len(splits["train"])
    assert content["splits"]["train"]["decisions"] == {
        "caller": len(splits["train"]),
        "conclusion": len(splits["train"]),
        "give up": 0,
    }
    assert "| own | 400 | 0 | 0 |" in (out / "report.md").read_text()


def test_build_gives_the_same_bytes_for_the_same_seed(tmp_path: Path, write_lines: WriteLines) -> None:
    path = write_lines([row(i, tool=f"tool{i % 9}") for i in range(90)])
    hashes = [
        build([f"own:{path}", "builtin:5"], tmp_path / str(i), BuildSettings(seed=seed), console=QUIET).sha256
        for i, seed in enumerate((0, 0, 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_build_varies_names_in_training_only(tmp_path: Path, write_lines: WriteLines) -> None:
    path = write_lines([row(i, tool=f"find_tool{i % 20}") for i in range(200)])
    rows = {}
    for share in (0.0, 0.5, 1.0):
        settings = BuildSettings(vary_names=share)
        hashes = [build([f"own:{path}"], tmp_path / "out", settings, console=QUIET).sha256 for _ in range(2)]
        assert hashes[0] == hashes[1]
        rows[share] = rows_in(tmp_path / "out")
    is_train = [row["split"] == "train" for row in rows[0.0]]
    changed = {share: [new != old for new, old in zip(rows[share], rows[0.0], strict=True)] for share in (0.5, 1.0)}
    assert changed[1.0] == is_train
    assert 0.3 < sum(changed[0.5]) / sum(is_train) < 0.7
    with pytest.raises(ConfigError, match="give a share from 0 to 1"):
        BuildSettings(vary_names=1.5)


def test_build_gives_conversations_with_the_same_tools_the_same_names(tmp_path: Path) -> None:
    rows = {}
    for share in (0.0, 1.0):
        build(["world:240"], tmp_path / "out", BuildSettings(vary_names=share), console=QUIET)
        rows[share] = [row["trajectory"]["tools"] for row in rows_in(tmp_path / "out") if row["split"] == "train"]
    groups: dict[str, list[Any]] = {}
    for before, after in zip(rows[0.0], rows[1.0], strict=True):
        assert [tool["name"] for tool in before] != [tool["name"] for tool in after]
        groups.setdefault(json.dumps(before), []).append(after)
    assert len(groups) >= 18
    for group in groups.values():
        assert len(group) > 1
        assert all(tools == group[0] for tools in group)


def test_build_drops_duplicates_and_excluded_tasks(tmp_path: Path, write_lines: WriteLines) -> None:
    again = row(1)
    again["trajectory"]["turns"][0]["instruction"] = " question 1? "
    path = write_lines([row(1), again, row(2, tool="sub"), row(3)])
    settings = BuildSettings(exclude=Exclusions(["row-3"]), heldout_tools=0, heldout_instructions=0)
    report = build([f"own:{path}"], tmp_path / "out", settings, console=QUIET)
    assert [row["id"] for row in rows_in(tmp_path / "out")] == ["row-1", "row-2"]
    assert report.tallies["own"].dropped == {"duplicate of a task already read": 1, "excluded": 1}
    assert report.tallies["own"].first["excluded"] == f"{path}:4"


def test_build_keeps_the_first_of_a_limited_source(tmp_path: Path, write_lines: WriteLines) -> None:
    out = tmp_path / "out"
    path = write_lines([row(i) for i in range(30)])
    report = build([f"own:{path}"], out, BuildSettings(limits={"own": 12}, heldout_tools=0.0), console=QUIET)
    assert [row["id"] for row in rows_in(out)] == [f"row-{i}" for i in range(12)]
    assert report.to_json()["settings"]["limits"] == {"own": 12}


@pytest.mark.parametrize("limits", [{"own": 0}, {"gsm8k": 5}])
def test_build_refuses_limits_that_cannot_be_meant(
    tmp_path: Path, write_lines: WriteLines, limits: dict[str, int]
) -> None:
    path = write_lines([row(1)])
    with pytest.raises(ConfigError, match="limit"):
        build([f"own:{path}"], tmp_path / "out", BuildSettings(limits=limits), console=QUIET)


def test_build_keeps_ids_unique_when_a_source_is_given_twice(tmp_path: Path, write_lines: WriteLines) -> None:
    other = row(1, instruction="Something else?")
    paths = [write_lines([row(1)], "a.jsonl"), write_lines([other], "b.jsonl")]
    settings = BuildSettings(heldout_instructions=0)
    build([f"own:{path}" for path in paths], tmp_path / "out", settings, console=QUIET)
    assert [row["id"] for row in rows_in(tmp_path / "out")] == ["row-1", "row-1~2"]


def test_build_measures_lengths_with_a_tokenizer(
    tmp_path: Path, write_lines: WriteLines, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = write_lines([row(i) for i in range(5)])
    settings = BuildSettings(heldout_instructions=0)
    report = build([f"own:{path}"], tmp_path / "out", settings, tokenizer=tokenizer, console=QUIET)
    lengths = report.splits["train"].to_json()["length_tokens"]
    assert lengths["longest"] >= lengths["median"] > 50
    assert "## Length in tokens" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"id": "a"\n', r"data.jsonl:2: not valid JSON"),
        ('["a"]\n', r"data.jsonl:2: expected a JSON object"),
        ('{"id": "a"}\n', r"data.jsonl:2: neither 'trajectory' nor 'messages'"),
    ],
)
def test_build_leaves_out_an_odd_row_and_names_file_and_line(tmp_path: Path, content: str, reason: str) -> None:
    out = tmp_path / "out"
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(row(1)) + "\n" + content + json.dumps(row(2)) + "\n")
    report = build([f"own:{path}"], out, console=QUIET)
    assert [row["id"] for row in rows_in(out)] == ["row-1", "row-2"]
    assert report.tallies["own"].dropped == {"record that cannot be read": 1}
    assert reason in (out / "report.md").read_text()


def test_build_of_a_file_of_another_kind_says_so_and_leaves_the_old_data(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "trajectories.jsonl").write_text("old")
    path = tmp_path / "data.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"}\n')
    with pytest.raises(TrajectoryError, match=r"No record of own:.* can be read.*data\.jsonl:1: neither"):
        build([f"own:{path}"], out, console=QUIET)
    assert [(file.name, file.read_text()) for file in out.iterdir()] == [("trajectories.jsonl", "old")]


def test_build_of_nothing_says_why(tmp_path: Path, write_lines: WriteLines) -> None:
    with pytest.raises(TrajectoryError, match="the sources hold no records"):
        build([f"own:{write_lines([])}"], tmp_path / "out", console=QUIET)
    settings = BuildSettings(exclude=Exclusions(["row-1"]))
    with pytest.raises(TrajectoryError, match=r"No trajectory is left to write: excluded \(1\)"):
        build([f"own:{write_lines([row(1)])}"], tmp_path / "out", settings, console=QUIET)
    assert not (tmp_path / "out").exists()


def test_build_that_holds_everything_out_is_refused(tmp_path: Path, write_lines: WriteLines) -> None:
    path = write_lines([{**row(1), "split": "dev-tools"}])
    with pytest.raises(TrajectoryError, match="none is left to train on"):
        build([f"own:{path}"], tmp_path / "out", console=QUIET)


@pytest.mark.parametrize("source", ["own", "own:", "tests.jsonl"])
def test_build_says_how_to_write_a_source(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError, match="write NAME:PATH"):
        build([source], tmp_path, console=QUIET)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_settings_refuse_shares_that_leave_nothing(share: float) -> None:
    with pytest.raises(ConfigError, match="heldout_tools is"):
        BuildSettings(heldout_tools=share)


@contextmanager
def limited_file_size(n_bytes: int) -> Iterator[None]:
    """Make writes fail as they do on a full disk; Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path, write_lines: WriteLines) -> None:
    out = tmp_path / "out"
    build([f"own:{write_lines([row(1)])}"], out, BuildSettings(heldout_instructions=0), console=QUIET)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    path = write_lines([row(i) for i in range(500)])
    with limited_file_size(20_000), pytest.raises(ConfigError, match="check permissions and free space"):
        build([f"own:{path}"], out, console=QUIET)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


RUN = Trajectory(
    (ToolSpec("add"), ToolSpec("sub")),
    (
        Turn("?", (Step("…", "caller", (Call("c", "add", {}, Observation("no", True)),)), Step("…", "give up"))),
        Turn("!", (Step("…", "conclusion", answer="4."),)),
    ),
)


def test_split_stats_count_everything_once() -> None:
    stats = SplitStats()
    stats.add("own", RUN, 10)
    stats.add("own", RUN, 30)
    content = stats.to_json()
    assert content["trajectories"] == 2
    assert content["steps"] == 6
    assert content["decisions"] == {"caller": 2, "conclusion": 2, "give up": 2}
    assert content["steps_per_trajectory"] == {"3": 2}
    assert (content["tools_called"], content["tools_offered"]) == (1, 2)
    assert (content["calls"], content["answers"], content["error_observations"]) == (2, 2, 2)
    assert content["length_tokens"]["total"] == 40


def test_summarize_gives_quantiles() -> None:
    assert summarize(range(1, 101)) == {"total": 5050, "mean": 50.5, "median": 51, "p90": 90, "p99": 99, "longest": 100}
    assert summarize([]) is None


def test_report_shows_sources_splits_repairs_and_drops() -> None:
    tally = Tally(kept=1200)
    tally.repair("a | b", "f.jsonl:3")
    tally.drop("empty", "f.jsonl:4")
    report = BuildReport({"seed": 0}, {"own": tally}, heldout_tools=["sub"])
    report.splits["train"].add("own", RUN, None)
    text = render_report(report.to_json())
    assert "| own | 1,200 | 1 | 1 |" in text
    assert "| train | 1 | 3 | 1 | 1 | 1 | 1 | 1 | 1 / 2 |" in text
    assert "1 tools are held out" in text
    assert "| own | a \\| b | 1 | `f.jsonl:3` |" in text
    assert "| own | empty | 1 | `f.jsonl:4` |" in text
    assert "Length in tokens" not in text
