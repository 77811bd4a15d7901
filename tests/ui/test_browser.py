"""The page in Chromium, served by a process of its own, used by keyboard alone and on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="needs playwright, of the extra dev")
from playwright.sync_api import Browser, Error, Page, expect

from benchmarks.ui import list_other_hosts, open_chromium, serve
from tests.ui.conftest import ORDER

TOOLS = '''
def order(item: str, pieces: int) -> str:
    """Order pieces of an item."""
    return f"{pieces} of {item} are ordered."
'''
SLOW = '''
import itertools, time
from alpha_umi import declare_effects

calls = itertools.count()

@declare_effects("none")
def nap() -> str:
    """Sleep at the first call."""
    time.sleep(0 if next(calls) else 20)
    return "slept"
'''
LONG = "word" * 200


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        chromium = open_chromium()
        browser = chromium.__enter__()
    except Error as error:
        pytest.skip(f"needs Chromium: {str(error).splitlines()[0]}")
    yield browser
    chromium.__exit__(None, None, None)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("ui")
    (folder / "my_tools.py").write_text(TOOLS)
    script = {**ORDER, "summarizer": [f"There are 7 bolts. <b>{LONG}</b>"]}
    with serve(folder, script, "--tools", "my_tools:order") as url:
        yield url


@pytest.fixture(scope="module")
def slow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of an agent whose first call lasts long."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow_tools.py").write_text(SLOW)
    script = {**ORDER, "caller": ["Action: nap\nAction Input: {}"]}
    with serve(folder, script, "--tools", "slow_tools:nap") as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(30_000)
    errors: list[Error] = []
    page.on("pageerror", lambda error: errors.append(error))
    yield page
    page.close()
    assert errors == []


def press_until_focus(page: Page, name: str) -> None:
    """Press Tab until a button has the focus; then press it."""
    for _ in range(40):
        focused = page.evaluate("(document.activeElement.ariaLabel || document.activeElement.innerText || '').trim()")
        if focused == name:
            assert page.evaluate("getComputedStyle(document.activeElement).boxShadow") != "none"
            page.keyboard.press("Enter")
            return
        page.keyboard.press("Shift+Tab")
    raise AssertionError(f"no way by keyboard to {name!r}")


def test_asked_approved_answered_reloaded_and_forked(page: Page, url: str) -> None:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(url)
    expect(page.get_by_label("Question")).to_be_focused()
    page.keyboard.type("How many bolts?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="May order run?")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="May order run?")).to_be_visible()
    expect(page.get_by_role("heading", name="How many bolts?")).to_be_visible()
    press_until_focus(page, "Approve")
    answer = page.locator(".answer:visible")
    expect(answer).to_contain_text(f"<b>{LONG}")  # text is no HTML
    expect(page.get_by_label("This answer is good")).to_be_visible()
    page.get_by_text("1 order").click()
    expect(page.get_by_text("5 of bolt are ordered.")).to_be_visible()
    press_until_focus(page, "This answer is good")
    expect(page.get_by_label("This answer is good")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_label("This answer is good")).to_have_attribute("aria-pressed", "true")
    expect(answer).to_contain_text("There are 7 bolts.")
    before = page.url
    page.get_by_label("Fork: go on from here in another thread").click()
    page.wait_for_url(lambda now: now != before)
    expect(answer).to_contain_text("There are 7 bolts.")
    expect(page.locator("nav .thread")).to_have_count(2)
    assert list_other_hosts(urls, url) == set()
    assert len(urls) > 10


def test_a_wrong_edit_is_told_and_a_right_one_runs(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_label("Question").fill("Order!")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Edit…").click()
    page.get_by_label("Arguments, as JSON").fill('{"item": "nut"}')
    page.get_by_role("button", name="Run with these arguments").click()
    expect(page.get_by_text("pieces: missing")).to_be_visible()
    page.get_by_label("Arguments, as JSON").fill('{"item": "nut", "pieces": 2}')
    page.get_by_role("button", name="Run with these arguments").click()
    expect(page.locator(".answer:visible")).to_contain_text("There are 7 bolts.")
    page.get_by_text("1 order").click()
    expect(page.get_by_text("2 of nut are ordered.")).to_be_visible()


def test_escape_stops_and_continue_goes_on(page: Page, slow_url: str) -> None:
    page.goto(slow_url)
    page.get_by_label("Question").fill("How many bolts?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("nap is running…")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("This answer was stopped")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".answer:visible")).to_contain_text("There are 7 bolts.")


def test_a_thread_is_deleted_after_a_question(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_label("Question").fill("Forget me?")
    page.keyboard.press("Enter")
    entry = page.locator("nav .thread", has_text="Forget me?")
    expect(entry).to_have_count(1)
    entry.get_by_role("button").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(entry).to_have_count(0)
    expect(page.get_by_text("Ask something.")).to_be_visible()


def test_a_phone_shows_everything_without_scrolling_sideways(page: Page, url: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(url)
    page.get_by_label("Question").fill(f"How many? {LONG}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_label("This answer is good")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    expect(page.get_by_role("button", name="New thread")).not_to_be_in_viewport()
    page.get_by_label("Threads", exact=True).first.click()
    expect(page.get_by_role("button", name="New thread")).to_be_in_viewport()


def test_tools_are_shown_with_their_docs(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Tools").click()
    expect(page.get_by_text("Order pieces of an item.")).to_be_visible()
    expect(page.get_by_text("may change something, so a person is asked")).to_be_visible()
