from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.escaping import Style, escape
from alpha_umi.nodes.format.parsing import MAX_DEPTH, ParsedCall, Plan, parse_answer, parse_calls, parse_plan
from alpha_umi.nodes.format.reasoning import SaidSoFar
from alpha_umi.nodes.format.render import render_messages, render_plan
from alpha_umi.nodes.format.trajectory import DECISIONS, Decision, Trajectory

FRAGMENTS = ["Next", ":", " ", "\n", "**", "call", "er", "give up", "conclusion.", "Action", " Input", "```json", '"']
FRAGMENTS += ["{", "}", "[", "]", '"name"', '"arguments"', ",", "\\", "1e999", "NaN", "9" * 30, "\ud800", '"\\ud800"']
texts = st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))
styles = st.sampled_from(["umi", "toolbench"])


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("Next: caller.", "caller"),
        ("next: CALLER", "caller"),
        ("**Next:** caller", "caller"),
        ("**Next**: `call`.", "caller"),
        ("Next:\nTool", "caller"),
        ("Next : 'conclusion'", "conclusion"),
        ("Next: Summarizer, please", "conclusion"),
        ("Next: summarize.", "conclusion"),
        ("Next: conclude", "conclusion"),
        ("Next: answer", "conclusion"),
        ("Next: finish!", "conclusion"),
        ("Next: give up.", "give up"),
        ("Next: give_up", "give up"),
        ("Next: giveup", "give up"),
        ("Next: Give-Up and restart", "give up"),
    ],
)
def test_parse_plan_reads_decision(text: str, decision: Decision) -> None:
    assert parse_plan(text) == Plan("", decision)
    assert parse_plan(f" I think.\n{text}\nNext: something") == Plan("I think.", decision)


def test_parse_plan_takes_first_decision() -> None:
    assert parse_plan("A. Next: caller. B. Next: give up. Next: conclusion.") == Plan("A.", "caller")


@pytest.mark.parametrize(
    "text", ["", "Just a thought.", "Next: foo", "Next: callers", "Next: call the API", "Nextcaller"]
)
def test_parse_plan_without_decision_keeps_text(text: str) -> None:
    assert parse_plan(f" {text}\n") == Plan(text, None)


def test_parse_plan_looks_past_what_is_no_decision() -> None:
    text = "Next: I call the weather tool. Next: finish the report first. Next: caller."
    assert parse_plan(text) == Plan(text[: -len(" Next: caller.")], "caller")


@given(text=texts, decision=st.sampled_from(DECISIONS), style=styles)
def test_parse_plan_inverts_render_plan(text: str, decision: Decision, style: Style) -> None:
    rationale = escape(text.strip())
    expected = parse_plan(rationale) if parse_plan(rationale).decision else Plan(rationale.strip(), decision)
    assert parse_plan(render_plan(text, decision, style=style)) == expected


def test_parse_calls_reads_one_call() -> None:
    text = 'I call it now.\nAction: get_weather\nAction Input: {"city": "Paris", "days": 3}\nThen I wait.'
    assert parse_calls(text) == (ParsedCall("get_weather", {"city": "Paris", "days": 3}),)


def test_parse_calls_reads_several_calls() -> None:
    text = 'Action: a\nAction Input: {"x": "Action: b"}\n\nAction: c\nAction Input: {}'
    assert parse_calls(text) == (ParsedCall("a", {"x": "Action: b"}), ParsedCall("c", {}))


def test_parse_calls_leaves_out_what_follows_an_invented_observation() -> None:
    text = "Action: a\nAction Input: {}\nObservation: 5\nAction: b\nAction Input: {}"
    assert parse_calls(text) == (ParsedCall("a", {}),)


@pytest.mark.parametrize(
    "text",
    [
        'action: add action input: {"a": 1}',
        '[I add.]\nAction: add\nAction Input: {"a": 1}',
        '**Action:** `add`\n**Action Input:** {"a": 1}',
        'Action : add,\r\n\r\nAction Input :\n```json\n{"a": 1}\n```',
        '{"name": "add", "arguments": {"a": 1}}',
        '[{"name": "add", "parameters": {"a": 1}}]',
        'Sure!\n```json\n{"name": "add", "args": {"a": 1}}\n```',
        '<tool_call>\n{"name": "add", "input": {"a": 1}}\n</tool_call> Done {',
        '{"id": "1", "type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 1}"}}',
    ],
)
def test_parse_calls_reads_variants(text: str) -> None:
    assert parse_calls(text) == (ParsedCall("add", {"a": 1}),)


def test_parse_calls_reads_several_json_calls() -> None:
    call = '{"name": "add", "arguments": {}}'
    expected = (ParsedCall("add", {}),) * 2
    assert parse_calls(f"[{call}, {call}]") == expected
    assert parse_calls(f"<tool_call>{call}</tool_call>\n<tool_call>{call}</tool_call>") == expected


@pytest.mark.parametrize(
    ("text", "name", "fault"),
    [
        ("", "", "no tool call"),
        ("Let me think.", "", "no tool call"),
        ("Action: add", "add", "no Action Input"),
        ("Action: add\nAction Input:", "add", "Expecting value at character 0"),
        ("Action: add\nAction Input: {'a': 1}", "add", "double quotes at character 1"),
        ('Action: add\nAction Input: {"a": 1', "add", "delimiter at character 7"),
        ("Action: add\nAction Input: Paris", "add", "not valid JSON"),
        ("Action: add\nAction Input: [1]", "add", "is a list, not a JSON object"),
        ("Action: add\nAction Input: null", "add", "is null, not a JSON object"),
        ('Action: add\nAction Input: {"a": NaN}', "add", "NaN"),
        ('Action: add\nAction Input: {"a": -Infinity}', "add", "Infinity"),
        ('Action: add\nAction Input: {"a": 1e999}', "add", "1e999 is too large"),
        ('Action: add\nAction Input: {"a": 99999999999999999999}', "add", "is too large"),
        ("Action:\nAction Input: {}", "", "no tool name"),
        ('{"name": "add"}', "", 'no "arguments"'),
        ('{"name": "add", "arguments": 3}', "", "is a number"),
        ('{"arguments": {}}', "", "names no tool"),
        ('{"name": 3, "arguments": {}}', "", "names no tool"),
        ("{", "", "not valid JSON"),
        ("[]", "", "no tool call"),
    ],
)
def test_parse_calls_explains_fault(text: str, name: str, fault: str) -> None:
    (call,) = parse_calls(text)
    assert call.name == name
    assert isinstance(call.arguments, str)
    assert call.fault is not None
    assert fault in call.fault
    assert "write" in call.fault


def test_parse_calls_keeps_good_calls_before_a_fault() -> None:
    good, bad = parse_calls("Action: a\nAction Input: {}\nAction: b\nAction Input: {oops} \nAction: c")
    assert good == ParsedCall("a", {})
    assert (bad.name, bad.arguments) == ("b", "{oops} \nAction: c")


@pytest.mark.parametrize("n_levels", [MAX_DEPTH + 1, 100_000])
def test_parse_calls_refuses_deep_nesting(n_levels: int) -> None:
    (call,) = parse_calls('Action: a\nAction Input: {"a":' + "[" * n_levels + "]" * n_levels + "}")
    assert call.fault == "Action Input is nested too deeply; write a flatter JSON object."


@pytest.mark.parametrize(
    "unit", ["Next:", "Next: ", "*", " ", "Action:", "Action Input:", "Action:\nAction Input:", "[ ", "。", "“"]
)
@pytest.mark.parametrize("parse", [parse_plan, parse_calls])
def test_parsers_are_linear(unit: str, parse: Callable[[str], object]) -> None:
    """Quadratic ones would take hours."""
    parse(unit * (2_000_000 // len(unit)))
    parse("Action: a" + unit * (2_000_000 // len(unit)) + '{"a":')


@given(data=st.data(), style=styles)
def test_parse_calls_inverts_render(
    trajectories: st.SearchStrategy[Trajectory], data: st.DataObject, style: Style
) -> None:
    trajectory = data.draw(trajectories)
    written = [message.content for message in render_messages(trajectory, style=style) if message.role == "caller"]
    steps = [step for turn in trajectory.turns for step in turn.steps if step.calls]
    assert len(written) == len(steps)
    for text, step in zip(written, steps, strict=True):
        parsed = [call for call in step.calls if isinstance(call.arguments, dict)]
        read = [(call.name, call.arguments) for call in parse_calls(str(text))]
        assert read[: len(parsed)] == [(call.name, call.arguments) for call in parsed]


@pytest.mark.parametrize("tag", ["think", "thinking", "reasoning", "Thought"])
@pytest.mark.parametrize("opening", [True, False])
def test_thoughts_are_no_plan_no_call_and_no_answer(tag: str, opening: bool) -> None:
    thought = (
        f'{"<" * opening}{tag * opening}{">" * opening}Next: give up.\nAction: a\nAction Input: {{"x": 1}}\n</{tag}>\n'
    )
    assert parse_plan(f"{thought}I add. Next: caller.") == Plan("I add.", "caller")
    assert parse_calls(f'{thought}Action: b\nAction Input: {{"y": 2}}') == (ParsedCall("b", {"y": 2}),)
    assert parse_answer(f"{thought}It is 3.") == "It is 3."


@pytest.mark.parametrize(
    "text", ["<think>Next: caller.", " \n<think>\nNext: caller. Next: give up.", "Next: caller.</think>"]
)
def test_thoughts_that_were_cut_hold_no_decision(text: str) -> None:
    assert parse_plan(text) == Plan("", None)


def test_thoughts_between_parts_of_a_plan_are_left_out() -> None:
    text = "I add. <think>Or Next: give up.? <think>No.</think></think> Then I see. Next: caller."
    assert parse_plan("<think>Hm.</think>" + text.replace("<think>No.</think>", "")).decision == "caller"
    assert parse_plan(text) == Plan("Then I see.", "caller")


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ('<thinking id="1">', "</thinking>"),
        ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<|channel>thought\n", "<channel|>"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_thoughts_are_marked_in_many_ways(opening: str, closing: str) -> None:
    text = f"{opening}\nIs it Next: give up.?\n{closing}\nI add. Next: caller."
    assert parse_plan(text) == Plan("I add.", "caller")
    assert parse_plan(text.removeprefix(opening)) == Plan("I add.", "caller")
    shown = SaidSoFar()
    assert "".join(shown.feed(sign) for sign in text) + shown.feed("", is_last=True) == "I add. Next: caller."


@pytest.mark.parametrize(
    "text", ["See [Thinking](https://a.b) <b>x", "a [reasoning] b", "1 <thought and 2 > 0", "<|end|>"]
)
def test_other_signs_are_no_thoughts(text: str) -> None:
    assert parse_answer(text) == text


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "th", '"', "[", ": ", "a", "`", " ", "\n", "}", ">"])))
def test_what_is_shown_while_it_is_written_ends_as_the_answer(pieces: list[str]) -> None:
    so_far = SaidSoFar()
    shown = "".join([so_far.feed(piece) for piece in pieces] + [so_far.feed("", is_last=True)])
    assert shown.rstrip().endswith(parse_answer("".join(pieces)))


def test_tags_in_arguments_and_in_code_are_content() -> None:
    arguments = {"text": "<think>a</think>", "list": ["</think>"]}
    assert parse_calls(f"Action: write\nAction Input: {json.dumps(arguments)}") == (ParsedCall("write", arguments),)
    assert parse_answer("Close it by `</think>`.") == "Close it by `</think>`."


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("我需要查询天气。\nNext：caller。", Plan("我需要查询天气。", "caller")),
        ("１＋１ is 2.　Ｎｅｘｔ　：　（conclusion）", Plan("１＋１ is 2.", "conclusion")),
        ("够了。\n**Next﹕** give up", Plan("够了。", "give up")),
        *(
            (f"Yes.\n{text}", Plan("Yes.", "caller"))
            for text in ("Next∶caller", "Next：【caller】", "Next：「caller」。")
        ),
        *((f"Yes.\n{text}", Plan("Yes.", "caller")) for text in ("\ufeffNext:\u200bcaller", "Next\u2060: ‘caller’")),
        ("Yes.\nNext：give\u2011up", Plan("Yes.", "give up")),
    ],
)
def test_parse_plan_reads_full_width_signs(text: str, plan: Plan) -> None:
    assert parse_plan(text) == plan


@pytest.mark.parametrize(
    "text",
    [
        'Action：weather\nAction Input：{"city": "Ｏｓｌｏ，奥斯陆："}',
        'Ａｃｔｉｏｎ：「weather」。\nAction　Input：｛"city"："Ｏｓｌｏ，奥斯陆："｝',
        "Action：weather，Action Input：｛＂city＂：“Ｏｓｌｏ，奥斯陆：”｝",
        '｛"name"："weather"，"arguments"：{"city"："Ｏｓｌｏ，奥斯陆："}｝',
        'Action：ｗｅａｔｈｅｒ\u200b\nAction\u00a0 Input：{\u200b"city"：「Ｏｓｌｏ，奥斯陆：」\ufeff}',
        "Action: 《weather》\u2028Action Input: {‘city’: «Ｏｓｌｏ，奥斯陆：»}",
        "Action: （weather）\nAction Input: {„city“: „Ｏｓｌｏ，奥斯陆：“}",
    ],
)
def test_parse_calls_reads_full_width_signs_and_keeps_content(text: str) -> None:
    assert parse_calls(text) == (ParsedCall("weather", {"city": "Ｏｓｌｏ，奥斯陆："}),)


def test_parse_calls_reads_signs_between_values() -> None:
    text = 'Action: f\nAction Input: {"a": −5、"b"：[１，“x、−y”], "c": "full：width"}'
    assert parse_calls(text) == (ParsedCall("f", {"a": -5, "b": [1, "x、−y"], "c": "full：width"}),)
