"""A remote model that serves our own chat template: vLLM with one LoRA module per role, or `transformers serve`.

Imports langchain-openai, which is optional: reach it through `alpha_umi.nodes.models.endpoint.make_endpoint`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from langchain_core.language_models import LanguageModelInput
from langchain_openai import ChatOpenAI

from alpha_umi.nodes.render import Style, template_kwargs
from alpha_umi.nodes.trajectory import Role
from alpha_umi.tools.spec import ToolSpec


class UmiServerChatModel(ChatOpenAI):
    """Role-aware `ChatOpenAI`: role messages go out as they are, the role itself as a chat template argument.

    The server needs a checkpoint of ours, because the template stored in its tokenizer turns both into the prompt.
    Grammar constraints are not sent: the planner and caller parsers take what comes.

    Args:
        role: Used where a call names no role.
        style: Of the role messages; must be that of the checkpoint's template.
    """

    role_aware: ClassVar[bool] = True

    role: Role = "planner"
    style: Style = "umi"

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        tools = [ToolSpec.from_openai(tool) for tool in kwargs.pop("tools", [])]
        arguments = template_kwargs(kwargs.pop("role", self.role), tools)
        body = {**(self.extra_body or {}), "chat_template_kwargs": arguments}
        return super()._get_request_payload(input_, stop=stop, extra_body=body, **kwargs)
