"""nanochat's checkpoints become ages, their tokenizers give nanochat's ids, and no file of theirs is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer

from selves.errors import AgeError, SelvesError, UsageError
from selves.lineage import Age, list_ages
from selves.settings import House
from training import ages
from training.nanochat import import_nanochat, make_tokenizer
from training.pickled import read_encoding

FIXTURES = Path(__file__).parents[1] / "fixtures" / "nanochat"
PICKLE = (FIXTURES / "base" / "tokenizer" / "tokenizer.pkl").read_bytes()
PROMPTS = json.loads((FIXTURES / "base" / "expected.json").read_text("utf-8"))["prompts"]


def take_in(source: Path, house: House, name: str | None = None, step: int | None = None) -> Age:
    return import_nanochat(source, name, step, house, lambda _: None)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of nanochat's folder with a base model, to be changed."""
    return Path(shutil.copytree(FIXTURES / "base", tmp_path / "nanochat"))


@pytest.fixture
def change_meta(base: Path) -> Callable[..., None]:
    def change(**changes: Any) -> None:
        path = base / "base_checkpoints" / "d3" / "meta_000300.json"
        meta = json.loads(path.read_text())
        meta["model_config"] |= changes
        path.write_text(json.dumps(meta))

    return change


@pytest.fixture
def change_model(base: Path) -> Callable[..., None]:
    def change(changing: Callable[[dict[str, Any]], Any]) -> None:
        path = base / "base_checkpoints" / "d3" / "model_000300.pt"
        tensors = torch.load(path, weights_only=True)
        changing(tensors)
        torch.save(tensors, path)

    return change


def nothing_was_written(house: House) -> bool:
    return not any(house.checkpoints.glob("*/*"))


@pytest.mark.parametrize("said", PROMPTS, ids=lambda said: said["prompt"][:12])
def test_the_tokenizer_gives_nanochats_ids_and_reads_them_back(said: dict[str, Any]) -> None:
    tokenizer = make_tokenizer(read_encoding(PICKLE))
    assert tokenizer.encode(said["prompt"]).ids == said["ids"]
    ids = said["ids"] + said["greedy_24"]
    assert tokenizer.decode(ids, skip_special_tokens=False) == said["decoded"]


def test_a_base_model_becomes_a_transcript_age_that_says_where_it_comes_from(house: House) -> None:
    age = take_in(FIXTURES / "base" / "base_checkpoints" / "d3", house)
    age.verify()
    card = age.card
    assert (card.address, card.form, card.origin) == ("nanochat-d3@import-000300", "transcript", "imported")
    assert card.architecture == "SelvesNanochatForCausalLM"
    assert (card.context_tokens, card.tokens_seen, card.bits_per_byte) == (64, 300 * 1024, None)
    assert card.recipe["nanochat"]["depth"] == 3
    assert card.parameters == sum(t.numel() for t in load_file(age.folder / "model.safetensors").values())


def test_a_chat_model_is_spoken_to_in_the_tokens_that_nanochat_renders(house: House) -> None:
    age = take_in(FIXTURES / "chat", house)
    assert (str(age.address), age.card.form) == ("nanochat-d4-sft@import-000007", "chat")
    assert age.card.bits_per_byte == 3.25
    expected = json.loads((FIXTURES / "chat" / "expected.json").read_text("utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(age.folder)
    rendered = tokenizer.apply_chat_template(
        expected["messages"], add_generation_prompt=True, return_dict=False
    )
    assert rendered == expected["ids"]


def test_rows_that_pad_the_vocabulary_are_left_behind(house: House) -> None:
    age = take_in(FIXTURES / "chat", house)
    weights = load_file(age.folder / "model.safetensors")
    for name in ("transformer.wte.weight", "lm_head.weight", "value_embeds.3.weight"):
        assert weights[name].shape[0] == 300


def test_importing_again_changes_nothing(house: House) -> None:
    first = take_in(FIXTURES / "base", house)
    assert take_in(FIXTURES / "base" / "base_checkpoints", house) == first


def test_another_checkpoint_never_takes_an_address_that_is_taken(house: House) -> None:
    first = take_in(FIXTURES / "base", house, "bird@import-000001")
    with pytest.raises(UsageError, match="bird@import-000001 is here already"):
        take_in(FIXTURES / "chat", house, "bird@import-000001")
    assert list_ages(house.checkpoints) == [first]


def test_the_newest_step_is_taken_unless_another_is_named(base: Path, house: House) -> None:
    folder = base / "base_checkpoints" / "d3"
    for suffix in (".pt", ".json"):
        name = {".pt": "model", ".json": "meta"}[suffix]
        shutil.copy(folder / f"{name}_000300{suffix}", folder / f"{name}_001000{suffix}")
    assert str(take_in(base, house).address) == "nanochat-d3@import-001000"
    assert str(take_in(base, house, "bird", 300).address) == "bird@import-000300"
    with pytest.raises(UsageError, match=r"no step 7\n.*it has 300, 1000"):
        take_in(base, house, step=7)


def test_of_several_models_one_has_to_be_named(base: Path, house: House) -> None:
    shutil.copytree(base / "base_checkpoints" / "d3", base / "base_checkpoints" / "d4")
    with pytest.raises(UsageError, match=r"several models: base_checkpoints/d3, base_checkpoints/d4"):
        take_in(base, house)
    assert str(take_in(base / "base_checkpoints" / "d4", house).address) == "nanochat-d4@import-000300"


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("tokenizer/tokenizer.pkl", "no tokenizer.pkl"),
        ("base_checkpoints/d3/meta_000300.json", "meta_000300.json is missing"),
        ("base_checkpoints/d3/model_000300.pt", "there is no model_NNNNNN.pt"),
    ],
)
def test_a_file_that_is_missing_is_named(base: Path, house: House, missing: str, said: str) -> None:
    (base / missing).unlink()
    with pytest.raises(AgeError, match=said):
        take_in(base, house)
    with pytest.raises(AgeError, match="there is no folder"):
        take_in(base / "nowhere", house)


def test_a_folder_that_does_not_say_base_or_chat_is_refused(base: Path, house: House) -> None:
    (base / "base_checkpoints").rename(base / "mine")
    with pytest.raises(AgeError, match="does not say whether"):
        take_in(base, house)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_embd": 96}, r"transformer.wte.weight is \(2048, 48\), but by model_config it is \(2048, 96\)"),
        ({"n_layer": 4}, "lacks .*transformer.h.3"),
        ({"n_head": 5}, "do not go into a width of 48"),
        ({"vocab_size": 2040}, "has 2048 tokens, but the model has 2040"),
        ({"window_pattern": "SLX"}, "window_pattern"),
        ({"n_embd": -48}, "n_embd"),
        ({"n_experts": 8}, r"n_experts: Extra.*\n.*2026-07-03, with sequence_len, vocab_size"),
    ],
)
def test_a_shape_that_is_wrong_or_unknown_is_named(
    base: Path, house: House, change_meta: Callable[..., None], changes: dict[str, Any], said: str
) -> None:
    change_meta(**changes)
    with pytest.raises(AgeError, match=said):
        take_in(base, house)
    assert nothing_was_written(house)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_config": 3}', "{", "\x00"])
def test_a_meta_file_that_is_none_is_refused(base: Path, house: House, content: str) -> None:
    (base / "base_checkpoints" / "d3" / "meta_000300.json").write_text(content)
    with pytest.raises(AgeError, match="meta_000300"):
        take_in(base, house)


def test_models_of_other_times_are_told_apart_by_their_tensors(
    base: Path, house: House, change_model: Callable[..., None]
) -> None:
    change_model(lambda tensors: tensors.update(mixture=torch.zeros(3)))
    with pytest.raises(AgeError, match=r"beside those known, mixture\n.*2026-07-03"):
        take_in(base, house)
    change_model(lambda tensors: (tensors.pop("mixture"), tensors.pop("smear_lambda")))
    with pytest.raises(AgeError, match=r"lacks smear_lambda\n.*2026-07-03"):
        take_in(base, house)
    assert nothing_was_written(house)


def test_tensors_of_a_compiled_model_are_known_by_their_names(
    base: Path, house: House, change_model: Callable[..., None]
) -> None:
    expected = take_in(FIXTURES / "base", house, "plain").card.weights_sha256

    def compile_names(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[f"_orig_mod.{name}"] = tensors.pop(name)

    change_model(compile_names)
    assert take_in(base, house, "compiled").card.weights_sha256 == expected


@pytest.mark.parametrize("kept", [0, 10, 5000, 1_000_000, 1_916_000])
def test_a_truncated_model_is_refused(base: Path, house: House, kept: int) -> None:
    path = base / "base_checkpoints" / "d3" / "model_000300.pt"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(AgeError, match=r"model_000300\.pt cannot be read as tensors"):
        take_in(base, house)
    assert nothing_was_written(house)


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.proof}",)


def test_a_malicious_model_does_not_run(base: Path, house: House, tmp_path: Path) -> None:
    torch.save({"lm_head.weight": Malice(tmp_path / "ran")}, base / "base_checkpoints/d3/model_000300.pt")
    with pytest.raises(AgeError, match="cannot be read as tensors"):
        take_in(base, house)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_tokenizer_does_not_run(base: Path, house: House, tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "ran"
    attack = pickle.dumps(Malice(proof), protocol)
    (base / "tokenizer" / "tokenizer.pkl").write_bytes(attack)
    with pytest.raises(AgeError, match=r"(would run (posix|nt)\.system|not plain data).*\n.*nothing in"):
        take_in(base, house)
    assert not proof.exists()
    assert nothing_was_written(house)
    pickle.loads(attack)
    assert proof.exists(), "the attack would have worked"


@pytest.mark.parametrize(
    "attack",
    [
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93)\x81.",
        b"\x80\x02cbuiltins\nexec\n(X\x04\x00\x00\x00quito.",
        b"\x80\x02(cos\nsystem\nX\x02\x00\x00\x00lso.",
        b"(S'ls'\nios\nsystem\n.",
        b"\x80\x02\x82\x01.",
        b"Pevil\n.",
        PICKLE[:-1] + b"0cos\nsystem\n(X\x02\x00\x00\x00lstR.",
    ],
)
def test_every_way_a_pickle_can_call_something_is_refused(attack: bytes) -> None:
    with pytest.raises(AgeError, match="not plain data"):
        read_encoding(attack)


def test_a_pickle_of_something_else_is_refused() -> None:
    for value in ({}, "cl100k_base", b"", 7):
        with pytest.raises(AgeError, match="no tiktoken Encoding"):
            read_encoding(pickle.dumps(value, 4))
    by_name = b"\x80\x04\x8c\x0dtiktoken.core\x8c\x08Encoding\x93)\x81\x8c\x04gpt2b."
    with pytest.raises(AgeError, match="only names tiktoken's 'gpt2'"):
        read_encoding(by_name)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # in damaged strings
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_pickle_is_an_age_error_whatever_the_damage(data: st.DataObject) -> None:
    at = data.draw(st.one_of(st.integers(0, 300), st.integers(0, len(PICKLE) - 1)))
    damaged = bytearray(PICKLE[: data.draw(st.sampled_from([at, len(PICKLE)]))])
    for place in [*data.draw(st.lists(st.integers(0, 300), max_size=3)), at]:
        if place < len(damaged):
            damaged[place] = data.draw(st.integers(0, 255))
    try:
        encoding = read_encoding(bytes(damaged))
    except AgeError:
        return
    assert len(encoding.ranks) + len(encoding.special) == 2048


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(AgeError, match="pattern does not work"):
        make_tokenizer(read_encoding(PICKLE)._replace(pattern="((("))


def test_anothers_tokenizer_is_refused(base: Path, house: House) -> None:
    shutil.copy(FIXTURES / "chat" / "tokenizer" / "tokenizer.pkl", base / "tokenizer" / "tokenizer.pkl")
    with pytest.raises(AgeError, match="has 300 tokens, but the model has 2048"):
        take_in(base, house)


def test_the_command_line_imports_and_says_what_it_cannot(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELVES_HOME", str(house.home))
    assert ages.main(["import", "nanochat", str(FIXTURES / "base"), "--as", "bird", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["address"] == "bird@import-000300"
    assert ages.main(["import", "nanochat", str(FIXTURES / "base"), "--as", "bird"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    for wrong in (
        ["nanochat"],
        ["smollm2", "--step", "3"],
        ["smollm2", "folder"],
        ["nanochat", str(FIXTURES / "base"), "--as", "bird@chat-000001"],
        ["nanochat", str(FIXTURES / "base"), "--as", "No Name"],
    ):
        with pytest.raises(SelvesError):
            ages.main(["import", *wrong])
