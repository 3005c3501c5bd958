"""A house with the two-layer ages of every room's tests, and `selves train traits` as it is called."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from selves.settings import House


@pytest.fixture
def traits_house(checkpoints: Path, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    shutil.copytree(checkpoints, house.checkpoints)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELVES_HOME", str(house.home))
    return house


@pytest.fixture
def run_traits(traits_house: House) -> Callable[..., int]:
    from selves.cli import run_command
    from training.traits import cli

    return lambda *argv: run_command(cli.main, list(map(str, argv)))
