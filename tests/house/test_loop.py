"""The loop closes: votes become the next self, which is measured, stays or goes, and reads its mail."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from bots.loop import Verdict, load_loop, standing
from memory import feedback
from memory.export import exports
from memory.models import ExportRow
from memory.store import open_store
from selves.__main__ import main
from selves.cast import SceneSpec, load_cast
from selves.errors import ConfigError
from selves.files import sha256_file
from selves.lineage import find_age, list_ages
from selves.moving import move
from selves.settings import House
from selves.speech import ChatMessage, Prompt
from tests.memory.parts import utterance

BASE = "tiny@chat-000008"
LOOP = f"""
lineage = "tiny"
base = "{BASE}"
persona = "Tiny"
[memory]
fewest = 10
test_share = 0.3
[next]
steps = 6
batch = 4
rate = 1e-3
[next.diary]
max_tokens = 6
kinds = ["letter"]
[gate]
suites = ["dialogue"]
items = 8
margin = 0.5
"""
WORDS = [f"{a}{b}" for a in ("ba", "no", "ri", "tu", "el") for b in ("m", "ka", "sto", "rin", "vo", "lu")]


@pytest.fixture
def house(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("SELVES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "selves.toml"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "selves.toml").write_text(f'[[persona]]\nname = "Tiny"\naddress = "{BASE}"\n')
    (tmp_path / "loop.toml").write_text(LOOP)
    house = House.from_environment()
    shutil.copytree(checkpoints, house.checkpoints)
    return house


def people_vote(house: House, seed: int, times: int = 16) -> None:
    """Let people prefer one of two answers, in as many scenes, to prompts that have little in common."""
    source = random.Random(seed)

    async def talk() -> None:
        async with open_store(house.database_url) as store:
            for _ in range(times):
                asked = " ".join(source.choices(WORDS, k=12))
                prompt = Prompt(form="chat", messages=(ChatMessage(role="user", content=asked),))
                said = [utterance(text, prompt=prompt, address=BASE) for text in ("I am fine.", "no no no")]
                spec = SceneSpec(name="meeting", cast=("Tiny", "Ash"))
                scene = await store.begin_scene(spec, place="terminal")
                message = await store.keep_turn(scene.id, speaker="Tiny", utterances=said, chosen=0)
                assert message is not None
                await store.mark_posted(message.id)
                good, bad = (sample.id for sample in await store.generations(scene.id))
                await feedback.keep(
                    store, "vote", good, other_id=bad, value="first", shown_first=bad, blind=True, via="web"
                )

    asyncio.run(talk())


def call_back(house: House, export_id: int) -> None:
    async def call() -> None:
        async with open_store(house.database_url) as store, store.writing() as session:
            found = await session.get(ExportRow, export_id)
            assert found is not None
            found.invalid_at, found.invalid_reason = store.clock(), "a person was forgotten"

    asyncio.run(call())


def loop(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["loop", "loop.toml", "--json", *options]) == 0
    said = capsys.readouterr().out
    return dict(json.loads(said.splitlines()[0])) if said else {}


def test_a_loop_without_rounds_says_so(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loop", "loop.toml", "--history"]) == 0
    assert "`selves loop loop.toml --go` begins one" in capsys.readouterr().out
    assert loop(capsys, "--history") == {}


def test_votes_become_selves_that_stay_and_read_their_letters(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    people_vote(house, 1, times=4)
    assert "4 new rows of dpo; 10 are wanted" in loop(capsys, "--go")["waits"]
    people_vote(house, 2)
    planned = loop(capsys)
    assert (planned["rows"], planned["waits"]) == (20, "")
    assert not (house.home / "loops").exists()

    first = loop(capsys, "--go")
    assert (first["kept"], first["address"], first["base"]) == (True, "tiny@dpo1-000006", BASE)
    chosen = next(f for f in first["figures"] if f["name"].endswith("log p chosen - rejected"))
    assert float(chosen["after"].split()[0]) > float(chosen["before"].split()[0])
    assert "0 new rows" in loop(capsys)["waits"]
    assert load_cast(house.cast_path).find_persona("Tiny").address == first["address"]

    people_vote(house, 3)
    second = loop(capsys, "--go")
    assert (second["kept"], second["base"]) == (True, first["address"])
    asked = {figure["name"].partition(":")[0] for figure in second["figures"]}
    assert {"round 1", "round 2", "dialogue"} <= asked
    assert {figure["than"] for figure in second["figures"]} <= {BASE, first["address"]}
    assert find_age(house.checkpoints, "tiny@dpo2-000006").card.parent == first["address"]
    capsys.readouterr()
    assert main(["scene", "letters", "--json"]) == 0
    mail = {letter["from"]: letter for letter in json.loads(capsys.readouterr().out)}
    assert mail[first["address"]]["reader"] == second["address"]
    assert mail[first["address"]]["answer_scene"] is not None
    assert mail[second["address"]]["state"] == "waits for that age"


def test_a_self_that_lost_what_mattered_goes_again(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    people_vote(house, 1)
    Path("loss.py").write_text(
        "from training.evals.items import Choice\n"
        "def of(given):\n"
        "    return [Choice('What is it?', (' no no no', ' I am fine.'), 0)] * given.wanted\n"
    )
    Path("loop.toml").write_text(
        LOOP.replace('["dialogue"]', '["loss:of"]').replace("1e-3", "1e-2").replace("steps = 6", "steps = 20")
    )
    before = [age.card.address for age in list_ages(house.checkpoints)]
    ended = loop(capsys, "--go")
    assert not ended["kept"]
    assert any(name.startswith("loss:of") for name in ended["lost"])
    assert [age.card.address for age in list_ages(house.checkpoints)] == before
    assert "nothing is new since round 1, which was not kept" in loop(capsys, "--go")["waits"]
    assert main(["loop", "loop.toml", "--history"]) == 0
    assert "not kept: it lost loss:of" in capsys.readouterr().out


def test_a_round_that_was_broken_off_goes_on_unless_its_words_are_called_back(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    people_vote(house, 1)

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("training.post.run.train", dies)
        assert main(["loop", "loop.toml", "--go"]) == 130
    assert loop(capsys)["going_on"]

    async def recorded() -> int:
        async with open_store(house.database_url) as store:
            return len(await exports(store))

    assert loop(capsys, "--go")["kept"]
    assert asyncio.run(recorded()) == 1

    people_vote(house, 2)
    with monkeypatch.context() as broken:
        broken.setattr("training.post.gate.measure", dies)
        assert main(["loop", "loop.toml", "--go"]) == 130
    assert not (house.checkpoints / "tiny" / "dpo2-000006").exists(), "nobody sees what is not decided"
    call_back(house, 2)
    capsys.readouterr()
    assert main(["loop", "loop.toml", "--go"]) == ConfigError.exit_code
    assert "may not be used any more: a person was forgotten" in capsys.readouterr().err
    shutil.rmtree(house.home / "loops" / "tiny" / "round-0002")
    people_vote(house, 3)
    again = loop(capsys, "--go")
    assert (again["kept"], again["round"]) == (True, 2)
    read = find_age(house.checkpoints, again["address"]).card.sources[0]["files"]
    rows = house.home / "loops" / "tiny" / "round-0002" / "rows"
    assert read == {name: sha256_file(rows / name) for name in read}
    assert not (house.home / "loops" / "tiny" / "round-0002" / "trial").exists()


def test_nothing_goes_on_from_words_that_were_called_back(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    people_vote(house, 1)
    first = loop(capsys, "--go")
    assert load_cast(house.cast_path).find_persona("Tiny").address == first["address"]
    call_back(house, first["export_id"])
    planned = loop(capsys)
    assert (planned["base"], planned["passed_over"]) == (BASE, [1])
    second = loop(capsys, "--go")
    assert (second["round"], second["base"]) == (2, BASE)
    assert load_cast(house.cast_path).find_persona("Tiny").address == second["address"]
    move(house.cast_path, "Tiny", BASE)
    assert "0 new rows" in loop(capsys, "--go")["waits"]
    assert load_cast(house.cast_path).find_persona("Tiny").address == BASE, "somebody gave it that age"


def test_an_age_that_was_let_go_takes_no_later_round_with_it(house: House) -> None:
    recipe = load_loop(Path("loop.toml"))
    facts = {"kept": True, "rows": 20}
    gone = Verdict(round=1, base=BASE, address="tiny@dpo1-000006", export_id=1, **facts)
    later = Verdict(round=2, base=gone.address, address="tiny@base-000016", export_id=2, **facts)
    assert standing(recipe, house, [gone, later], {1, 2}) == ([later], [gone])
    assert standing(recipe, house, [gone, later], {2}) == ([], [gone, later]), "it learned from those words"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("steps = 6", "stepps = 6", "stepps"),
        ("steps = 6", "method = 'sft'", "[next] leaves method to the loop"),
        ('base = "tiny@chat-000008"', 'base = "tiny"', "base"),
    ],
)
def test_a_mistake_in_a_loop_is_named(
    house: House, capsys: pytest.CaptureFixture[str], old: str, new: str, problem: str
) -> None:
    (house.home.parent / "loop.toml").write_text(LOOP.replace(old, new))
    assert main(["loop", "loop.toml"]) == 2
    assert problem in capsys.readouterr().err
