"""What the page of `alpha-umi ui` weighs in Chromium: bytes, requests, first paint, and which other hosts it asks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, sync_playwright

SCRIPT = {"planner": ["Nothing is needed.\nNext: conclusion."], "summarizer": ["Hello."]}
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return a Chromium of this machine, None if there is only the one that playwright may have installed."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Start Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serve(folder: Path, script: Mapping[str, Any], *options: str) -> Iterator[str]:
    """Serve the page of a scripted agent, whose threads are in the folder; give its address."""
    (folder / "script.json").write_text(json.dumps(script))
    command = [sys.executable, "-m", "alpha_umi", "ui", "--model", "scripted:script.json", "--port", "0", *options]
    server = subprocess.Popen([*command, "--database", "threads.sqlite"], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline() if server.stdout else ""
        yield line.split()[1]
    finally:
        server.terminate()
        server.communicate()


def list_other_hosts(urls: list[str], own: str) -> set[str]:
    """Return which hosts were asked beside the page's own; data in an address asks none."""
    hosts = {urlsplit(url).netloc for url in urls if urlsplit(url).scheme not in ("data", "blob")}
    return hosts - {urlsplit(own).netloc}


def main() -> None:
    """Open the page with an empty cache and print what it took."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), SCRIPT) as url, open_chromium() as browser:
        page = browser.new_page()
        sizes: list[float] = []
        urls: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        page.goto(url)
        page.get_by_label("Question").wait_for()
        page.wait_for_timeout(1000)
        paint_ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"{sum(sizes) / 1024:,.0f} KB compressed in {len(urls)} requests, first paint after {paint_ms:,.0f} ms")
    print(f"other hosts asked: {', '.join(sorted(list_other_hosts(urls, url))) or 'none'}")


if __name__ == "__main__":
    main()
