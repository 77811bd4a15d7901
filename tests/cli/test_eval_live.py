from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from alpha_umi.cli import app
from alpha_umi.errors import ConfigError

CALL = 'Action: daily_for_sky\nAction Input: {"city": "Rome"}'
AGENT = {
    "planner": ["I look it up. Next: caller.", "I know it. Next: conclusion."],
    "caller": [CALL],
    "summarizer": ["It is sunny in Rome."],
}


class ToolServer(BaseHTTPRequestHandler):
    """Stands in for ToolBench's tool server: answers about Rome, and with HTML about Oslo."""

    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(request)
        is_rome = "Rome" in request["tool_input"]
        body = json.dumps({"error": "", "response": "sunny"}) if is_rome else "<html>Bad gateway</html>"
        self.send_response(200 if is_rome else 502)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address of a tool server, and what it was asked."""
    handler = type("Handler", (ToolServer,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/virtual", handler.asked  # type: ignore[attr-defined]
        running.shutdown()
        thread.join(10)


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    """Two query files of our own in ToolBench's form."""
    api = {
        "category_name": "Weather",
        "tool_name": "Sky",
        "api_name": "Daily",
        "required_parameters": [{"name": "city", "type": "STRING", "description": "", "default": ""}],
        "optional_parameters": [],
        "method": "GET",
    }
    folder = tmp_path / "queries"
    folder.mkdir()
    for name, n in (("G1_instruction", 2), ("G3_instruction", 1)):
        rows = [{"query": f"{name} {i}: is it sunny in Rome?", "query_id": i, "api_list": [api]} for i in range(n)]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def write_script(path: Path, **outputs: list[str]) -> str:
    path.write_text(yaml.safe_dump({**AGENT, **outputs}))
    return f"scripted:{path}"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", "live", *map(str, arguments)])


def test_toolbench_queries_are_answered_judged_and_compared(
    tmp_path: Path,
    queries: Path,
    server: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPHA_UMI_REMOTE__BREAKER_FAILURES", "100")  # the other agent's failures are not ours
    url, asked = server
    agent = write_script(tmp_path / "agent.yaml")
    other = write_script(tmp_path / "other.yaml", caller=[CALL.replace("Rome", "Oslo")])
    judge = write_script(tmp_path / "judge.yaml", summarizer=["Yes.\nVERDICT: solved\nBETTER: A"])
    suite = f"toolbench:{queries}#{url}"
    first = run("--suite", suite, "--model", other, "--out", tmp_path / "other")
    assert first.exit_code == 0, first.output
    arguments = ("--suite", suite, "--model", agent, "--out", tmp_path / "ours", "--workers", 2)
    result = run(*arguments, "--judge", judge, "--votes", 2, "--reference", tmp_path / "other")
    assert result.exit_code == 0, result.output
    assert "I1-Inst, %" in result.output
    assert "I3-Inst, %" in result.output
    metrics = json.loads((tmp_path / "ours/metrics.json").read_text())
    overall = metrics["overall"]
    assert (overall["passed"]["value"], overall["won"]["value"], overall["calls"]["value"]) == (1.0, 0.5, 1.0)
    assert overall["input_tokens"]["value"] > 0
    page = (tmp_path / "ours/live.md").read_text()
    assert "| **ours** | **100.0 / 50.0** | **–** |" in page
    answers = json.loads((tmp_path / "ours/answers/G1_instruction.json").read_text())
    steps = answers["0"]["answer"]["answer_details"][0]["next"][0]["next"][0]
    assert json.loads(steps["message"]["response"]) == {"error": "", "response": "sunny"}
    assert len(asked) >= 6
    assert {(each["category"], each["tool_name"], each["api_name"]) for each in asked} == {("Weather", "sky", "daily")}


def test_a_tool_server_that_answers_html_does_not_stop_the_run(
    tmp_path: Path, queries: Path, server: tuple[str, list[dict[str, Any]]]
) -> None:
    agent = write_script(tmp_path / "agent.yaml", caller=[CALL.replace("Rome", "Oslo")])
    result = run("--suite", f"toolbench:{queries}#{server[0]}", "--model", agent, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "out/outcomes.jsonl").read_text().splitlines()]
    observations = [row["trajectory"]["turns"][0]["steps"][0]["calls"][0]["observation"] for row in rows]
    assert len(rows) == 3
    assert all(each["is_error"] for each in observations)
    assert all(row["error"] is None for row in rows)


def test_a_replay_run_is_checked_and_goes_on(tmp_path: Path) -> None:
    spec = {"name": "daily_for_sky", "description": "", "parameters": {"city": {"type": "string", "required": True}}}
    tasks = [
        {
            "id": i,
            "input": f"Weather in {city}?",
            "tools": ["daily_for_sky"],
            "calls": [{"name": "daily_for_sky", "arguments": {"city": city}, "label": "var1", "response": "sunny"}],
        }
        for i, city in enumerate(["Rome", "Oslo", "Rome"])
    ]
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(map(json.dumps, [{"specs": [spec]}, *tasks])))
    model = write_script(tmp_path / "agent.yaml")
    arguments = ("--suite", f"complexfuncbench-replay:{file}", "--model", model, "--out", tmp_path / "out")
    assert run(*arguments, "--limit", 1).exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "Solved                        66.7" in result.output
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["overall"]["completeness"]["value"] == pytest.approx(2 / 3)
    assert len((tmp_path / "out/outcomes.jsonl").read_text().splitlines()) == 3
    longer = run(*arguments, "--max-steps", 2)
    assert isinstance(longer.exception, ConfigError)
    assert "other settings" in str(longer.exception)


def test_a_search_keeps_its_tree_and_answers_with_its_last_path(tmp_path: Path, queries: Path) -> None:
    model = write_script(tmp_path / "agent.yaml", planner=["I look it up. Next: caller."], caller=["What?"])
    suite = f"toolbench:{queries}#http://127.0.0.1:9/virtual"
    result = run("--suite", suite, "--model", model, "--out", tmp_path / "out", "--strategy", "dfsdt", "--limit", 1)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "out/outcomes.jsonl").read_text().splitlines()]
    assert {row["finish"] for row in rows} == {"give up"}
    tree = json.loads((tmp_path / "out/trees/G1_instruction/0.json").read_text())
    assert tree["answer_generation"]["query"] == rows[0]["query"]
    assert tree["answer_generation"]["finish_type"] == "give_up"
    assert tree["answer_generation"]["total_tokens"] == rows[0]["input_tokens"] + rows[0]["output_tokens"]
    assert tree["tree"]["size"] > 2
    assert tree["tree"]["tree"]["children"]
    answer = json.loads((tmp_path / "out/answers/G1_instruction.json").read_text())["0"]["answer"]
    assert answer["method"] == "dfsdt"
    assert "give_up_and_restart" in answer["final_answer"]


def test_options_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    model = write_script(tmp_path / "agent.yaml")
    result = run("--suite", "x", "--model", model, "--out", tmp_path / "out", "--reference", tmp_path)
    assert result.exit_code == 2
    assert "--judge" in result.output
    unknown = run("--suite", "x", "--model", model, "--out", tmp_path / "out")
    assert isinstance(unknown.exception, ConfigError)
    assert "complexfuncbench-replay" in str(unknown.exception)
