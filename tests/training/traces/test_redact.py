"""What never gets into training data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.training.traces.redact import make_hiding
from tests.training.traces.conftest import CATALOGUE

KEY = "sk-" + "a1" * 16
TOOL = replace(CATALOGUE["count_stock"], effects="none", description=f"Asks https://ann:pw@shop.example, by {KEY}.")


def make_trajectory(value: str) -> Trajectory:
    """Return one in which a value is in every text."""
    call = Call("c", "count_stock", {"item": value, "more": [{"of": value}]}, Observation(f"It is {value}."))
    unparsed = Call("d", "count_stock", f'{{"item": "{value}')
    steps = (Step(f"I use {value}.", "caller", (call, unparsed)), Step("", "conclusion", answer=f"By {value}."))
    return Trajectory((TOOL,), (Turn(f"Use {value}!", steps),), f"You know {value}.")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (KEY, "[redacted]"),
        ("https://ann:pw@shop.example/a", "https://[redacted]@shop.example/a"),
        ("https://shop.example/a and ann@shop.example", "https://shop.example/a and ann@shop.example"),
        ("12:30@noon", "12:30@noon"),
    ],
)
def test_keys_and_passwords_are_hidden_everywhere_and_no_other_text(value: str, text: str) -> None:
    assert make_hiding()(make_trajectory(value)) == make_trajectory(text)


def test_personal_data_are_hidden_on_request_and_can_be_told_apart() -> None:
    pytest.importorskip("langchain", reason="needs the extra redaction")
    hidden = make_hiding(["email"])(make_trajectory("ann@shop.example or bob@shop.example"))
    assert hidden == make_trajectory("[REDACTED_EMAIL_1] or [REDACTED_EMAIL_2]")
    with pytest.raises(ConfigError, match="shoe_size"):
        make_hiding(["shoe_size"])
