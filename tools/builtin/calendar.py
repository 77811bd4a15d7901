"""Dates, weekdays and time zones: what language models count wrong."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from calendar import monthrange
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from langchain_core.tools import StructuredTool, ToolException

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::\d{2})?)?")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def calendar(
    operation: Literal["weekday", "add", "difference", "now", "convert"],
    date: str = "",
    end_date: str = "",
    years: int = 0,
    months: int = 0,
    weeks: int = 0,
    days: int = 0,
    zone: str = "UTC",
    to_zone: str = "",
) -> str:
    """Work with dates: the weekday of a date, a date plus some time, days between dates, the time now, time zones.

    Args:
        operation: weekday of date; add years, months, weeks, days to date; difference in days from date to end_date;
            now in zone; convert date and time from zone to to_zone.
        date: YYYY-MM-DD or today; to convert YYYY-MM-DD HH:MM.
        end_date: YYYY-MM-DD or today.
        years: Years to add, negative to go back.
        months: Months to add.
        weeks: Weeks to add.
        days: Days to add.
        zone: Time zone, for example Europe/Berlin.
        to_zone: Time zone to convert to.
    """
    try:
        if operation == "now":
            now = dt.datetime.now(_parse_zone(zone))
            return f"{_render_time(now)} in {zone}, a {_WEEKDAYS[now.weekday()]}"
        start = _parse_date(date, "date", zone)
        if operation == "weekday":
            return f"{start.date()} is a {_WEEKDAYS[start.weekday()]}"
        if operation == "add":
            end = _add_months(start.date(), 12 * years + months) + dt.timedelta(weeks=weeks, days=days)
            return f"{end}, a {_WEEKDAYS[end.weekday()]}"
        if operation == "difference":
            n_days = (_parse_date(end_date, "end_date", zone).date() - start.date()).days
            return f"{n_days} {'day' if abs(n_days) == 1 else 'days'}"
        return _convert(start, zone, to_zone)
    except OverflowError:
        raise ToolException("the result is outside the years 1 to 9999. Use smaller numbers.") from None


def _convert(local: dt.datetime, zone: str, to_zone: str) -> str:
    source, target = _parse_zone(zone), _parse_zone(to_zone)
    moment = local.replace(tzinfo=source).astimezone(dt.UTC)
    if moment.astimezone(source).replace(tzinfo=None) != local:
        raise ToolException(f"{_render_time(local)} does not exist in {zone}: the clocks are put forward over it.")
    there = moment.astimezone(target)
    return f"{_render_time(there)} in {to_zone}, a {_WEEKDAYS[there.weekday()]}"


def _parse_date(text: str, argument: str, zone: str) -> dt.datetime:
    if text.strip().lower() == "today":
        return dt.datetime.now(_parse_zone(zone)).replace(tzinfo=None)
    match = _DATE.fullmatch(text.strip())
    if not match:
        raise ToolException(f"{argument} is {text!r}. Write {argument} as YYYY-MM-DD, for example 2027-03-01.")
    year, month, day, hour, minute = (int(part or 0) for part in match.groups())
    try:
        return dt.datetime(year, month, day, hour, minute)
    except ValueError as error:
        known = 1 <= month <= 12 and year
        hint = f"{year:04}-{month:02} has {monthrange(year, month)[1]} days" if known else "months are 01 to 12"
        raise ToolException(f"{text} does not exist: {hint}, and times are 00:00 to 23:59.") from error


def _add_months(start: dt.date, n_months: int) -> dt.date:
    """Keep the day of the month, or take the month's last day where it has no such day."""
    year, month = divmod(12 * start.year + start.month - 1 + n_months, 12)
    if not dt.MINYEAR <= year <= dt.MAXYEAR:
        raise OverflowError
    return dt.date(year, month + 1, min(start.day, monthrange(year, month + 1)[1]))


def _parse_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text.strip())
    except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones, such as "Europe"
        names = sorted(available_timezones())
        city = text.strip().lower().replace(" ", "_")
        near = [name for name in names if name.lower().endswith(f"/{city}")]
        near = near or difflib.get_close_matches(text, names, cutoff=0.5) or ["Europe/Berlin", "America/New_York"]
        raise ToolException(f"there is no time zone {text[:60]!r}. Write it like {' or '.join(near[:3])}.") from error


def _render_time(moment: dt.datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="minutes")


tool = StructuredTool.from_function(calendar, parse_docstring=True, metadata={"effects": "none"})
