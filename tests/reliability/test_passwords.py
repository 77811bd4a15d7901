"""Passwords in addresses: parsed once, shown nowhere, whatever the address looks like."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.errors import AlphaUmiError, ConfigError
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.nodes.models.specs import load_model
from alpha_umi.tools.load import load_tools

SECRET = "hunter2SECRET"
NOISE = st.text(st.sampled_from("ab1:/?#@[]%&= +.é"), max_size=8)
SCHEMES = st.sampled_from(["postgresql://", "mysql://", "postgresql:/", "//", " postgres://"]) | st.from_regex(
    r"[a-zA-Z][a-zA-Z0-9+.-]{1,8}:/{0,3}", fullmatch=True
)


def tell(use: Callable[[], Any]) -> str:
    """Return all that a user may see of how it went."""
    try:
        return repr(use())
    except AlphaUmiError as error:
        return "".join(traceback.format_exception(error))


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An empty working directory."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
    assert list(folder.iterdir()) == []


@given(SCHEMES, NOISE, NOISE)
def test_threads_are_kept_at_no_address_that_cannot_be_read(scheme: str, before: str, after: str) -> None:
    pytest.importorskip("psycopg")
    address = f"{scheme}u:{before}{SECRET}{after}@[bad/x"  # which PostgreSQL cannot read either

    def use() -> None:
        with pytest.raises(ConfigError) as caught, open_checkpointer(address):
            pass
        raise caught.value

    assert SECRET not in tell(use)


@pytest.mark.parametrize("where", [f"u:{SECRET}@h/x", f"host=h password={SECRET}", Path(f"mysql://u:{SECRET}@h/x")])
def test_what_only_resembles_an_address_makes_no_folder(where: str | Path) -> None:
    with pytest.raises(ConfigError, match=r"give a path.*or postgresql://") as caught, open_checkpointer(where):
        pass
    assert SECRET not in str(caught.value)


LOGIN = f"ann:{SECRET}"
PLACES = st.sampled_from(["host/v1", "127.0.0.1:9/v1", "[bad/v1", "host:port/v1", ""])
PARTS = st.text(st.sampled_from("ab1:?#@[]%&= +.é"), max_size=8)
LOGINS = st.just(LOGIN) | st.builds(lambda before, after: f"ann:{before}{SECRET}{after}", PARTS, PARTS)


@pytest.mark.parametrize("kind", ["mcp:", "openapi:", "toolbench:", "replay:", "made_up:", ""])
@given(st.sampled_from(["http://", "https://", "ftp://", "ws:/", "//"]), LOGINS, PLACES)
def test_tools_are_found_at_no_address_with_a_password(kind: str, scheme: str, login: str, place: str) -> None:
    def load() -> None:
        with pytest.raises(ConfigError) as caught:
            load_tools([f"{kind}{scheme}{login}@{place}"])
        raise caught.value

    assert SECRET not in tell(load)


@pytest.mark.parametrize("kind", ["openai:m@", "umi-server:m@", "made-up:m@"])
@given(st.sampled_from(["http://", "https://", "ftp://", "ws:/", "//"]), LOGINS, PLACES)
def test_model_of_a_server_does_not_show_its_password(kind: str, scheme: str, login: str, place: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "none")
        assert SECRET not in tell(lambda: load_model(f"{kind}{scheme}{login}@{place}", "planner"))


def test_login_in_the_address_of_a_model_server_is_sent(serving: Any) -> None:
    sent: list[str | None] = []

    def answer(handler: Any) -> tuple[int, dict[str, str], bytes]:
        sent.append(handler.headers["Authorization"])
        return 400, {}, b"{}"

    with serving(answer) as host, pytest.raises(Exception, match="400"):
        load_model(f"openai:m@http://ann:p%40ss@{host}/v1", "planner").invoke("Hi")
    assert sent == ["Basic YW5uOnBAc3M="]


@pytest.mark.parametrize("place", ["127.0.0.1:9/v1", "a.example?x=1"])
def test_no_error_of_ours_shows_a_password(place: str) -> None:
    error = ConfigError(f"x 'https://{LOGIN}@{place}' and https://h/?a=1&tavilyApiKey={SECRET}#b, not m@x.")
    assert str(error) == f"x 'https://[redacted]@{place}' and https://h/?a=1&tavilyApiKey=[redacted]#b, not m@x."
