from __future__ import annotations

import json
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.evaluation.result_folder import ResultFolder, read_json


def test_rows_survive_closing(tmp_path: Path) -> None:
    with ResultFolder(tmp_path / "run", "rows.jsonl", {"seed": 1}) as folder:
        folder.append([{"key": "a", "text": "α"}])
        folder.append([{"key": "b"}])
    with ResultFolder(tmp_path / "run", "rows.jsonl", {"seed": 1}) as folder:
        assert folder.rows == {"a": {"key": "a", "text": "α"}, "b": {"key": "b"}}


def test_text_that_is_no_unicode_can_be_kept(tmp_path: Path) -> None:
    with ResultFolder(tmp_path, "rows.jsonl", {}) as folder:
        folder.append([{"key": "a", "text": "\ud800"}])
    with ResultFolder(tmp_path, "rows.jsonl", {}) as folder:
        assert folder.rows["a"]["text"] == "\ufffd"


@pytest.mark.parametrize(
    "torn", ['{"key": "b", "te', '{"key": "b"}', "{", '{"key": "b", "text": "\u03b1'.encode()[:-1]]
)
def test_a_line_that_a_kill_left_unfinished_is_cut_off(tmp_path: Path, torn: str | bytes) -> None:
    with ResultFolder(tmp_path, "rows.jsonl", {}) as folder:
        folder.append([{"key": "a"}])
    with (tmp_path / "rows.jsonl").open("ab") as file:
        file.write(torn if isinstance(torn, bytes) else torn.encode())
    with ResultFolder(tmp_path, "rows.jsonl", {}) as folder:
        assert list(folder.rows) == ["a"]
        folder.append([{"key": "c"}])
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["a", "c"]


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    with ResultFolder(tmp_path, "rows.jsonl", {"seed": 1, "path": Path("x")}):
        pass
    with (
        pytest.raises(ConfigError, match="seed was 1, is 2"),
        ResultFolder(tmp_path, "rows.jsonl", {"seed": 2, "path": "x"}),
    ):
        pass
    with pytest.raises(ConfigError, match="path"), ResultFolder(tmp_path, "rows.jsonl", {"seed": 1}):
        pass


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with (
        ResultFolder(tmp_path, "rows.jsonl", {}),
        pytest.raises(ConfigError, match="another run"),
        ResultFolder(tmp_path, "rows.jsonl", {}),
    ):
        pass


def test_a_refused_folder_is_not_left_locked(tmp_path: Path) -> None:
    with ResultFolder(tmp_path, "rows.jsonl", {"seed": 1}):
        pass
    with pytest.raises(ConfigError), ResultFolder(tmp_path, "rows.jsonl", {"seed": 2}):
        pass
    with ResultFolder(tmp_path, "rows.jsonl", {"seed": 1}):
        pass


def test_results_without_settings_are_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"key": "a"}\n')
    with pytest.raises(ConfigError, match=r"settings\.json"), ResultFolder(tmp_path, "rows.jsonl", {}):
        pass


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_reading_what_is_no_result_says_so(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    with pytest.raises(ConfigError, match="alpha-umi eval"):
        read_json(tmp_path / "x.json")
