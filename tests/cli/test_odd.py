"""No command ends unexpectedly, shows a secret or waits for ever, whatever its options and files hold."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alpha_umi.training.glpft import train
from fuzz import samples
from tests.cli import odd
from tests.training import conftest as training
from tests.training.data.sheets.test_sheets import SHEET

base, make_config = training.base, training.make_config

SCRIPT = {
    "planner": ["I add.\nNext: caller.", "That is all.\nNext: conclusion."],
    "caller": ['Action: calculator\nAction Input: {"expression": "1+1"}'],
    "summarizer": ["2 it is."],
}
AGENT = {
    "models": "scripted:script.yaml",
    "tools": ["builtin:calculator"],
    "limits": {"max_steps": 3},
    "isolation": {"calculator": {"memory_mb": 256, "seconds": 10}},
    "approve_tools": [{"tool": "delete_*", "ask": "when", "arguments": {"properties": {"a": {"maximum": 1}}}}],
    "remote": {"retries": 1},
    "retrieval": {"top_k": 5, "embeddings": None},
}
ENVIRON = {
    **{"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "OPENAI_API_KEY": f"sk-{odd.SECRET}"},
    **{"TOOLBENCH_URL": "http://127.0.0.1:9/virtual", "TOOLBENCH_KEY": odd.SECRET},
}
MCP = {
    "x": {"command": "false", "args": ["a"], "env": {"K": "v"}},
    "y": {"url": "http://127.0.0.1:9/x", "headers": {"K": "v"}},
}
RECORDINGS = """
CREATE TABLE tasks (id TEXT, query TEXT);
CREATE TABLE specs (task TEXT, name TEXT, description TEXT, parameters TEXT);
CREATE TABLE recordings (
    id INTEGER PRIMARY KEY, task TEXT, tool TEXT, arguments TEXT, text TEXT, is_error INTEGER, step INTEGER
);
INSERT INTO tasks VALUES ('1', 'q');
INSERT INTO specs VALUES ('1', 'f', 'F.', '{"type": "object", "properties": {"a": {"type": "string"}}}');
INSERT INTO recordings VALUES (1, '1', 'f', '{"a": "x"}', 'ok', 0, 0);
"""
BASES = {
    "ask": "--model config.yaml --tools openapi:api.json --tools toolbench:apis --tools replay:recordings.sqlite#1 "
    "--thread t --database threads.sqlite --export export.json --json {question} What?",
    "chat": "--model hf:ckpt --max-steps 1 --tools mcp:mcp.json --database threads.sqlite",
    "threads delete": "--database threads.sqlite {names} t",
    "ui": "--model config.yaml --database threads.sqlite --port 0",
    "graph": "",
    "new": "{folder} project",
    "check": "--questions questions.yaml --model config.yaml --tools openapi:api.json --sheets sheets --out checked",
    "traces export": "--out traces.jsonl --database threads.sqlite --log log.jsonl --questions questions.yaml "
    "--model config.yaml",
    "train": "--config train.yaml --data data --out ckpt --resume",
    "data build": "--source own:own.jsonl --exclude exclude.json --limit own=1 --tokenizer base --out built",
    "data show": "{number} 0 --data data --model base",
    "data sources": "",
    "teach": "--sheets sheets --out taught --from ckpt --minutes 0.1 --tasks 0",
    "improve": "--suite questions:questions.yaml --out improved --from ckpt --minutes 0.1 --tasks 1 --measured 1 "
    "--rounds 1",
    "sheet check": "--samples 1 {places} sheets",
    "eval static": "--model config.yaml --data data --out static --split dev-tools",
    "eval tasks": "--model config.yaml --out tasks --suite gsm8k:gsm8k.jsonl",
    "eval live": "--model config.yaml --out live --suite complexfuncbench-replay:cfb.jsonl "
    "--judge scripted:script.yaml --reference live2",
    "eval scaling": "--config train.yaml --data data --out scaling --fractions 1",
    "eval push": "--suite gsm8k:gsm8k.jsonl",
    "eval compare": "{a} static {b} static2",
    "eval report": "--out rep {results} static tasks live",
    "models pull": "{name} smollm2-135x",
    "models list": "",
    "models merge": "{checkpoint} ckpt --out merged --base base",
    "models export": "{checkpoint} ckpt --out exported --base base",
    "models compact": "{checkpoint} ckpt --out compacted",
}
"""Of each command a line that ends well; a name in braces is that of the argument after it."""
SLOW = ("train", "teach", "improve", "eval scaling")
MIXED = [words for words in BASES if words not in SLOW]  # which take seconds where nothing is odd
MORE_BYTES = 2**30
FEWER = settings(max_examples=4, derandomize=True)  # the same in every profile; more find more


def write(path: Path, *values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, base: Path, make_config: Any) -> Iterator[Path]:
    """A folder with every kind of file that a command reads, and a checkpoint of a short training."""
    folder = tmp_path_factory.mktemp("template")
    for name, value in {"script.yaml": SCRIPT, "config.yaml": AGENT, "mcp.json": {"mcpServers": MCP}}.items():
        write(folder / name, value)
    write(folder / "api.json", samples.OPENAPI | {"servers": [{"url": "https://a.example"}]})
    api = samples.TOOLBENCH_API | {"name": "find", "description": "Finds."}
    write(folder / "apis/Travel/towns.json", {"tool_name": "Towns", "api_list": [api]})
    write(folder / "questions.yaml", {"questions": [{"question": text, "calls": []} for text in ("What?", "Who?")]})
    write(folder / "log.jsonl", {"messages": []})
    write(folder / "exclude.json", [{"id": "1"}, "Where?"])
    write(folder / "sheets/x.yaml", yaml.safe_load(SHEET))
    for name, source in {"own": "own", "cfb": "complexfuncbench", "gsm8k": "gsm8k"}.items():
        write(folder / f"{name}.jsonl", *samples.READERS[source])
    with contextlib.closing(sqlite3.connect(folder / "recordings.sqlite")) as database, database:
        database.executescript(RECORDINGS)
    (folder / "data").mkdir()
    training.write_rows(folder / "data", 3)
    shutil.copytree(base, folder / "base")
    config = make_config("umi", seed=3, epochs=1).model_copy(update={"base": "base"})
    write(folder / "train.yaml", config.model_dump(mode="json"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("alpha_umi.ui.server.serve", AsyncMock())  # which ends with a signal alone
        for name, value in ENVIRON.items():
            patch.setenv(name, value)
        patch.setenv("ALPHA_UMI_CACHE", str(folder / "cache"))
        patch.delenv("ALPHA_UMI_CONFIG", raising=False)
        train(config, folder / "data", folder / "ckpt")
        for words, reference in (("ask", ""), ("eval static", "static2"), ("eval tasks", ""), ("eval live", "live2")):
            argv = [*words.split(), *odd.fill(BASES[words].split())]
            done = odd.run((*argv[: argv.index("--reference")],) if "--reference" in argv else (*argv,))
            assert done.code in (0, None), (words, done)
            if reference:
                shutil.copytree(words.split()[1], reference)
        (folder / "export.json").unlink()
        yield folder


@pytest.fixture(scope="module")
def check(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[odd.Case], None]:
    """Return a function that fails if a case breaks the promise."""
    folder = tmp_path_factory.mktemp("odd")
    before = _count_bytes()

    def run(case: odd.Case) -> None:
        assert not odd.find_fault(case, template, folder)
        assert _count_bytes() < before + MORE_BYTES

    return run


def _count_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def list_files(words: str, template: Path) -> list[Path]:
    """Return the files that a command line names, and those inside the folders that it names."""
    named = {each.split("#")[0].rpartition(":")[2] for each in BASES[words].split()}
    named |= {"script.yaml"} if "config.yaml" in named else set()
    tops = [template / name for name in sorted(named) if (template / name).exists()]
    inside = [path for top in tops for path in sorted(top.rglob("*")) if path.is_file() and path.name != ".lock"]
    return [*tops, *inside]


WITH_FILES = [words for words in MIXED if words not in ("graph", "new", "data sources", "models pull", "models list")]


def test_every_command_is_driven() -> None:
    assert set(odd.list_commands()) == set(BASES)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("words", BASES)
def test_odd_options_end_cleanly(words: str, check: Callable[[odd.Case], None]) -> None:
    cases = list(odd.list_argument_cases(words, odd.list_commands()[words], BASES[words].split()))

    @FEWER
    @given(st.sampled_from(cases))
    def run(case: odd.Case) -> None:
        check(case)

    if cases:
        run()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("words", WITH_FILES)
def test_odd_files_end_cleanly(words: str, template: Path, check: Callable[[odd.Case], None]) -> None:
    argv = (*words.split(), *odd.fill(BASES[words].split()))
    files = list_files(words, template)

    @FEWER
    @given(st.sampled_from(files), st.sampled_from(sorted(odd.ODD)))
    def run(path: Path, content: str) -> None:
        check(odd.Case(argv, content, str(path.relative_to(template))))

    run()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("words", "path"),
    [
        *(("chat", "threads.sqlite"), ("threads delete", "threads.sqlite"), ("data show", "base/tokenizer.json")),
        *(("models export", "ckpt/backbone/adapter_model.safetensors"), ("chat", "ckpt/tokenizer.json")),
    ],
)
def test_no_command_waits_for_a_pipe(words: str, path: str, check: Callable[[odd.Case], None]) -> None:
    check(odd.Case((*words.split(), *odd.fill(BASES[words].split())), "pipe", path))


made_up = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=9), parts, max_size=3),
    max_leaves=6,
)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("words", WITH_FILES)
def test_values_of_other_shapes_end_cleanly(words: str, template: Path, check: Callable[[odd.Case], None]) -> None:
    argv = (*words.split(), *odd.fill(BASES[words].split()))
    files = [path for path in list_files(words, template) if path.suffix in (".json", ".jsonl", ".yaml", ".sqlite")]

    @FEWER
    @given(st.data())
    def run(data: Any) -> None:
        path = data.draw(st.sampled_from(files))
        keys, wrong = data.draw(st.sampled_from(list(odd.list_spoils(path))))
        new = wrong if path.suffix == ".sqlite" else data.draw(st.just(wrong) | made_up)
        check(odd.Case(argv, "", str(path.relative_to(template)), (), (keys, new)))

    run()


@pytest.mark.filterwarnings("default")
@settings(max_examples=30, derandomize=True)
@given(st.data())
def test_bytes_of_any_kind_end_cleanly(template: Path, check: Callable[[odd.Case], None], data: Any) -> None:
    words = data.draw(st.sampled_from(WITH_FILES))
    path = data.draw(st.sampled_from([path for path in list_files(words, template) if path.is_file()]))
    content = path.read_bytes()[:4000]
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    changed = content[:start] + data.draw(st.binary(max_size=8)) + content[end:]
    odd.ODD["changed"] = partial(odd.write_content, changed)
    argv = (*words.split(), *odd.fill(BASES[words].split()))
    check(odd.Case(argv, "changed", str(path.relative_to(template))))
