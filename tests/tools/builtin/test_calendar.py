import re
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import ToolException

from alpha_umi.tools.builtin.calendar import tool


def ask(operation: str, **arguments: Any) -> str:
    return str(tool.invoke({"operation": operation, **arguments}))


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ({"operation": "weekday", "date": "2027-03-01"}, "2027-03-01 is a Monday"),
        ({"operation": "weekday", "date": " 2027-3-1 "}, "2027-03-01 is a Monday"),
        ({"operation": "add", "date": "2027-03-01", "days": 30}, "2027-03-31, a Wednesday"),
        ({"operation": "add", "date": "2027-03-01", "weeks": -1, "days": 1}, "2027-02-23, a Tuesday"),
        ({"operation": "add", "date": "2027-01-31", "months": 1}, "2027-02-28, a Sunday"),
        ({"operation": "add", "date": "2024-02-29", "years": 1}, "2025-02-28, a Friday"),
        ({"operation": "add", "date": "2027-01-15", "months": -13}, "2025-12-15, a Monday"),
        ({"operation": "difference", "date": "2027-01-01", "end_date": "2027-03-01"}, "59 days"),
        ({"operation": "difference", "date": "2027-03-01", "end_date": "2027-02-28"}, "-1 day"),
        ({"operation": "difference", "date": "today", "end_date": "today"}, "0 days"),
        (
            {
                "operation": "convert",
                "date": "2027-03-01 14:00",
                "zone": "Europe/Berlin",
                "to_zone": "America/New_York",
            },
            "2027-03-01 08:00 in America/New_York, a Monday",
        ),
        (
            {"operation": "convert", "date": "2027-07-01T23:30", "zone": "UTC", "to_zone": "Asia/Kolkata"},
            "2027-07-02 05:00 in Asia/Kolkata, a Friday",
        ),
    ],
)
def test_operation_has_its_result(arguments: dict[str, Any], result: str) -> None:
    assert tool.invoke(arguments) == result


def test_now_tells_date_time_and_weekday() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d in Asia/Tokyo, a \w+day", ask("now", zone="Asia/Tokyo"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operation": "weekday", "date": "2027-02-30"}, "2027-02-30 does not exist: 2027-02 has 28 days"),
        ({"operation": "weekday", "date": "2027-13-01"}, "months are 01 to 12"),
        ({"operation": "weekday", "date": "0000-01-01"}, "does not exist"),
        ({"operation": "weekday", "date": "03/01/2027"}, "Write date as YYYY-MM-DD"),
        ({"operation": "weekday"}, "date is ''. Write date as"),
        ({"operation": "difference", "date": "2027-01-01"}, "end_date is ''. Write end_date as"),
        ({"operation": "add", "date": "2027-01-01", "years": 9000}, "outside the years 1 to 9999"),
        ({"operation": "add", "date": "2027-01-01", "days": 10**30}, "outside the years 1 to 9999"),
        ({"operation": "now", "zone": "Berlin"}, "no time zone 'Berlin'. Write it like Europe/Berlin."),
        ({"operation": "now", "zone": "new york"}, "Write it like America/New_York."),
        ({"operation": "now", "zone": "Europe"}, "no time zone 'Europe'"),
        ({"operation": "now", "zone": "../../etc/passwd"}, "no time zone"),
        ({"operation": "now", "zone": "/etc/passwd"}, "no time zone"),
        ({"operation": "now", "zone": "a\x00b"}, "no time zone"),
        ({"operation": "now", "zone": ""}, "no time zone"),
        ({"operation": "convert", "date": "2027-03-01 14:00"}, "no time zone ''"),
        ({"operation": "convert", "date": "2027-03-01 25:00", "to_zone": "UTC"}, "times are 00:00 to 23:59"),
        (
            {"operation": "convert", "date": "2027-03-28 02:30", "zone": "Europe/Berlin", "to_zone": "UTC"},
            "the clocks are put forward",
        ),
        ({"operation": "convert", "date": "0001-01-01", "zone": "Asia/Tokyo", "to_zone": "UTC"}, "outside the years"),
    ],
)
def test_mistake_is_explained(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolException) as caught:
        tool.invoke(arguments)
    assert message in str(caught.value)


@given(st.dates(date(1000, 1, 1), date(5000, 1, 1)), st.integers(-10_000, 10_000))
def test_adding_days_is_undone_by_the_difference(start: date, n_days: int) -> None:
    end = ask("add", date=str(start), days=n_days)[:10]
    assert end == str(start + timedelta(days=n_days))
    assert ask("difference", date=str(start), end_date=end).split()[0] == str(n_days)


@given(st.dates(date(1000, 1, 1), date(5000, 1, 1)), st.integers(-500, 500))
def test_adding_months_keeps_the_day_or_takes_the_last(start: date, n_months: int) -> None:
    end = date.fromisoformat(ask("add", date=str(start), months=n_months)[:10])
    assert 12 * end.year + end.month == 12 * start.year + start.month + n_months
    assert end.day == start.day or (end.day < start.day and (end + timedelta(days=1)).day == 1)
