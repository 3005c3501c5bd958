"""Ages on disk: addresses, cards, hashes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from selves.errors import AgeError, UsageError
from selves.lineage import Address, find_age, list_ages


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


def test_a_changed_byte_in_the_weights_is_found(checkpoints: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(checkpoints, copy)
    weights = copy / "tiny" / "base-000004" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(AgeError, match="damaged"):
        find_age(copy, "tiny@base-000004").verify()
