"""Code in the documentation is run, or read by what it is for; a block that cannot be says why in its first line."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import typer
import yaml
from langgraph_cli.config import validate_config

from alpha_umi.cli import app
from alpha_umi.graph.config import UmiSettings, load_settings
from alpha_umi.nodes.models.specs import load_models
from alpha_umi.tools import load_tools, spec_from_tool
from alpha_umi.tools.mcp.config import read_connections
from alpha_umi.training.config import load_config
from alpha_umi.training.data.sheets.load import load_sheets
from alpha_umi.training.evaluation.questions.file import load_questions

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("training/checkpoints/*/README.md")])
FENCE = re.compile(r"^( *)```(\S+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
EXCUSE = "# not run by the tests: "
KNOWN = {"python", "console", "bash", "yaml", "json"}
OTHERS = {"text", "mermaid", "{toctree}"}  # to look at
ELSEWHERE = {
    "README.md": "test_docs.py",
    "embed.md": "test_docs.py",
    "langsmith.md": "cli/test_eval_push.py",
    "serving.md": "graph/test_own_server.py",
}
"""Pages whose Python another test runs."""

SUM: Any = {
    "planner": ["I calculate 17% of 2340.\nNext: caller.", "It is 397.8.\nNext: conclusion."],
    "caller": ['Action: calculator\nAction Input: {"expression": "17% * 2340"}'],
    "summarizer": ["397.8"],
}
TRANSFERS: Any = {
    "planner": ["I call transfer twice.\nNext: caller.", "Both are decided.\nNext: conclusion."],
    "caller": [
        'Action: transfer\nAction Input: {"account": "Ann", "sum": 200}\n'
        'Action: transfer\nAction Input: {"account": "Ben", "sum": 300}'
    ],
    "summarizer": ["Ann gets 200 euros, Ben none."],
}
ORDER: Any = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}
OPERATION: Any = {
    "operationId": "placeOrder",
    "requestBody": {"required": True, "content": {"application/json": {"schema": ORDER}}},
    "responses": {},
}
DOCUMENT: Any = {
    "openapi": "3.0.0",
    "info": {"title": "shop", "version": "1"},
    "servers": [{"url": "https://shop.example"}],
    "components": {"securitySchemes": {"ApiKeyAuth": {"type": "apiKey", "in": "header", "name": "X-Key"}}},
    "paths": {"/orders": {"post": OPERATION}},
}
MY_TOOLS = '''
from alpha_umi import declare_effects

def count_stock(item: str) -> str:
    """Tell how many pieces of an item are in stock."""
    return "There are 1200 bolts in stock."

@declare_effects("none")
def find_table(date: str, seats: int) -> dict:
    """Look for a free table."""
    return {"tables": [{"number": 7}]}

TOOLS = [find_table]
'''


def list_blocks(*languages: str) -> Iterator[tuple[Path, str, str]]:
    """Yield page, language and code of every block in these languages."""
    for page in PAGES:
        for _, language, code in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in languages or not languages:
                yield page, language, dedent(code)


def number(blocks: Iterator[tuple[Path, str, str]]) -> Any:
    return [pytest.param(code, id=f"{page.name}-{n}") for n, (page, _, code) in enumerate(blocks)]


def is_excused(code: str) -> bool:
    return len(code.partition("\n")[0].partition(EXCUSE)[2]) > 10


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the files that the pages speak of."""
    tools = tmp_path / "data" / "toolenv" / "tools" / "Weather"
    tools.mkdir(parents=True)
    api: Any = {"name": "now", "description": "The weather.", "method": "GET", "required_parameters": []}
    (tools / "sky.json").write_text(json.dumps({"tool_name": "Sky", "api_list": [{**api, "optional_parameters": []}]}))
    (tmp_path / "my_tools.py").write_text(MY_TOOLS)
    for name in ("shop.yaml", "weather.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(DOCUMENT))
    for name, value in {
        "TOOLBENCH_URL": "http://127.0.0.1:9",
        "WEATHER_KEY": "opensesame",
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ALPHA_UMI_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("my_tools", None)  # each test has one of its own
    yield tmp_path
    sys.modules.pop("my_tools", None)


def test_no_block_is_of_a_kind_that_nothing_reads() -> None:
    found = {language for _, language, _ in list_blocks()}
    assert found >= KNOWN
    assert found <= KNOWN | OTHERS


@pytest.mark.parametrize(("page", "test"), ELSEWHERE.items())
def test_other_tests_run_the_pages_that_are_left_to_them(page: str, test: str) -> None:
    assert f'"{page}"' in (ROOT / "tests" / test).read_text(encoding="utf-8")


PYTHON = {page: [code for each, _, code in list_blocks("python") if each == page] for page, *_ in list_blocks("python")}


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_python_runs(page: Path, place: Path) -> None:
    (place / "script.yaml").write_text(yaml.safe_dump(TRANSFERS if page.name == "approvals.md" else SUM))
    namespace: dict[str, Any] = {}
    for code in PYTHON[page]:
        compiled = compile(code.replace("hf:smollm2-135m-umi", "scripted:script.yaml"), page.name, "exec")
        if not is_excused(code) and page.name not in ELSEWHERE:
            exec(compiled, namespace)


def read_sheets(path: Path) -> None:
    assert load_sheets(path)


def read_questions(path: Path) -> None:
    assert load_questions(path, [spec_from_tool(tool) for tool in load_tools(["my_tools:count_stock"])])


def read_roles(path: Path) -> None:
    said = yaml.safe_load(path.read_text())
    assert UmiSettings(models=said) if isinstance(said["planner"], str) else load_models(f"scripted:{path}")


READERS: Mapping[str, Callable[[Path], Any]] = {
    "domain": read_sheets,
    "questions": read_questions,
    "document": lambda path: load_tools([f"openapi:{path}"]),
    "method": load_config,
    "planner": read_roles,
    "mcpServers": read_connections,
    "dependencies": lambda path: validate_config(json.loads(path.read_text())),
}
"""What reads a file with such a key; any other is a configuration."""


@pytest.mark.parametrize("code", number(list_blocks("yaml", "json")))
def test_yaml_and_json_are_taken_by_their_readers(code: str, place: Path) -> None:
    keys = yaml.safe_load(code).keys()
    path = place / "block.yaml"
    path.write_text(code)
    read = next((reader for key, reader in READERS.items() if key in keys), load_settings)
    read(path)


def list_command_lines() -> list[str]:
    """Return the lines of console and bash blocks that call the command, each once."""
    lines = [
        re.sub(r"\s+#.*", "", line.removeprefix("$ "))
        for _, language, code in list_blocks("console", "bash")
        for line in code.replace("\\\n", " ").splitlines()
        if language == "bash" or line.startswith("$ ")
    ]
    return [line[line.index("alpha-umi ") :] for line in dict.fromkeys(lines) if "alpha-umi " in line]


@pytest.mark.parametrize("line", list_command_lines())
def test_command_lines_are_understood(line: str, place: Path) -> None:
    command: Any = typer.main.get_command(app)
    words, context = shlex.split(line)[1:], None
    while True:
        context = command.make_context(command.name, words, parent=context)
        words = [*getattr(context, "_protected_args", ()), *context.args]
        if not words:
            return
        _, command, words = command.resolve_command(context, words)
