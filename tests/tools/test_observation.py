import dataclasses
import datetime
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import ToolException
from pydantic import BaseModel, ValidationError

from alpha_umi.tools.observation import cut, render_error, render_observation


class City(BaseModel):
    name: str
    size: int = 1


@dataclasses.dataclass
class Trip:
    to: City


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def circle() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (None, "(no output)"),
        ("", "(no output)"),
        (" \n", "(no output)"),
        ([], "[]"),
        (0, "0"),
        (True, "true"),
        (2.5, "2.5"),
        ({"city": "Köln", "rain": None}, '{"city":"Köln","rain":null}'),
        (["Rome", "Bonn"], '["Rome","Bonn"]'),
        (City(name="Köln"), '{"name":"Köln","size":1}'),
        ([Trip(City(name="Köln"))], '[{"to":{"name":"Köln","size":1}}]'),
        ({"day": datetime.date(2027, 3, 1)}, '{"day":"2027-03-01"}'),
        (datetime.date(2027, 3, 1), "2027-03-01"),
        (Decimal("3.10"), "3.10"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (circle(), "[[...]]"),
        ("grün".encode(), "grün"),
        (bytearray(b"abc"), "abc"),
        (b"\xff\x00" * 600, "(1,200 bytes of binary data)"),
        (b"\x00", "(1 bytes of binary data)"),
        ("\ud83d\ude00", "😀"),
        ("a\ud800b\x00c", "a\ufffdb\ufffdc"),
        ({"a": "\ud800"}, '{"a":"\ufffd"}'),
        (Unprintable(), "(Unprintable that cannot be shown)"),
        ({"a": Unprintable()}, '{"a":"(Unprintable that cannot be shown)"}'),
    ],
)
def test_value_becomes_text(value: Any, text: str) -> None:
    assert render_observation(value, 1000) == text


def test_content_blocks_become_their_text() -> None:
    blocks = [
        {"type": "text", "text": "first"},
        {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
        {"type": "text", "text": "second"},
    ]
    assert render_observation(blocks, 1000) == "first\n(image/png, not shown)\nsecond"


def test_data_that_only_resembles_content_blocks_stays_data() -> None:
    rows = [{"type": "file", "path": "a"}, {"type": "text", "text": 1}]
    assert json.loads(render_observation(rows, 1000)) == rows


@given(st.text(), st.integers(100, 200))
def test_cut_keeps_the_bound_head_tail_and_count(text: str, max_chars: int) -> None:
    shown = cut(text * 20, max_chars)
    assert len(shown) <= max_chars
    if shown != text * 20:
        head, middle, tail = shown.split("\n[… ")[0], shown.split("[… ")[-1], shown.split(" characters cut …]\n")[-1]
        n_cut = int(middle.split(" ")[0].replace(",", ""))
        assert n_cut + len(head) + len(tail) == len(text * 20)


@given(st.text(st.characters(exclude_categories=())))
def test_observation_can_always_be_stored(text: str) -> None:
    shown = render_observation(text, 100)
    assert "\x00" not in shown
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner, min_size=1))


@given(st.lists(JSON) | st.floats() | st.dictionaries(st.text(), JSON))
def test_json_data_is_shown_as_json(value: Any) -> None:
    assert repr(json.loads(render_observation(value, 100_000))) == repr(value)


def test_50_mb_are_cut_cheaply() -> None:
    shown = render_observation("x" * 50_000_000, 4000)
    assert len(shown) <= 4000
    assert "49,996," in shown


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad date"), "ValueError: bad date"),
        (RuntimeError(), "RuntimeError"),
        (KeyError("city"), "KeyError: 'city'"),
        (ToolException("no such city"), "no such city"),
        (ToolException(), "ToolException"),
        (ValueError(Unprintable()), "ValueError: (ValueError that cannot be shown)"),
    ],
)
def test_error_becomes_text(error: BaseException, text: str) -> None:
    assert render_error(error) == text


def test_pydantic_error_is_short() -> None:
    with pytest.raises(ValidationError) as caught:
        City.model_validate({"size": "big"})
    text = render_error(caught.value)
    assert text.startswith("ValidationError: name: Field required; size: Input should be a valid integer")
    assert "https://" not in text
