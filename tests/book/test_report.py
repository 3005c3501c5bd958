"""The report of a run: one page that asks nobody for anything, and tells what went wrong."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from book import report_cli
from book.report import spread_out, stage_seconds, toml
from memory.curate import Mark, pick
from memory.export import exports
from memory.store import open_store
from selves.cli import run_command
from selves.lineage import Address, list_ages
from selves.settings import House
from selves.speech import Prompt, Writing
from tests.book.conftest import say
from training.evals.results import Result
from training.hub import Receipt
from training.receipts import add_receipt

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Make = Callable[..., str]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    def call(house: House, *argv: str) -> str:
        monkeypatch.setenv("SELVES_HOME", str(house.home))
        monkeypatch.setenv("SELVES_CAST", str(house.cast_path))
        assert run_command(report_cli.main, argv) == 0
        return (house.pages / "tiny-report.html").read_text("utf-8")

    return call


@pytest.fixture
def measured(storied_house: House) -> House:
    """The house with evals, a pick, times in its record, and a receipt of the Hub."""
    folder = storied_house.checkpoints / "tiny"
    newest = list_ages(storied_house.checkpoints)[-1].card
    result = Result(
        suite="words",
        score=0.625,
        low=0.47,
        high=0.758,
        chance=0.28,
        n=40,
        items=40,
        seed=0,
        version="1",
        weights_sha256=newest.weights_sha256,
        measured_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    said = {"format": 1, "ages": {newest.address: {"words": result.model_dump(mode="json")}}}
    (folder / "evals.json").write_text(json.dumps(said))
    prompt = Prompt(form="transcript", text="Last night I dreamed that")
    utterance = say(newest.address, newest.weights_sha256, " it shook.", prompt)
    dream = Writing(kind="dream", occasion="spike", utterance=utterance)
    with (folder / Address.parse(newest.address).age / "diary.jsonl").open("a") as file:
        file.write(dream.model_dump_json() + "\n")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"stage": "chat", "step": 8, "loss": 2.1, "elapsed_s": 7200.0}) + "\n")
    add_receipt(
        folder,
        Receipt(
            what=newest.address,
            endpoint="http://127.0.0.1",
            repo="anna/tiny",
            kind="model",
            revision="chat-000008",
            commit="0" * 40,
            files={},
            bytes=0,
        ),
    )

    async def choose() -> None:
        async with open_store(storied_house.database_url) as store:
            await pick(store, Mark(kind="quote", quote="onerror=alert(1)"), editor="e", message_id=3)
            await pick(store, Mark(), editor="e", message_id=6)

    asyncio.run(choose())
    return storied_house


def test_the_page_tells_of_a_run_in_a_real_browser(make: Make, measured: House, browser: Browser) -> None:
    make_page_outside_of_the_loop(make, measured)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((measured.pages / "tiny-report.html").as_uri())
    text = page.locator("body").inner_text()
    for said in (
        "2.0 h",
        "5.00",
        "62\n47–76",
        "picked, 1 of 1",
        "anna/tiny",
        "samples are kept",
        "one step was far worse",
    ):
        assert said in text, said
    assert "a private answer" not in text
    assert page.locator("script, img, iframe, textarea, base").count() == 0
    assert page.locator("#prompt .column").count() == 4
    assert len(page.locator("#dialogue dd").all()) == 4
    for dot in page.locator(".curve.narrow .dot").all():
        assert page.locator(dot.get_attribute("href") or "#").count() == 1
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def make_page_outside_of_the_loop(make: Make, house: House) -> None:
    """While a browser runs, asyncio.run cannot be used in its thread."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(make, house, "tiny", "--price", "2.5").result()


def test_what_is_on_it_is_recorded_and_the_same_run_makes_the_same_page(make: Make, measured: House) -> None:
    first = make(measured)
    assert make(measured) == first

    async def look() -> None:
        async with open_store(measured.database_url) as store:
            (made,) = await exports(store)
            assert list(made.files) == ["tiny-report.html"]

    asyncio.run(look())


def test_a_bare_age_without_memory_has_a_report_too(checkpoints: Path, tmp_path: Path, make: Make) -> None:
    house = House(home=tmp_path / "home", cast_path=tmp_path / "none.toml")
    shutil.copytree(checkpoints / "tiny" / "base-000000", house.checkpoints / "tiny" / "base-000000")
    page = make(house, "tiny")
    assert "No scene was played and nothing is remembered" in page
    assert "selves publish ages tiny" in page
    assert not (house.home / "selves.db").exists()


def test_an_hour_cannot_cost_less_than_nothing() -> None:
    with pytest.raises(SystemExit):
        report_cli.parser().parse_args(["tiny", "--price", "-1"])


def test_ages_are_spread_evenly_with_the_first_and_the_last() -> None:
    assert spread_out(list(range(9)), 6) == (0, 2, 3, 5, 6, 8)  # type: ignore[arg-type]
    assert spread_out([1, 2], 6) == (1, 2)  # type: ignore[arg-type]


def test_the_time_of_a_stage_is_its_last() -> None:
    lines = [{"stage": "base", "elapsed_s": 2.0}, {"stage": "base", "elapsed_s": 5.5}, {"stage": "chat"}]
    assert stage_seconds(lines) == {"base": 5.5}


def test_a_recipe_is_read_back_as_it_was() -> None:
    import tomllib

    recipe = {
        "lineage": 'em"ber\\ \n é',
        "seed": 1,
        "notes": "",
        "model": {"depth": 2, "extra": [1, 2]},
        "corpus": [{"package": "a", "share": 0.5}, {"folder": "b"}],
    }
    assert tomllib.loads("\n".join(toml(recipe))) == {k: v for k, v in recipe.items() if v != ""}


def test_folders_of_the_machine_are_not_told() -> None:
    assert list(toml({"corpus": [{"folder": "/home/anna/letters"}]})) == [
        "",
        "[[corpus]]",
        'folder = "letters"',
    ]
