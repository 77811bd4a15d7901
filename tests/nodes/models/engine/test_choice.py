"""Which engine computes, where nobody says it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine import EngineName
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.choice import choose_loader
from alpha_umi.nodes.models.engine.llamacpp.backbone import LlamaCppBackbone
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.specs import load_model

pytest.importorskip("xllamacpp", reason="needs the extra llamacpp")

CHOICE = "alpha_umi.nodes.models.engine.choice"


@pytest.fixture(autouse=True)
def _no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_UMI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(f"{CHOICE}._has_gpu", lambda: False)


def load(folder: Path, device: str = "auto", dtype: str = "auto", engine: EngineName = "auto") -> Backbone:
    return choose_loader(folder, device, dtype, engine)[0](folder)


def test_a_trained_checkpoint_runs_in_llamacpp_unless_torch_is_asked_for(trained_folder: Path) -> None:
    assert isinstance(load(trained_folder), LlamaCppBackbone)
    assert isinstance(load(trained_folder, "cpu"), LlamaCppBackbone)
    assert isinstance(load(trained_folder, engine="torch"), TorchBackbone)
    assert isinstance(load(trained_folder, dtype="float32"), TorchBackbone)


def test_other_models_run_in_torch_unless_llamacpp_is_asked_for(model_folder: Path) -> None:
    assert isinstance(load(model_folder), TorchBackbone)
    assert isinstance(load(model_folder, engine="llamacpp"), LlamaCppBackbone)
    assert isinstance(load(model_folder, dtype="q8_0"), LlamaCppBackbone)


@pytest.mark.parametrize("name", ["is_installed", "_has_gpu"])
def test_torch_computes_on_a_gpu_and_where_there_is_no_llamacpp(
    trained_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"{CHOICE}.{name}", lambda: name == "_has_gpu")
    assert isinstance(load(trained_folder), TorchBackbone)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for the driver that Linux has")
def test_torch_is_not_imported_to_find_that_there_is_no_gpu() -> None:
    code = (
        "import ctypes, sys; from alpha_umi.nodes.models.engine import choice\n"
        "def refuse(name): raise OSError(name)\n"
        "ctypes.CDLL = refuse; print(choice._has_gpu(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_what_has_no_gguf_runs_in_torch(trained_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    base = shutil.copytree(model_folder, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    (base / "config.json").write_text(json.dumps({**config, "rope_parameters": rope}))
    folder = shutil.copytree(trained_folder, tmp_path / "trained")
    card = json.loads((folder / "umi.json").read_text())
    card["base"]["name"] = str(base)
    (folder / "umi.json").write_text(json.dumps(card))
    assert isinstance(load(folder), TorchBackbone)
    with pytest.raises(ConfigError, match="Positions of kind 'linear'"):
        load(folder, engine="llamacpp")


def test_where_no_gguf_can_be_kept_torch_computes_and_a_warning_says_why(
    trained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALPHA_UMI_CACHE", str(tmp_path / "file"))
    assert isinstance(load(trained_folder), TorchBackbone)
    assert "set ALPHA_UMI_CACHE to a folder" in caplog.text


def test_the_chat_model_takes_the_engine_that_the_configuration_names(trained_folder: Path) -> None:
    assert load_model(f"hf:{trained_folder}", "planner").engine == "auto"  # type: ignore[attr-defined]
    assert load_model(f"hf:{trained_folder}", "planner", engine="torch").engine == "torch"  # type: ignore[attr-defined]


def test_ask_imports_neither_torch_nor_transformers_once_the_gguf_is_made(trained_folder: Path, tmp_path: Path) -> None:
    load(trained_folder)  # the first start checks the base model's settings as transformers reads them
    code = f"""
import sys
from alpha_umi.cli import main
from alpha_umi.nodes.models.engine import choice
choice._has_gpu = lambda: False
sys.argv = ["alpha-umi", "ask", "--json", "--model", "hf:{trained_folder}", "--max-steps", "1", "What is 2 + 3?"]
try:
    main()
except SystemExit as end:
    print(end.code, *sorted({{"torch", "transformers"}} & set(sys.modules)), file=sys.stderr)
"""
    environment = {**os.environ, "ALPHA_UMI_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr  # llama.cpp frees its memory when the interpreter ends
    assert done.stderr.split()[-1] in ("0", "3"), done.stderr  # no more than how it ended
    assert json.loads(done.stdout)["usage"]["models"]["trained#planner"]["output_tokens"] > 0
