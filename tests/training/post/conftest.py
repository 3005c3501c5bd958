"""A house with the two-layer ages of every room's tests, and a recipe that is quick with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from selves.settings import House
from tests.training.post.parts import BASE, MakePost
from training.post.recipe import PostRecipe


@pytest.fixture
def post_house(checkpoints: Path, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    shutil.copytree(checkpoints, house.checkpoints)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELVES_HOME", str(house.home))
    return house


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Forty rows with all that any method wants: prompt, completion, chosen, rejected, label,
    privileged_context."""
    path = tmp_path / "answers.jsonl"
    rows = [
        {
            "prompt": f"What is your number {n}?",
            "completion": "I am fine" if n % 2 else "no no no",
            "label": bool(n % 2),
            "chosen": "I am fine",
            "rejected": "no no no",
            "privileged_context": "I am fine and I read.",
        }
        for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def make_post(answers: Path) -> MakePost:
    def make(method: str = "sft", **changes: Any) -> PostRecipe:
        recipe: dict[str, Any] = {
            "lineage": "quill",
            "base": BASE,
            "method": method,
            "steps": 8,
            "batch": 8,
            "rate": 3e-3,
            "held_out": 0.2,
            "diary": {"max_tokens": 4},
        }
        if method not in ("ageing", "merge"):
            recipe["data"] = [{"file": str(answers)}]
        if method in ("grpo", "rloo"):
            recipe["reward"] = {
                "functions": ["tests.training.post.parts:vowels"],
                "group": 4,
                "max_tokens": 6,
            }
        return PostRecipe.model_validate(recipe | changes)

    return make
