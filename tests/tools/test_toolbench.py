import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools import Toolbox, load_tools
from alpha_umi.tools.toolbench import ToolBenchServer, find_server, load_toolbench, make_query_tools, read_folder
from alpha_umi.tools.toolbench.apis import make_name, standardize

Serve = Callable[[Any], str]
KEY = "tb-opensesame"


def make_parameter(name: str, kind: str = "STRING", default: Any = "", description: Any = "") -> dict[str, Any]:
    return {"name": name, "type": kind, "description": description, "default": default}


def make_api(name: str, required: Any = (), optional: Any = (), **more: Any) -> dict[str, Any]:
    parameters = {"required_parameters": list(required), "optional_parameters": list(optional)}
    return {"name": name, "description": f"What {name} does.", "method": "GET", **parameters, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tool folder of our own in ToolBench's form, with the faults of the real one."""
    weather = [
        make_api(
            "Daily Forecast (v2)",
            [make_parameter("lat", "NUMBER", 48.2), make_parameter("From", "DATE (YYYY-MM-DD)")],
            [make_parameter("units", "ENUM", "metric", "x" * 300), make_parameter("lat")],
        ),
        make_api("alerts", optional=[make_parameter("isActive", "BOOLEAN", None, None)], description=None),
        make_api("Report!", method="POST"),
        make_api("report"),
        make_api("broken", required=["no parameter"]),
        "no API",
    ]
    files: dict[str, Any] = {
        "Weather/sky.json": {"tool_name": "Sky", "tool_description": None, "api_list": weather},
        "Data/sky.json": {"tool_name": "Sky", "api_list": [make_api("alerts")]},
        "Data/empty.json": {},
        "Data/list.json": [],
        "Data/cut.json": '{"tool_name": "Cut", "api_li',
        "Data/deep.json": "[" * 100_000,
    }
    for name, content in files.items():
        path = tmp_path / "tools" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "tools/Data/binary.json").write_bytes(b"\xff\xfe\x00")
    return tmp_path / "tools"


class StandIn:
    """Stands in for ToolBench's server; answers as it is told and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[tuple[int, Any]] = []
        self.app = FastAPI()
        self.app.post("/virtual")(self.answer)

    async def answer(self, request: Request) -> Response:
        self.asked.append(await request.json())
        status, body = self.answers.pop(0) if self.answers else (200, {"error": "", "response": "sunny"})
        text = body if isinstance(body, str) else json.dumps(body)
        return Response(text, status, media_type="text/html" if text.startswith("<") else "application/json")


@pytest.fixture
def stand_in(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setenv("TOOLBENCH_URL", f"{serve(stand_in.app)}/virtual")
    monkeypatch.setenv("TOOLBENCH_KEY", KEY)
    return stand_in


def run(tools: list[BaseTool], name: str, /, **arguments: Any) -> str:
    return str(Toolbox(tools).execute(name, arguments, "1").content)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Get  Rates--(v2)!", "get_rates_v2"),
        ("__x__", "x"),
        ("2nd-hand", "get_2nd_hand"),
        ("天气 API", "天气_api"),
        ("Café", "caf"),
        ("a^b", "a_b"),
        ("!!", ""),
    ],
)
def test_names_are_made_as_toolbench_makes_them(written: str, name: str) -> None:
    assert standardize(written) == name


def test_reserved_names_are_replaced() -> None:
    assert [make_name(name) for name in ("From", "ID", "True", "!!", "identity")] == [
        *("is_from", "is_id", "is_true", "is_", "identity")
    ]


def test_folder_becomes_specs(folder: Path) -> None:
    apis, _ = read_folder(folder)
    specs = {api.spec.name: api.spec for api in apis}
    assert list(specs) == ["alerts_for_sky", "daily_forecast_v2_for_sky", "alerts_for_sky_2", "report_for_sky"]
    forecast = specs["daily_forecast_v2_for_sky"]
    assert forecast.description == (
        'This is the subfunction for tool "sky", you can use this tool.'
        'The description of this function is: "What daily_forecast_v2_for_sky does."'
    )
    assert forecast.parameters == {
        "type": "object",
        "properties": {
            "lat": {"type": "number", "description": "", "example_value": 48.2},
            "is_from": {"type": "string", "description": ""},
            "units": {"type": "string", "description": "x" * 256, "example_value": "metric"},
        },
        "required": ["lat", "is_from"],
    }


def test_optional_arguments_are_offered_where_none_is_required(folder: Path) -> None:
    apis, _ = read_folder(folder)
    alerts = next(api for api in apis if api.category == "Weather" and api.api == "alerts")
    assert alerts.spec.parameters["properties"] == {"isactive": {"type": "boolean", "description": ""}}
    assert alerts.spec.description == 'This is the subfunction for tool "sky", you can use this tool.'


def test_broken_files_and_entries_are_reported_and_left_out(
    folder: Path, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(load_toolbench(folder)) == 4
    for words in (
        "Data/binary.json cannot be read",
        "Data/cut.json cannot be read",
        "Data/deep.json cannot be read",
        "Data/empty.json has no list 'api_list'",
        "Data/list.json has no list 'api_list'",
        "Weather/sky.json, API 5 is left out",
        "Weather/sky.json, API 6 is left out",
        "Weather/sky has two APIs named 'report'",
    ):
        assert words in caplog.text


def test_long_name_is_cut_from_the_left(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    (tmp_path / "A/t.json").write_text(json.dumps({"api_list": [make_api("x" * 70), make_api("y" + "x" * 70)]}))
    apis, _ = read_folder(tmp_path)
    assert [api.spec.name for api in apis] == ["x" * 58 + "_for_t", "x" * 56 + "_for_t_2"]


def test_call_follows_the_protocol(folder: Path, stand_in: StandIn) -> None:
    tools = load_tools([f"toolbench:{folder}"])
    answer = run(tools, "daily_forecast_v2_for_sky", lat=48.25, is_from="2024-01-01")
    assert answer == '{"error": "", "response": "sunny"}'
    assert stand_in.asked == [
        {
            "category": "Weather",
            "tool_name": "sky",
            "api_name": "daily_forecast_v2",
            "tool_input": '{"lat": 48.25, "is_from": "2024-01-01"}',
            "strip": "truncate",
            "toolbench_key": KEY,
        }
    ]


def test_query_brings_its_own_tools(stand_in: StandIn) -> None:
    rows: list[dict[str, Any]] = [
        {
            "category_name": "Movies",
            "tool_name": "Top 100!",
            "api_name": "List",
            "api_description": "Lists.",
            "required_parameters": [],
            "optional_parameters": [make_parameter("page", "NUMBER")],
            "method": "GET",
            "template_response": {},
        },
        {"tool_name": "no api name"},
    ]
    (tool,) = make_query_tools(rows, find_server())
    assert run([tool], "list_for_top_100", page=2) == '{"error": "", "response": "sunny"}'
    asked = stand_in.asked[0]
    assert (asked["category"], asked["tool_name"], asked["api_name"]) == ("Movies", "top_100", "list")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, {"error": "Unsubscribed", "response": "no"}, '{"error": "Unsubscribed", "response": "no"}'),
        (200, "<html><title>Login</title></html>", "gave no answer that can be read"),
        (200, "", "gave no answer that can be read"),
        (200, "[1]", "gave no answer that can be read"),
        (200, "[" * 100_000, "gave no answer that can be read"),
        (500, "<html><title>Oops</title></html>", "500 Internal Server Error: a web page titled 'Oops'"),
        (404, "", "404 Not Found and nothing else"),
    ],
)  # fmt: skip
def test_every_bad_answer_is_a_readable_fault(
    folder: Path, stand_in: StandIn, status: int, body: Any, words: str
) -> None:
    stand_in.answers = [(status, body)]
    message = Toolbox(load_toolbench(folder)).execute("alerts_for_sky", {}, "1")
    assert words in str(message.content)
    assert message.status == "error"
    assert len(stand_in.asked) == 1


def test_only_apis_that_may_be_repeated_are_tried_again(folder: Path, stand_in: StandIn) -> None:
    tools = load_toolbench(folder)
    stand_in.answers = [(429, "slow down"), (503, "")]
    assert "sunny" in run(tools, "alerts_for_sky")
    stand_in.answers = [(429, "slow down")]
    assert "429 Too Many Requests: slow down" in run(tools, "report_for_sky")
    assert len(stand_in.asked) == 4


def test_key_is_shown_nowhere(folder: Path, stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tools = load_toolbench(folder)
    stand_in.answers = [(200, {"error": "", "response": f"your key is {KEY}"}), (403, f"bad key {KEY}")]
    shown = [run(tools, "alerts_for_sky"), run(tools, "alerts_for_sky"), caplog.text, repr(tools)]
    assert "your key is [redacted]" in shown[0]
    assert "bad key [redacted]" in shown[1]
    assert not [text for text in shown if KEY in text]


def test_key_needs_https_or_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLBENCH_KEY", KEY)
    for url in ("http://192.0.2.1:8080/rapidapi", "http://127.0.0.1.example.com/"):
        with pytest.raises(ConfigError, match="only sent over HTTPS or to this machine"):
            ToolBenchServer(url, key_variable="TOOLBENCH_KEY")
        ToolBenchServer(url)
    for url in ("https://tools.example/rapidapi", "http://localhost:8080/virtual", "http://[::1]:8080/virtual"):
        ToolBenchServer(url, key_variable="TOOLBENCH_KEY")


def test_wrong_settings_say_what_to_do(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOLBENCH_URL", raising=False)
    with pytest.raises(ConfigError, match="set TOOLBENCH_URL to the address"):
        load_toolbench(folder)
    monkeypatch.setenv("TOOLBENCH_URL", "localhost:8080")
    with pytest.raises(ConfigError, match="is no address of a ToolBench server"):
        load_toolbench(folder)
    monkeypatch.delenv("TOOLBENCH_URL")  # a folder that is not there is said first
    with pytest.raises(ConfigError, match=r"no ToolBench tool that can be used \(no files\). Give the folder"):
        load_toolbench(tmp_path / "none")
