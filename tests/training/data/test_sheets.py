"""The YAML sheets of the generator: every one can be read, and a fault in one is named with its file and line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.build import BuildSettings, build
from alpha_umi.training.data.tasks.sheets import (
    FOLDER,
    AbilitySheet,
    InventedToolSheet,
    NameSheet,
    QuestionSheet,
    RequestSheet,
    SheetPart,
    read_sheet,
)

FORMS: dict[str, type[SheetPart]] = {
    "builtin": AbilitySheet,
    "names": NameSheet,
    "requests": RequestSheet,
    "tools": InventedToolSheet,
}
TOOLS = """\
kinds:
  city: [Oslo, Porto]
sky: [sunny]
tools:
  - tool: get_weather
    description: Get the weather.
    parameters:
      city: {kind: city, description: Where.}
    ask:
      train:
        - What is the weather in {city}?
      heldout:
        - Is it raining in {city}?
    reply: "{city}: {n} degrees, {sky}"
    need: tell the weather
    use: both
"""
QUESTIONS = """\
choose: [sum]
families:
  sum:
    values:
      a: integer 2 to 9
      thing: name from things
    calls:
      - calculate: {expression: "{a} {sign} 2"}
    train:
      - {say: "Add 2 {thing} to {a}.", sign: "+"}
    heldout:
      - {say: "Take 2 {thing} off {a}.", sign: "-"}
lists:
  things: [cats, dogs]
"""


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.stem)
def test_every_sheet_of_the_package_is_right(path: Path) -> None:
    read_sheet(path, FORMS.get(path.stem, QuestionSheet))


IN_TOOLS = [
    ("weather in {city}", "weather in {town}", 11, "unknown {town}"),
    ("weather in {city}", "weather", 11, "does not say {city}"),
    ("Is it raining in", "What is the weather in", 13, "trained on too"),
    ("    need: tell the weather\n", "", 5, "Field required"),
    ("use: both", "used: both", 16, "tools.0.used: Extra inputs"),
    ("      heldout:\n        - Is it raining in {city}?\n", "", 9, "no held-out wording"),
    ("kind: city", "kind: town", 8, "no kind 'town'"),
    ("degrees, {sky}", "degrees, {wind}", 14, "unknown {wind}"),
    ("    use: both\n", "    use: both\n    use: train\n", 17, "'use' is there twice"),
    ("    use: both\n", "    use: both\n" + TOOLS[TOOLS.index("  - tool") :], 17, "two tools 'get_weather'"),
    ("sky: [sunny]", "sky: [sunny", 4, "not valid YAML"),
]
IN_QUESTIONS = [
    ("to {a}.", "to {b}.", 10, "unknown {b}"),
    ("{sign} 2", "{sing} 2", 8, "unknown {sing}"),
    (', sign: "-"', "", 8, "unknown {sign}"),
    ("say: ", "said: ", 10, "needs 'say'"),
    ("integer 2 to 9", "integers 2 to 9", 5, "no kind of value"),
    ("integer 2 to 9", "integer 2 to many", 5, "no kind of value"),
    ("integer 2 to 9", "[2, 9]", 5, "valid string"),
    ("name from things", "pick from things of b", 6, "'b' is not drawn before"),
    ("to {a}.", "to {a.", 10, "write slots as {name}"),
    ("from things", "from thing", 6, "no list 'thing'"),
    ("choose: [sum]", "choose: []", 3, "'sum' is never asked"),
    ("choose: [sum]", "choose: [sum, sun]", 1, "no family 'sun'"),
    ('    heldout:\n      - {say: "Take 2 {thing} off {a}.", sign: "-"}\n', "", 3, "no held-out wording"),
]


@pytest.mark.parametrize(
    ("text", "form", "old", "new", "line", "message"),
    [(TOOLS, InventedToolSheet, *fault) for fault in IN_TOOLS]
    + [(QUESTIONS, QuestionSheet, *fault) for fault in IN_QUESTIONS],
)
def test_fault_is_named_with_file_and_line(
    tmp_path: Path, text: str, form: type[SheetPart], old: str, new: str, line: int, message: str
) -> None:
    path = tmp_path / "sheet.yaml"
    path.write_text(text)
    read_sheet(path, form)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        read_sheet(path, form)
    assert message in str(caught.value)
    assert f"{path}:{line}:" in str(caught.value)


@pytest.mark.parametrize(
    ("seed", "sha256"),
    [
        (0, "5ea9cc98a6a39a88c490ca129ea04c86fc1fe42f78baad15d6e408cfa641c081"),
        (7, "39932e5e85716fc8dbe2136f38d11abfd342eaa5b7933f95c4cd18eefa61450f"),
    ],
)
def test_rows_of_a_seed_stay_the_same_byte_for_byte(tmp_path: Path, seed: int, sha256: str) -> None:
    report = build(["builtin:200"], tmp_path, BuildSettings(seed=seed))
    assert report.sha256 == sha256
    assert hashlib.sha256((tmp_path / "trajectories.jsonl").read_bytes()).hexdigest() == sha256
