"""The trace that LangSmith receives, read by a local sink that speaks its ingest protocol."""

import json
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tracers import LangChainTracer
from langsmith import Client

from alpha_umi import Trajectory, create_umi_agent
from alpha_umi.nodes.models.scripted import Outputs, ScriptedChatModel, replay

SCRIPT: Outputs = {
    "planner": ["I add.\nNext: caller.", "I know.\nNext: conclusion."],
    "caller": ['Action: add\nAction Input: {"a": 2, "b": 3}'],
    "summarizer": ["The sum is 5."],
}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Sink(ThreadingHTTPServer):
    """Collects runs: the parts ``post.<id>`` and ``patch.<id>`` carry fields, ``post.<id>.<field>`` one field."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: dict[str, dict[str, Any]] = {}

    def add_part(self, name: str, payload: bytes) -> None:
        _, run_id, *field = name.split(".")
        value = json.loads(payload)
        self.runs.setdefault(run_id, {}).update({field[0]: value} if field else value)


class Handler(BaseHTTPRequestHandler):
    server: Sink

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output quiet."""

    def do_GET(self) -> None:
        config = {
            "use_multipart_endpoint": True,
            "size_limit": 100,
            "size_limit_bytes": 20_971_520,
            "scale_up_nthreads_limit": 1,
            "scale_up_qsize_trigger": 1000,
            "scale_down_nempty_trigger": 4,
        }
        self.reply(200, {"version": "0.12.0", "batch_ingest_config": config, "instance_flags": {}})

    def do_POST(self) -> None:
        body = self.read_body()
        header = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        for part in BytesParser(policy=HTTP).parsebytes(header + body).iter_parts():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            self.server.add_part(str(part.get_param("name", header="content-disposition")), payload)
        self.reply(202, {})

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def reply(self, status: int, content: dict[str, Any]) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


@pytest.fixture(scope="module")
def runs() -> Iterator[list[dict[str, Any]]]:
    with pytest.MonkeyPatch.context() as patch, Sink() as sink:
        patch.setenv("LANGSMITH_DISABLE_RUN_COMPRESSION", "true")
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        client = Client(api_url=f"http://127.0.0.1:{sink.server_address[1]}", api_key="local")
        tracer = LangChainTracer(client=client, project_name="test")
        agent = create_umi_agent(ScriptedChatModel(script=replay(SCRIPT)), [add])
        agent.invoke(
            {"messages": [HumanMessage("What is 2 + 3?")]},
            {"callbacks": [tracer], "configurable": {"thread_id": "thread-7"}},
        )
        tracer.wait_for_futures()
        client.flush()
        yield sorted(sink.runs.values(), key=lambda run: run["dotted_order"])
        sink.shutdown()


def test_langsmith_tree_shows_the_agent_its_nodes_models_and_tools(runs: list[dict[str, Any]]) -> None:
    names = {run["id"]: run["name"] for run in runs}
    tree = [(run["name"], run["run_type"], names.get(run.get("parent_run_id") or "")) for run in runs]
    step = [
        ("planner", "chain", "alpha-umi"),
        ("planner_model", "llm", "planner"),
        ("route_planner", "chain", "planner"),
    ]
    expected = [
        ("alpha-umi", "chain", None),
        ("entry", "chain", "alpha-umi"),
        ("route_entry", "chain", "entry"),
        *step,
        ("caller", "chain", "alpha-umi"),
        ("caller_model", "llm", "caller"),
        ("route_caller", "chain", "caller"),
        ("approval", "chain", "alpha-umi"),
        ("route_approval", "chain", "approval"),
        ("tools", "chain", "alpha-umi"),
        ("add", "tool", "tools"),
        *step,
        ("summarizer", "chain", "alpha-umi"),
        ("summarizer_model", "llm", "summarizer"),
    ]
    assert tree == expected


def test_langsmith_model_runs_carry_names_and_token_usage(runs: list[dict[str, Any]]) -> None:
    models = [run for run in runs if run["run_type"] == "llm"]
    assert len(models) == 4
    for run in models:
        assert run["extra"]["metadata"]["ls_model_name"] == "scripted"
        assert run["extra"]["metadata"]["ls_provider"] == "alpha_umi"
        usage = run["outputs"]["generations"][0][0]["message"]["kwargs"]["usage_metadata"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


def test_langsmith_runs_belong_to_the_thread(runs: list[dict[str, Any]]) -> None:
    assert {run["extra"]["metadata"]["thread_id"] for run in runs} == {"thread-7"}


def test_langsmith_root_run_holds_a_readable_trajectory(runs: list[dict[str, Any]]) -> None:

    outputs = runs[0]["outputs"]
    assert (outputs["answer"], outputs["finish"]) == ("The sum is 5.", "answer")
    trajectory = Trajectory.from_messages(outputs["messages"])
    assert [step.decision for step in trajectory.turns[0].steps] == ["caller", "conclusion"]
