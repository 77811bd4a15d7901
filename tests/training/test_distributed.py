from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alpha_umi.nodes.models.engine.checkpoint import read_checkpoint
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.glpft import train


def _read_losses(out: Path, stage: str) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "logs" / stage / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_train_like_one_with_twice_the_forward_passes(
    make_config: Callable[..., TrainConfig], data: Path, tmp_path: Path
) -> None:
    alone = make_config(forwards_per_step=2, max_steps=3)
    train(alone, data, tmp_path / "alone")
    config = tmp_path / "config.json"
    config.write_text(make_config(max_steps=3).model_dump_json())
    script = Path(__file__).parent / "launched_run.py"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # accelerate says multi_gpu for several processes on one machine; our `device: cpu` makes them talk over gloo
    options = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *options]
    subprocess.run(
        [*launch, f"--main_process_port={port}", str(script), str(config), str(data), str(tmp_path / "pair")],
        check=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert read_checkpoint(tmp_path / "pair").roles["caller"].kind == "alora"
    for stage in ("backbone", "planner", "caller", "summarizer"):
        expected = _read_losses(tmp_path / "alone", stage)
        assert _read_losses(tmp_path / "pair", stage) == pytest.approx(expected, abs=1e-5)
