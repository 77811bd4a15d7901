"""Driver: exhaustive run, prints every fault."""

import json, os, sqlite3, shutil, sys, time, random, contextlib
from pathlib import Path
import pytest, yaml
from tests.cli import odd
from tests.training import conftest as training
from fuzz import samples
from tests.training.data.sheets.test_sheets import SHEET

base, make_config = training.base, training.make_config

SCRIPT = {
    "planner": ["I add.\nNext: caller.", "That is all.\nNext: conclusion."],
    "caller": ['Action: calculator\nAction Input: {"expression": "1+1"}'],
    "summarizer": ["2 it is."],
}


def dump(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def lines(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(v) + "\n" for v in values))


BASES = {
    "ask": [
        "--model",
        "config.yaml",
        "--tools",
        "openapi:api.json",
        "--tools",
        "toolbench:apis",
        "--tools",
        "replay:recordings.sqlite#1",
        "--thread",
        "t",
        "--database",
        "threads.sqlite",
        "--export",
        "export.json",
        "--json",
        "{question}",
        "What?",
    ],
    "chat": ["--model", "hf:ckpt", "--max-steps", "1", "--tools", "mcp:mcp.json", "--database", "threads.sqlite"],
    "threads": ["--database", "threads.sqlite"],
    "graph": [],
    "train": ["--config", "train.yaml", "--data", "data", "--out", "ckpt", "--resume"],
    "data build": [
        "--source",
        "own:own.jsonl",
        "--exclude",
        "exclude.json",
        "--limit",
        "own=1",
        "--tokenizer",
        "base",
        "--out",
        "built",
    ],
    "data show": ["{number}", "0", "--data", "data", "--model", "base"],
    "data sources": [],
    "sheet check": ["--samples", "1", "{places}", "sheets"],
    "eval static": ["--model", "config.yaml", "--data", "data", "--out", "static", "--split", "dev-tools"],
    "eval tasks": ["--model", "config.yaml", "--out", "tasks", "--suite", "gsm8k:gsm8k.jsonl"],
    "eval live": [
        "--model",
        "config.yaml",
        "--out",
        "live",
        "--suite",
        "complexfuncbench-replay:cfb.jsonl",
        "--judge",
        "scripted:script.yaml",
        "--reference",
        "live2",
    ],
    "eval scaling": ["--config", "train.yaml", "--data", "data", "--out", "scaling", "--fractions", "1"],
    "eval compare": ["{a}", "static", "{b}", "static2"],
    "eval report": ["--out", "rep", "{results}", "static", "tasks", "live"],
    "models pull": ["{name}", "smollm2-135x"],
    "models list": [],
    "models merge": ["{checkpoint}", "ckpt", "--out", "merged", "--base", "base"],
    "models export": ["{checkpoint}", "ckpt", "--out", "exported", "--base", "base"],
    "models compact": ["{checkpoint}", "ckpt", "--out", "compacted"],
}


@pytest.fixture(scope="module")
def template(tmp_path_factory, base, make_config):
    from alpha_umi.training.glpft import train

    folder = tmp_path_factory.mktemp("t")
    dump(folder / "script.yaml", SCRIPT)
    dump(
        folder / "config.yaml",
        {
            "models": "scripted:script.yaml",
            "tools": ["builtin:calculator"],
            "limits": {"max_steps": 3},
            "isolation": {"calculator": {"memory_mb": 256, "seconds": 10}},
            "approve_tools": [{"tool": "delete_*", "ask": "when", "arguments": {"properties": {"a": {"maximum": 1}}}}],
            "remote": {"retries": 1},
            "retrieval": {"top_k": 5, "embeddings": None},
        },
    )
    dump(folder / "api.json", samples.OPENAPI | {"servers": [{"url": "https://a.example"}]})
    lines(folder / "apis/x.json", [[samples.TOOLBENCH_API]])
    dump(
        folder / "mcp.json",
        {
            "mcpServers": {
                "x": {"command": "false", "args": ["a"], "env": {"K": "v"}},
                "y": {"url": "http://127.0.0.1:9/x", "headers": {"K": "v"}},
            }
        },
    )
    (folder / "data").mkdir()
    training.write_rows(folder / "data", 3)
    shutil.copytree(base, folder / "base")
    config = make_config("umi", seed=3, epochs=1)
    values = config.model_dump(mode="json")
    values["base"] = "base"
    dump(folder / "train.yaml", values)
    lines(folder / "own.jsonl", samples.READERS["own"])
    dump(folder / "exclude.json", [{"id": "1"}, "Where?"])
    lines(folder / "cfb.jsonl", samples.READERS["complexfuncbench"])
    lines(folder / "gsm8k.jsonl", samples.READERS["gsm8k"])
    for name, ls in samples.READERS.items():
        lines(folder / "sources" / f"{name}.jsonl", ls)
    dump(
        folder / "queries/G1_instruction.json",
        [{"query": "Where?", "query_id": 1, "api_list": [samples.TOOLBENCH_API]}],
    )
    dump(folder / "sheets/x.yaml", yaml.safe_load(SHEET))
    with contextlib.closing(sqlite3.connect(folder / "recordings.sqlite")) as b, b:
        b.executescript(
            "CREATE TABLE tasks (id TEXT, query TEXT); CREATE TABLE specs (task TEXT, name TEXT, description TEXT, parameters TEXT); CREATE TABLE recordings (id INTEGER PRIMARY KEY, task TEXT, tool TEXT, arguments TEXT, text TEXT, is_error INTEGER, step INTEGER);"
        )
        b.execute("INSERT INTO tasks VALUES ('1', 'q')")
        b.execute(
            "INSERT INTO specs VALUES ('1', 'f', 'F.', ?)",
            (json.dumps({"type": "object", "properties": {"a": {"type": "string"}}}),),
        )
        b.execute("INSERT INTO recordings VALUES (1, '1', 'f', '{\"a\": \"x\"}', 'ok', 0, 0)")
    os.environ["ALPHA_UMI_CACHE"] = str(folder / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["NO_COLOR"] = "1"
    os.environ["OPENAI_API_KEY"] = "sk-" + odd.SECRET
    os.environ.pop("ALPHA_UMI_CONFIG", None)
    here = os.getcwd()
    os.chdir(folder)
    from alpha_umi.training.config import load_config

    train(load_config("train.yaml"), folder / "data", Path("ckpt"))
    for words in ("ask", "eval static", "eval tasks", "eval live"):
        b = list(BASES[words])
        if words == "eval live":
            del b[-2:]
        t = time.time()
        done = odd.run((*words.split(), *odd.fill(b)))
        print(words, time.time() - t, done.code, done.err[-500:])
        if words == "eval static":
            shutil.copytree("static", "static2")
        if words == "eval live":
            shutil.copytree("live", "live2")
            shutil.rmtree("live")
            done = odd.run((*words.split(), *odd.fill(list(BASES[words]))))
            print(done)
    shutil.rmtree("export.json", ignore_errors=True)
    Path("export.json").unlink(missing_ok=True)
    os.chdir(here)
    return folder


import warnings, logging


@pytest.mark.timeout(36000)
@pytest.mark.filterwarnings("default")
def test_drive(template, tmp_path):
    commands = odd.list_commands()
    assert set(commands) == set(BASES), set(commands) ^ set(BASES)
    mode = os.environ.get("MODE", "base")
    only = os.environ.get("ONLY")
    sys.stdout.flush()
    log = open(os.environ.get("LOG", "/tmp/h/odd/log.txt"), "w")
    deadline = time.time() + float(os.environ.get("SECS", "600"))
    cases = []
    for words, command in commands.items():
        if only and words not in only.split(","):
            continue
        b = BASES[words]
        if mode == "base":
            cases.append(odd.Case((*words.split(), *odd.fill(list(b)))))
        if mode == "args":
            cases += odd.list_argument_cases(words, command, list(b))
        if mode == "files" or mode == "spoil":
            plain = (*words.split(), *odd.fill(list(b)))
            extra = {"ask": ["script.yaml"]}.get(words, [])
            if words.startswith("eval") or words == "ask":
                extra += ["script.yaml"] if "config.yaml" in b or "scripted:script.yaml" in b else []
            tops = {p.name for p in template.iterdir()}
            named = {
                w for a in plain for w in (a, a.partition(":")[2], a.partition("#")[0].partition(":")[2]) if w in tops
            } | set(extra)
            for top in sorted(named):
                files = (
                    [template / top]
                    if (template / top).is_file()
                    else [f for f in (template / top).rglob("*") if f.is_file()] + [template / top]
                )
                for f in files:
                    path = str(f.relative_to(template))
                    if f.name in (".lock",):
                        continue
                    if mode == "files":
                        cases += [odd.Case(plain, o, path) for o in odd.ODD]
                    elif f.is_file() and f.stat().st_size < 40000 and f.suffix in (".json", ".jsonl", ".yaml"):
                        cases += [odd.Case(plain, "", path, (), s) for s in odd.list_spoils(f)]
                    elif f.suffix == ".sqlite":
                        cases += [odd.Case(plain, "", path, (), s) for s in odd.list_spoils(f)]
    n = len(cases)
    random.Random(int(os.environ.get("SEED", "0"))).shuffle(cases)
    done = 0
    for case in cases:
        if time.time() > deadline:
            break
        t = time.time()
        fault = odd.find_fault(case, template, tmp_path / "w")
        took = time.time() - t
        done += 1
        if fault or took > 5 or mode == "base":
            log.write(f"{took:.1f}s {case!r}\n    {fault}\n")
            log.flush()
    log.write(f"ran {done} of {n}\n")
