from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

from alpha_umi.cli import models
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.render import encode_prompt, load_template, render_messages
from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.nodes.models.engine.checkpoint import load_backbone, read_checkpoint
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.training.batches import CollateTurns, load_corpus, make_item, make_marker
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.export import compact, export, merge
from alpha_umi.training.glpft import train
from alpha_umi.training.samples import make_sample
from tests.training.conftest import make_trajectory

Trained = Callable[..., tuple[Path, TrainConfig, list[Any]]]
MakeConfig = Callable[..., TrainConfig]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def checkpoint(trained: Trained) -> Path:
    """Return a checkpoint with activated LoRAs."""
    return trained()[0]


def _compute_logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0]
    return logits


def test_an_exported_adapter_switches_itself_on_at_the_marker(
    checkpoint: Path, data: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="planner, caller, summarizer: an activated LoRA .* vLLM ignores it"):
        folders = export(checkpoint, tmp_path / "exported")
    assert [folder.name for folder in folders] == ["backbone", *ROLES]
    backbone = AutoModelForCausalLM.from_pretrained(tmp_path / "exported" / "backbone")
    with quiet_peft():
        model: Any = PeftModel.from_pretrained(backbone, str(tmp_path / "exported" / "caller"))
    marker = make_marker(tokenizer, "caller")
    assert list(model.peft_config["default"].alora_invocation_tokens) == marker

    trajectory = next(iter(load_corpus(data).trajectories.values()))
    sample = make_sample(trajectory, tokenizer, roles=["caller"])
    turn = sample.turns[-1]
    whole = _compute_logits(model, sample.input_ids[: turn.end])
    with model.disable_adapter():
        plain = _compute_logits(model, sample.input_ids[: turn.end])
    start = turn.start - len(marker)
    torch.testing.assert_close(whole[:start], plain[:start])
    assert not torch.allclose(whole[start:], plain[start:], atol=1e-3)


@pytest.mark.parametrize("repeats", [False, True])
def test_an_exported_template_repeats_names_where_the_training_did(
    checkpoint: Path, repeats: bool, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    named = Path(shutil.copytree(checkpoint, tmp_path / "named"))
    card = json.loads((named / "umi.json").read_text("utf-8"))
    (named / "umi.json").write_text(json.dumps({**card, "repeat_names": repeats}))
    with pytest.warns(UserWarning, match="activated"):
        export(named, tmp_path / "exported")
    served = AutoTokenizer.from_pretrained(tmp_path / "exported" / "backbone")
    trajectory = make_trajectory(0)
    found = encode_prompt(render_messages(trajectory), tokenizer, served.chat_template, "planner", trajectory.tools)
    messages = render_messages(trajectory, repeat_names=repeats)
    assert found == encode_prompt(messages, tokenizer, load_template("umi"), "planner", trajectory.tools)


def test_the_saved_adapter_gives_the_logits_it_was_trained_with(
    checkpoint: Path, data: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    parts = read_checkpoint(checkpoint)
    model: Any = load_backbone(parts, dtype=torch.float32)
    with quiet_peft():
        model = PeftModel.from_pretrained(model, str(parts.roles["planner"].path))
    trajectory = next(iter(load_corpus(data).trajectories.values()))
    sample = make_sample(trajectory, tokenizer, roles=["planner"])
    tensors = CollateTurns({"planner": make_marker(tokenizer, "planner")})([(make_item("x", sample),)])
    turn = sample.turns[-1]
    with torch.no_grad(), model.disable_adapter():
        cache = model(input_ids=tensors["prefix_ids"], use_cache=True).past_key_values
    # as a server does it that knows nothing of our training: its cache, then the marker with the adapter on
    served = model(
        input_ids=torch.tensor([sample.input_ids[tensors["prefix_ids"].shape[1] : turn.end]]), past_key_values=cache
    ).logits[0]
    recomputed = _compute_logits(model, sample.input_ids[: turn.end])
    torch.testing.assert_close(served, recomputed[-len(served) :], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("backbone", "roles"), [("lora", "lora"), ("full", "full")])
def test_merged_models_say_what_the_checkpoint_says(
    backbone: str, roles: str, trained: Trained, tmp_path: Path
) -> None:
    path, _, _ = trained("umi", backbone, roles)
    merge(path, tmp_path / "merged")
    parts = read_checkpoint(path)
    ids = list(range(5, 60))
    expected: Any = load_backbone(parts, dtype=torch.float32)
    if roles == "lora":
        with quiet_peft():
            expected = PeftModel.from_pretrained(expected, str(parts.roles["caller"].path))
    else:
        expected = AutoModelForCausalLM.from_pretrained(path / "caller")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged" / "caller")
    torch.testing.assert_close(_compute_logits(merged, ids), _compute_logits(expected, ids), atol=1e-4, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged" / "caller")
    assert "<|im_start|>" in tokenizer.chat_template


def test_merge_refuses_what_no_full_model_equals(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"planner, caller, summarizer: an activated LoRA .* models export"):
        merge(checkpoint, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_existing_folder_is_not_written_over(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        export(checkpoint, tmp_path)


def test_the_command_line_warns_of_adapters_that_servers_ignore(checkpoint: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the command line does with those of libraries
        done = CliRunner().invoke(models.app, ["export", str(checkpoint), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert "vLLM ignores it" in done.stderr


@pytest.fixture(scope="module")
def further(trained: Trained, make_config: MakeConfig, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("further")
    config = make_config(max_steps=1).model_dump() | {"start_from": str(trained()[0])}
    train(TrainConfig.model_validate(config), data, folder)
    return folder


def test_adapters_are_rounded_and_nothing_else_is_kept(further: Path, tmp_path: Path) -> None:
    out = compact(further, tmp_path / "compact")
    for folder in ("backbone", "planner", "caller", "summarizer"):
        before, after = load_file(further / folder / WEIGHTS), load_file(out / folder / WEIGHTS)
        assert before.keys() == after.keys()
        assert {tensor.dtype for tensor in after.values()} == {torch.float8_e4m3fn}
        for name in before:
            if "lora_A" in name and (expected := _multiply(before, name, further / folder)).norm():
                error = _multiply(after, name, out / folder) - expected
                assert error.norm() < 0.06 * expected.norm()
        assert (out / folder / WEIGHTS).stat().st_size < 0.5 * (further / folder / WEIGHTS).stat().st_size
    assert {path.name for path in further.iterdir()} - {path.name for path in out.iterdir()} == {"logs", ".work"}


def _multiply(adapter: dict[str, torch.Tensor], name: str, folder: Path) -> torch.Tensor:
    """Return what a layer's adapter adds to its weights, but for the rank."""
    alpha: float = json.loads((folder / "adapter_config.json").read_text())["lora_alpha"]
    return adapter[name.replace("lora_A", "lora_B")].float() @ adapter[name].float() * alpha


def test_what_was_rounded_is_exported_in_what_others_load(further: Path, tmp_path: Path) -> None:
    out = compact(further, tmp_path / "compact")
    with pytest.warns(UserWarning, match="alora_invocation_tokens"):
        export(out, tmp_path / "exported")
    for role in ("planner", "caller", "summarizer"):
        rounded, wide = load_file(out / role / WEIGHTS), load_file(tmp_path / "exported" / role / WEIGHTS)
        for name, tensor in wide.items():
            assert tensor.dtype == torch.bfloat16
            assert torch.equal(tensor.float(), rounded[name].float())


def test_its_card_fits_the_new_weights_and_does_not_say_where_the_training_started_from(
    further: Path, tmp_path: Path
) -> None:
    out = compact(further, tmp_path / "compact")
    read_checkpoint(out)  # checks the hashes
    assert json.loads((further / "umi.json").read_text())["config"]["start_from"]
    assert json.loads((out / "umi.json").read_text())["config"]["start_from"] is None


def test_name_of_a_checkpoint_that_ships_is_kept(further: Path, tmp_path: Path) -> None:
    copy = compact(further, tmp_path / "copy")
    card = json.loads((copy / "umi.json").read_text())
    card["config"]["start_from"] = "smollm2-135m-umi"
    (copy / "umi.json").write_text(json.dumps(card))
    out = compact(copy, tmp_path / "compact")
    assert json.loads((out / "umi.json").read_text())["config"]["start_from"] == "smollm2-135m-umi"


def test_a_folder_that_exists_is_left_alone(further: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        compact(further, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"
