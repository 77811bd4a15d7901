from __future__ import annotations

import asyncio
import threading
import time
from contextlib import nullcontext
from typing import Any

import pytest

from alpha_umi.tools.http.breaker import Breaker, BreakerOpen, RemoteSettings, get_breaker

SETTINGS = RemoteSettings(breaker_failures=3, breaker_rest_s=10)


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time as the breaker sees it."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


def call(breaker: Breaker, error: BaseException | None = None) -> str:
    try:
        with breaker.guard(lambda error: isinstance(error, OSError)):
            if error:
                raise error
    except BreakerOpen:
        return "left alone"
    except BaseException:
        return "failed"
    return "well"


def test_breaker_opens_after_failures_in_a_row_and_says_so(clock: Clock) -> None:
    breaker = Breaker("api.example.com", SETTINGS)
    assert [call(breaker, error) for error in (OSError(), OSError(), None)] == ["failed", "failed", "well"]
    assert [call(breaker, OSError()) for _ in range(5)] == ["failed"] * 3 + ["left alone"] * 2
    clock.now += 4
    with pytest.raises(BreakerOpen, match=r"api\.example\.com failed 3 times in a row and is left alone for 6 s"):
        breaker.guard(bool).__enter__()


@pytest.mark.parametrize(("probe", "after"), [(None, "well"), (OSError(), "left alone"), (KeyError(), "well")])
def test_one_probe_goes_through_after_the_rest(clock: Clock, probe: Exception | None, after: str) -> None:
    breaker = Breaker("s", SETTINGS)
    for _ in range(3):
        call(breaker, OSError())
    clock.now += 11
    expected: Any = pytest.raises(type(probe)) if probe else nullcontext()
    with expected, breaker.guard(lambda error: isinstance(error, OSError)):
        assert call(breaker) == "left alone"  # a second one has to wait for the first
        if probe:
            raise probe
    assert call(breaker) == after


def test_call_that_is_cancelled_says_nothing_and_blocks_no_later_probe(clock: Clock) -> None:
    breaker = Breaker("s", SETTINGS)
    for _ in range(3):
        call(breaker, OSError())
    clock.now += 11
    assert call(breaker, asyncio.CancelledError()) == "failed"
    assert call(breaker) == "left alone"
    clock.now += 11
    assert call(breaker) == "well"


def test_many_threads_get_one_probe(clock: Clock) -> None:
    breaker = Breaker("s", SETTINGS)
    for _ in range(3):
        call(breaker, OSError())
    clock.now += 11
    outcomes: list[str] = []
    others_are_done = threading.Event()

    def probe() -> None:
        try:
            with breaker.guard(bool):
                others_are_done.wait()
            outcomes.append("well")
        except BreakerOpen:
            outcomes.append("left alone")
            if outcomes.count("left alone") == 15:
                others_are_done.set()

    threads = [threading.Thread(target=probe, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["left alone"] * 15 + ["well"]


def test_a_server_has_one_breaker_under_the_same_settings() -> None:
    first = get_breaker("host:1", SETTINGS)
    assert get_breaker("host:1", SETTINGS.model_copy()) is first is not get_breaker("host:2", SETTINGS)
    other = get_breaker("host:1", RemoteSettings())
    assert other is not first
    assert (first.settings, other.settings) == (SETTINGS, RemoteSettings())
