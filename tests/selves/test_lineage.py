"""Ages on disk: addresses, cards, hashes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from selves.errors import AgeError, UsageError
from selves.files import sha256_file
from selves.lineage import Address, find_age, list_ages, read_age


def test_an_address_reads_back_as_it_was_written() -> None:
    address = Address.parse("ember@base-000400")
    assert (address.lineage, address.stage, address.step) == ("ember", "base", 400)
    assert str(address) == "ember@base-000400"


@pytest.mark.parametrize(
    "text", ["ember", "ember@latest", "ember@base-4", "Ember@base-000400", "a@b@base-000001", ""]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="like ember@base-000400"):
        Address.parse(text)


def test_ages_are_listed_in_order_of_life_and_verify(checkpoints: Path) -> None:
    ages = list_ages(checkpoints)
    assert [str(age.address) for age in ages] == [
        "tiny@base-000000",
        "tiny@base-000004",
        "tiny@base-000016",
        "tiny@chat-000008",
    ]
    for age in ages:
        age.verify()


def test_an_unknown_age_names_its_siblings(checkpoints: Path) -> None:
    with pytest.raises(AgeError, match="tiny@base-000016"):
        find_age(checkpoints, "tiny@base-000005")


def test_an_age_of_others_that_is_not_here_is_to_be_brought_in(checkpoints: Path) -> None:
    with pytest.raises(AgeError) as caught:
        find_age(checkpoints, "smollm2@import-000000")
    assert "`selves ages import smollm2`" in caught.value.fix


def test_a_changed_byte_in_the_weights_is_found(checkpoints: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(checkpoints, copy)
    weights = copy / "tiny" / "base-000004" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(AgeError, match="damaged"):
        find_age(copy, "tiny@base-000004").verify()


def _make_adapter(checkpoints: Path, of: str) -> Path:
    """Register a folder whose weights are an adapter's, as far as a card can tell; returns it."""
    folder = checkpoints / "gruff" / "import-000000"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"low rank")
    base = find_age(checkpoints, "tiny@chat-000008").card
    sha256 = sha256_file(folder / "adapter_model.safetensors")
    changes = {"address": "gruff@import-000000", "adapter_of": of, "weights_sha256": sha256, "files": {}}
    (folder / "age.json").write_text(base.model_copy(update=changes).model_dump_json())
    return folder


def test_a_damaged_card_is_said_in_a_line(tmp_path: Path) -> None:
    for card in ('{"lineage": ', '{"lineage": "ember"}'):
        (tmp_path / "age.json").write_text(card)
        with pytest.raises(AgeError, match=r"age\.json is damaged: \S") as said:
            read_age(tmp_path)
        assert "pydantic" not in said.value.problem
        assert "\n" not in said.value.problem


def test_an_adapter_names_its_weights_file_and_its_base(checkpoints: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(checkpoints, copy)
    _make_adapter(copy, "tiny@chat-000008")
    full, adapter = find_age(copy, "tiny@chat-000008"), find_age(copy, "gruff@import-000000")
    assert (full.weights_file, adapter.weights_file) == ("model.safetensors", "adapter_model.safetensors")
    assert (full.base(), adapter.base()) == (None, full)
    adapter.verify()
    (adapter.folder / adapter.weights_file).write_bytes(b"other rank")
    with pytest.raises(AgeError, match="damaged"):
        adapter.verify()


def test_an_adapter_without_its_base_says_what_is_missing(checkpoints: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(checkpoints, copy)
    _make_adapter(copy, "tiny@chat-000008")
    shutil.rmtree(copy / "tiny" / "chat-000008")
    with pytest.raises(AgeError, match="an adapter on tiny@chat-000008, which is not here"):
        find_age(copy, "gruff@import-000000").verify()


def test_an_adapter_on_an_adapter_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(checkpoints, copy)
    _make_adapter(copy, "gruff@import-000000")
    with pytest.raises(AgeError, match="an adapter itself"):
        find_age(copy, "gruff@import-000000").base()


def test_an_age_that_is_away_can_be_read_about_and_says_how_it_comes_back(
    checkpoints: Path, tmp_path: Path
) -> None:
    home = tmp_path / "checkpoints"
    shutil.copytree(checkpoints, home)
    away = home / "tiny" / ".away" / "base-000004"
    (home / "tiny" / ".away").mkdir()
    (home / "tiny" / "base-000004").rename(away)
    here = [age.address.age for age in list_ages(home)]
    assert here == ["base-000000", "base-000016", "chat-000008"]
    everybody = list_ages(home, "tiny", away=True)
    assert [age.address.age for age in everybody] == ["base-000000", "base-000004", *here[1:]]
    assert {age.lineage_folder for age in everybody} == {home / "tiny"}
    with pytest.raises(AgeError, match="selves ages fetch tiny@base-000004"):
        find_age(home, "tiny@base-000004")
