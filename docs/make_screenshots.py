"""Make the README's pictures of the parlor: run `selves app` on a house and take what a browser shows.

    python docs/make_screenshots.py HOME CAST.toml     pictures go to docs/images/parlor-*.png

The house needs ages to speak. Works on a copy of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT = 1280, 860
PATIENCE_MS = 120_000


def main() -> None:
    """Take the pictures."""
    home, cast = map(Path, sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home"
        shutil.copytree(home, copy)
        environment = os.environ | {"SELVES_HOME": str(copy), "SELVES_CAST": str(cast.absolute())}
        command = [sys.executable, "-m", "selves", "app", "--no-browser", "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        try:
            take_all(process.stdout.readline().strip())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def take_all(address: str) -> None:
    """Take every picture of a parlor that is open at this address."""
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(PATIENCE_MS)
        side_by_side(page, address)
        conversation(page, address)
        life(page, address)
        browser.close()


def side_by_side(page: Page, address: str) -> None:
    """One prompt, answered by ages side by side, shaded by surprise."""
    page.goto(address)
    page.get_by_role("button", name="Ask them").click()
    page.get_by_text("Which is best?").wait_for()
    page.get_by_text("Shade by surprise").click()
    page.locator(".words").first.wait_for()
    scroll_to(page, ".words")
    take(page, "side-by-side")


def conversation(page: Page, address: str) -> None:
    """A scene of the cast."""
    page.goto(f"{address}/scenes")
    page.get_by_role("button", name="Play").click()
    page.locator('[class*="st-key-line-"]').nth(5).wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").wait_for()
    scroll_to(page, ".st-key-go_on")
    take(page, "conversation")


def life(page: Page, address: str) -> None:
    """The curve of a lineage with its ages as dots."""
    page.goto(f"{address}/life")
    page.get_by_text("What it can do").wait_for()
    page.locator("canvas, svg.marks").first.wait_for()
    take(page, "life")


def scroll_to(page: Page, selector: str) -> None:
    """Bring something near the upper end of the picture."""
    page.evaluate(
        """selector => {
            document.querySelector(selector).scrollIntoView();
            document.querySelector('[data-testid="stMain"]').scrollBy(0, -130);
        }""",
        selector,
    )


def take(page: Page, name: str) -> None:
    """Take one picture when the page rests."""
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    page.wait_for_timeout(1000)  # drawings and toasts come to rest
    page.screenshot(path=IMAGES / f"parlor-{name}.png")


if __name__ == "__main__":
    main()
