"""Former home of the pulled models, which is `alpha_umi.nodes.models.engine.weights` now; goes with version 0.3."""

from alpha_umi.nodes.models.engine.weights import list_models, pull, resolve

__all__ = ["list_models", "pull", "resolve"]
