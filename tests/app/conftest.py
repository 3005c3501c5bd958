"""A house with tiny ages for the parlor, two of which can talk for long, and a real server for them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from selves.files import sha256_file
from selves.lineage import METRICS_FILE, read_age
from selves.settings import House
from tests.servers import serving
from training.figure import Figure
from training.traits.results import Found, keep_trait
from training.traits.run import find_trait, questions
from training.traits.version import version_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LONG = ("tiny@base-000032", "tiny@base-000033")
"""Ages with a window wide enough for 512 tokens, and slow enough to be stopped before."""
LAYERS = 160
ASKED_BEFORE = ("chat-000008", 0.5, "0")
"""An age whose traits were found otherwise than today."""


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """AppTest leaves its script in `__main__`'s place, and processes of later tests would run it."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="session")
def talkative(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the lineage with two more ages, which can go on for long."""
    copy = tmp_path_factory.mktemp("parlor") / "checkpoints"
    shutil.copytree(checkpoints, copy)
    for address in LONG:
        folder = copy.joinpath(*address.split("@"))
        shutil.copytree(checkpoints / "tiny" / "base-000016", folder)
        slow_down(folder)
        sha256 = sha256_file(folder / "model.safetensors")
        files = {name: sha256_file(folder / name) for name in read_age(folder).card.files}
        changes = {
            "address": address,
            "context_tokens": 100_000,
            "weights_sha256": sha256,
            "files": files,
        }
        card = read_age(folder).card.model_copy(update=changes)
        (folder / "age.json").write_text(card.model_dump_json())
    curve = [
        {"stage": "base", "step": step, "tokens": 100 * step, "loss": 6 - step / 16} for step in range(33)
    ]
    (copy / "tiny" / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in curve))
    trait = find_trait("knows")
    today = version_of(trait, questions(trait))
    for name, value, version in (("base-000000", 0.25, today), ("base-000016", 0.75, today), ASKED_BEFORE):
        figure = Figure(name="right words", value=value, low=value - 0.1, high=value + 0.1, n=32, share=True)
        age = read_age(copy / "tiny" / name)
        found = Found(version=version, weights_sha256=age.card.weights_sha256, figures=(figure,))
        keep_trait(age, trait.name, found)
    return copy


def slow_down(folder: Path) -> None:
    """Give a model many layers that add nothing to what it says, so that there is time to stop it."""
    plain = AutoModelForCausalLM.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    config.num_hidden_layers, config.layer_types = LAYERS, ["full_attention"] * LAYERS
    deep = AutoModelForCausalLM.from_config(config)
    deep.load_state_dict(plain.state_dict(), strict=False)
    for layer in deep.model.layers[plain.config.num_hidden_layers :]:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    deep.save_pretrained(folder)


@pytest.fixture(scope="session")
def url(talkative: Path) -> Iterator[str]:
    """The base URL of a server over those ages."""
    with serving(talkative) as address:
        yield address


@pytest.fixture
def house(talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house in which nothing was said yet, as the environment names it. No server is named."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "checkpoints").symlink_to(talkative)
    for variable in ("SELVES_URL", "SELVES_API_KEY", "SELVES_DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SELVES_HOME", str(home))
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "none.toml"))
    return House.from_environment()


@pytest.fixture
def served_house(house: House, url: str, monkeypatch: pytest.MonkeyPatch) -> House:
    """The same house, with a server."""
    monkeypatch.setenv("SELVES_URL", url)
    return House.from_environment()


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL at which nobody answers: its port is bound, so that nobody else can take it, and closed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def parlor_house(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house for all tests of a file."""
    home = tmp_path_factory.mktemp("parlor")
    (home / "checkpoints").symlink_to(talkative)
    return House(home=home, cast_path=home / "none.toml")


@pytest.fixture(scope="module")
def address(parlor_house: House) -> Iterator[str]:
    """Where the parlor is: `selves app` with an engine of its own. At the end, Ctrl-C closes it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SELVES_")}
    environment |= {
        "SELVES_HOME": str(parlor_house.home),
        "SELVES_CAST": str(parlor_house.cast_path),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "selves", "app", "--no-browser", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, "the parlor did not open"
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(240) == 0
        process.stdout.close()


@pytest.fixture
def page(address: str, browser: Browser) -> Iterator[Page]:
    """The parlor, open. It must ask nobody outside for anything."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url))
    page.goto(address)
    page.get_by_role("button", name="Ask them").wait_for()
    yield page
    assert [url for url in outside if not url.startswith((address, "data:", "blob:"))] == []
