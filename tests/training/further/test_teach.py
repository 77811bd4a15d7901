"""Roles that are trained further on tool sheets, on a checkpoint of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine.checkpoint import read_checkpoint
from alpha_umi.training import further
from alpha_umi.training.further import CHECKPOINT, DATA
from alpha_umi.training.further import teach as module
from alpha_umi.training.further.teach import read_lesson, teach
from alpha_umi.training.glpft import StageReport, train

SHEETS = """
domain: workshop
tools:
- name: order_part
  description: Order pieces of a part.
  parameters:
    part: {from: [saddle, chain, bell], what: which part}
    pieces: {from: int 2..60, what: how many}
  effects: once
  ask: ["Order {pieces} {part}.", "Get us {pieces} {part}.", "We need {pieces} {part}.", "Buy {pieces} {part} now."]
  cannot: order parts
  reply: "{pieces} {part} are ordered."
- name: count_parts
  description: Count a part.
  parameters: {part: {from: [saddle, chain, bell], what: which part}}
  ask: ["How many {part}?", "Count the {part}.", "Is there any {part} left?", "stock {part}"]
  cannot: count parts
  reply: "7 {part}"
"""


@pytest.fixture
def sheets(tmp_path: Path) -> Path:
    """Return a folder with two sheets."""
    folder = tmp_path / "sheets"
    folder.mkdir()
    (folder / "workshop.yaml").write_text(SHEETS)
    return folder


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make little data."""
    monkeypatch.setattr(module, "_FEWEST", 24)


def _hash_parts(folder: Path) -> dict[str, str]:
    checkpoint = read_checkpoint(folder)
    return {"backbone": checkpoint.backbone.sha256, **{role: part.sha256 for role, part in checkpoint.roles.items()}}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("roles", [ROLES, ("caller",)])
def test_the_roles_are_trained_further_and_the_backbone_is_not(
    roles: tuple[Role, ...], trained: Callable[..., Any], sheets: Path, tmp_path: Path
) -> None:
    start = trained()[0]
    lesson = read_lesson(sheets, str(start), roles=roles, minutes=0.05)
    folder = teach(lesson, tmp_path / "out")
    before, after = _hash_parts(start), _hash_parts(folder)
    assert {part for part in before if before[part] != after[part]} == set(roles)
    card = json.loads((folder / "umi.json").read_text())
    assert set(card["stages"]) == set(roles)
    assert all(stage["metrics"]["n_steps"] >= 1 for stage in card["stages"].values())
    assert all(stage["metrics"]["train_s"] >= 0 for stage in card["stages"].values())
    report = json.loads((tmp_path / "out" / DATA / "report.json").read_text())
    assert {source.partition(":")[0] for source in report["settings"]["sources"]} == {"world", "builtin"}
    rows = (tmp_path / "out" / DATA / "trajectories.jsonl").read_text()
    assert "order_part" in rows


@pytest.mark.usefixtures("few")
def test_a_lesson_goes_on_where_it_was_stopped(
    trained: Callable[..., Any], sheets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson = read_lesson(sheets, str(trained()[0]), minutes=0.05)
    done: list[tuple[str, list[str]]] = []

    def stop_at_the_caller(*args: Any, only: Role, **kwargs: Any) -> Any:
        if only == "caller" and len(done) == 1:
            raise KeyboardInterrupt
        reports = train(*args, only=only, **kwargs)
        done.append((only, [report.status for report in reports]))
        return reports

    monkeypatch.setattr(further, "train", stop_at_the_caller)
    with pytest.raises(KeyboardInterrupt):
        teach(lesson, tmp_path / "out")
    monkeypatch.setattr(further, "build", pytest.fail)
    done.append(("stopped", []))
    teach(lesson, tmp_path / "out")
    assert done == [
        ("planner", ["new"]),
        ("stopped", []),
        ("planner", ["done"]),
        ("caller", ["new"]),
        ("summarizer", ["new"]),
    ]


def test_minutes_for_a_single_step_are_told_to_be_too_few() -> None:
    def advise(n_steps: int, n_planned: int) -> str | None:
        metrics = {"n_steps": n_steps, "train_s": 30.0}
        report = StageReport("caller", "alora", "new", 10, 900, n_planned, n_planned, 0, metrics)
        return further.advise_minutes(report, minutes=2.0, roles=("planner", "caller"))

    told = advise(1, 40)
    assert told is not None
    assert told.startswith("Too few minutes: of 2 the caller had 0.59, and its first step took 30 s.")
    assert "Give 85 or more" in told  # 50 steps of half a minute, of which 0.25 of 0.85 are the caller's
    assert advise(2, 40) is None
    assert advise(1, 1) is None


def test_what_cannot_be_taught_is_said_before_anything_is_written(
    trained: Callable[..., Any], sheets: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="plans and calls in one turn"):
        read_lesson(sheets, str(trained("single", "lora", "none")[0]))
    with pytest.raises(ConfigError, match=r"The planner of .* is a whole model"):
        read_lesson(sheets, str(trained("umi", "full", "full")[0]))
    (sheets / "workshop.yaml").write_text(SHEETS.replace("{pieces} {part}.", "{piecse} {part}.", 1))
    with pytest.raises(ConfigError, match=r"workshop\.yaml, line 10: .*piecse"):
        read_lesson(sheets, str(trained()[0]))


def test_roles_that_the_backbone_played_become_roles_of_their_own(
    trained: Callable[..., Any], sheets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FEWEST", 24)
    start = trained("single-multitask", "lora", "none")[0]
    folder = teach(read_lesson(sheets, str(start), roles=("planner",), minutes=0.05), tmp_path / "out")
    parts = read_checkpoint(folder).roles
    assert {role: part.kind for role, part in parts.items()} == {
        "planner": "alora",
        "caller": "none",
        "summarizer": "none",
    }


def test_what_a_lesson_depends_on_is_described(trained: Callable[..., Any], sheets: Path) -> None:
    first = read_lesson(sheets, str(trained()[0])).describe()
    (sheets / "workshop.yaml").write_text(SHEETS.replace("7 {part}", "8 {part}"))
    second = read_lesson(sheets, str(trained()[0]), minutes=5).describe()
    assert {name for name in first if first[name] != second[name]} == {"sheets", "minutes"}
    assert CHECKPOINT not in first
