from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.files import write_atomically
from alpha_umi.training.data import files
from alpha_umi.training.data.files import blame, read_members, read_records, read_table

RECORDS = [{"a": 1}, {"b": ["x,]", "}{"]}, {"c": "zwölf\n€"}]


def test_lines_and_array_give_the_same_records(tmp_path: Path) -> None:
    lines, array = tmp_path / "a.jsonl", tmp_path / "a.json"
    lines.write_text("\n".join(map(json.dumps, RECORDS)) + "\n\n", encoding="utf-8")
    array.write_text(json.dumps(RECORDS, indent=2, ensure_ascii=False), encoding="utf-8")
    assert [record for _, record in read_records(lines)] == RECORDS
    assert [record for _, record in read_records(array)] == RECORDS
    assert [where for where, _ in read_records(lines)] == [f"{lines}:{n}" for n in (1, 2, 3)]
    assert [where for where, _ in read_records(array)] == [f"{array}[{n}]" for n in (0, 1, 2)]


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert [record for _, record in read_records(path)] == [{"a": 1}]


@given(st.lists(st.dictionaries(st.text(max_size=9), st.text(max_size=30) | st.integers(), max_size=4), max_size=12))
def test_array_is_read_whatever_the_size_of_the_buffer(records: list[dict[str, Any]]) -> None:
    text = json.dumps(records, ensure_ascii=False)
    whole, chunk = files._CHUNK, 16
    try:
        files._CHUNK = chunk
        found = [record for _, record in files._read_array(io.StringIO(text), Path("x"))]
    finally:
        files._CHUNK = whole
    assert found == records


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"a": 1}\n{"a": \n', ":2: not valid JSON"),
        ('[{"a": 1}, {"b": ]', "[1]: not valid JSON"),
        ("3\n", ":1: expected"),
    ],
)
def test_error_names_file_and_place(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrajectoryError) as caught:
        list(read_records(path))
    assert f"{path}{where}" in str(caught.value)


@pytest.mark.parametrize("content", [gzip.compress(b'{"a": 1}\n' * 99)[:-12], b"\xff\xfe{}\n"], ids=["cut", "binary"])
def test_damaged_file_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(TrajectoryError, match="is the file complete"):
        list(read_records(path))


def test_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        list(read_records(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="no such file"):
        list(read_members(tmp_path / "nowhere"))


def test_members_come_from_folder_tar_and_single_file(tmp_path: Path) -> None:
    folder = tmp_path / "answers" / "G1_answer"
    folder.mkdir(parents=True)
    (folder / "7_x.json").write_text('{"n": 7}')
    (folder / "notes.txt").write_text("not read")
    archive = tmp_path / "answers.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "G1_answer")
    assert list(read_members(folder.parent)) == [(str(folder / "7_x.json"), {"n": 7})]
    assert list(read_members(folder / "7_x.json")) == [(str(folder / "7_x.json"), {"n": 7})]
    assert list(read_members(archive)) == [(f"{archive}!G1_answer/7_x.json", {"n": 7})]


@pytest.mark.parametrize("content", [b"plain text", gzip.compress(b"plain text")], ids=["plain", "packed"])
def test_file_that_is_no_archive_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.tar.gz"
    path.write_bytes(content)
    with pytest.raises(TrajectoryError, match="not a readable tar archive"):
        list(read_members(path))


def test_broken_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("G1_answer/1.json")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"{no"))
    with pytest.raises(TrajectoryError, match=r"G1_answer/1\.json: not valid JSON"):
        list(read_members(path))


def test_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(TypeError), write_atomically(path) as file:
        file.writelines(["half", None])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with write_atomically(path) as file:
        file.write("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("name"), r"f:3: the record is not of the source's form \(KeyError: 'name'\)"),
        (TypeError("no list"), r"f:3: the record is not of the source's form \(TypeError: no list\)"),
        (ConfigError("bad name"), "^f:3: bad name$"),
        (TrajectoryError("f:3: no tools"), "^f:3: no tools$"),
    ],
)
def test_blame_names_the_place_once(error: Exception, message: str) -> None:
    with pytest.raises(TrajectoryError, match=message), blame("f:3"):
        raise error


def test_read_table_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b'a,b\n1,"x\ny"\n2,z\n'))
    assert list(read_table(path)) == [(f"{path}:3", {"a": "1", "b": "x\ny"}), (f"{path}:4", {"a": "2", "b": "z"})]


@pytest.mark.parametrize("content", [b"a,b\n1\n", b"a,b\n1,2,3\n", b'a,b\n1,"x\n', b'a,b\n1,"x"y\n'])
def test_read_table_refuses_broken_lines(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(TrajectoryError, match=r"a\.csv:2: not valid CSV"):
        list(read_table(path))


def test_read_table_refuses_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 99)[:-9])
    with pytest.raises(TrajectoryError, match="is the file complete"):
        list(read_table(path))
