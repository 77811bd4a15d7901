from __future__ import annotations

import json
import multiprocessing
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.nodes.models.engine.checkpoint import read_checkpoint
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.glpft import train

MakeConfig = Callable[..., TrainConfig]

KILLS = [
    ("in step 4 of stage 1", "alpha_umi.training.trainer:UmiTrainer.training_step", 4),
    ("half through a checkpoint", "torch:save", 3),
    ("before stage 1 is published", "alpha_umi.training.checkpoint_folder:CheckpointFolder.publish", 1),
    ("between the weights and the card", "alpha_umi.training.checkpoint_folder:write_json", 2),
    ("after the card", "alpha_umi.training.checkpoint_folder:_remove", 1),
    ("in stage 2", "alpha_umi.training.trainer:UmiTrainer._read_prefix", 6),
    ("between stages", "alpha_umi.training.checkpoint_folder:CheckpointFolder.begin", 2),
]


def _read_curve(out: Path) -> dict[str, list[tuple[int, float]]]:
    curve = {}
    for path in sorted(out.glob("logs/*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        curve[path.parent.name] = [(row["step"], row["loss"]) for row in rows]
    return curve


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.slow
def test_a_run_killed_seven_times_gives_the_same_losses_and_weights(
    make_config: MakeConfig, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(lora_dropout=0.1, save_every_steps=2)
    train(config, data, tmp_path / "whole")
    out = tmp_path / "killed"
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    run = import_module("killed_run").run
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["alpha_umi.training.glpft"])
    for moment, target, nth_call in KILLS:
        process = context.Process(target=run, args=(config.model_dump(), str(data), str(out), target, nth_call))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, moment
        with pytest.raises(ConfigError):
            read_checkpoint(out)
    reports = train(config, data, out, resume=True)
    assert [report.status for report in reports] == ["done", "done", "new", "new"]
    whole, killed = _read_curve(tmp_path / "whole"), _read_curve(out)
    assert killed.keys() == whole.keys() == {"backbone", *ROLES}
    for stage, curve in whole.items():
        assert [step for step, _ in killed[stage]] == [step for step, _ in curve]
        assert [loss for _, loss in killed[stage]] == pytest.approx([loss for _, loss in curve], abs=1e-6)
    first, second = read_checkpoint(tmp_path / "whole"), read_checkpoint(out)
    assert second.backbone.sha256 == first.backbone.sha256
    assert {role: part.sha256 for role, part in second.roles.items()} == {
        role: part.sha256 for role, part in first.roles.items()
    }


def test_a_changed_setting_is_refused_where_a_stage_was_begun(
    make_config: MakeConfig, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("alpha_umi.training.checkpoint_folder.CheckpointFolder.publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(make_config(), data, tmp_path)
    with pytest.raises(ConfigError, match=r"'backbone' was begun with lora_rank 4, now it is 8: .*\.work"):
        train(make_config(lora_rank=8), data, tmp_path, resume=True)
    assert train(make_config(), data, tmp_path, resume=True)[0].status == "resume"
