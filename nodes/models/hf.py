"""Former home of `LocalChatModel`, which is `alpha_umi.nodes.models.local` now; goes with version 0.3."""

from alpha_umi.nodes.models.local import LocalChatModel

__all__ = ["LocalChatModel"]
