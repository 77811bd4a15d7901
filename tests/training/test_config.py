from __future__ import annotations

from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.config import TrainConfig, list_configs, load_config

BASELINES = ("-no-reuse", "-single", "-single-multitask", "-multi-one-stage")
PLAIN = "base: x\nstages:\n  backbone: {kind: lora, learning_rate: 1.0e-3}\n"


def _load(tmp_path: Path, text: str) -> TrainConfig:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path)


@pytest.mark.parametrize("name", list_configs())
def test_every_configuration_that_ships_can_be_used(name: str) -> None:
    config = load_config(name)
    assert tuple(config.stages) == config.stage_names


def test_the_methods_that_are_compared_have_one_budget() -> None:
    """The weights that answer see each trajectory as often, at one rank, rate and batch."""
    configs = [load_config(f"smollm2-135m{name}") for name in ("", *BASELINES)]
    assert len({(config.method, config.reuse) for config in configs}) == 5
    assert {_count_passes(config) for config in configs} == {3.0}
    same = ("learning_rate", "lora_rank", "lora_alpha", "warmup_ratio", "tokens_per_forward", "forwards_per_step")
    assert len({tuple(getattr(stage, key) for key in same) for each in configs for stage in each.stages.values()}) == 1


def _count_passes(config: TrainConfig) -> float:
    """Return how often the planner's weights see the data, those of stage 1 among them."""
    n_epochs = sum(stage.epochs for name, stage in config.stages.items() if name in ("backbone", "planner"))
    return n_epochs if config.reuse else n_epochs / 2


def test_the_paper_s_figures_are_those_of_the_paper() -> None:
    stages = load_config("umi-7b-paper").stages
    found = {name: (stage.learning_rate, stage.epochs, stage.warmup_ratio) for name, stage in stages.items()}
    assert found == {
        "backbone": (5e-5, 2, 0.4),
        "planner": (1e-5, 1, 0.2),
        "caller": (1e-5, 1, 0.2),
        "summarizer": (1e-5, 2, 0.4),
    }
    assert {stage.weight_decay for name, stage in stages.items() if name != "backbone"} == {0.01}


def test_defaults_hold_for_every_stage_that_does_not_say_otherwise(tmp_path: Path) -> None:
    text = "base: x\ndefaults: {kind: alora, learning_rate: 0.1}\nstages: {backbone: {kind: lora}, caller: {epochs: 3}}"
    config = _load(tmp_path, text)
    assert config.stages["backbone"].kind == "lora"
    assert (config.stages["caller"].kind, config.stages["caller"].epochs) == ("alora", 3)
    assert config.stages["summarizer"].learning_rate == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: [", "neither valid JSON nor valid YAML"),
        ("- base", "cannot be used"),
        (PLAIN + "surprise: 1\n", "surprise: no such setting; there are defaults, method, base"),
        (PLAIN + "epochs: 3\n", "epochs: a setting of the stages; put it under 'defaults:'"),
        (
            PLAIN.replace("}", ", lora_rang: 3}") + "method: single",
            "lora_rang: no such setting; did you mean lora_rank",
        ),
        (PLAIN.replace("lora", "alora") + "method: single-multitask", "kind cannot be 'alora'"),
        (PLAIN.replace("1.0e-3", "-1") + "method: single", r"stages\.backbone\.learning_rate: .*greater than 0"),
        (PLAIN.replace("}", ", log_every_steps: 3}") + "method: single", "multiple of log_every_steps"),
        (PLAIN.replace("lora", "half") + "method: single", r"stages\.backbone\.kind: .*'full', 'lora' or 'alora'"),
        (
            "base: x\nmethod: multi-one-stage\n"
            "defaults: {kind: alora, learning_rate: 0.1, gradient_checkpointing: true}\nstages: {}",
            r"stages\.planner: .*needs a cache",
        ),
    ],
)
def test_a_wrong_setting_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        _load(tmp_path, text)


def test_only_the_stages_that_run_need_settings(tmp_path: Path) -> None:
    config = _load(tmp_path, PLAIN)
    config.require_stages(["backbone"])
    with pytest.raises(ConfigError, match=r"needs settings for stage 'planner'.*'defaults:'"):
        config.require_stages(config.stage_names)


def test_an_unknown_name_lists_those_that_ship() -> None:
    with pytest.raises(ConfigError, match=r"No configuration 'smol': .*smollm2-135m, .*tiny-test, umi-7b-paper"):
        load_config("smol")
