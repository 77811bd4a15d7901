from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.nodes.models.engine.checkpoint import (
    CALLER_MAY_OMIT,
    hash_weights,
    is_set,
    load_backbone,
    read_checkpoint,
    resolve_base,
)
from alpha_umi.nodes.models.engine.fit import check_part_folder, quiet_peft


def _make_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a checkpoint folder as a training leaves it: LoRA backbone, one adapter per role."""
    folder = tmp_path / "checkpoint"
    _make_model().save_pretrained(tmp_path / "base")
    for name in ("backbone", *ROLES):
        with quiet_peft():
            adapted = get_peft_model(
                _make_model(), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
            )
        if name != "backbone":
            adapted.peft_config["default"].alora_invocation_tokens = [1, 2]  # type: ignore[attr-defined]
        adapted.save_pretrained(str(folder / name))
    (folder / "chat_template.jinja").write_text("template")
    card = {
        "format": 1,
        "base": {"name": str(tmp_path / "base"), "sha256": hash_weights(tmp_path / "base")},
        "template": {"style": "umi", "sha256": hashlib.sha256(b"template").hexdigest()},
        "backbone": {"kind": "lora", "path": "backbone", "sha256": hash_weights(folder / "backbone")},
        "roles": {
            role: {"kind": "alora", "path": role, "sha256": hash_weights(folder / role), "invocation_tokens": [1, 2]}
            for role in ROLES
        },
    }
    (folder / "umi.json").write_text(json.dumps(card))
    return folder


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "umi.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_checkpoint_names_its_parts(checkpoint: Path) -> None:
    parts = read_checkpoint(checkpoint)
    assert parts.style == "umi"
    assert (parts.backbone.kind, parts.backbone.path) == ("lora", checkpoint / "backbone")
    assert list(parts.roles) == list(ROLES)
    assert parts.roles["caller"].invocation_tokens == (1, 2)


@pytest.mark.parametrize(("changes", "expected"), [({}, False), ({"caller_may_omit": True}, True)])
def test_a_checkpoint_says_whether_its_caller_may_omit(
    changes: dict[str, Any], expected: bool, checkpoint: Path
) -> None:
    _edit(checkpoint, **changes)
    assert is_set([checkpoint / "caller", checkpoint], CALLER_MAY_OMIT) is expected


def test_a_role_may_be_played_by_the_backbone(checkpoint: Path) -> None:
    _edit(checkpoint, roles={role: {"kind": "none"} for role in ROLES})
    assert {part.kind for part in read_checkpoint(checkpoint).roles.values()} == {"none"}


def test_the_backbone_is_the_base_with_stage_1_merged_in(checkpoint: Path, tmp_path: Path) -> None:
    ids = torch.arange(8)[None]
    merged = load_backbone(read_checkpoint(checkpoint), dtype=torch.float32)
    assert not merged.training
    with quiet_peft():
        from peft import PeftModel  # noqa: PLC0415

        adapted = PeftModel.from_pretrained(_make_model(), str(checkpoint / "backbone"))
    with torch.no_grad():
        expected, found = adapted(input_ids=ids).logits, merged(input_ids=ids).logits
        base = _make_model()(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, base, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "does not describe a trained checkpoint of format 1"),
        ({"roles": {}}, "planner, caller, summarizer not trained yet; .* --resume"),
        ({"template": {"style": "umi", "sha256": "0"}}, "chat_template.jinja is not the one of the training"),
        ({"backbone": {"kind": "qlora", "path": "backbone", "sha256": ""}}, "unknown kind 'qlora'"),
        ({"backbone": {"kind": "lora", "path": "backbone", "sha256": "0"}}, "holds other weights than umi.json says"),
        ({"backbone": {"kind": "full", "path": "backbone", "sha256": "0"}}, "holds an adapter, but a full model"),
        ({"backbone": {"kind": "lora", "path": "../base", "sha256": "0"}}, "holds a full model, but an adapter"),
        ({"backbone": {"kind": "lora", "path": "gone", "sha256": "0"}}, "holds neither an adapter nor a model"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(changes: dict[str, Any], message: str, checkpoint: Path) -> None:
    _edit(checkpoint, **changes)
    with pytest.raises(ConfigError, match=message):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "has no umi.json"), ("{", "cannot be read"), ("[]", "format 1")]
)
def test_a_folder_that_is_no_checkpoint_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "umi.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_checkpoint(tmp_path)


def test_a_changed_weight_is_noticed(checkpoint: Path) -> None:
    path = checkpoint / "caller" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ConfigError, match="caller holds other weights"):
        read_checkpoint(checkpoint)


def test_another_base_is_refused_and_a_moved_one_can_be_named(checkpoint: Path, tmp_path: Path) -> None:
    parts = read_checkpoint(checkpoint)
    shutil.move(tmp_path / "base", tmp_path / "moved")
    with pytest.raises((ConfigError, ModelNotAvailable)):
        resolve_base(parts)
    assert resolve_base(parts, tmp_path / "moved") == tmp_path / "moved"
    path = tmp_path / "moved" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ConfigError, match=r"other weights .* than .* was trained on"):
        load_backbone(parts, dtype=torch.float32, base=tmp_path / "moved")


def test_hash_of_one_file_is_that_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert hash_weights(tmp_path) == hashlib.sha256(b"weights").hexdigest()
    (tmp_path / "model-2.safetensors").write_bytes(b"more")
    assert hash_weights(tmp_path) == hashlib.sha256(b"more" + b"weights").hexdigest()
    assert hash_weights(tmp_path / "none") == ""


def test_an_adapter_folder_is_no_model(checkpoint: Path, tmp_path: Path) -> None:
    check_part_folder(tmp_path / "base", "full")
    check_part_folder(checkpoint / "caller", "alora")
    with pytest.raises(ConfigError, match="models merge"):
        check_part_folder(checkpoint / "caller", "full")
