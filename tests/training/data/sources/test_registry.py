from __future__ import annotations

import sys
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources import list_sources, load_reader


def test_every_reader_is_listed_with_a_description() -> None:
    sources = list_sources()
    assert {"toolbench", "alpha_umi", "toolalpaca", "gsm8k", "complexfuncbench", "fireact"} <= sources.keys()
    assert {"star", "taskmaster4", "metatool", "toolverifier"} <= sources.keys()
    assert {"sealtools", "toolrl", "openai_messages", "own", "builtin"} <= sources.keys()
    assert not {"base", "build", "clean", "files"} & sources.keys()
    assert all(len(text) > 20 for text in sources.values())
    assert all(load_reader(name) for name in sources)


@pytest.mark.parametrize("name", ["nonsense", "base", "no.such.module"])
def test_unknown_source_lists_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match=f"Unknown data source '{name}'; known are alpha_umi, builtin"):
        load_reader(name)


def test_users_own_module_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "acme_readers"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "logs.py").write_text("def read(location, tally, *, seed):\n    return iter(())\n")
    (package / "broken.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert list(load_reader("acme_readers.logs")("x", Tally(), seed=0)) == []
        with pytest.raises(ConfigError, match="needs the package 'a_package_that_is_not_there'"):
            load_reader("acme_readers.broken")
    finally:
        sys.modules.pop("acme_readers", None)


def test_tally_remembers_the_first_place_of_every_reason() -> None:
    tally = Tally()
    tally.repair("cut", "f:1")
    tally.repair("cut", "f:2")
    tally.drop("empty", "f:3")
    assert (tally.repaired, tally.dropped) == ({"cut": 2}, {"empty": 1})
    assert tally.first == {"cut": "f:1", "empty": "f:3"}
