"""llama.cpp's own server, from xllamacpp's wheel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from alpha_umi.nodes.format.escaping import Style
from alpha_umi.nodes.format.render import render_messages, template_kwargs
from alpha_umi.nodes.format.trajectory import Role, Trajectory

xllamacpp = pytest.importorskip("xllamacpp", reason="needs the extra llamacpp")


@contextmanager
def serve(model: Path, adapters: Sequence[Path] = ()) -> Iterator[httpx.Client]:
    """Run the server on a free port, with adapters that a request switches on."""
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.port = str(model), 2048, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup, params.cache_ram_mib, params.n_parallel = False, 0, 1
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 1.0) for path in adapters]
    server = xllamacpp.Server(params)
    with httpx.Client(base_url=server.listening_address, timeout=600) as client:
        yield client
    del server


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


def read(client: httpx.Client, trajectory: Trajectory, role: Role | None = None, style: Style = "umi") -> list[int]:
    """Return the prompt that the server makes of a trajectory."""
    arguments = template_kwargs(role, trajectory.tools) if role else {}
    body = {"messages": render_rows(trajectory, style), "chat_template_kwargs": arguments}
    prompt = post(client, "/apply-template", **body)["prompt"]
    tokens: list[int] = post(client, "/tokenize", content=prompt, add_special=True)["tokens"]
    return tokens


def render_rows(trajectory: Trajectory, style: Style = "umi") -> list[dict[str, Any]]:
    messages = render_messages(trajectory, style=style)
    return [{"role": message.role, "content": message.content} for message in messages]
