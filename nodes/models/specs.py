"""Role specs: the strings that name a model in a configuration, such as ``hf:smollm2-135m``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableWithFallbacks
from pydantic import ValidationError

from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.local import LocalChatModel, Prompts
from alpha_umi.nodes.models.openai import as_chat_model, make_hub_endpoint, make_openai, make_umi_server
from alpha_umi.nodes.models.request import RoleModel
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE, RemoteSettings

OPTIONS = frozenset(
    {"temperature", "max_tokens", "max_rationale_tokens", "constrained", "guard_names", "copy_values", "top_p", "seed"}
    | {"device", "dtype", "engine"}
)
_AT_URL = re.compile(r"(?P<model>.+?)@(?P<url>https?://.+)")
_ADDRESS = re.compile(r":/|//")

RoleSpec: TypeAlias = str | BaseChatModel | RunnableWithFallbacks[Any, Any] | Sequence[str | BaseChatModel]
Load: TypeAlias = Callable[[str, Role, Mapping[str, Any]], BaseChatModel]


def load_model(spec: str, role: Role, *, remote: RemoteSettings = DEFAULT_REMOTE, **options: Any) -> BaseChatModel:
    """Return the chat model a role spec names; weights are loaded at its first call.

    Args:
        spec: ``SCHEME:TARGET``, see `SCHEMES`. ``{role}`` in the target becomes the role, as in
            ``hf:smollm2-135m#my-adapters/{role}``.
        role: The role it will play.
        remote: How often a model server is tried, and when it is left alone.
        **options: Generation settings (`OPTIONS`); a model passes over those it has no use for, as a server does with
            ``device``.

    Raises:
        ConfigError: If the scheme, the target or an option cannot be used.
    """
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise ConfigError(f"Unknown generation setting {unknown[0]!r}; known are: {', '.join(sorted(OPTIONS))}.")
    name, _, target = spec.partition(":")
    if name not in SCHEMES or not target:
        examples = "\n".join(f"  {scheme.example:<48} {scheme.meaning}" for scheme in SCHEMES.values())
        raise ConfigError(
            f"Role spec {spec!r} is not understood; write one of these, where {{role}} becomes the role:\n{examples}"
        )
    try:
        return SCHEMES[name].load(target.replace("{role}", role), role, {**options, "remote": remote})
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"Role spec {spec!r} with {setting} {first['input']!r}: {first['msg']}.") from error


def load_models(
    specs: RoleSpec | Mapping[Role, RoleSpec],
    *,
    remote: RemoteSettings = DEFAULT_REMOTE,
    **options: Any,
) -> dict[Role, RoleModel]:
    """Return one chat model per role, or several: the next is asked where one fails, or is unsure.

    Args:
        specs: A spec or model for all roles, or one for each role; instead of one also a list, or what LangChain's
            `with_fallbacks` makes. Models may also be a `HuggingFacePipeline` or another text-completion LLM.
        remote: As for `load_model`.
        **options: As for `load_model`. Models passed as objects keep their own settings: they are returned as they are.

    Raises:
        ConfigError: If a role is missing or unknown, or a spec cannot be used.
    """
    by_role = specs if isinstance(specs, Mapping) else dict.fromkeys(ROLES, specs)
    unknown = [str(role) for role in by_role if role not in ROLES]
    missing = [role for role in ROLES if role not in by_role]
    if unknown or missing:
        faults = [f"no model for {', '.join(missing)}"] if missing else []
        faults += [f"unknown role {', '.join(unknown)}"] if unknown else []
        raise ConfigError(f"Models: {' and '.join(faults)}; give one for each of {', '.join(ROLES)}.")
    loaded: dict[Role, RoleModel] = {}
    for role in ROLES:
        spec: Any = by_role[role]
        if isinstance(spec, RunnableWithFallbacks):
            spec = [spec.runnable, *spec.fallbacks]
        models = [
            load_model(each, role, remote=remote, **options) if isinstance(each, str) else as_chat_model(each)
            for each in (spec if isinstance(spec, list | tuple) else [spec])
        ]
        if not models:
            raise ConfigError(f"Models: the list for {role} is empty; give at least one.")
        loaded[role] = models[0] if len(models) == 1 else tuple(models)
    return loaded


def _load_local(target: str, role: Role, options: Mapping[str, Any]) -> BaseChatModel:
    model, _, adapter = target.partition("#")
    generation = {name: value for name, value in options.items() if name in OPTIONS}
    prompts: Prompts = "general" if not adapter and _has_own_template(model) else "roles"
    return LocalChatModel(model=model, adapter=adapter or None, role=role, prompts=prompts, **generation)


def _has_own_template(model: str) -> bool:
    """Tell whether these are weights of others; what is not here yet is told when it is called."""
    from alpha_umi.nodes.models.engine.checkpoint import find_own_template  # noqa: PLC0415 - takes a third of a second
    from alpha_umi.nodes.models.engine.weights import resolve  # noqa: PLC0415

    try:
        return find_own_template(resolve(model)) is not None
    except (ConfigError, ModelNotAvailable):
        return False


def _load_llamacpp(target: str, role: Role, options: Mapping[str, Any]) -> BaseChatModel:
    return _load_local(target, role, {**options, "engine": "llamacpp"})


def _load_openai(target: str, role: Role, options: Mapping[str, Any]) -> BaseChatModel:
    model, url = _split_server("openai", target) if _ADDRESS.search(target) else (target, None)
    return make_openai(model, options, base_url=url)


def _load_umi_server(target: str, role: Role, options: Mapping[str, Any]) -> BaseChatModel:
    model, url = _split_server("umi-server", target)
    return make_umi_server(model, role, options, base_url=url)


def _split_server(scheme: str, target: str) -> tuple[str, str]:
    if match := _AT_URL.fullmatch(target):
        return match["model"], match["url"]
    raise ConfigError(f"Role spec '{scheme}:{target}' lacks the server; write {SCHEMES[scheme].example}")


@dataclass(frozen=True)
class Scheme:
    """One kind of role spec."""

    example: str
    meaning: str
    load: Load


SCHEMES: Mapping[str, Scheme] = {
    "hf": Scheme("hf:smollm2-135m | hf:PATH | hf:PATH#adapter", "weights in this process", _load_local),
    "llamacpp": Scheme(
        "llamacpp:smollm2-135m-umi | llamacpp:PATH", "weights in this process, computed by llama.cpp", _load_llamacpp
    ),
    "openai": Scheme("openai:MODEL[@http://localhost:8000/v1]", "OpenAI or a server like it, 0-shot", _load_openai),
    "umi-server": Scheme("umi-server:MODEL@http://localhost:8000/v1", "server of our checkpoint", _load_umi_server),
    "hub-endpoint": Scheme(
        "hub-endpoint:MODEL",
        "Hugging Face inference providers, 0-shot",
        lambda target, _, options: make_hub_endpoint(target, options),
    ),
    "scripted": Scheme(
        "scripted:FILE",
        "outputs replayed from a YAML or JSON file",
        lambda target, role, _: ScriptedChatModel.from_file(target, role=role),
    ),
}
