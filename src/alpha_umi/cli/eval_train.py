"""Training and static evaluation put together, for data scaling."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.scheduler import close_engines
from alpha_umi.nodes.models.specs import load_models
from alpha_umi.training.config import TrainConfig, load_config
from alpha_umi.training.evaluation import evaluate_scaling, evaluate_static, load_examples
from alpha_umi.training.evaluation.examples import hash_examples
from alpha_umi.training.evaluation.shares import hash_share, write_share
from alpha_umi.training.glpft import train


def evaluate_methods(
    configs: Sequence[str],
    fractions: Sequence[float],
    data: Path,
    out: Path,
    *,
    split: str | None,
    sources: Collection[str],
    limit: int | None,
    free: bool,
) -> dict[str, Any]:
    """Train and evaluate each configuration on each share of the data.

    Args:
        configs: Training configurations; a method goes by the name of its file.
        fractions: Shares of the training split.
        data: Folder made by ``alpha-umi data build``.
        out: Gets ``data/``, ``checkpoints/`` and ``static/``, each with one folder per point.
        split: What to evaluate on.
        sources: The same.
        limit: The same.
        free: Evaluate without the grammar.

    Raises:
        ConfigError: If a configuration, a fraction or `out` cannot be used.
    """
    methods = load_methods(configs)
    examples = load_examples(data, split=split, sources=sources)

    def train_on_share(method: str, fraction: float) -> Path:
        share = write_share(data, fraction, out / "data" / f"{fraction:g}")
        checkpoint = out / "checkpoints" / f"{method}@{fraction:g}"
        train(methods[method], share, checkpoint, resume=True, progress=True)
        return checkpoint

    def evaluate(checkpoint: Path) -> Mapping[str, Any]:
        models = load_models(f"hf:{checkpoint}", constrained=not free)
        try:
            return evaluate_static(models, examples, out / "static" / checkpoint.name, limit=limit)
        finally:
            close_engines()  # the next training needs the memory

    identity = {
        "configs": {name: config.model_dump() for name, config in methods.items()},
        "train_sha256": hash_share(data),
        "data": hash_examples(examples),
        "limit": limit,
        "free": free,
    }
    return evaluate_scaling(list(methods), fractions, train_on_share, evaluate, out, identity=identity)


def load_methods(configs: Sequence[str]) -> dict[str, TrainConfig]:
    """Return the configurations by name.

    Raises:
        ConfigError: If two have one name, or one cannot be used.
    """
    names = [Path(config).name.removesuffix(".yaml") for config in configs]
    if len(set(names)) < len(names):
        raise ConfigError(f"Two of the configurations {', '.join(configs)} have one name; rename one of the files.")
    return {name: load_config(config) for name, config in zip(names, configs, strict=True)}
