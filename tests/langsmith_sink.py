"""What LangSmith's client talks to, in this process: it takes runs, datasets, examples, experiments and feedback."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from langsmith import Client

KEY = "local"
TENANT = "11111111-1111-1111-1111-111111111111"
INFO = {
    "version": "0.16.0",
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
        "scale_up_nthreads_limit": 1,
        "scale_up_qsize_trigger": 1000,
        "scale_down_nempty_trigger": 4,
    },
}


class Sink(ThreadingHTTPServer):
    """Keeps what it is sent, by id.

    Args:
        multipart: Whether it takes examples in parts, as LangSmith's cloud does; installations of old take JSON.
    """

    def __init__(self, *, multipart: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.info = {**INFO, "instance_flags": {"dataset_examples_multipart_enabled": multipart}}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[str] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.datasets: dict[str, dict[str, Any]] = {}
        self.examples: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.feedback: dict[str, dict[str, Any]] = {}

    def make_client(self, key: str | None = KEY) -> Client:
        return Client(api_url=self.url, api_key=key)

    def list_feedback(self, session: str) -> dict[tuple[str, str], dict[str, Any]]:
        """The feedback on an experiment, by the example's id and the key."""
        (session_id,) = [each["id"] for each in self.sessions.values() if each["name"].startswith(session)]
        examples = {id_: example for id_, run in self.runs.items() if (example := run.get("reference_example_id"))}
        return {
            (examples[each["run_id"]], each["key"]): each
            for each in self.feedback.values()
            if each["session_id"] == session_id
        }

    def put(self, table: dict[str, dict[str, Any]], fields: dict[str, Any]) -> dict[str, Any]:
        id_ = str(fields.get("id") or uuid4())
        table[id_] = {**table.get(id_, {"created_at": _now()}), **fields, "id": id_, "modified_at": _now()}
        return table[id_]

    def add_run_part(self, name: str, value: Any) -> None:
        """Take a part: ``post.<id>`` and ``patch.<id>`` carry fields, ``post.<id>.<field>`` one field."""
        verb, id_, *field = name.split(".")
        table = self.feedback if verb == "feedback" else self.runs
        table.setdefault(id_, {}).update({field[0]: value} if field else value)


class Handler(BaseHTTPRequestHandler):
    server: Sink

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output quiet."""

    def do_GET(self) -> None:
        if self.path == "/info":
            self.reply(200, self.server.info)
        else:
            self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PATCH(self) -> None:
        self.answer()

    def answer(self) -> None:
        url = urlsplit(self.path)
        body = self.read_body()
        self.server.requests.append(f"{self.command} {url.path}")
        if self.headers["x-api-key"] != KEY:
            self.reply(401, {"detail": "Invalid token"})
            return
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.reply(*self.handle_path(f"{self.command} {url.path}", query, body))

    def handle_path(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        sink = self.server
        if path == "POST /runs/multipart":
            for name, value in self.read_parts(body):
                sink.add_run_part(name, value)
            return 202, {}
        if match := re.fullmatch(r"(?:POST|PATCH) /v1/platform/datasets/([\w-]+)/examples", path):
            return 201, self.put_examples(self.join_parts(body), match[1])
        given: Any = json.loads(body) if body else None
        if path == "POST /api/v2/runs/query":
            return 200, self.query_runs(given)
        match path.split("/")[0] + path.split("/")[1], path.split("/")[2:]:
            case "GET datasets", []:
                return 200, [each for each in sink.datasets.values() if each["name"] == query["name"]]
            case "POST datasets", []:
                return 200, sink.put(sink.datasets, {"tenant_id": TENANT, **given})
            case "GET examples", []:
                found = [each for each in sink.examples.values() if each["dataset_id"] == query["dataset"]]
                start = int(query["offset"])
                return 200, found[start : start + int(query["limit"])]
            case (("POST examples" | "PATCH examples"), ["bulk"]):
                self.put_examples(given, None)
                return 200, given
            case "POST sessions", []:
                return 200, sink.put(sink.sessions, {"tenant_id": TENANT, **given})
            case "PATCH sessions", [id_]:
                return 200, sink.put(sink.sessions, {**_drop_nulls(given), "id": id_})
            case "GET sessions", []:
                return 200, [each for each in sink.sessions.values() if each["name"] == query.get("name", each["name"])]
            case "POST feedback", []:
                return 200, sink.put(sink.feedback, given)
        return 404, {"detail": f"the sink does not know {path}"}

    def query_runs(self, query: dict[str, Any]) -> dict[str, Any]:
        """Return two root runs a page, the newest first, of these projects and with all tags of the filter."""
        sink, wanted = self.server, set(re.findall(r'has\(tags, "([^"]*)"\)', query.get("filter", "")))
        names = [sink.sessions[id_]["name"] for id_ in query["project_ids"]]
        assert query["is_root"]
        assert query["min_start_time"] < "2021"
        found = [run for run in sink.runs.values() if run.get("session_name") in names and not run.get("parent_run_id")]
        found = [run for run in found if wanted <= set(run.get("tags") or ())]
        found.sort(key=lambda run: str(run["start_time"]), reverse=True)
        start = int(query.get("cursor") or 0)
        items = [{name: run.get(name) for name in ("id", "inputs", "outputs", "error")} for run in found]
        for item in items:
            item["feedback_stats"] = {
                each["key"]: {"n": 1, "avg": each["score"]}
                for each in sink.feedback.values()
                if each["run_id"] == item["id"]
            }
        more = {"next_cursor": str(start + 2)} if start + 2 < len(items) else {}
        return {"items": items[start : start + 2], **more}

    def put_examples(self, examples: list[dict[str, Any]], dataset: str | None) -> dict[str, Any]:
        """Take examples; that one of these ids was there is a conflict, as for LangSmith."""
        for each in examples:
            assert self.command == "PATCH" or each["id"] not in self.server.examples, f"conflict: {each['id']}"
            self.server.put(self.server.examples, {**each, **({"dataset_id": dataset} if dataset else {})})
        return {"count": len(examples), "example_ids": [each["id"] for each in examples]}

    def join_parts(self, body: bytes) -> list[dict[str, Any]]:
        examples: dict[str, dict[str, Any]] = {}
        for name, value in self.read_parts(body):
            id_, _, field = name.partition(".")
            examples.setdefault(id_, {"id": id_}).update({field: value} if field else value)
        return list(examples.values())

    def read_parts(self, body: bytes) -> Iterator[tuple[str, Any]]:
        header = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        for part in BytesParser(policy=HTTP).parsebytes(header + body).iter_parts():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            yield str(part.get_param("name", header="content-disposition")), json.loads(payload)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def reply(self, status: int, content: Any) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def _drop_nulls(given: dict[str, Any]) -> dict[str, Any]:
    """Leave alone what a PATCH does not say."""
    return {name: value for name, value in given.items() if value is not None}


def _now() -> str:
    return datetime.now(UTC).isoformat()


@contextmanager
def run_sink(*, multipart: bool = True) -> Iterator[Sink]:
    """A sink that answers until the end; its clients must not compress what they send."""
    with Sink(multipart=multipart) as sink:
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        yield sink
        sink.shutdown()
