"""A whole small life: raised by one command, kept age by age, and left alone when it is finished."""

from __future__ import annotations

import fcntl
import itertools
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from selves.cli import run_command
from selves.errors import CorpusError, TrainingError, UsageError
from selves.files import PARTIAL_PREFIX
from selves.lineage import find_age, list_ages
from selves.settings import House
from training import base, chat, cli
from training.checkpoint import STATE_FILE, STATE_FOLDER, only_trainer
from training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]
WriteRecipe = Callable[[Recipe], Path]
AGES = ["base-000000", "base-000010", "base-000020", "base-000040", "chat-000010"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[House, Sequence[object]], int]:
    """Call `selves train run` as the front door does."""

    def call(house: House, argv: Sequence[object]) -> int:
        monkeypatch.setenv("SELVES_HOME", str(house.home))
        return run_command(cli.main, ["run", *map(str, argv)])

    return call


def weights(house: House) -> dict[str, str]:
    return {age.card.address: age.card.weights_sha256 for age in list_ages(house.checkpoints)}


def test_a_life_is_kept_age_by_age(raised: House) -> None:
    ages = list_ages(raised.checkpoints)
    assert [age.address.age for age in ages] == AGES
    for age in ages:
        age.verify()
    assert [age.card.parent for age in ages] == [None, *(age.card.address for age in ages[:-1])]
    assert [age.card.form for age in ages] == ["transcript"] * 4 + ["chat"]
    assert [age.card.tokens_seen for age in ages] == [0, 5120, 10240, 20480, 25600]
    assert len({age.card.weights_sha256 for age in ages}) == 5


def test_bits_per_byte_falls_along_the_ladder(raised: House) -> None:
    ladder = [age.card.bits_per_byte for age in list_ages(raised.checkpoints) if age.address.stage == "base"]
    assert all(measured is not None and math.isfinite(measured) for measured in ladder)
    assert ladder == sorted(ladder, key=lambda measured: -(measured or 0))
    assert (ladder[0] or 0) - (ladder[-1] or 0) > 1


def test_every_age_has_written_and_says_with_which_weights(raised: House, make_recipe: MakeRecipe) -> None:
    for age in list_ages(raised.checkpoints):
        writings = age.writings()
        assert [writing.kind for writing in writings] == ["diary", "letter", "continuation"]
        assert writings[1].to == "future"
        assert writings[2].utterance.prompt.text == make_recipe().diary.continuation
        for writing in writings:
            assert writing.utterance.weights_sha256 == age.card.weights_sha256
            assert writing.utterance.engine == "training"
            assert len(writing.utterance.token_ids) in range(1, 9)
            assert writing.utterance.mean_logprob is not None
            assert writing.utterance.mean_logprob < 0
        prompts = [writing.utterance.prompt.form for writing in writings]
        assert prompts == [age.card.form, age.card.form, "transcript"]


def test_an_age_says_again_what_it_wrote(raised: House, make_recipe: MakeRecipe) -> None:
    from training import diary
    from training.budget import shape_of
    from training.export import weights_sha256
    from training.generate import Speaker
    from training.gpt import GPT
    from training.keeping import load_weights
    from training.shards import prepare

    import torch  # isort: skip

    corpus = prepare(make_recipe(), raised, lambda _: None)
    age = find_age(raised.checkpoints, "wren@chat-000010")
    model = GPT(shape_of(make_recipe(), corpus.tokenizer.get_vocab_size()))
    load_weights(model, age)
    assert weights_sha256(model, torch.float32) == age.card.weights_sha256
    speaker = Speaker(model, corpus.tokenizer, age.card.address, age.card.weights_sha256)
    again = diary.write(make_recipe(), speaker, "chat")
    assert [w.utterance.token_ids for w in again] == [w.utterance.token_ids for w in age.writings()]


def test_metrics_have_one_line_a_step_and_the_ages_measured(raised: House) -> None:
    text = (raised.checkpoints / "wren" / "metrics.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [
        *(("base", step) for step in range(41)),
        *(("chat", step) for step in range(1, 11)),
    ]
    assert [line["step"] for line in lines if line["bits_per_byte"] is not None] == [0, 10, 20, 40, 10]
    for line in lines:
        assert set(line) == {
            "stage",
            "step",
            "tokens",
            "loss",
            "bits_per_byte",
            "tokens_per_s",
            "mfu",
            "elapsed_s",
        }
        assert line["loss"] > 0
    assert [line["tokens"] for line in lines] == [512 * n for n in range(51)]


def test_a_finished_run_has_nothing_to_do_and_does_not_load_torch(
    raised: House, write_recipe: WriteRecipe, make_recipe: MakeRecipe
) -> None:
    before = weights(raised)
    code = (
        "import sys; from selves.__main__ import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "run", str(write_recipe(make_recipe()))],
        env={"SELVES_HOME": str(raised.home), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [f"wren@{age}" for age in AGES]
    assert weights(raised) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    house: House,
    run: Callable[..., int],
    write_recipe: WriteRecipe,
    make_recipe: MakeRecipe,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(house, [write_recipe(make_recipe()), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "40 steps of 512, 20,480 tokens" in said
    assert "wren@base-000020  to be made" in said
    assert not house.home.exists()


def test_a_dry_run_promises_no_steps_that_are_to_be_measured(
    house: House,
    run: Callable[..., int],
    write_recipe: WriteRecipe,
    make_recipe: MakeRecipe,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(house, [write_recipe(make_recipe()), "--dry-run", "--minutes", "2.5"]) == 0
    said = capsys.readouterr().out
    assert "base: as many steps of 512 as 2.5 minutes allow here" in said
    assert "40 steps" not in said
    assert "wren@base" not in said


def test_a_dry_run_looks_whether_the_text_is_there(
    house: House,
    run: Callable[..., int],
    write_recipe: WriteRecipe,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere = tmp_path / "nowhere"
    assert run(house, [write_recipe(make_recipe()), "--dry-run", "--text", nowhere]) == 1
    assert f"{nowhere} is not a folder" in capsys.readouterr().err


def test_help_shows_each_example_on_a_line_of_its_own(
    house: House, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(house, ["--help"])
    examples = capsys.readouterr().out.partition("examples:\n")[2].splitlines()
    assert len(examples) == len(cli.EXAMPLES.strip().splitlines())
    assert all(line.startswith(("  selves ", "  torchrun ")) for line in examples)


def test_the_command_raises_a_self_from_a_users_own_text(
    house: House,
    run: Callable[..., int],
    write_recipe: WriteRecipe,
    make_recipe: MakeRecipe,
    texts: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = make_recipe(corpus=[{"package": "chitchat"}], base={"steps": 4}, chat={"steps": 2})
    argv = [write_recipe(recipe), "--text", texts, "--lineage", "robin", "--threads", 1, "--json"]
    assert run(house, argv) == 0
    captured = capsys.readouterr()
    cards = json.loads(captured.out)
    assert [card["address"] for card in cards][-1] == "robin@chat-000002"
    assert "kept robin@base-000004" in captured.err


def test_a_changed_recipe_is_refused_and_the_change_is_named(
    raised: House,
    run: Callable[..., int],
    write_recipe: WriteRecipe,
    make_recipe: MakeRecipe,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = weights(raised)
    assert run(raised, [write_recipe(make_recipe(base={"matrix_rate": 0.01}))]) == 1
    said = capsys.readouterr().err
    assert "base.matrix_rate: 0.025 -> 0.01" in said
    assert "--lineage wren-2" in said
    assert "--fresh" in said
    assert weights(raised) == before


def test_a_new_chat_stage_does_not_disturb_a_base_that_is_kept(house: House, make_recipe: MakeRecipe) -> None:
    from training.plan import make_plan

    base.train(make_recipe(base={"steps": 2}), house, threads=1)
    changed = make_recipe(base={"steps": 2}, chat={"steps": 1})
    assert make_plan(changed, house).finished("base")
    chat.train(changed, house, threads=1)
    with pytest.raises(TrainingError, match=r"chat\.rate: 0\.2 -> 0\.5"):
        make_plan(make_recipe(base={"steps": 2}, chat={"steps": 1, "rate": 0.5}), house)


def test_a_text_that_has_changed_since_is_refused_in_either_stage(
    house: House, make_recipe: MakeRecipe, texts: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(texts, tmp_path / "my-texts")
    recipe = make_recipe(corpus=[{"folder": str(folder)}], base={"steps": 2}, chat={"steps": 1})
    base.train(recipe, house, threads=1)
    (folder / "more.txt").write_text("Quite another kind of text, zigzag quixotic jukebox. " * 200, "utf-8")
    for train in (base.train, chat.train):
        with pytest.raises(TrainingError, match="the text of wren is not what it began with"):
            train(recipe, house, threads=1)
    assert [age.address.age for age in list_ages(house.checkpoints)][-1] == "base-000002"


def test_fresh_names_what_it_deletes_and_begins_anew(
    raised_copy: House,
    run: Callable[..., int],
    write_recipe: WriteRecipe,
    make_recipe: MakeRecipe,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = make_recipe(seed=5, base={"steps": 2}, chat={"steps": 0})
    assert run(raised_copy, [write_recipe(recipe), "--fresh", "--threads", "1"]) == 0
    said = capsys.readouterr().err
    assert all(f"deleted wren@{age}" in said for age in AGES)
    assert [age.address.age for age in list_ages(raised_copy.checkpoints)] == [
        "base-000000",
        "base-000001",
        "base-000002",
    ]
    assert not list((raised_copy.checkpoints / "wren").glob(f"{PARTIAL_PREFIX}*"))


def test_two_trainers_of_one_lineage_do_not_meet(house: House, make_recipe: MakeRecipe) -> None:
    lock = house.checkpoints / "wren" / ".state" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4242\n")
        file.flush()
        with pytest.raises(TrainingError, match="is being trained by process 4242"):
            base.train(make_recipe(), house, threads=1)
    assert not list_ages(house.checkpoints)


def test_a_run_that_fails_before_its_first_step_leaves_nothing(house: House, make_recipe: MakeRecipe) -> None:
    with pytest.raises(CorpusError):
        base.train(make_recipe(corpus=[{"folder": "nowhere"}]), house, threads=1)
    assert list(house.checkpoints.iterdir()) == []


def test_a_lock_that_its_holder_took_away_holds_nobody_off_and_the_next_is_a_whole_one(
    tmp_path: Path,
) -> None:
    lineage = tmp_path / "wren"
    with only_trainer(lineage):
        pass
    assert list(tmp_path.iterdir()) == []
    with only_trainer(lineage):
        with pytest.raises(TrainingError, match="is being trained"), only_trainer(lineage):
            pass
        (lineage / STATE_FOLDER / STATE_FILE).write_text("kept")
    assert (lineage / STATE_FOLDER / STATE_FILE).exists()


def test_another_trainer_that_opens_the_lock_as_it_goes_does_not_hide_why_a_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineage, unlink = tmp_path / "wren", Path.unlink

    def unlinked(path: Path, **told: bool) -> None:
        unlink(path, **told)
        path.touch()

    monkeypatch.setattr(Path, "unlink", unlinked)
    with pytest.raises(CorpusError), only_trainer(lineage):
        raise CorpusError("it is empty", "fill it")
    assert (lineage / STATE_FOLDER).exists()


def test_the_chat_stage_needs_the_base_stage(
    house: House, run: Callable[..., int], write_recipe: WriteRecipe, make_recipe: MakeRecipe
) -> None:
    assert run(house, [write_recipe(make_recipe()), "--stage", "chat"]) == UsageError.exit_code


def test_ages_kept_in_half_precision_are_measured_and_quoted_as_they_are_served(
    house: House, make_recipe: MakeRecipe
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base.train(make_recipe(kept_dtype="bfloat16", base={"steps": 2}), house, threads=1)
    for age in list_ages(house.checkpoints):
        age.verify()
        stock = AutoModelForCausalLM.from_pretrained(str(age.folder), dtype="auto")
        assert stock.dtype == torch.bfloat16
        assert {writing.utterance.weights_sha256 for writing in age.writings()} == {age.card.weights_sha256}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, when it loads its compiler
def test_without_compiler_training_says_so_and_goes_on(
    house: House, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from io import StringIO

    from rich.console import Console
    from torch._inductor import config

    from training import speed
    from training.watch import Watch

    monkeypatch.setattr(speed, "COMPILE_AFTER_S", 0.0)
    monkeypatch.setattr(config.cpp, "cxx", (None, "/nowhere/g++"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(house.home / "nothing-compiled-before"))
    said = StringIO()
    base.train(make_recipe(base={"steps": 2}), house, Watch(Console(file=said)), threads=1)
    assert "torch.compile does not work here" in said.getvalue()
    assert len(list_ages(house.checkpoints)) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_run_comes_to_the_same_self_within_rounding(
    raised: House, house: House, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import speed

    monkeypatch.setattr(speed, "COMPILE_AFTER_S", 0.0)
    recipe = make_recipe(base={"steps": 10, "ages": 2})
    compiled = base.train(recipe, house, threads=1)[-1]
    monkeypatch.setattr(speed, "COMPILE_AFTER_S", math.inf)
    plain = base.train(recipe.model_copy(update={"lineage": "plain"}), house, threads=1)[-1]
    assert compiled.bits_per_byte == pytest.approx(plain.bits_per_byte, rel=0.01)


@pytest.mark.parametrize("saving", [{"micro_tokens": 64}, {"activation_checkpointing": True}])
def test_saving_memory_changes_nothing_but_the_last_digits(
    raised: House, house: House, make_recipe: MakeRecipe, saving: dict[str, object]
) -> None:
    cards = base.train(make_recipe(base=saving), house, threads=1)
    spent = [age.card for age in list_ages(raised.checkpoints) if age.address.stage == "base"]
    assert [card.bits_per_byte for card in cards] == pytest.approx(
        [card.bits_per_byte for card in spent], rel=1e-3
    )


def test_minutes_are_turned_into_steps_once(
    house: House,
    run: Callable[..., int],
    write_recipe: WriteRecipe,
    make_recipe: MakeRecipe,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from training import calibrate

    ticks = itertools.count()
    # a clock by which every step takes a twentieth of a second, however busy the machine is
    monkeypatch.setattr(calibrate, "time", SimpleNamespace(perf_counter=lambda: next(ticks) / 20))
    recipe = write_recipe(make_recipe(base={"ages": 2}, chat={"steps": 0}))
    assert run(house, [recipe, "--minutes", "0.05", "--threads", "1"]) == 0
    first, last = list_ages(house.checkpoints)
    steps = last.address.step
    assert f"{steps} steps of 512 tokens in 0.05 minutes" in capsys.readouterr().err
    assert 50 < steps <= 60
    assert last.card.recipe["base"]["steps"] == steps
    assert run(house, [recipe, "--minutes", "5", "--threads", "1"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert list_ages(house.checkpoints) == [first, last]


def test_too_few_minutes_are_refused(
    house: House,
    run: Callable[..., int],
    write_recipe: WriteRecipe,
    make_recipe: MakeRecipe,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(house, [write_recipe(make_recipe()), "--minutes", "0.0001", "--threads", "1"]) == 2
    assert "minutes are too few: a step takes" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(house, [write_recipe(make_recipe()), "--minutes", "-3"])
    assert "'-3' is not a number" in capsys.readouterr().err
    assert list_ages(house.checkpoints) == []


def test_a_disk_that_will_be_full_is_told_of_before(
    house: House, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from io import StringIO

    from rich.console import Console

    from training import keeping
    from training.budget import age_bytes, shape_of, state_bytes
    from training.watch import Watch

    recipe = make_recipe(base={"steps": 4, "ages": 3})
    shape = shape_of(recipe)
    room = state_bytes(shape) + 2 * age_bytes(shape, "float32") + 1000
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
    said = StringIO()
    base.train(recipe, house, Watch(Console(file=said, width=1000)), threads=1)
    assert "3 ages of 1 MB are to come" in said.getvalue()
    assert "the disk will be full after 2 of them" in said.getvalue()


def test_ages_are_measured_as_they_are_kept_and_nothing_of_it_is_learned(
    raised: House, house: House, make_recipe: MakeRecipe
) -> None:
    recipe = make_recipe(evals={"at_ages": True, "suites": ["words", "bits_per_byte"], "items": 10})
    cards = base.train(recipe, house, threads=1)
    measured = json.loads((house.checkpoints / "wren" / "evals.json").read_text("utf-8"))
    text = json.dumps(measured)
    assert all(card.address in text for card in cards)
    assert {card.address: card.weights_sha256 for card in cards}.items() <= weights(raised).items()


def test_pruned_ages_are_not_made_again_nor_anything_young_of_them(
    raised_copy: House, make_recipe: MakeRecipe
) -> None:
    from training import young
    from training.plan import make_plan
    from training.prune import remove

    remove(find_age(raised_copy.checkpoints, "wren@base-000010"))
    recipe = make_recipe(young={"steps": 2, "settle": 0})
    plan = make_plan(recipe, raised_copy)
    assert plan.finished("base")
    assert plan.wanted["young"] == ("wren@young-000020",)
    assert [card.address for card in young.train(recipe, raised_copy, threads=1)] == ["wren@young-000020"]
    assert make_plan(recipe, raised_copy).finished("young")


def test_rows_may_respect_documents(house: House, make_recipe: MakeRecipe) -> None:
    cards = base.train(make_recipe(base={"pack": "documents", "ages": 2}), house, threads=1)
    assert (cards[0].bits_per_byte or 0) - (cards[1].bits_per_byte or 0) > 1
    assert cards[1].sources == (make_recipe().corpus[0].model_dump(exclude_defaults=True),)


@pytest.mark.parametrize(
    ("form", "architecture"), [("arcee", "ArceeForCausalLM"), ("lfm2", "Lfm2ForCausalLM")]
)
def test_a_recipe_chooses_the_form(
    house: House, make_recipe: MakeRecipe, form: str, architecture: str
) -> None:
    cards = base.train(make_recipe(model={"form": form}, base={"ages": 2}), house, threads=1)
    assert {card.architecture for card in cards} == {architecture}
    assert (cards[0].bits_per_byte or 0) - (cards[1].bits_per_byte or 0) > 1


def test_ages_may_be_pruned_in_the_middle_of_a_run(
    house: House, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:

    from training.prune import remove

    block = SimpleNamespace(stop=lambda moment: 1 / (25 - moment.step) and False)
    monkeypatch.setitem(sys.modules, "stumbling_block", block)
    with pytest.raises(TrainingError, match="ZeroDivisionError"):
        base.train(make_recipe(callbacks=["stumbling_block:stop"]), house, threads=1)
    remove(find_age(house.checkpoints, "wren@base-000010"))
    cards = base.train(make_recipe(), house, threads=1)
    assert [card.address for card in cards] == [f"wren@base-{step:06d}" for step in (0, 20, 40)]
    assert chat.train(make_recipe(), house, threads=1)[0].parent == "wren@base-000040"


def test_a_dry_run_of_several_processes_speaks_once(
    house: House,
    run: Callable[..., int],
    write_recipe: WriteRecipe,
    make_recipe: MakeRecipe,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(house, [write_recipe(make_recipe()), "--dry-run", "--processes", "2"]) == 0
    assert capfd.readouterr().out.count("40 steps of 512") == 1
