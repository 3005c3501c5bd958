"""A very small self for tests: two layers, raised in seconds on conversations made up here.

`raised` is a house in which `wren` has all its ages; it is made once per session, so copy it before changing
anything. `make_recipe` gives the recipe it was made by, with changes.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selves.settings import House
from training.recipe import Recipe

THINGS = ("tea", "books", "rain", "old maps", "the sea", "bread", "quiet mornings", "long walks")
MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 300 small conversations and some prose."""
    folder = tmp_path_factory.mktemp("texts")
    source = random.Random(7)
    talks = []
    for number in range(300):
        first, second = source.sample(THINGS, 2)
        turns = [
            ["a", f"Hi! How are you today, number {number}?"],
            ["b", f"I am fine, and I like {first}. Do you like {second}?"],
            ["a", f"Yes, I like {second} a lot, but {first} I do not know."],
            ["b", f"Then come and see {first} with me."],
        ]
        talks.append(json.dumps({"turns": turns}))
    (folder / "talks.jsonl").write_text("\n".join(talks), "utf-8")
    prose = [
        f"In the year {1700 + n} they had {source.choice(THINGS)} and nothing else.\n" for n in range(200)
    ]
    (folder / "years.md").write_text("\n".join(prose), "utf-8")
    return folder


@pytest.fixture(scope="session")
def make_recipe(texts: Path) -> MakeRecipe:
    def make(**changes: Any) -> Recipe:
        recipe: dict[str, Any] = {
            "lineage": "wren",
            "precision": "float32",
            "model": {"depth": 2, "width": 64, "head_dim": 32, "context": 64, "vocabulary": 512},
            "corpus": [{"folder": str(texts)}],
            "base": {"steps": 40, "batch_tokens": 512, "ages": 4, "heldout_tokens": 1000},
            "chat": {"steps": 10, "batch_tokens": 512},
            "diary": {"max_tokens": 8},
        }
        for key, value in changes.items():
            recipe[key] = recipe.get(key, {}) | value if isinstance(value, dict) else value
        return Recipe.model_validate(recipe)

    return make


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(home=tmp_path / "home", cast_path=tmp_path / "selves.toml")


@pytest.fixture(scope="session")
def raised(tmp_path_factory: pytest.TempPathFactory, make_recipe: MakeRecipe) -> House:
    from training import base, chat

    place = tmp_path_factory.mktemp("raised")
    house = House(home=place / "home", cast_path=place / "selves.toml")
    base.train(make_recipe(), house, threads=1)
    chat.train(make_recipe(), house, threads=1)
    return house


@pytest.fixture
def raised_copy(raised: House, house: House) -> House:
    shutil.copytree(raised.home, house.home)
    return house


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Call `selves ages` as the front door does; files about another command have a `run` of their own."""
    from selves.cli import run_command
    from training import ages

    def call(house: House, *argv: object) -> int:
        monkeypatch.setenv("SELVES_HOME", str(house.home))
        monkeypatch.setenv("SELVES_CAST", str(house.cast_path))
        return run_command(ages.main, list(map(str, argv)))

    return call


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[Recipe], Path]:
    """Write a recipe as TOML, for the command line."""

    def write(recipe: Recipe) -> Path:
        tables = recipe.model_dump(exclude_defaults=True)
        lines = [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not _is_table(value)]
        for key, value in tables.items():
            if isinstance(value, dict):
                lines += [f"[{key}]", *(f"{k} = {json.dumps(v)}" for k, v in value.items())]
            elif _is_table(value):
                for table in value:
                    lines += [f"[[{key}]]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
        path = tmp_path / f"{recipe.lineage}.toml"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path

    return write


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, (list, tuple)) and isinstance(value[0], dict))
