"""Helpers of these tests, and a PostgreSQL server of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

multiprocessing.get_context("forkserver").set_forkserver_preload(
    ["alpha_umi.graph.factory", "alpha_umi.graph.checkpointers"]
)


@pytest.fixture(autouse=True)
def helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests, and the processes that they start, import the modules of this folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def serving() -> Any:
    """Serve HTTP on this machine within a ``with`` block."""
    return import_module("local_http").serving


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A server that runs until the tests end."""
    pytest.importorskip("psycopg", reason="PostgreSQL NOT TESTED: pip install 'alpha-umi[postgres]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        run_server = import_module("postgres_server").run_server
    with run_server() as server:
        if server is None:
            pytest.skip("PostgreSQL NOT TESTED: there is no initdb on this machine; apt-get install postgresql")
        yield server


@pytest.fixture
def postgres(postgres_server: Any) -> str:
    """The address of an empty database."""
    return str(postgres_server.make_database())


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind."""
    return str(tmp_path / "threads.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgres")
