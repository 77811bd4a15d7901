import pytest

from alpha_umi.errors import ConfigError
from tests.training.evaluation.questions.conftest import Load

FORMS = """
replies: {book_slot: "Booked for {day}."}
questions:
- question: "  What does oil cost?  "
  calls: list_prices
  answer: 60
- question: When can I come on Friday?
  calls: {find_slot: {day: friday}}
  answer: ["9:30", {$any: [free, available]}]
- question: Book Friday at the first time that is free.
  calls:
  - find_slot: {day: friday}
  - book_slot: {day: friday, time: "9:30"}
- question: Both in one mapping.
  calls:
    find_slot: {day: friday}
    $optional: {list_prices: }
- question: Either way.
  calls: {$any: [[list_prices], {find_slot: {day: {$matches: fri}}}, []]}
- question: Thank you!
  calls: []
  replies: {list_prices: [1, 2]}
- question: Sell my car.
  refuse: no tool
- question: Book me in.
  calls: [{$optional: [list_prices]}]
  refuse: missing value
"""


def test_every_form_is_read(load: Load) -> None:
    questions = load(FORMS).questions
    assert [question.kind for question in questions] == [
        "one call",
        "one call",
        "several calls",
        "one call",
        "one call",
        "no call",
        "no tool",
        "missing value",
    ]
    assert [(question.line, str(question)) for question in questions] == [
        (4, "list_prices {}; answer with 60"),
        (7, 'find_slot {"day": "friday"}; answer with 9:30; answer with free or available'),
        (10, 'find_slot {"day": "friday"}, book_slot {"day": "friday", "time": "9:30"}'),
        (14, 'find_slot {"day": "friday"}, [list_prices {}]'),
        (18, 'list_prices {} or find_slot {"day": {"$matches": "fri"}} or no call'),
        (20, "no call"),
        (23, "refusal (no tool)"),
        (25, "[list_prices {}]; refusal (missing value)"),
    ]
    assert questions[0].text == "What does oil cost?"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("questions: ]", 1, "not valid YAML"),
        ("", 1, "the file: Input should be"),
        ("questions: []", 1, "at least 1 item"),
        ("tools: 3\nquestions:\n- {question: a, calls: []}", 1, "tools: Extra inputs"),
        ("questions:\n- {calls: []}", 2, "question: Field required"),
        ('questions:\n- {question: " ", calls: []}', 2, "at least 1 character"),
        ("questions:\n- question: a\n  calls: []\n  call: 3", 4, "call: Extra inputs"),
        ("questions:\n- question: a\n  question: b\n  calls: []", 3, "question is said twice"),
        ("questions:\n- question: a", 2, "say what is right"),
        ("questions:\n- question: a\n  calls: []\n- question: a\n  calls: []", 4, "asked in line 2 already"),
        ("questions:\n- question: a\n  refuse: maybe", 3, "'no tool' or 'missing value'"),
        ("questions:\n- question: a\n  refuse: no tool\n  answer: b", 4, "a refusal has no answer"),
        ("questions:\n- question: a\n  calls: [\n    find_slots: {day: b}]", 4, "it could be find_slot"),
        ("questions:\n- question: a\n  calls: 5", 3, "5 is no call"),
        ("questions:\n- question: a\n  calls: {find_slot: friday}", 3, "no mapping of arguments"),
        ("questions:\n- question: a\n  calls:\n    find_slot:\n      days: b", 5, "'days' was unexpected"),
        ("questions:\n- question: a\n  calls: {find_slot: }", 3, '"day" is a required property'),
        ("questions:\n- question: a\n  calls: {find_slot: {day: {$optional: b}}}", 3, '"day" is a required property'),
        (
            "questions:\n- question: a\n  calls:\n    find_slot:\n      day: b\n      minutes: {$any: [5, c]}",
            6,
            '"c" is not of type "integer"',
        ),
        ("questions:\n- question: a\n  calls:\n    find_slot:\n      day: {$some: 5}", 5, "$some is none of $any"),
        ("questions:\n- question: a\n  calls: {$any: 3}", 3, "a list of ways"),
        ("questions:\n- question: a\n  calls: []\n  answer:\n  - b\n  - {c: d}", 6, "an answer holds texts"),
        ("questions:\n- question: a\n  calls: []\n  answer: {$matches: '('}", 4, "regular expression"),
        ("replies:\n  book: x\nquestions:\n- {question: a, calls: []}", 2, "it could be book_slot"),
        ("replies:\n  book_slot: '{hour}'\nquestions:\n- {question: a, calls: []}", 2, "it has day, time, notes"),
    ],
)
def test_a_fault_is_told_with_file_and_line(load: Load, text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(text)
    assert f"questions.yaml, line {line}: " in str(error.value)
    assert message in str(error.value)


def test_all_faults_are_told_at_once(load: Load) -> None:
    with pytest.raises(ConfigError) as error:
        load("questions:\n" + "".join(f"- question: a{i}\n" for i in range(12)))
    assert str(error.value).count("say what is right") == 10
    assert "and 2 more" in str(error.value)


def test_what_a_pattern_describes_is_not_held_against_the_schema(load: Load) -> None:
    load("questions:\n- question: a\n  calls: {book_slot: {day: {$matches: b}, time: c, notes: [{$matches: d}]}}")
