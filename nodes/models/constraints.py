"""How a server is told what a reply has to look like, and which adapter writes it.

llama.cpp's server and vLLM take a grammar with each request, under names of their own; others take none. Which one it
is, a server says itself in its list of models. Imports openai, which is optional.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

import openai

from alpha_umi.errors import ConfigError

_ASK_S = 10.0
_NO_LIST = (400, 403, 404, 405, 501)
# In the templates of Qwen and DeepSeek, of Mistral, and of gpt-oss.
_THOUGHTS = re.compile(r"<think|\[THINK|<\|channel\|>")

Kind: TypeAlias = Literal["llama.cpp", "vllm", "other"]
GRAMMAR_FIELDS = ("grammar", "structured_outputs")
_OWNERS: dict[str, Kind] = {"llamacpp": "llama.cpp", "vllm": "vllm"}


def ask_kind(client: openai.OpenAI) -> Kind | None:
    """Return what answers at a client's address; None if it does not answer now."""
    try:
        models = client.with_options(timeout=_ASK_S, max_retries=0).models.list().data
    except openai.APIStatusError as error:
        return "other" if error.status_code in _NO_LIST else None
    except openai.APIError:
        return None
    except (TypeError, ValueError, AttributeError):  # no list of models
        return "other"
    return next((_OWNERS[each.owned_by] for each in models or () if each.owned_by in _OWNERS), "other")


def thinks(client: openai.OpenAI) -> bool:
    """Tell whether the model of llama.cpp's server writes thoughts first, which no grammar of ours lets by."""
    return _THOUGHTS.search(str(_get(client, "props"))) is not None


def choose_adapter(client: openai.OpenAI, name: str) -> dict[str, Any]:
    """Return what makes llama.cpp's server switch on the adapter of a name, and no other.

    It is asked each time, since the numbers are those of its command line. Its cache knows no adapters, and takes up
    what was computed under another one (llama.cpp issue 26207), or under its own as history; so each prompt is read
    anew.

    Raises:
        ConfigError: If there are several, and none of that name.
    """
    listed = _get(client, "lora-adapters")
    names = {PurePath(each["path"].replace("\\", "/")).stem: each["id"] for each in listed or ()}
    if not names:
        return {}
    if name not in names and len(names) > 1:
        raise ConfigError(
            f"The server {client.base_url} has the adapters {', '.join(names)}, and none for the model {name!r}. Write "
            f"the name of one, or '{{role}}', before the @ of the role spec."
        )
    number = names.get(name, next(iter(names.values())))
    return {"lora": [{"id": number, "scale": 1.0}], "cache_prompt": False}


def write_grammar(kind: Kind, gbnf: str) -> dict[str, Any]:
    """Return the fields of a request, of `GRAMMAR_FIELDS`, that hold its reply to a grammar.

    Source: llama.cpp, tools/server/README.md; vLLM, docs/features/structured_outputs.md (0.12 and later).
    """
    if kind == "llama.cpp":
        return {"grammar": gbnf}
    return {"structured_outputs": {"grammar": gbnf}} if kind == "vllm" else {}


def _get(client: openai.OpenAI, path: str) -> Any:
    """Return what llama.cpp's server says beside OpenAI's protocol; None where a proxy lets nothing else through."""
    root = str(client.base_url).rstrip("/").removesuffix("/v1")
    try:
        return client.get(f"{root}/{path}", cast_to=object)
    except openai.APIStatusError:
        return None
