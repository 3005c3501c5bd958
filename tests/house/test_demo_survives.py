"""The whole loop on a tiny recipe, killed again and again: what it makes is complete, and single."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from selves.files import write_file
from selves.lineage import list_ages, read_age

HOUSE = Path(__file__).parents[2]
DEADLINE_S = 900.0

RECIPE = """
lineage = "ember"
model = { depth = 2, width = 32, head_dim = 16, context = 64, vocabulary = 320 }
base = { steps = 48, batch_tokens = 512, ages = 5, heldout_tokens = 2048 }
chat = { steps = 12, batch_tokens = 512 }
diary = { max_tokens = 12 }

[[corpus]]
folder = "TEXTS"
"""
CAST = """
[[persona]]
name = "Spark"
address = "ember@base-000000"
sampling = { max_tokens = 8, temperature = 1.0 }

[[persona]]
name = "Tinder"
address = "ember@base-000024"
sampling = { max_tokens = 8 }

[[persona]]
name = "Ember"
address = "ember@chat-000012"
sampling = { max_tokens = 8 }

[[persona]]
name = "Elder"
address = "smollm2@import-000000"
about = "You are Elder."
sampling = { max_tokens = 8 }

[[scene]]
name = "first-meeting"
cast = ["Spark", "Tinder", "Ember", "Elder"]
opening = "Hi! How are you all today?"
max_turns = 8

[[scene]]
name = "letter-home"
kind = "letter"
cast = ["Ember", "Spark"]
max_turns = 2
"""
LINES = (
    "Hi! How are you today?",
    "I'm doing really good, haha. And you?",
    "What do you like to read?",
    "Mostly about the sea, and about birds.",
    "That sounds lovely. Did you walk along the river?",
    "Not yet, it was raining all day long.",
)


@pytest.fixture
def house(tmp_path: Path, checkpoints: Path) -> Path:
    """A folder with a tiny recipe, texts and cast, and a tiny chat model in the elder's place."""
    rng = random.Random(7)
    texts = tmp_path / "texts"
    texts.mkdir()
    with (texts / "talks.jsonl").open("w") as file:
        for number in range(300):
            turns = [["A" if n % 2 == 0 else "B", f"{rng.choice(LINES)} {number}"] for n in range(6)]
            file.write(json.dumps({"turns": turns}) + "\n")
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("TEXTS", str(texts)))
    (tmp_path / "selves.toml").write_text(CAST)
    elder = tmp_path / "home" / "checkpoints" / "smollm2" / "import-000000"
    shutil.copytree(checkpoints / "tiny" / "chat-000008", elder)
    card = read_age(elder).card.model_copy(update={"address": "smollm2@import-000000", "origin": "imported"})
    write_file(elder / "age.json", card.model_dump_json())
    return tmp_path


class Demo:
    """`runs/demo.sh` in a process group of its own."""

    def __init__(self, house: Path) -> None:
        self.home = house / "home"
        self.log = (house / "demo.log").open("ab")
        self.process = subprocess.Popen(
            ["bash", str(HOUSE / "runs" / "demo.sh")],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "RECIPE": str(house / "recipe.toml"),
                "SELVES_HOME": str(self.home),
                "SELVES_CAST": str(house / "selves.toml"),
                "SELVES_URL": "",
                "SELVES_DATABASE_URL": "",
                "OMP_NUM_THREADS": "1",
                "NO_COLOR": "1",
            },
        )

    def kill_when(self, happened: Callable[[Path], bool]) -> bool:
        """Kill the whole group with SIGKILL as soon as something has happened; False if it ended before."""
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None and not happened(self.home):
            assert time.monotonic() < deadline, "the demo hangs"
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.01)
        ended = self.process.poll() is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        return not ended


def ages(home: Path) -> int:
    return len(list((home / "checkpoints" / "ember").glob("*-0*/age.json")))


def metrics(home: Path) -> int:
    path = home / "checkpoints" / "ember" / "metrics.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def rows(home: Path, query: str) -> list[tuple[object, ...]]:
    path = home / "selves.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return []  # the database is just being made


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_every_stage_and_run_again_the_demo_ends_complete_and_single(house: Path) -> None:
    happenings: list[Callable[[Path], bool]] = [
        lambda home: ages(home) >= 1,
        lambda home: metrics(home) >= 9,
        lambda home: ages(home) >= 5,
        lambda home: len(rows(home, "SELECT 1 FROM checkpoint")) >= 1,
        lambda home: len(rows(home, "SELECT 1 FROM generation WHERE kind = 'turn'")) >= 2,
        lambda home: len(rows(home, "SELECT 1 FROM message")) >= 6,
        lambda home: len(rows(home, "SELECT 1 FROM scene")) >= 2,
    ]
    for number, happened in enumerate(happenings):
        log = house / "demo.log"
        assert Demo(house).kill_when(happened), f"kill {number} came too late:\n{log.read_text()}"
    last = Demo(house)
    assert not last.kill_when(lambda _home: False)
    assert last.process.returncode == 0, (house / "demo.log").read_text()

    home = house / "home"
    raised = list_ages(home / "checkpoints", "ember")
    assert [age.address.age for age in raised] == [
        "base-000000",
        "base-000006",
        "base-000012",
        "base-000024",
        "base-000048",
        "chat-000012",
    ]
    for age in raised:
        age.verify()
        assert sorted(writing.kind for writing in age.writings()) == ["continuation", "diary", "letter"]
    lines = (home / "checkpoints" / "ember" / "metrics.jsonl").read_text().splitlines()
    logged = [(line["stage"], line["step"]) for line in map(json.loads, lines)]
    assert len(set(logged)) == len(logged)
    assert {("base", step) for step in range(49)} | {("chat", step) for step in range(1, 13)} <= {
        *logged,
        ("base", 0),
    }
    written = rows(home, "SELECT address, kind, number FROM writing")
    assert len(set(written)) == len(written) == 3 * len(raised)
    scenes = rows(home, "SELECT name, status, stop_reason FROM scene ORDER BY id")
    assert [scene[0] for scene in scenes] == ["first-meeting", "letter-home"]
    assert all(reason for _name, _status, reason in scenes), scenes
    for (scene,) in rows(home, "SELECT id FROM scene"):
        numbers = [
            row[0]
            for row in rows(home, f"SELECT sequence FROM message WHERE scene_id = {scene} ORDER BY sequence")
        ]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= 2
    assert rows(home, "SELECT id FROM message WHERE posted_at IS NULL") == []
    assert rows(home, "SELECT count(*) FROM message WHERE speaker = 'Host'") == [(1,)]
    page = (home / "pages" / "ember.html").read_text()
    assert "first-meeting" in page or "Hi! How are you all today?" in page
    leftovers = [path for path in home.rglob(".partial-*") if "corpora" not in path.parts]
    assert leftovers == []
