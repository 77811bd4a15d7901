import sys
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.tools import Toolbox, list_builtin_tools, load_tools

OWN_FILE = """
from langchain_core.tools import tool

@tool
def shout(text: str) -> str:
    "Shout."
    return text.upper()

def whisper(text: str) -> str:
    "Whisper."
    return text.lower()

both = [shout, whisper]
number = 5
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_tools_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN_FILE)
    monkeypatch.chdir(tmp_path)
    return name


def whoami() -> str:
    """Tell."""
    return "me"


def test_builtin_tools_are_the_files_of_the_folder() -> None:
    assert list_builtin_tools() == ["calculator", "calendar", "convert_units", "search_files", "sql_query"]


def test_all_builtin_tools_fit_in_one_toolbox() -> None:
    toolbox = Toolbox(load_tools(["builtin:*"]))
    assert list(toolbox.names) == list_builtin_tools()
    for spec in toolbox.specs:
        assert len(spec.description) <= 120, "a small model reads it every time"
        assert all(argument["description"] for argument in spec.parameters["properties"].values())


def test_names_objects_and_functions_mix(own_module: str) -> None:
    tools = load_tools(["builtin:calculator", f"{own_module}:both", f"{own_module}:whisper", whoami])
    assert [tool.name for tool in tools] == ["calculator", "shout", "whisper", "whisper", "whoami"]
    assert tools[1].invoke({"text": "hi"}) == "HI"


def test_import_path_stays_as_it_was(own_module: str) -> None:
    before = list(sys.path)
    load_tools([f"{own_module}:both"])
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("calculator", "write 'builtin:NAME', 'builtin:\\*' or 'module:object'"),
        ("builtin:", "cannot be read"),
        (":shout", "cannot be read"),
        ("builtin:weather", "the built-in tools are calculator, calendar"),
        ("builtin:../spec", "There is no built-in tool"),
        ("no_such_module:tool", "importing 'no_such_module' failed with ModuleNotFoundError.*run from the folder"),
        ("OWN.py:shout", "not its file: 'OWN:shout'"),
        ("folder/OWN.py:shout", r"not its file: 'folder\.OWN:shout'"),
        ("email.no_such_part:tool", "failed with ModuleNotFoundError.*run from the folder"),
        ("OWN:no_such_tool", "has no 'no_such_tool'"),
        ("OWN:number", "'OWN:number': 5 cannot be used as a tool"),
    ],
)
def test_wrong_name_says_what_to_do(own_module: str, spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("OWN", own_module)):
        load_tools([spec.replace("OWN", own_module)])


def test_own_file_that_fails_to_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_own_tools.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match=r"importing 'broken_own_tools' failed with ZeroDivisionError.*Mend that"):
        load_tools(["broken_own_tools:tool"])
