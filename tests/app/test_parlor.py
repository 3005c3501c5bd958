"""`selves app` as a user has it: the real command, the real engine, the parlor in a real Chromium."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest

from app import cli
from memory.curate import Picked, picks
from memory.feedback import Ratings, rate
from memory.show import visible
from memory.store import Store, open_store
from memory.types import Generation, Scene
from selves.errors import UsageError
from selves.settings import House

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Result = TypeVar("Result")

LONG = ("tiny@base-000032", "tiny@base-000033")


def read(house: House, what: Callable[[Store], Awaitable[Result]]) -> Result:
    """Ask the database something."""

    async def ask() -> Result:
        async with open_store(house.database_url) as store:
            return await what(store)

    # playwright runs an event loop in this thread
    with ThreadPoolExecutor(1) as other:
        return other.submit(asyncio.run, ask()).result()


def kept(house: House) -> tuple[Scene, list[Generation]]:
    """Return the newest scene, and its samples."""

    async def newest(store: Store) -> tuple[Scene, list[Generation]]:
        (scene,) = await store.scenes(last=1)
        return scene, await store.generations(scene.id)

    return read(house, newest)


def wait_for(house: House, condition: Callable[[Scene], bool]) -> tuple[Scene, list[Generation]]:
    """Return the newest scene as soon as it meets a condition and has ended."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        found = kept(house)
        if condition(found[0]) and found[0].status == "ended":
            return found
    raise AssertionError("no such scene was kept")


async def votes_and_picks(store: Store, scene_id: int) -> tuple[Ratings, list[Picked]]:
    return await rate(store), await picks(store, scene_id=scene_id)


def choose_long(page: Page, *, briefly: bool = False) -> None:
    """Choose the two ages that can talk for long, and let them, with the keyboard alone."""
    ages = page.get_by_role("combobox")
    page.get_by_role("button", name="Clear all").click()
    for address in LONG:
        ages.fill(address)
        ages.press("Enter")
        page.locator(f'[data-tag][aria-label^="{address}"]').wait_for()
    ages.press("Escape")
    tokens = page.get_by_role("slider", name="At most, tokens")
    if briefly:
        for _ in range(8):
            tokens.press("ArrowRight")
    else:
        tokens.press("End")
    page.get_by_text("128" if briefly else "512", exact=True).first.wait_for()


WATCH = """() => {
    window.seen = [];
    new MutationObserver(() => {
        const words = [...document.querySelectorAll('[data-testid="stColumn"]')]
            .map(column => column.querySelector('[data-testid="stText"]'));
        const lengths = words.filter(Boolean).map(e => e.textContent.length);
        if (lengths.length === 2) window.seen.push(lengths);
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
"""Note in the browser how long both columns' words are, at every change of the page."""


@pytest.mark.browser
def test_the_answers_grow_side_by_side_and_are_kept(page: Page, parlor_house: House) -> None:
    choose_long(page, briefly=True)
    page.evaluate(WATCH)
    page.get_by_role("button", name="Ask them").click()
    page.get_by_text("Kept as scene").wait_for()
    seen = page.evaluate("window.seen")
    ends = [max(lengths) for lengths in zip(*seen, strict=True)]
    growing = [lengths for lengths in seen if all(0 < n < end for n, end in zip(lengths, ends, strict=True))]
    assert growing, "the columns never grew at the same time"
    scene, generations = kept(parlor_house)
    assert (scene.place, scene.stop_reason) == ("web", "answered")
    assert [generation.address for generation in generations] == list(LONG)


@pytest.mark.browser
def test_stop_ends_the_answers_and_keeps_what_had_come(page: Page, parlor_house: House) -> None:
    choose_long(page)
    page.get_by_role("button", name="Ask them").click()
    words = page.locator('[data-testid="stColumn"]').get_by_test_id("stText")
    words.filter(has_text=re.compile(r"\w\w")).first.wait_for()
    page.locator(".st-key-stop button").click()
    page.get_by_text("Kept as scene").wait_for()
    assert page.get_by_text("stopped", exact=True).count() == len(LONG)
    scene, generations = kept(parlor_house)
    assert scene.stop_reason == "stopped"
    assert {generation.finish_reason for generation in generations} == {"cancelled"}


@pytest.mark.browser
def test_a_click_does_not_end_the_answers_and_closing_the_tab_does(page: Page, parlor_house: House) -> None:
    choose_long(page)
    page.get_by_role("button", name="Ask them").click()
    words = page.locator('[data-testid="stColumn"]').get_by_test_id("stText")
    words.filter(has_text=re.compile(r"\w\w")).first.wait_for()
    before, _ = kept(parlor_house)
    page.get_by_text("one life, through time").click()
    page.get_by_role("combobox", name="Lineage").wait_for()
    page.locator(".st-key-stop button").wait_for()
    page.close()
    scene, generations = wait_for(parlor_house, lambda scene: scene.id > before.id)
    assert scene.stop_reason == "stopped"
    assert {generation.finish_reason for generation in generations} == {"cancelled"}


@pytest.mark.browser
def test_a_blind_vote_and_a_pick_are_kept_and_the_link_shows_the_view_again(
    page: Page, parlor_house: House
) -> None:
    page.get_by_text("Blind: hide who says what").click()
    page.get_by_role("button", name="Ask them").click()
    page.get_by_text("Which is best?").wait_for()
    answers = page.locator('[data-testid="stColumn"]')
    assert "tiny@" not in "".join(answers.all_inner_texts())
    page.get_by_role("radio", name="Answer B").check(force=True)
    page.get_by_role("button", name="Vote").click()
    page.get_by_text("2 comparisons were kept").wait_for()
    page.get_by_role("button", name="Save as pick").click()
    page.get_by_role("button", name="tiny@chat-000008", exact=True).click()
    page.get_by_text("as a pick").wait_for()
    page.keyboard.press("Escape")
    said = answers.get_by_test_id("stText").all_inner_texts()
    scene, _ = kept(parlor_house)
    ratings, picks = read(parlor_house, lambda store: votes_and_picks(store, scene.id))
    assert (ratings.votes, ratings.blind) == (2, 2)
    assert [pick.address for pick in picks] == ["tiny@chat-000008"]

    page.goto(page.url)
    page.get_by_text(f"Kept as scene {scene.id}:").wait_for()
    assert sorted(answers.get_by_test_id("stText").all_inner_texts()) == sorted(said)
    assert kept(parlor_house)[0].id == scene.id, "a link must not ask anybody anything"


@pytest.mark.browser
def test_five_people_ask_at_once_and_each_reads_answers_of_their_own(
    address: str, browser: Browser, parlor_house: House
) -> None:
    pages = [browser.new_page(viewport={"width": 800, "height": 900}) for _ in range(5)]
    for number, page in enumerate(pages, 1):
        page.goto(address)
        page.get_by_role("textbox", name="Prompt").fill(f"I am number {number}.")
    for page in pages:
        page.get_by_role("button", name="Ask them").click()
    for number, page in enumerate(pages, 1):
        words = page.get_by_text("Kept as scene").inner_text()
        scene_id = int(words.removeprefix("Kept as scene ").partition(":")[0])
        asked, *answers = read(parlor_house, partial(lines_of, scene_id=scene_id))
        shown = page.locator('[data-testid="stColumn"]').get_by_test_id("stText").all_inner_texts()
        assert asked == f"I am number {number}."
        said = [text.split() for text in shown[::2]]  # below each is how long it took
        assert [visible(line).split() for line in answers if line.strip()] == list(filter(None, said))


async def lines_of(store: Store, scene_id: int) -> list[str]:
    return [message.text for message in await store.messages(scene_id)]


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}"):
            cli.choose_port(port)


def test_without_a_wanted_port_a_free_one_is_found() -> None:
    assert 1024 <= cli.choose_port(None) <= 65535


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_other_machines_come_in_only_with_a_password(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cli.PASSWORD, raising=False)
    with pytest.raises(UsageError, match="could read and say everything"):
        cli.choose_password(host, ask=False)
    monkeypatch.setenv(cli.PASSWORD, "open sesame")
    assert cli.choose_password(host, ask=False) == "open sesame"


def test_on_this_machine_no_password_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cli.PASSWORD, raising=False)
    assert [cli.choose_password(host, ask=False) for host in ("127.0.0.1", "::1", "localhost")] == [
        "",
        "",
        "",
    ]
