"""The command line: in this process where that is enough, as a real process where signals and streams matter."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

import alpha_umi
from alpha_umi.cli.screen import LABEL_WIDTH
from tests.cli.conftest import Umi

SCRIPT = {
    "planner": ["I count the bolts.\nNext: caller.", "The bolts are counted.\nNext: conclusion."],
    "caller": ['Action: count\nAction Input: {"item": "bolt"}'],
    "summarizer": ["There are 7 bolts."],
}
GIVE_UP = {"planner": ["No tool can do this.\nNext: give up."]}
TOOLS = '''
import threading
import time

from alpha_umi import declare_effects

@declare_effects("none")
def count(item: str) -> int:
    """Count the pieces of an item."""
    print("noise on stdout")
    return {"bolt": 7, "nut": 3}[item]

done = threading.Event()

@declare_effects("none")
def late() -> str:
    """Ends after the other."""
    done.wait(60)
    time.sleep(0.2)
    return "came last"

@declare_effects("none")
def early() -> str:
    """Ends first."""
    done.set()
    return "came first"

@declare_effects("none")
def hang(item: str) -> str:
    """Never answers."""
    time.sleep(600)
    return item
'''
SLOW = """
from alpha_umi.cli import main
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.nodes.models.specs import SCHEMES, Scheme

SCHEMES["slow"] = Scheme("", "", lambda path, role, options: ScriptedChatModel.from_file(path, delay_s=0.1))
main()
"""


ASK = ("ask", "How many bolts?", "--model", "config.yaml")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with scripts, tools and a configuration, as working directory; nothing of the user's is touched."""
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(SCRIPT))
    (tmp_path / "give_up.yaml").write_text(yaml.safe_dump(GIVE_UP))
    hanging = {**SCRIPT, "caller": ['Action: hang\nAction Input: {"item": "bolt"}']}
    (tmp_path / "hang.yaml").write_text(yaml.safe_dump(hanging))
    config = {"models": "scripted:script.yaml", "tools": ["tools:count"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "slow.py").write_text(SLOW)
    with patch.dict(os.environ, {"ALPHA_UMI_THREADS": str(tmp_path / "threads.sqlite")}):
        os.environ.pop("COVERAGE_PROCESS_START", None)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delitem(sys.modules, "tools", raising=False)
        yield tmp_path


def read_paragraphs(out: str) -> list[tuple[str, str]]:
    """Return label and text of every paragraph on the screen."""
    paragraphs: list[tuple[str, str]] = []
    for line in out.splitlines():
        label, text = line[:LABEL_WIDTH].strip(), line[LABEL_WIDTH:]
        if label:
            paragraphs.append((label, text))
        else:
            paragraphs[-1] = (paragraphs[-1][0], f"{paragraphs[-1][1]}\n{text}")
    return paragraphs


def test_ask_shows_every_step_once(umi: Umi) -> None:
    done = umi(*ASK)
    assert done.code == 0
    assert read_paragraphs(done.out.replace("noise on stdout\n", "")) == [
        ("planner", "I count the bolts.\nNext: caller."),
        ("caller", 'Action: count\nAction Input: {"item": "bolt"}'),
        ("observation", "7"),
        ("planner", "The bolts are counted.\nNext: conclusion."),
        ("summarizer", "There are 7 bolts."),
    ]
    assert done.err == ""


def test_ask_json_is_one_object_and_nothing_else(umi: Umi) -> None:
    done = umi(*ASK, "--json")
    result = json.loads(done.out)
    assert list(result) == ["answer", "finish", "reason", "structured_response", "messages", "tools", "usage"]
    assert (result["answer"], result["finish"], result["reason"]) == ("There are 7 bolts.", "answer", None)
    assert [message["type"] for message in result["messages"]] == ["human", "ai", "tool", "ai"]
    assert result["messages"][1]["tool_calls"][0]["args"] == {"item": "bolt"}
    assert result["usage"]["total"] == result["usage"]["models"]["script"]
    assert result["usage"]["total"]["output_tokens"] > 0
    assert done.err == "noise on stdout\n"


def test_ask_gives_the_answer_in_a_response_format(umi: Umi) -> None:
    Path("form.json").write_text('{"type": "object", "properties": {"count": {"type": "integer"}}}')
    Path("counting.yaml").write_text(yaml.safe_dump({**SCRIPT, "summarizer": ['{"count": 7}']}))
    options = (
        "--model",
        "scripted:counting.yaml",
        "--tools",
        "tools:count",
        "--json",
        "--response-format",
        "form.json",
    )
    assert json.loads(umi("ask", "How many bolts?", *options).out)["structured_response"] == {"count": 7}
    Path("form.json").write_text("[]")
    done = umi("ask", "How many bolts?", *options)
    assert done.code == 2
    assert "write a JSON Schema" in done.err


def test_ask_json_is_training_data(umi: Umi) -> None:
    Path("own.json").write_text(umi(*ASK, "--json").out)
    assert umi("data", "build", "--source", "own:own.json", "--out", "data").code == 0
    row = json.loads(Path("data/trajectories.jsonl").read_text())
    assert [tool["name"] for tool in row["trajectory"]["tools"]] == ["count"]


def test_threads_file_is_not_the_one_that_the_tool_reads(umi: Umi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_UMI_DATABASE", "shop.sqlite")
    assert umi(*ASK, "--thread", "bolts").code == 0
    assert not Path("shop.sqlite").exists()


def test_ask_reads_the_question_from_stdin(umi: Umi) -> None:
    done = umi("ask", "-", "-m", "config.yaml", "--json", stdin="How many\nbolts?\n")
    assert json.loads(done.out)["messages"][0]["content"] == "How many\nbolts?\n"


def test_ask_uses_tools_of_a_file_in_the_working_directory(umi: Umi) -> None:
    done = umi("ask", "How many?", "-m", "scripted:script.yaml", "-t", "tools:count")
    assert ("observation", "7") in read_paragraphs(done.out.replace("noise on stdout\n", ""))


def test_ask_gives_up_with_code_3_and_says_the_reason_once(umi: Umi) -> None:
    done = umi("ask", "Fly!", "-m", "scripted:give_up.yaml")
    assert done.code == 3
    assert read_paragraphs(done.out) == [("planner", "No tool can do this.\nNext: give up.")]


def test_ask_without_a_decision_gives_up_and_says_why(umi: Umi, workplace: Path) -> None:
    (workplace / "hm.yaml").write_text("planner: [hm]")
    done = umi("ask", "Fly!", "-m", "scripted:hm.yaml")
    assert done.code == 3
    assert [label for label, _ in read_paragraphs(done.out)] == ["planner", "planner", "gave up"]
    assert "no decision" in done.out


def test_ask_step_limit_is_an_answer(umi: Umi, workplace: Path) -> None:
    (workplace / "more.yaml").write_text(yaml.safe_dump({**SCRIPT, "planner": SCRIPT["planner"][:1]}))
    done = umi("ask", "How many?", "-m", "scripted:more.yaml", "-t", "tools:count", "--max-steps", "1")
    assert done.code == 0
    assert read_paragraphs(done.out)[-1][0] == "step limit"
    assert "There are 7 bolts." in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["ask"], 2, "question"),
        (["ask", " "], 2, "empty"),
        (["ask", "hi", "--max-steps", "0"], 2, "1"),
        (
            ["ask", "hi", "--model", "missing.yaml"],
            2,
            "'missing.yaml' is neither a file nor a role spec; there is no",
        ),
        (["models", "pull", "smollm2-135m-umi"], 2, "ships with this package"),
        (["models", "pull", "org/name"], 2, "add --source hub"),
        (["ask", "hi", "--model", "broken.yaml"], 2, "modles"),
        (["ask", "hi", "--model", "bogus:x"], 2, "hf:"),
        (["ask", "hi", "--model", "scripted:missing.yaml"], 2, "missing.yaml"),
        (["ask", "hi", "--model", "config.yaml", "--tools", "nowhere:x"], 2, "nowhere"),
        (["ask", "hi", "--model", "config.yaml", "--thread", "t", "--database", "tools.py"], 2, "--database"),
        (["ask", "hi", "--model", "hf:smollm2-135m"], 1, "models pull"),
        (["ask", "hi", "--model", "config.yaml", "--database", "t.sqlite"], 2, "it keeps threads"),
        (["models", "pull", "unknown"], 2, "unknown"),
        (["fly"], 2, "fly"),
    ],
)
def test_error_is_one_message_on_stderr(
    umi: Umi, workplace: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, expected: str
) -> None:
    monkeypatch.setenv("ALPHA_UMI_CACHE", str(workplace / "empty"))
    (workplace / "broken.yaml").write_text("modles: x")
    done = umi(*arguments)
    assert done.code == code
    assert done.out == ""
    assert expected in done.err
    assert "Traceback" not in done.err


def test_debug_shows_where_an_error_happened(umi: Umi) -> None:
    done = umi("--debug", "ask", "hi", "--model", "missing.yaml")
    assert done.code == 2
    assert "Traceback" in done.err
    assert "missing.yaml" in done.err


def test_calls_that_may_change_something_ask_unless_told_otherwise(umi: Umi) -> None:
    tools = Path("tools.py")
    tools.write_text(tools.read_text().replace('@declare_effects("none")\n', ""))
    asked = umi(*ASK, stdin="y\n")
    assert asked.code == 0
    assert "Asked because it may change something" in asked.out
    for yes in ("--yes", "-y"):
        assert (umi(*ASK, yes).code, "Asked because" in umi(*ASK, yes).out) == (0, False)
    config = yaml.safe_load(Path("config.yaml").read_text())
    for setting, code in ((False, 0), ([{"tool": "count", "ask": "never"}], 0), (None, 2)):
        Path("config.yaml").write_text(yaml.safe_dump({**config, "approve_tools": setting}))
        assert umi(*ASK).code == code
    piped = umi(*ASK, "--json", is_terminal=False)
    assert (piped.code, piped.out) == (2, "")
    assert all(each in piped.err for each in ("count", '{"item": "bolt"}', "may change something", "--yes"))


def test_approve_runs_what_the_person_allows(umi: Umi) -> None:
    assert ("observation", "7") in read_paragraphs(umi(*ASK, "--approve", stdin="what?\ny\n").out.split("stdout\n")[-1])


def test_approve_no_is_an_observation_with_the_reason(umi: Umi) -> None:
    done = umi(*ASK, "--approve", "--json", stdin="n\ntoo dear\n")
    refusal = json.loads(done.out)["messages"][2]
    assert refusal["status"] == "error"
    assert "too dear" in refusal["content"]
    assert "noise" not in done.err


def test_approve_edit_runs_the_persons_arguments(umi: Umi) -> None:
    done = umi(*ASK, "--approve", "--json", stdin='e\nnonsense\n[1]\n{"item": "nut"}\n')
    messages = json.loads(done.out)["messages"]
    assert messages[1]["tool_calls"][0]["args"] == {"item": "nut"}
    assert messages[2]["content"] == "3"


def test_approve_edit_is_asked_again_until_it_can_run(umi: Umi) -> None:
    done = umi(*ASK, "--approve", "--json", stdin='e\n{"thing": 1}\ne\ncount_all {}\ne\ncount {"item": "nut"}\n')
    assert json.loads(done.out)["messages"][2]["content"] == "3"


def test_approve_answer_is_the_observation_and_the_tool_does_not_run(umi: Umi) -> None:
    done = umi(*ASK, "--approve", "--json", stdin="yikes\na\n12 bolts\n")
    message = json.loads(done.out)["messages"][2]
    assert (message["content"], message["status"]) == ("12 bolts", "success")
    assert "noise" not in done.err


def test_approve_asks_for_several_calls_one_by_one(umi: Umi) -> None:
    call = SCRIPT["caller"][0]
    script = {**SCRIPT, "caller": [f"{call}\n{call}".replace("bolt", "nut", 1)]}
    (Path.cwd() / "script.yaml").write_text(yaml.safe_dump(script))
    done = umi(*ASK, "--approve", "--json", stdin="n\nno nuts\ny\n")
    contents = [message["content"] for message in json.loads(done.out)["messages"] if message["type"] == "tool"]
    assert "no nuts" in contents[0]
    assert contents[1] == "7"


def test_approve_asks_what_the_rules_of_the_configuration_say(umi: Umi) -> None:
    rules = [{"tool": "co*", "source": "langchain", "allow": ["reject"]}, {"ask": "never"}]
    config = yaml.safe_load((Path.cwd() / "config.yaml").read_text())
    (Path.cwd() / "config.yaml").write_text(yaml.safe_dump({**config, "approve_tools": rules}))
    done = umi(*ASK, "--json", stdin="y\nn\n\n")
    assert "rejected" in json.loads(done.out)["messages"][2]["content"]


def test_approve_allows_nothing_that_a_rule_does_not(umi: Umi) -> None:
    config = yaml.safe_load(Path("config.yaml").read_text())
    Path("config.yaml").write_text(
        yaml.safe_dump({**config, "approve_tools": [{"tool": "count", "allow": ["reject"]}]})
    )
    done = umi(*ASK, "--approve", "--json", stdin="y\nn\n\n")
    assert "rejected" in json.loads(done.out)["messages"][2]["content"]
    assert "noise" not in done.err


def test_approve_without_a_person_is_an_error(umi: Umi) -> None:
    done = umi(*ASK, "--approve")
    assert done.code == 2
    assert "nobody" in done.err


def test_approve_takes_nothing_from_a_pipe(umi: Umi) -> None:
    done = umi(*ASK, "--approve", stdin="y\n", is_terminal=False)
    assert done.code == 2
    assert "no terminal" in done.err
    assert "noise" not in done.out + done.err


def test_ask_thread_is_gone_on_with(umi: Umi) -> None:
    umi(*ASK, "--thread", "bolts")
    result = json.loads(umi(*ASK, "--thread", "bolts", "--json").out)
    assert [message["type"] for message in result["messages"]].count("human") == 2


def test_chat_keeps_its_thread_and_begins_others(umi: Umi) -> None:
    chat = ("chat", "-m", "config.yaml", "--thread", "bolts")
    first = umi(*chat, stdin="How many bolts?\nAre you sure?\n/help\n/continue\n/new\n")
    assert first.code == 0
    assert first.out.count("There are 7 bolts.") == 2
    assert "Thread bolts, new." in first.out
    assert "nothing to go on with" in first.out
    assert "2 earlier" in umi(*chat, stdin="/quit\nnot read").out


def test_threads_are_listed_newest_first(umi: Umi) -> None:
    assert umi("threads").out == "No threads yet.\n"
    umi(*ASK, "--thread", "bolts")
    umi("chat", "-m", "config.yaml", "--thread", "nuts", stdin=f"How many\nAnd {'x' * 80}?\n")
    umi(*ASK)
    newest, oldest = umi("threads").out.splitlines()
    assert re.fullmatch(r"nuts +20\d\d-\d\d-\d\d \d\d:\d\d +2  How many", newest)
    assert re.fullmatch(r"bolts +\S+ \S+ +1  How many bolts\?", oldest)
    assert umi("threads", "--limit", "1") == (0, f"{newest}\n", "")
    assert "no such file" in umi("threads", "--database", "typo.sqlite").err
    sqlite3.connect("other.sqlite").close()
    assert umi("threads", "--database", "other.sqlite") == (0, "No threads yet.\n", "")
    assert Path("other.sqlite").stat().st_size == 0


def test_threads_are_deleted_and_a_name_that_is_none_deletes_nothing(umi: Umi) -> None:
    for name in ("old", "new", "kept"):
        umi("ask", "What is 6 times 7?", "--thread", name)
    assert "no thread 'typo'" in umi("threads", "delete", "old", "typo").err
    assert umi("threads", "delete", "old", "new") == (0, "Deleted old.\nDeleted new.\n", "")
    assert [line.split()[0] for line in umi("threads").out.splitlines()] == ["kept"]


def test_chat_in_a_pipe_shows_what_it_reads(umi: Umi) -> None:
    text = "How many bolts?\n/halp\n"
    done = umi("chat", "-m", "config.yaml", "--thread", "bolts", stdin=text, is_terminal=False)
    assert "you          How many bolts?\nplanner" in done.out
    assert "There is no command /halp. Ctrl-C" in done.out
    assert "1 earlier question." in umi("chat", "-m", "config.yaml", "--thread", "bolts").out


def test_chat_survives_an_error(umi: Umi) -> None:
    done = umi("chat", "-m", "scripted:missing.yaml", stdin="hi\n")
    assert done.code == 2  # a model that cannot be made is known before the first question
    (Path.cwd() / "half.yaml").write_text(yaml.safe_dump({"planner": SCRIPT["planner"][1:]}))
    done = umi("chat", "-m", "scripted:half.yaml", stdin="hi\n/quit\n")
    assert done.code == 0
    assert "no output for the summarizer" in done.err


def test_graph_prints_the_drawing(umi: Umi) -> None:
    done = umi("graph")
    assert done.code == 0
    assert "planner -. &nbsp;conclusion&nbsp; .-> summarizer;" in done.out


def test_graph_of_one_strategy_shows_no_other(umi: Umi) -> None:
    react, dfsdt = umi("graph", "--strategy", "react").out, umi("graph", "--strategy", "dfsdt").out
    assert "give_up" in react
    assert "dfsdt" not in react
    assert "search" in dfsdt
    assert "give_up" not in dfsdt
    assert {line for line in (react + dfsdt).splitlines() if "-->" in line} < set(umi("graph").out.splitlines())


@pytest.mark.parametrize("question", ["-5 + 3?", "-(2+3) minutes", "- 5 + 3, what is it?"])
def test_ask_takes_a_question_that_begins_with_a_sign(umi: Umi, question: str) -> None:
    done = umi("ask", question, "--model", "config.yaml", "--json")
    assert json.loads(done.out)["messages"][0]["content"] == question
    assert umi("ask", "--json", question, "--max-steps", "-1").err.count("--max-steps") > 0
    assert umi("ask", "--jsonn", question).err.count("--jsonn") > 0


def test_ask_shows_what_parallel_calls_observed_in_their_order_with_names(umi: Umi, workplace: Path) -> None:
    call = "Action: {}\nAction Input: {{}}"
    calls = "\n".join(call.format(name) for name in ("late", "early"))
    (workplace / "script.yaml").write_text(yaml.safe_dump({**SCRIPT, "caller": [calls]}))
    done = umi(*ASK, "--tools", "tools:late", "--tools", "tools:early")
    seen = [text for label, text in read_paragraphs(done.out) if label == "observation"]
    assert seen == ["late: came last", "early: came first"]


def test_module_and_names_of_the_package_are_found() -> None:
    done = subprocess.run([sys.executable, "-m", "alpha_umi", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["alpha-umi", alpha_umi.__version__]
    assert {*alpha_umi.__all__, "__version__"} <= set(dir(alpha_umi))


def test_models_list_says_what_is_here(umi: Umi, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_UMI_CACHE", str(workplace / "empty"))
    done = umi("models", "list")
    assert done.out.startswith("smollm2-135m")
    assert "not pulled" in done.out


@contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command line as a process of its own, which also knows the role spec ``slow:FILE``."""
    with subprocess.Popen(
        [sys.executable, "slow.py", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read stdout up to `text`."""
    assert process.stdout is not None
    seen = ""
    while text not in seen:
        character = process.stdout.read(1)
        assert character, f"ended after {seen!r}: {process.communicate()[1]}"
        seen += character
    return seen


@pytest.mark.parametrize(
    ("model", "sign"), [("slow:script.yaml", "I count"), ("scripted:hang.yaml", '{"item": "bolt"}\n')]
)
def test_interrupt_stops_ask_at_once_and_leaves_the_thread_resumable(umi: Umi, model: str, sign: str) -> None:
    tools = ("-t", "tools:count", "-t", "tools:hang")
    with start("ask", "How many bolts?", "-m", model, *tools, "--thread", "t") as process:
        read_until(process, sign)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)  # the tool would take 600 s
    assert (process.returncode, err) == (130, "")
    Path("tools.py").write_text(TOOLS.replace("600", "0"))
    done = umi("chat", "-m", "scripted:script.yaml", *tools, "--thread", "t", stdin="/continue\n")
    assert "1 earlier" in done.out
    assert "was stopped" in done.out
    assert "There are 7 bolts." in done.out


def test_interrupt_stops_the_answer_but_not_the_chat() -> None:
    with start("chat", "-m", "slow:script.yaml", "-t", "tools:count") as process:
        assert process.stdin is not None
        process.stdin.write("How many bolts?\n")
        process.stdin.flush()
        read_until(process, "planner      I count")
        process.send_signal(signal.SIGINT)
        read_until(process, "Stopped.")
        out, err = process.communicate("/continue\n", timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "There are 7 bolts." in out


def test_closed_pipe_ends_the_command_quietly() -> None:
    with start(*ASK) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


def test_version_is_that_of_the_package(umi: Umi) -> None:
    done = umi("--version")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"alpha-umi \d+\.\d+\.\d+\n", done.out)


@pytest.mark.parametrize(
    "damage",
    [
        "checkpoint = X'00ff17'",
        "checkpoint = X'93c0c0c0'",
        "metadata = '[]'",
        "metadata = '-1'",
        "metadata = X'ff'",
        "type = 'nothing'",
    ],
)
def test_a_damaged_thread_is_told_and_can_be_deleted(umi: Umi, damage: str) -> None:
    kept = ("--database", "threads.sqlite")
    for name in ("kept", "hurt"):
        umi(*ASK, *kept, "--thread", name)
    newest = "(SELECT MAX(checkpoint_id) FROM checkpoints WHERE thread_id = 'hurt')"
    with closing(sqlite3.connect("threads.sqlite")) as database, database:
        database.execute(f"UPDATE checkpoints SET {damage} WHERE thread_id = 'hurt' AND checkpoint_id = {newest}")
    listed = {line.split()[0]: line for line in umi("threads", *kept).out.splitlines()}
    assert "How many bolts?" in listed["kept"]
    assert "delete the thread" in listed["hurt"]
    assert umi("threads", "delete", "hurt", *kept) == (0, "Deleted hurt.\n", "")
    assert [line.split()[0] for line in umi("threads", *kept).out.splitlines()] == ["kept"]
