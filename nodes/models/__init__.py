"""Chat models that can play a role; importing this loads no weights and no torch."""

from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.openai import as_chat_model
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.nodes.models.specs import load_model, load_models

__all__ = ["LocalChatModel", "ScriptedChatModel", "as_chat_model", "load_model", "load_models"]
