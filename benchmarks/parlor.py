"""How soon the parlor answers a click while four ages stream, and with five people in it at once.

    python benchmarks/parlor.py HOME CAST.toml [--clicks 40] [--sessions 5]

Runs `selves app` on a copy of a house and drives it with a real Chromium. A click switches a toggle that
changes what the page shows; it counts as answered when the change is on the page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

PATIENCE_MS = 120_000
CLICK = """(element, life) => new Promise(answered => {
    const begun = performance.now();
    const look = () => {
        const labels = [...document.querySelectorAll('label')].filter(label => label.checkVisibility());
        const isLife = labels.some(label => label.textContent === 'Lineage');
        if (isLife === life) answered(performance.now() - begun);
        else requestAnimationFrame(look);
    };
    element.click();
    requestAnimationFrame(look);
})"""
"""Click, and return the milliseconds until the first frame with the field for a lineage, or without it."""


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("cast", type=Path)
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--sessions", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(options.home, home)
        environment = os.environ | {"SELVES_HOME": str(home), "SELVES_CAST": str(options.cast.absolute())}
        command = [sys.executable, "-m", "selves", "app", "--no-browser", "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        try:
            figures = measure(process.stdout.readline().strip(), options.clicks, options.sessions)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    print(json.dumps({"cores": os.cpu_count(), "python": platform.python_version(), **figures}, indent=2))


def measure(address: str, clicks: int, sessions: int) -> dict[str, object]:
    """Click while four columns stream, then let several people ask at once."""
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = open_page(browser, address)
        quiet = click_many(page, clicks)
        streaming: list[float] = []
        while len(streaming) < clicks:
            ask(page, seed=len(streaming) + 1)
            streaming += click_many(page, clicks - len(streaming), while_streaming=True)
        page.close()
        return {
            "click_ms_at_rest": summary(quiet),
            "click_ms_while_4_ages_stream": summary(streaming),
            "sessions": together(browser, address, sessions),
        }


def open_page(browser: Browser, address: str) -> Page:
    """Open the page and let answers be as long as they can."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.get_by_role("slider", name="At most, tokens").press("End")
    return page


def ask(page: Page, seed: int) -> None:
    """Ask the ages, and return as soon as they speak."""
    box = page.get_by_role("spinbutton", name="Seed")
    box.fill(str(seed))
    page.get_by_role("button", name="Ask them").click()
    page.locator(".st-key-stop button").wait_for()


def click_many(page: Page, clicks: int, *, while_streaming: bool = False) -> list[float]:
    """Click until there are enough, or the answers have ended; return milliseconds for each."""
    took = []
    ways = [page.get_by_text("one life, through time"), page.get_by_text("ages side by side")]
    for n in range(clicks):
        if while_streaming and not page.locator(".st-key-stop button").is_visible():
            break
        took.append(ways[n % 2].evaluate(CLICK, n % 2 == 0))
        time.sleep(0.2)
    if len(took) % 2:
        ways[1].click()
    return took


def together(browser: Browser, address: str, sessions: int) -> dict[str, object]:
    """Let several people ask at once with seeds of their own; say whether each got an answer of their own."""
    pages = [open_page(browser, address) for _ in range(sessions)]
    for page in pages:
        page.get_by_role("slider", name="At most, tokens").press("Home")
    begun = time.monotonic()
    for seed, page in enumerate(pages, 1):
        ask_for_all(page, seed)
    scenes = [page.get_by_text("Kept as scene").inner_text() for page in pages]
    took = time.monotonic() - begun
    seeds = [page.get_by_role("spinbutton", name="Seed").input_value() for page in pages]
    for page in pages:
        page.close()
    return {
        "number": sessions,
        "all_answered_s": round(took, 1),
        "different_scenes": len(set(scenes)),
        "seeds_kept": seeds == [str(n) for n in range(1, sessions + 1)],
    }


def ask_for_all(page: Page, seed: int) -> None:
    """Ask without waiting."""
    page.get_by_role("spinbutton", name="Seed").fill(str(seed))
    page.get_by_role("button", name="Ask them").click()


def summary(took: list[float]) -> dict[str, float]:
    """Return median and 95th percentile."""
    ordered = sorted(took)
    return {
        "n": len(took),
        "p50": round(statistics.median(ordered), 1),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 1),
    }


if __name__ == "__main__":
    main()
