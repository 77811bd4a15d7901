from __future__ import annotations

from pathlib import Path

from tests.notebooks.notebook import execute, list_outputs, load


def test_embed_prints_what_is_committed(tmp_path: Path) -> None:
    assert list_outputs(execute("embed", tmp_path)) == list_outputs(load("embed"))


def test_embed_orders_what_the_person_wrote_and_not_what_the_model_wanted() -> None:
    *_, asked, resumed = list_outputs(load("embed"))
    assert "'pieces': 500" in asked[0]["text/plain"]
    assert "50 nuts are ordered." in resumed[0]
    assert resumed[1]["text/plain"] == "360"
