"""What `accelerate launch` starts in `test_distributed.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from alpha_umi.training.config import TrainConfig
from alpha_umi.training.glpft import train

if __name__ == "__main__":
    config, data, out = sys.argv[1:]
    train(TrainConfig.model_validate_json(Path(config).read_text()), data, out)
