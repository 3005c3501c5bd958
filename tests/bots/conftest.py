"""A house of tiny ages and its engine, as a real process on a free port, once for all tests of this room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from memory.store import Store, open_store
from serving.voice import Voice


@pytest.fixture(scope="session")
def serving_home(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the tiny ages, and `broken@base-000000`, whose weights are cut short."""
    home = tmp_path_factory.mktemp("bots-home")
    shutil.copytree(checkpoints, home / "checkpoints")
    broken = home / "checkpoints" / "broken" / "base-000000"
    shutil.copytree(checkpoints / "tiny" / "base-000000", broken)
    card = json.loads((broken / "age.json").read_text("utf-8"))
    (broken / "age.json").write_text(json.dumps(card | {"address": "broken@base-000000"}), "utf-8")
    os.truncate(broken / "model.safetensors", 100)
    return home


@pytest.fixture(scope="session")
def serving_url(serving_home: Path) -> Iterator[str]:
    """Where the engine answers."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SELVES_")}
    with subprocess.Popen(
        [sys.executable, "-m", "selves", "serve", "--json", "--while-parent-lives", "--port", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=serving_home,
        env=environment | {"SELVES_HOME": str(serving_home), "OMP_NUM_THREADS": "1"},
    ) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["url"]
        server.terminate()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite+aiosqlite:///{tmp_path / 'selves.db'}") as opened:
        yield opened


@pytest.fixture
async def voice(serving_url: str) -> AsyncIterator[Voice]:
    async with Voice(serving_url) as opened:
        yield opened
