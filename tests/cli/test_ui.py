"""`alpha-umi ui`, as far as it goes without a browser; `tests/ui` has the rest."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from alpha_umi.cli.ui import describe_models
from tests.cli.conftest import Umi


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        ("hf:a", "hf:a"),
        (["hf:a", "openai:m@http://u:pw@h/v1"], "hf:a, openai:m@http://[redacted]@h/v1"),
        ({"planner": ["hf:a", "hf:b"], "caller": "hf:a", "summarizer": "hf:c"}, "hf:a, hf:b, hf:c"),
    ],
)
def test_models_are_shown_once_and_without_passwords(models: Any, shown: str) -> None:
    assert describe_models(models) == shown


def test_a_port_that_is_taken_says_what_to_do(umi: Umi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = umi("ui", "--port", str(taken.getsockname()[1]), "--model", "hf:none")
    assert done.code == 2
    assert "Name another --port" in done.err
