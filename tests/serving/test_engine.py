"""The embedded engine's worker: who speaks when, what stays in memory, and that one's trouble is its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from selves.errors import AgeError, EngineError, SelvesError
from selves.files import sha256_file
from selves.lineage import Age, read_age
from serving.asks import Ask
from serving.engine import Engine, Job
from serving.rounds import Rounds
from tests.serving.ages import Heard, speak


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(hot=2, threads=1)
    engine.start()
    yield engine
    engine.close()


def ages_of(checkpoints: Path) -> list[Age]:
    return [read_age(folder) for folder in sorted((checkpoints / "tiny").iterdir())]


def test_a_seed_says_the_same_alone_and_in_company(engine: Engine, checkpoints: Path) -> None:
    asks = [
        (age, Ask(20, temperature=1.2, top_p=0.9, seed=seed))
        for age in ages_of(checkpoints)
        for seed in (1, 2)
    ]
    alone = []
    for age, ask in asks:
        heard = Heard()
        engine.submit(Job(age, [40, 41, 42], ask, heard))
        alone.append(heard.all())
    together = [Heard() for _ in asks]
    for (age, ask), heard in zip(asks, together, strict=True):
        engine.submit(Job(age, [40, 41, 42], ask, heard))
    assert [heard.all() for heard in together] == alone
    assert alone[0] != alone[1]


def test_requests_speak_in_turns(checkpoints: Path) -> None:
    rounds = Rounds(memory_bytes=10**9)
    order: list[str] = []

    def add(name: str, age: Age) -> None:
        ask = Ask(30, temperature=1, ignore_eos=True)
        rounds.add(Job(age, [40] * 3, ask, lambda _: order.append(name)))

    add("a", ages_of(checkpoints)[0])
    add("b", ages_of(checkpoints)[1])
    while rounds.busy:
        rounds.play()
    assert "".join(order) == "ab" * 30


def test_people_are_heard_before_scenes_and_short_prompts_before_long_ones(checkpoints: Path) -> None:
    age = ages_of(checkpoints)[0]
    rounds = Rounds(memory_bytes=10**9)
    order: list[str] = []

    def add(name: str, tokens: int, priority: int) -> None:
        ask = Ask(1, priority=priority)
        rounds.add(Job(age, [40] * tokens, ask, lambda _: order.append(name)))

    add("long scene", 250, 10)
    add("short scene", 5, 10)
    add("person", 200, 0)
    while rounds.busy:
        rounds.play()
    assert order == ["person", "short scene", "long scene"]


def test_at_most_hot_ages_stay_in_memory_and_all_are_answered(engine: Engine, checkpoints: Path) -> None:
    heard = [Heard() for _ in range(8)]
    for number, one in enumerate(heard):
        engine.submit(Job(ages_of(checkpoints)[number % 4], [40], Ask(3, ignore_eos=True), one))
    assert [len(one.all()) for one in heard] == [3] * 8
    assert engine.measures()["selves_ages_hot"] == 2


def test_the_age_used_longest_ago_makes_room_for_another(checkpoints: Path) -> None:
    first, second, third = ages_of(checkpoints)[:3]
    one = (first.folder / "model.safetensors").stat().st_size
    rounds = Rounds(memory_bytes=int(2.7 * one))
    for age in (first, second, first, third, first):
        speak(rounds, (age, [40], Ask(3)))
    measures = rounds.measures()
    assert (measures["selves_ages_loaded_total"], measures["selves_ages_hot"]) == (3, 2)
    assert measures["selves_memory_bytes"] <= measures["selves_memory_limit_bytes"]


def test_an_age_larger_than_the_memory_is_refused_with_what_it_would_take(checkpoints: Path) -> None:
    rounds = Rounds(memory_bytes=1000)
    with pytest.raises(EngineError, match=r"takes 0\.00 GB, and the engine may take 0\.00 GB"):
        speak(rounds, (ages_of(checkpoints)[0], [40], Ask(3)))


@pytest.mark.parametrize(("prompt", "tokens", "crowded"), [(60, 150, True), (200, 40, False)])
def test_prompts_wait_for_room_and_answers_that_outgrow_it_end_with_an_error(
    checkpoints: Path, prompt: int, tokens: int, crowded: bool
) -> None:
    age = ages_of(checkpoints)[0]
    weights = (age.folder / "model.safetensors").stat().st_size
    rounds = Rounds(memory_bytes=weights + 400_000)
    heard = [Heard() for _ in range(8)]
    for one in heard:
        rounds.add(Job(age, [40] * prompt, Ask(tokens, ignore_eos=True), one))
    while rounds.busy:
        rounds.play()
        measures = rounds.measures()
        assert measures["selves_memory_bytes"] <= measures["selves_memory_limit_bytes"]
    ends = [one.now()[-1] for one in heard]
    failed = [end for end in ends if isinstance(end, SelvesError)]
    assert 0 < len(failed) < 8 if crowded else not failed
    assert all("full of what is being said" in str(error) for error in failed)
    assert speak(rounds, (age, [40], Ask(3, ignore_eos=True)))


def test_a_cancelled_job_falls_silent_and_others_go_on(engine: Engine, checkpoints: Path) -> None:
    age = ages_of(checkpoints)[0]
    heard, other = Heard(), Heard()
    job = Job(age, [40], Ask(100_000, ignore_eos=True), heard)
    engine.submit(job)
    heard.next()
    job.cancel()
    engine.submit(Job(age, [40], Ask(5, ignore_eos=True), other))
    assert len(other.all()) == 5
    assert engine.measures()["selves_requests_active"] <= 1


def test_a_pass_that_fails_is_tried_again_one_by_one_and_only_the_cause_ends(
    checkpoints: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = ages_of(checkpoints)[:2]
    rounds = Rounds(memory_bytes=10**9)
    expected = speak(rounds, (good, [40], Ask(9, seed=3, ignore_eos=True)), (bad, [40], Ask(9)))[0]
    broken = next(age for age in rounds._hot.values() if age.address == bad.card.address)
    assert broken.model is not None

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no memory for this")

    heard, other = Heard(), Heard()
    rounds.add(Job(good, [40], Ask(9, seed=3, ignore_eos=True), heard))
    rounds.add(Job(bad, [40], Ask(9, ignore_eos=True), other))
    rounds.play()
    broken.model = broken.model._replace(head=fail)
    rounds._companies.clear()
    while rounds.busy:
        rounds.play()
    assert heard.now() == list(expected)
    error = other.now()[-1]
    assert isinstance(error, EngineError)
    assert "failed while speaking: no memory for this" in str(error)
    assert "a pass of 2 sequences failed; each goes on alone" in caplog.text


def test_broken_numbers_end_only_their_own_age(checkpoints: Path) -> None:
    good, bad = ages_of(checkpoints)[:2]
    rounds = Rounds(memory_bytes=10**9)
    speak(rounds, (good, [40], Ask(1)), (bad, [40], Ask(1)))
    for age in rounds._hot.values():
        if age.address == bad.card.address and age.model is not None:
            age.model = age.model._replace(norm=age.model.norm._replace(weight=torch.full((64,), torch.nan)))
            age.prepare_alone()
    heard, other = Heard(), Heard()
    rounds.add(Job(bad, [40], Ask(5, ignore_eos=True), heard))
    rounds.add(Job(good, [40], Ask(5, ignore_eos=True), other))
    while rounds.busy:
        rounds.play()
    (error,) = heard.now()
    assert "gives no numbers: its weights are broken" in str(error)
    assert len(other.now()) == 5


def test_when_the_worker_dies_everyone_is_told_and_nobody_waits(
    engine: Engine, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    age = ages_of(checkpoints)[0]
    heard, late = Heard(), Heard()
    engine.submit(Job(age, [40], Ask(100_000, ignore_eos=True), heard))
    heard.next()

    def die(_: Rounds) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Rounds, "play", die)
    while not isinstance(told := heard.next(), SelvesError):
        pass
    assert "the embedded engine has died: ZeroDivisionError: a defect" in str(told)
    engine._worker.join(60)
    engine.submit(Job(age, [40], Ask(3), late))
    assert isinstance(late.next(), EngineError)
    assert "has died" in engine.trouble


def test_damaged_weights_are_refused_by_name_and_the_engine_goes_on(
    engine: Engine, own_checkpoints: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny" / "base-000004"
    shutil.copytree(own_checkpoints / "tiny" / "base-000004", folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    heard, other = Heard(), Heard()
    engine.submit(Job(read_age(folder), [40], Ask(3), heard))
    error = heard.next()
    assert isinstance(error, AgeError)
    assert "tiny@base-000004 is damaged" in str(error)
    engine.submit(Job(ages_of(own_checkpoints)[0], [40], Ask(3, ignore_eos=True), other))
    assert len(other.all()) == 3


def test_weights_that_are_whole_but_not_all_there_are_refused(own_checkpoints: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "tiny" / "base-000004"
    shutil.copytree(own_checkpoints / "tiny" / "base-000004", folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    card = json.loads((folder / "age.json").read_text())
    card["weights_sha256"] = sha256_file(folder / "model.safetensors")
    (folder / "age.json").write_text(json.dumps(card))
    with pytest.raises(AgeError, match=r"lacks weights: model\.norm\.weight"):
        speak(Rounds(memory_bytes=10**9), (read_age(folder), [40], Ask(3)))


def test_a_tokenizer_of_another_model_is_found_out(checkpoints: Path) -> None:
    rounds = Rounds(memory_bytes=10**9)
    age = ages_of(checkpoints)[0]
    with pytest.raises(AgeError, match="its tokenizer says token 320, its model knows 320 tokens"):
        speak(rounds, (age, [40, 320], Ask(3)))
    assert speak(rounds, (age, [40, 319], Ask(3)))
