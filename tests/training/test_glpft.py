from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.nodes.models.engine.checkpoint import hash_weights, read_checkpoint
from alpha_umi.nodes.models.engine.fit import read_adapter_config
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.export import compact
from alpha_umi.training.glpft import train

MakeConfig = Callable[..., TrainConfig]
Trained = Callable[..., tuple[Path, TrainConfig, list[Any]]]


def read_losses(out: Path, stage: str) -> list[float]:
    lines = (out / "logs" / stage / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


@pytest.mark.parametrize(
    ("method", "backbone", "roles"),
    [
        ("umi", "lora", "alora"),
        ("umi", "full", "lora"),
        ("multi-one-stage", "none", "full"),
        ("multi-one-stage", "none", "alora"),
        ("single-multitask", "lora", "none"),
        ("single", "full", "none"),
    ],
)
def test_every_method_trains_to_a_checkpoint_that_can_be_read(
    method: str, backbone: str, roles: str, trained: Trained
) -> None:
    out, config, reports = trained(method, backbone, roles)
    assert [report.name for report in reports] == list(config.stage_names)
    checkpoint = read_checkpoint(out)
    assert checkpoint.backbone.kind == backbone
    assert {checkpoint.roles[role].kind for role in ROLES} == {roles}
    assert checkpoint.style == "umi"
    assert checkpoint.card["template"]["name"] == config.template
    for report in reports:
        losses = read_losses(out, report.name)
        assert report.metrics["n_steps"] == len(losses) == 2 * report.n_batches
        assert sum(losses[report.n_batches :]) < sum(losses[: report.n_batches])
    assert not list((out / ".work").iterdir())


def test_card_says_all_that_the_checkpoint_was_made_from(trained: Trained) -> None:
    card = json.loads((trained()[0] / "umi.json").read_text())
    assert card["versions"].keys() == {"python", "alpha-umi", "torch", "transformers", "peft", "accelerate"}
    assert card["config"]["seed"] == 3
    assert card["caller_may_omit"] is False
    assert card["base"]["sha256"] == hash_weights(Path(card["base"]["name"]))
    for name in ("backbone", *ROLES):
        inputs = card["stages"][name]["inputs"]
        assert len(inputs["data"]) == 64
        assert inputs["parent"] == ("" if name == "backbone" else card["backbone"]["sha256"])
        assert card["stages"][name]["metrics"]["last_loss"] > 0
    assert card["roles"]["planner"]["invocation_tokens"]


@pytest.mark.parametrize("setting", ["caller_may_omit", "repeat_names"])
def test_card_says_how_the_checkpoint_is_served(
    setting: str, make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    train(make_config("single-multitask", max_steps=1, **{setting: True}), data, tmp_path)
    card = json.loads((tmp_path / "umi.json").read_text())
    assert [name for name in ("caller_may_omit", "repeat_names") if card[name]] == [setting]


def test_same_seed_gives_the_same_losses_and_another_seed_others(
    make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    losses = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = make_config("single-multitask", seed=seed, lora_dropout=0.1, max_steps=3)
        train(config, data, tmp_path / name)
        losses[name] = read_losses(tmp_path / name, "backbone")
    assert losses["a"] == pytest.approx(losses["b"], abs=1e-6)
    assert losses["a"] != pytest.approx(losses["c"], abs=1e-6)


def test_finished_stages_are_not_repeated(data: Path, trained: Trained) -> None:
    out, config, _ = trained()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    reports = train(config, data, out, resume=True)
    assert {report.status for report in reports} == {"done"}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_only_retrains_one_role_on_other_data(data: Path, trained: Trained, tmp_path: Path) -> None:
    out, config = tmp_path / "out", trained()[1]
    shutil.copytree(trained()[0], out)
    before = {role: part.sha256 for role, part in read_checkpoint(out).roles.items()}
    rows = (data / "trajectories.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "trajectories.jsonl").write_text("".join(rows[:5]))
    (report,) = train(config, tmp_path, out, only="caller")
    assert report.status == "new"
    after = {role: part.sha256 for role, part in read_checkpoint(out).roles.items()}
    assert {role for role in ROLES if before[role] != after[role]} == {"caller"}
    (again,) = train(config, tmp_path, out, only="caller", resume=True)
    assert again.status == "done"


def test_only_needs_a_backbone_and_a_role_of_the_method(make_config: MakeConfig, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no backbone for the caller"):
        train(make_config(), data, tmp_path / "out", only="caller")
    with pytest.raises(ConfigError, match="trains no 'caller'"):
        train(make_config("single-multitask"), data, tmp_path / "out", only="caller")


def test_without_reuse_no_instruction_is_seen_by_both_stages(
    make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    def count(**settings: Any) -> dict[str, int]:
        reports = train(make_config(**settings), data, tmp_path / "out", dry_run=True)
        return {report.name: report.n_samples for report in reports}

    shared, split = count(), count(reuse=False)
    assert shared["backbone"] == shared["planner"] == 12
    assert split["backbone"] + split["planner"] == 12
    assert min(split.values()) > 0


def test_joined_conversations_fit_one_forward_pass(make_config: MakeConfig, data: Path, tmp_path: Path) -> None:
    n_batches = {}
    for limit in (600, 4096):
        config = make_config("single-multitask", tokens_per_forward=limit)
        (report,) = train(config, data, tmp_path / "out", dry_run=True)
        assert report.n_samples == 12
        assert report.n_tokens <= limit * report.n_batches
        n_batches[limit] = report.n_batches
    assert n_batches[600] > n_batches[4096]


def test_dry_run_reports_and_writes_nothing(make_config: MakeConfig, data: Path, tmp_path: Path) -> None:
    reports = train(make_config(), data, tmp_path / "out", dry_run=True)
    assert [report.status for report in reports] == ["new"] * 4
    assert all(report.n_tokens > report.n_batches > 0 for report in reports)
    assert not (tmp_path / "out").exists()


def test_trajectories_that_cannot_be_cut_to_fit_are_counted(
    make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    reports = train(make_config("single-multitask"), data, tmp_path / "out", dry_run=True)
    longest = max(300, reports[0].n_tokens // reports[0].n_samples)
    config = make_config("single-multitask", max_tokens=longest)
    (report,) = train(config, data, tmp_path / "out", dry_run=True)
    assert report.n_too_long > 0
    assert report.n_samples + report.n_too_long >= 12  # a second turn may fit without the first
    with pytest.raises(TrajectoryError, match=r"12 are longer than max_tokens \(16\)"):
        train(make_config("single-multitask", max_tokens=16), data, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no trajectory of the split 'train'"),
        ('{"id": "a", "split": "train", "trajectory": {"tools": [], "turns": []}}\n', r"jsonl:1: .*'a' has no tools"),
        ('{"id": "a"}\n', r"jsonl:1: expected 'id' and 'trajectory'"),
        ('\n{"id": oops}\n', r"jsonl:2: not valid JSON"),
        ('{"id": "a", "trajectory": {"tools": 1}}\n', r"jsonl:1: trajectory 'a': tools"),
    ],
)
def test_bad_data_is_named_by_file_and_line(
    content: str, message: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "trajectories.jsonl").write_text(content)
    with pytest.raises(TrajectoryError, match=message):
        train(make_config(), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_with_other_weights_than_the_configuration_is_refused(
    make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    config = make_config().model_copy(update={"base_sha256": "0" * 64})
    with pytest.raises(ConfigError, match=r"other weights .* than the configuration's base_sha256"):
        train(config, data, tmp_path / "out")


def test_an_adapter_as_base_is_refused(trained: Trained, make_config: MakeConfig, data: Path, tmp_path: Path) -> None:
    out, _, _ = trained("single-multitask", "lora", "none")
    adapter = make_config().model_copy(update={"base": str(out / "backbone")})
    with pytest.raises(ConfigError, match="holds an adapter, but a full model is expected"):
        train(adapter, data, tmp_path / "other")


def test_a_folder_with_a_training_is_not_written_over(
    trained: Trained, make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    out, (folder, config, _) = tmp_path / "out", trained("single-multitask", "lora", "none")
    shutil.copytree(folder, out)
    with pytest.raises(ConfigError, match="holds a training already"):
        train(config, data, out)
    with pytest.raises(ConfigError, match=r"with learning_rate 0\.01, now it is 0.02"):
        train(make_config("single-multitask", learning_rate=0.02, seed=3, epochs=2), data, out, resume=True)
    with pytest.raises(ConfigError, match="with method 'single-multitask', now it is 'umi'"):
        train(make_config(), data, out, resume=True)
    card = json.loads((out / "umi.json").read_text())
    card["template"]["sha256"] = "0" * 64
    (out / "umi.json").write_text(json.dumps(card))
    with pytest.raises(ConfigError, match="was begun with template"):
        train(config, data, out, resume=True)


def test_a_training_can_start_from_another_checkpoints_adapters(
    trained: Trained, make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    start, config = trained()[0], make_config(seed=4, max_steps=1)
    further = TrainConfig.model_validate({**config.model_dump(), "start_from": str(start)})
    train(further, data, tmp_path / "further")
    train(config, data, tmp_path / "fresh")
    for stage in config.stage_names:
        last, first = read_losses(start, stage)[-1], read_losses(tmp_path / "further", stage)[0]
        fresh = read_losses(tmp_path / "fresh", stage)[0]
        assert abs(first - last) < abs(fresh - last)
    inputs = json.loads((tmp_path / "further" / "umi.json").read_text())["stages"]
    card = json.loads((start / "umi.json").read_text())
    assert inputs["caller"]["inputs"]["start"] == card["roles"]["caller"]["sha256"]


def test_roles_that_a_backbone_played_alone_start_with_new_adapters(
    trained: Trained, make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    start, _, _ = trained("single-multitask", "lora", "none")
    config = make_config(seed=4, max_steps=1)
    train(config.model_copy(update={"start_from": str(start)}), data, tmp_path / "further")
    train(config, data, tmp_path / "fresh")
    last, first = read_losses(start, "backbone")[-1], read_losses(tmp_path / "further", "backbone")[0]
    assert abs(first - last) < abs(read_losses(tmp_path / "fresh", "backbone")[0] - last)
    checkpoint = read_checkpoint(tmp_path / "further")
    starts = {name: stage["inputs"]["start"] for name, stage in checkpoint.card["stages"].items()}
    assert starts.pop("backbone") == read_checkpoint(start).backbone.sha256
    assert starts == dict.fromkeys(ROLES, "")
    assert {part.kind for part in checkpoint.roles.values()} == {"alora"}


def test_a_start_of_8_bits_is_trained_further_at_its_usual_size(
    trained: Trained, make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    start, _, _ = trained()
    config, first = make_config(seed=4, max_steps=1), {}
    for source in (start, compact(start, tmp_path / "compact")):
        out = tmp_path / f"from {source.name}"
        train(config.model_copy(update={"start_from": str(source)}), data, out)
        first[source] = [read_losses(out, stage)[0] for stage in ("backbone", "planner")]
        assert read_adapter_config(out / "backbone")["lora_alpha"] == config.stages["backbone"].lora_alpha
        sizes = [
            tensor.norm() / math.sqrt(len(tensor) / 3)
            for name, tensor in load_file(out / "backbone" / "adapter_model.safetensors").items()
            if "lora_A" in name
        ]
        assert all(0.6 < size < 1.6 for size in sizes)  # 1 is what PEFT starts with
    assert first[tmp_path / "compact"] == pytest.approx(first[start], rel=0.02)


def test_a_start_that_does_not_fit_is_refused(
    trained: Trained, make_config: MakeConfig, data: Path, tmp_path: Path
) -> None:
    settings = make_config(seed=4).model_dump() | {"start_from": str(trained()[0])}
    stages = {name: stage | {"lora_rank": 3} for name, stage in settings["stages"].items()}
    with pytest.raises(ConfigError, match="set lora_rank of 'backbone' to it"):
        train(TrainConfig.model_validate(settings | {"stages": stages}), data, tmp_path / "out")
    full = {name: stage | {"kind": "full"} for name, stage in settings["stages"].items()}
    with pytest.raises(ValueError, match="stage 'backbone' trains all weights"):
        TrainConfig.model_validate(settings | {"stages": full})
    single, _, _ = trained("single", "full", "none")
    with pytest.raises(ConfigError, match="has no adapter for stage 'backbone'"):
        train(TrainConfig.model_validate(settings | {"start_from": str(single)}), data, tmp_path / "out")
    assert not (tmp_path / "out" / "umi.json").exists()
